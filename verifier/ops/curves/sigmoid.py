"""The logistic function and its kin, whose derivative is a bell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.curves.algebraic import AtanSlope
from verifier.ops.curves.bells import ErfSlope, SigmoidSlope, SoftsignSlope, TanhSlope
from verifier.ops.curves.curve import Curve
from verifier.ops.curves.smooth import Smooth
from verifier.ops.op import Op, Shape
from verifier.sets import Box


@dataclass(frozen=True, eq=False)
class Bell(Smooth, register=False):
    """An increasing function whose slope is even and falls on both sides of 0: convex, then concave."""

    increasing = True
    bends = (0.0,)
    curvature = (1, -1)

    def distance(self, slope: Tensor) -> Tensor:
        """Return about how far from 0 the slope takes a value; anything where it does not."""
        raise NotImplementedError

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del within
        return self.distance(slope) * (2 * piece - 1)


@dataclass(frozen=True, eq=False)
class Sigmoid(Bell):
    """y = 1 / (1 + exp(-x))."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].sigmoid()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return x.sigmoid() * (-x).sigmoid()

    def distance(self, slope: Tensor) -> Tensor:
        """See ``Bell.distance``."""
        fourfold = (4 * slope).clamp(1e-30, 1)
        return torch.log((1 + (1 - fourfold).sqrt()).square() / fourfold)

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return SigmoidSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Sigmoid(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Tanh(Bell):
    """y = tanh(x)."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].tanh()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return 4 * (2 * x).sigmoid() * (-2 * x).sigmoid()

    def distance(self, slope: Tensor) -> Tensor:
        """See ``Bell.distance``."""
        slope = slope.clamp(1e-30, 1)
        return torch.log((1 + (1 - slope).sqrt()).square() / slope) / 2

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return TanhSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Tanh(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Atan(Bell):
    """y = arctan(x)."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].atan()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return 1 / (1 + x * x)

    def distance(self, slope: Tensor) -> Tensor:
        """See ``Bell.distance``."""
        slope = slope.clamp(1e-30, 1)
        return ((1 - slope) / slope).sqrt()

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return AtanSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Atan(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Erf(Bell):
    """y = erf(x)."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].erf()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return 2 / math.sqrt(math.pi) * torch.exp(-x * x)

    def distance(self, slope: Tensor) -> Tensor:
        """See ``Bell.distance``."""
        return (-torch.log((slope * (math.sqrt(math.pi) / 2)).clamp(1e-30, 1))).sqrt()

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return ErfSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Erf(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Softsign(Bell):
    """y = x / (1 + |x|)."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0] / (1 + x[0].abs())

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return 1 / (1 + x.abs()) ** 2

    def distance(self, slope: Tensor) -> Tensor:
        """See ``Bell.distance``."""
        return 1 / slope.clamp(1e-30, 1).sqrt() - 1

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return SoftsignSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Softsign(), [(1, 7)]
