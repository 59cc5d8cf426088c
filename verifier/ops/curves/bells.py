"""Bells: the derivatives of the logistic function and its kin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.curves.searched import Searched
from verifier.ops.curves.smooth import Smooth
from verifier.ops.op import Op, Shape
from verifier.sets import Box


@dataclass(frozen=True, eq=False)
class Bump(Smooth, register=False):
    """An even function that falls on both sides of 0."""

    def interval(self, *x: Box) -> Box:
        """See ``Op.interval``: the values at the points farthest from 0 and nearest to it."""
        (box,) = x
        return Box(self.forward(box.magnitude), self.forward(torch.zeros_like(box.lower).clamp(box.lower, box.upper)))


@dataclass(frozen=True, eq=False)
class SigmoidSlope(Bump, Searched):
    """y = s (1 - s), with s = 1 / (1 + exp(-x)); that is 1 / (2 cosh(x / 2)) ** 2."""

    bends = (-math.log(2 + math.sqrt(3)), math.log(2 + math.sqrt(3)))
    curvature = (1, -1, 1)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return 0.25 / (x[0] / 2).cosh().square()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return -self.forward(x) * (x / 2).tanh()

    def second(self, x: Tensor) -> Tensor:
        """See ``Searched.second``."""
        bell = self.forward(x)
        return bell * (1 - 6 * bell)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield SigmoidSlope(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class TanhSlope(Bump, Searched):
    """y = 1 - tanh(x) ** 2, which is 1 / cosh(x) ** 2."""

    bends = (-math.log(2 + math.sqrt(3)) / 2, math.log(2 + math.sqrt(3)) / 2)
    curvature = (1, -1, 1)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return 1 / x[0].cosh().square()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return -2 * self.forward(x) * x.tanh()

    def second(self, x: Tensor) -> Tensor:
        """See ``Searched.second``."""
        bell = self.forward(x)
        return bell * (4 - 6 * bell)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield TanhSlope(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class ErfSlope(Bump, Searched):
    """y = 2 / sqrt(pi) * exp(-x * x)."""

    bends = (-math.sqrt(0.5), math.sqrt(0.5))
    curvature = (1, -1, 1)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return 2 / math.sqrt(math.pi) * (-x[0] * x[0]).exp()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return -2 * x * self.forward(x)

    def second(self, x: Tensor) -> Tensor:
        """See ``Searched.second``."""
        return (4 * x * x - 2) * self.forward(x)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield ErfSlope(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class SoftsignSlope(Bump):
    """y = 1 / (1 + |x|) ** 2, convex on both sides of a kink."""

    bends = (0.0,)
    curvature = (1, 1)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return 1 / (1 + x[0].abs()).square()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        return (-2 if piece else 2) / (1 + x.abs()) ** 3

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del within
        fall = -slope if piece else slope
        distance = (2 / fall.clamp(min=0)) ** (1 / 3) - 1
        return distance if piece else -distance

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield SoftsignSlope(), [(1, 7)]
