"""Hyperbolic sine and cosine, and their inverses and the tangent's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from verifier.ops.curves.algebraic import AcoshSlope, AsinhSlope, AtanhSlope
from verifier.ops.curves.curve import Curve
from verifier.ops.curves.sigmoid import Bell
from verifier.ops.curves.smooth import Smooth
from verifier.ops.op import Op, Shape
from verifier.sets import Box

FLAT = 1e-12
"""Under a root in a slope, the least number: at the ends of a domain it stands for 0, and the slope for infinity."""

NEARLY_ONE = 1 - 2.0**-20
"""How far from 0 the inverse hyperbolic tangent is bounded."""


@dataclass(frozen=True, eq=False)
class Sinh(Smooth):
    """y = sinh(x)."""

    bends = (0.0,)
    curvature = (-1, 1)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].sinh()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return x.cosh()

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del within
        return slope.clamp(min=1).acosh() * (2 * piece - 1)

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return Cosh()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Sinh(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Cosh(Smooth):
    """y = cosh(x)."""

    curvature = (1,)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].cosh()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return x.sinh()

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del piece, within
        return slope.asinh()

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return Sinh()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Cosh(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Asinh(Bell):
    """y = arsinh(x)."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].asinh()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return 1 / (1 + x * x).sqrt()

    def distance(self, slope: Tensor) -> Tensor:
        """See ``Bell.distance``."""
        slope = slope.clamp(1e-15, 1)
        return ((1 - slope) * (1 + slope)).sqrt() / slope

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return AsinhSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Asinh(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Acosh(Smooth):
    """y = arcosh(x), for x >= 1."""

    curvature = (-1,)
    domain = (1.0, math.inf)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].acosh()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``; at 1 it is infinite, for which a large number stands."""
        del piece
        return 1 / ((x - 1) * (x + 1)).clamp(min=FLAT).sqrt()

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del piece, within
        return (1 + slope.clamp(min=1e-15) ** -2).sqrt()

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return AcoshSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Acosh(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Atanh(Smooth):
    """y = artanh(x), for x between -1 and 1; very near to 1 there are no bounds."""

    bends = (0.0,)
    curvature = (-1, 1)
    domain = (-NEARLY_ONE, NEARLY_ONE)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].atanh()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return 1 / ((1 - x) * (1 + x))

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del within
        return (1 - 1 / slope.clamp(min=1)).sqrt() * (2 * piece - 1)

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return AtanhSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Atanh(), [(1, 7)]
