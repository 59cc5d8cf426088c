"""Rounding to whole numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from verifier.ops.curves.curve import Curve
from verifier.ops.curves.guided import guided
from verifier.ops.op import Op, Shape
from verifier.sets import Box, Diagonal, Enclosure


@dataclass(frozen=True, eq=False)
class Stairs(Curve, register=False):
    """An increasing function of steps: ``k + level`` between ``k + first`` and ``k + first + 1``, for whole k.

    Two parameters: the lower and the upper slope. At a step, the limits from both sides count as values.
    """

    parameters: ClassVar[int] = 2
    first: ClassVar[float] = 0.0
    level: ClassVar[float] = 0.0

    @property
    def exact(self) -> bool:
        """See ``Elementwise.exact``."""
        return True

    def kinks(self) -> tuple[float, ...]:
        """Return the places of a few steps."""
        return tuple(k + self.first for k in (-1.0, 0.0, 1.0))

    def interval(self, *x: Box) -> Box:
        """See ``Op.interval``; monotone."""
        return Box(self.forward(x[0].lower), self.forward(x[0].upper))

    def offsets(self, x: Box, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and greatest ``f(x) - slope * x``, in the shape that slope and box broadcast to.

        At the ends of whole steps that is linear in their number, so that the outer two on either side are enough.
        """
        low, high = self.forward(x.lower) - self.level, self.forward(x.upper) - self.level
        gaps = []
        for step in (low, low + 1, high - 1, high):
            step = torch.minimum(torch.maximum(step, low), high)
            for end in (step + self.first, step + self.first + 1):
                point = torch.minimum(torch.maximum(end, x.lower), x.upper)
                gaps.append(step + self.level - slope * point)
        stacked = torch.stack(torch.broadcast_tensors(*gaps))
        return stacked.amin(0), stacked.amax(0)

    def start(self, *x: Box) -> Tensor:
        """See ``Curve.start``: flat, or as steep as the stairs, whichever is nearer in the middle of the box."""
        (box,) = x
        middle = box.centre
        flat, steep = torch.zeros_like(middle), torch.ones_like(middle)
        (low, high), (low_steep, high_steep) = self.offsets(box, flat), self.offsets(box, steep)
        return torch.stack([(low_steep + middle > low).to(low), (high_steep + middle < high).to(high)]).unsqueeze(2)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``."""
        return torch.ones_like(x.lower)

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """Enclose between the lines of slope ``alpha[0]`` from below and ``alpha[1]`` from above."""
        (box,) = x
        lower, upper = self.start(box) if alpha is None else alpha.clamp(0, 1)
        wide = Box(box.lower.unsqueeze(1), box.upper.unsqueeze(1))
        return Diagonal(lower, self.offsets(wide, lower)[0], upper, self.offsets(wide, upper)[1])

    def parallel(self, *x: Box) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Curve.parallel``: as steep as the stairs where there are several steps, else flat."""
        (box,) = x
        slope = (self.forward(box.upper) - self.forward(box.lower) > 1).to(box.lower)
        return slope, *self.offsets(box, slope)

    def branch_point(self, x: Box) -> Tensor:
        """See ``Curve.branch_point``: the step nearest to the middle, if it lies inside."""
        point = (x.centre - self.first).round() + self.first
        return torch.where((x.lower < point) & (point < x.upper), point, torch.nan)


@dataclass(frozen=True, eq=False)
class Floor(Stairs):
    """The largest whole number that is not larger."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return guided(x[0].floor(), x[0])

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Floor(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Ceil(Stairs):
    """The least whole number that is not smaller."""

    level = 1.0

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return guided(x[0].ceil(), x[0])

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Ceil(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Round(Stairs):
    """The nearest whole number; of two, the even one."""

    first = -0.5

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return guided(x[0].round(), x[0])

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Round(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Trunc(Stairs):
    """The nearest whole number that is not farther from 0: floor from 0 on, ceil below."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return guided(x[0].trunc(), x[0])

    def offsets(self, x: Box, slope: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Stairs.offsets``: those of the part below 0 and of the part above, where there is one."""
        ends = []
        for part, stairs, there in (
            (Box(x.lower.clamp(max=0), x.upper.clamp(max=0)), Ceil(), x.lower < 0),
            (Box(x.lower.clamp(min=0), x.upper.clamp(min=0)), Floor(), (x.upper > 0) | (x.lower >= 0)),
        ):
            low, high = stairs.offsets(part, slope)
            ends.append((low.masked_fill(~there, math.inf), high.masked_fill(~there, -math.inf)))
        (below, below_high), (above, above_high) = ends
        return torch.minimum(below, above), torch.maximum(below_high, above_high)

    def branch_point(self, x: Box) -> Tensor:
        """See ``Curve.branch_point``: there is no step at 0."""
        point = x.centre.round()
        for other in (-1.0, 1.0):
            inside = (x.lower < other) & (other < x.upper)
            point = torch.where((point == 0) & inside, other, point)
        return torch.where((x.lower < point) & (point < x.upper) & (point != 0), point, torch.nan)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Trunc(), [(1, 7)]
