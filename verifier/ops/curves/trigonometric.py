"""Sine, cosine, tangent and arc sine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from verifier.ops.curves.algebraic import AsinSlope
from verifier.ops.curves.curve import Curve
from verifier.ops.curves.scaled import Scaled
from verifier.ops.curves.smooth import Smooth
from verifier.ops.op import Op, Shape
from verifier.sets import Box

PERIOD = 2 * math.pi

FLAT = 1e-12
"""Under a root in a slope, the least number: at the ends of a domain it stands for 0, and the slope for infinity."""


@dataclass(frozen=True, eq=False)
class Sin(Smooth):
    """y = sin(x).

    The places where f' takes a value form two families of period 2 pi, one of greatest and one of least values of
    ``f(x) - a x``; within a family that is linear, so that its first and last member in a box are enough.
    """

    curvature = ()
    phase: ClassVar[float] = 0.0

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].sin()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return x.cos()

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``; of the first period, where f is concave (piece 0) or convex (1)."""
        del within
        angle = slope.clamp(-1, 1).acos()
        return (-angle if piece else angle) - self.phase

    def crests(self, x: Box, slope: Tensor, sign: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """See ``Smooth.crests``."""
        piece = int(sign < 0)
        with torch.no_grad():
            first = self.root(slope, piece, x)
            begin = torch.full_like(first, -math.pi * piece - self.phase)
            turns = [((x.lower - first) / PERIOD).ceil(), ((x.upper - first) / PERIOD).floor()]
        for turn in turns:
            left, right, place = (
                torch.minimum(torch.maximum(point + turn * PERIOD, x.lower), x.upper)
                for point in (begin, begin + math.pi, first)
            )
            yield place, left, right, self.derivative(place, piece)

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Smooth.slopes``; a little wide, for rounding."""
        ends = self.derivative(x.lower, 0), self.derivative(x.upper, 0)
        slack = 1e-6 * (1 + x.magnitude)

        def reaches(angle: float) -> Tensor:
            angle = angle - self.phase
            return ((x.upper - angle + slack) / PERIOD).floor() >= ((x.lower - angle - slack) / PERIOD).ceil()

        least = torch.where(reaches(math.pi), -1.0, torch.minimum(*ends))
        return least, torch.where(reaches(0.0), 1.0, torch.maximum(*ends))

    def interval(self, *x: Box) -> Box:
        """See ``Op.interval``; never beyond -1 and 1."""
        box = super().interval(*x)
        return Box(box.lower.clamp(min=-1), box.upper.clamp(max=1))

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return Cos()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Sin(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Cos(Sin):
    """y = cos(x), the sine a quarter of a period earlier."""

    phase = math.pi / 2

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].cos()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return -x.sin()

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return Scaled(Sin(), -1.0)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Cos(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Tan(Smooth):
    """y = tan(x); over boxes that reach a pole there are no bounds."""

    curvature = (-1, 1)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].tan()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return 1 + x.tan() ** 2

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``; around 0."""
        del within
        return (2 * piece - 1) * (slope - 1).clamp(min=0).sqrt().atan()

    def crests(self, x: Box, slope: Tensor, sign: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """See ``Smooth.crests``: in the branch that holds the box."""
        piece = int(sign < 0)
        with torch.no_grad():
            middle = (x.centre / math.pi).round() * math.pi
            place = self.root(slope, piece, x) + middle
        inner = torch.minimum(torch.maximum(middle, x.lower), x.upper)
        left, right = (inner, x.upper) if piece else (x.lower, inner)
        place = torch.minimum(torch.maximum(place, left), right)
        yield place, left, right, self.derivative(place, piece)

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Smooth.slopes``."""
        ends = self.derivative(x.lower, 0), self.derivative(x.upper, 0)
        middle = (x.centre / math.pi).round() * math.pi
        across = (x.lower <= middle) & (middle <= x.upper)
        return torch.where(across, 1.0, torch.minimum(*ends)), torch.maximum(*ends)

    def outside(self, *x: Box) -> Tensor:
        """See ``Smooth.outside``."""
        (box,) = x
        middle = (box.centre / math.pi).round() * math.pi
        reach = math.pi / 2 - 1e-6 * (1 + box.magnitude)
        return ~((box.lower > middle - reach) & (box.upper < middle + reach))

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return TanSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Tan(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class TanSlope(Smooth):
    """y = 1 + tan(x) ** 2, convex between its poles; over boxes that reach one there are no bounds."""

    curvature = (1,)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return 1 + x[0].tan().square()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return 2 * x.tan() * self.forward(x)

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``: the tangent t of the place solves 2 (t + t ** 3) = slope."""
        del piece
        tangent = 2 / math.sqrt(3) * ((0.75 * math.sqrt(3) * slope).asinh() / 3).sinh()
        return (within.centre / math.pi).round() * math.pi + tangent.atan()

    def outside(self, *x: Box) -> Tensor:
        """See ``Smooth.outside``: the poles are those of the tangent."""
        return Tan().outside(*x)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield TanSlope(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Asin(Smooth):
    """y = arcsin(x), for x from -1 to 1."""

    bends = (0.0,)
    curvature = (-1, 1)
    domain = (-1.0, 1.0)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].asin()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``; at the ends it is infinite, for which a large number stands."""
        del piece
        return 1 / ((1 - x) * (1 + x)).clamp(min=FLAT).sqrt()

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del within
        return (1 - slope.clamp(min=1) ** -2).sqrt() * (2 * piece - 1)

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return AsinSlope()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Asin(), [(1, 7)]
