"""Exponentials, logarithms, and what is made of them piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from verifier.ops.curves.curve import Curve
from verifier.ops.curves.power import Power
from verifier.ops.curves.setvalued import EluSlope, HardSwishSlope
from verifier.ops.curves.sigmoid import Sigmoid
from verifier.ops.curves.smooth import Smooth
from verifier.ops.op import Op, Shape
from verifier.sets import Box


@dataclass(frozen=True, eq=False)
class Exp(Smooth):
    """y = exp(x)."""

    increasing = True
    curvature = (1,)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].exp()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return x.exp()

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del piece, within
        return slope.log()

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return self

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Exp(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Log(Smooth):
    """y = log(x), for x > 0."""

    increasing = True
    curvature = (-1,)
    domain = (1e-30, math.inf)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].log()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return 1 / x

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del piece, within
        return 1 / slope

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``; its domain begins farther from 0."""
        return Power(-1.0)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Log(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Softplus(Smooth):
    """y = log(1 + exp(x))."""

    increasing = True
    curvature = (1,)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].clamp(min=0) + (-x[0].abs()).exp().log1p()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return x.sigmoid()

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del piece, within
        return slope.logit()

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return Sigmoid()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Softplus(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Elu(Smooth):
    """y = gain * x for x >= 0, gain * alpha * (exp(x / width) - 1) below: Elu, Selu and Celu; alpha and width > 0."""

    increasing = True
    bends = (0.0,)
    curvature = (1, 0)
    alpha: float = 1.0
    gain: float = 1.0
    width: float = 1.0

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        below = self.alpha * torch.expm1(x[0].clamp(max=0) / self.width)
        return self.gain * torch.where(x[0] < 0, below, x[0])

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        if piece:
            return torch.full_like(x, self.gain)
        return self.gain * self.alpha / self.width * (x.clamp(max=0) / self.width).exp()

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del piece, within
        return self.width * (slope * (self.width / (self.gain * self.alpha))).log()

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return EluSlope(self.alpha, self.gain, self.width)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Elu(), [(1, 7)]
        yield Elu(1.6732632423543772, 1.0507009873554805), [(1, 7)]
        yield Elu(alpha=0.5, width=0.5), [(1, 7)]
        yield Elu(alpha=3.0), [(2, 3)]


@dataclass(frozen=True, eq=False)
class HardSwish(Smooth):
    """y = x * clip(x / 6 + 1 / 2, 0, 1)."""

    bends = (-3.0, 3.0)
    curvature = (0, 1, 0)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return functional.hardswish(x[0])

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        return x / 3 + 0.5 if piece == 1 else torch.full_like(x, float(piece > 1))

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del piece, within
        return 3 * slope - 1.5

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return HardSwishSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield HardSwish(), [(1, 7)]
