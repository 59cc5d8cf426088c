"""Bells: the derivatives of the logistic function and its kin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

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
class Squashed(Bump, register=False):
    """A multiple of ``1 - u ** 2`` with ``u = tanh(rate * x)``; its slope is ``height * 2 * rate * (u ** 3 - u)``."""

    rate: ClassVar[float]
    height: ClassVar[float]
    curvature = (1, -1, 1)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return self.height / (self.rate * x[0]).cosh().square()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return -2 * self.rate * self.forward(x) * (self.rate * x).tanh()

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``: one of three roots of a cubic equation for u, by Viete's formula."""
        del within
        level = slope / (2 * self.rate * self.height)
        angle = (1.5 * math.sqrt(3) * level).clamp(-1, 1).arccos() / 3
        u = 2 / math.sqrt(3) * (angle - 2 * math.pi / 3 * (2 - piece)).cos()
        return u.clamp(-1, 1).atanh() / self.rate


@dataclass(frozen=True, eq=False)
class SigmoidSlope(Squashed):
    """y = s (1 - s), with s = 1 / (1 + exp(-x)); that is 1 / (2 cosh(x / 2)) ** 2."""

    rate, height = 0.5, 0.25
    bends = (-math.log(2 + math.sqrt(3)), math.log(2 + math.sqrt(3)))

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield SigmoidSlope(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class TanhSlope(Squashed):
    """y = 1 - tanh(x) ** 2, which is 1 / cosh(x) ** 2."""

    rate, height = 1.0, 1.0
    bends = (-math.log(2 + math.sqrt(3)) / 2, math.log(2 + math.sqrt(3)) / 2)

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
