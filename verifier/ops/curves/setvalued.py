"""Functions that jump between pieces: the derivatives of functions with kinks."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.curves.curve import is_single
from verifier.ops.curves.smooth import Smooth, climb
from verifier.ops.op import Op, Shape
from verifier.sets import Box

STEEP = 8.0
"""How steep, in heights of a jump, lines may be that make up for it."""


@dataclass(frozen=True, eq=False)
class SetValued(Smooth, register=False):
    """A function that may jump where its pieces meet, and takes there all values between those on both sides.

    Over a box that has the place of a jump inside, or is that place alone, bounds hold for the whole set; over a box
    that only begins or ends there, for the limit from within.
    """

    @abstractmethod
    def value(self, x: Tensor, piece: int) -> Tensor:
        """Return f at points of a piece; at its ends, the limit from within."""

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate; where it jumps, to the limit from the left."""
        return self._limit(x[0], [x[0] > bend for bend in self.bends])

    def _limit(self, x: Tensor, beyond: list[Tensor]) -> Tensor:
        """Return the value of the last piece whose beginning x is beyond."""
        y = self.value(x, 0)
        for k, reached in enumerate(beyond):
            y = torch.where(reached, self.value(x, k + 1), y)
        return y

    def rise(self, x: Box) -> Tensor:
        """See ``Smooth.rise``: between limits from within."""
        return self.forward(x.upper) - self._limit(x.lower, [x.lower >= bend for bend in self.bends])

    def meets(self, x: Box, piece: int) -> Tensor:
        """See ``Smooth.meets``: what a box only has in common with a piece is no end of both, unless it is a point."""
        low, high = self.ends(piece)
        lower, upper = x.lower.double(), x.upper.double()  # float32 may not have the place of a jump
        inside = (upper > low) & (lower < high)
        return torch.where(lower == upper, (upper >= low) & (lower <= high), inside)

    def _candidates(self, x: Box, slope: Tensor, sign: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See ``Smooth``: the ends of each piece, or its crest."""
        for piece, curvature in enumerate(self.curvature):
            left, right = (end.clamp(*self.ends(piece)) for end in (x.lower, x.upper))
            missed = (x.lower <= x.upper) & ~self.meets(x, piece)
            points = [left, right]
            if curvature == -sign:
                with torch.no_grad():
                    points = [torch.fmin(torch.fmax(self.root(slope, piece, Box(left, right)), left), right)]
            for point in points:
                bound = sign * self.value(point, piece) - climb(slope, sign * point)
                if curvature == -sign:
                    rise = sign * (self.derivative(point, piece) - slope)
                    bound = bound + climb(rise, torch.where(rise > 0, right, left) - point)
                yield point, torch.where(missed, -math.inf, bound)

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Smooth.slopes``: as steep as makes up for a jump inside, over a part of its height."""
        least, most = super().slopes(x)
        for k, bend in enumerate(self.bends):
            place = torch.full_like(x.lower, bend)
            steep = STEEP * (self.value(place, k + 1) - self.value(place, k)).abs()
            inside = (x.lower < bend) & (x.upper > bend)
            least = torch.where(inside, torch.minimum(least, -steep), least)
            most = torch.where(inside, torch.maximum(most, steep), most)
        return least, most

    def absolute_terms(self, *x: Box) -> Tensor:
        """See ``Curve.absolute_terms``: over a point at an end, more values are met than over the box."""
        (box,) = x
        ends = zip((box.lower, box.upper), (-math.inf, math.inf), strict=True)
        return super().absolute_terms(Box(*(torch.nextafter(end, torch.full_like(end, far)) for end, far in ends)))

    def branch_point(self, x: Box) -> Tensor:
        """See ``Elementwise.branch_point``: the jump inside nearest to the middle, else the middle where it bends."""
        bent = torch.zeros_like(x.wide)
        for piece, curvature in enumerate(self.curvature):
            bent = bent | (self.meets(x, piece) & (curvature != 0))
        middle = x.centre
        point, nearest = torch.where(bent & x.wide, middle, torch.nan), torch.full_like(middle, math.inf)
        for bend in self.bends:
            distance = (bend - middle).abs()
            nearer = (x.lower < bend) & (bend < x.upper) & (distance < nearest)
            point, nearest = torch.where(nearer, bend, point), torch.where(nearer, distance, nearest)
        return point


@dataclass(frozen=True, eq=False)
class EluSlope(SetValued):
    """y = gain for x > 0, gain * alpha / width * exp(x / width) below, for positive parameters."""

    bends = (0.0,)
    curvature = (1, 0)
    roundings = 12
    alpha: float = 1.0
    gain: float = 1.0
    width: float = 1.0

    @property
    def end(self) -> float:
        """The limit at 0 from the left."""
        return self.gain * self.alpha / self.width

    def value(self, x: Tensor, piece: int) -> Tensor:
        """See ``SetValued.value``."""
        return torch.full_like(x, self.gain) if piece else self.end * (x.clamp(max=0) / self.width).exp()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        return torch.zeros_like(x) if piece else self.value(x, piece) / self.width

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del piece, within
        return self.width * (slope * (self.width / self.end)).log()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield EluSlope(), [(1, 7)]
        yield EluSlope(1.6732632423543772, 1.0507009873554805), [(1, 7)]
        yield EluSlope(alpha=0.5, width=0.5), [(1, 7)]
        yield EluSlope(alpha=0.5), [(1, 7)]
        yield EluSlope(alpha=3.0, width=2.0), [(2, 3)]


@dataclass(frozen=True, eq=False)
class HardSwishSlope(SetValued):
    """y = 0 for x < -3, 1 for x > 3, and x / 3 + 1 / 2 between, which reaches from -1/2 to 3/2."""

    bends = (-3.0, 3.0)
    curvature = (0, 0, 0)

    def value(self, x: Tensor, piece: int) -> Tensor:
        """See ``SetValued.value``."""
        return x / 3 + 0.5 if piece == 1 else torch.full_like(x, float(piece > 1))

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        return torch.full_like(x, 1 / 3 if piece == 1 else 0.0)

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``: no piece bends."""
        del piece, within
        return torch.zeros_like(slope)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield HardSwishSlope(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Levels(SetValued):
    """A constant on each piece: the derivative of a piecewise affine function. ``jumps`` lie between them."""

    jumps: tuple[float, ...] = (-1.0, 1.0)
    levels: tuple[float, ...] = (0.0, 1.0, 0.0)

    @property
    def bends(self) -> tuple[float, ...]:  # type: ignore[override]
        """See ``Smooth``."""
        return self.jumps

    @property
    def curvature(self) -> tuple[int, ...]:  # type: ignore[override]
        """See ``Smooth``."""
        return (0,) * len(self.levels)

    @property
    def exact(self) -> bool:
        """See ``Elementwise.exact``: constants that float32 has."""
        return all(is_single(level) for level in self.levels)

    def value(self, x: Tensor, piece: int) -> Tensor:
        """See ``SetValued.value``."""
        return torch.full_like(x, self.levels[piece])

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return torch.zeros_like(x)

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``: no piece bends."""
        del piece, within
        return torch.zeros_like(slope)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Levels(), [(1, 7)]
        yield Levels((-0.3, 0.1), (1.0, 0.0, 1.0)), [(1, 7)]
        yield Levels((0.7,), (1.0, 0.0)), [(2, 3)]
        yield Levels((), (1.0,)), [(1, 7)]
