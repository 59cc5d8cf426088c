"""Curves that jump, or end, at a place: ThresholdedRelu, Shrink, Sign, Step, Within."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from verifier.ops.curves.curve import Curve, Piecewise, is_single
from verifier.ops.curves.guided import guided_step
from verifier.ops.curves.setvalued import Levels
from verifier.ops.op import Op, Shape
from verifier.sets import Box


@dataclass(frozen=True, eq=False)
class Jumping(Piecewise, register=False):
    """A function that jumps at its kinks, or has no bounds beyond them."""

    def __post_init__(self) -> None:
        """Refuse a place of a jump that float32 does not have: no margin covers one that is moved."""
        if not all(is_single(kink) for kink in self.kinks()):
            raise ValueError(f"a jump at {self.kinks()[0]!r}, which single precision cannot tell from its neighbours")


@dataclass(frozen=True, eq=False)
class ThresholdedRelu(Jumping):
    """y = x above a threshold, 0 up to it, where it jumps."""

    threshold: float = 1.0

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return torch.where(x[0] > self.threshold, x[0], 0)

    def kinks(self) -> tuple[float, ...]:
        """See ``Piecewise.kinks``."""
        return (self.threshold,)

    @property
    def exact(self) -> bool:
        """See ``Elementwise.exact``: a threshold that float32 has."""
        return is_single(self.threshold)

    def limits(self, kink: float) -> tuple[float, float] | None:
        """See ``Piecewise.limits``."""
        return (0.0, kink)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``: what makes up for the jump over an eighth of its height."""
        return torch.full_like(x.lower, 9.0)

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``: that of the rectifier, which it is for a threshold of 0."""
        if self.threshold:
            raise NotImplementedError(f"ThresholdedRelu jumps at {self.threshold:g}")
        return Levels((0.0,), (0.0, 1.0))

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield ThresholdedRelu(), [(1, 7)]
        yield ThresholdedRelu(-0.5), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Shrink(Jumping):
    """y = 0 from -threshold to threshold, and x moved by ``shift`` towards 0 outside; it may jump between them."""

    threshold: float = 0.5
    shift: float = 0.0

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        moved = x[0] - self.shift * x[0].sign()
        return torch.where(x[0].abs() > self.threshold, moved, 0)

    def kinks(self) -> tuple[float, ...]:
        """See ``Piecewise.kinks``."""
        return (-self.threshold, self.threshold) if self.threshold else (0.0,)

    def limits(self, kink: float) -> tuple[float, float] | None:
        """See ``Piecewise.limits``."""
        height = self.threshold - self.shift
        if not kink:
            return (-height, height)
        return (-height, 0.0) if kink < 0 else (0.0, height)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``: what makes up for a jump over a part of its height."""
        return torch.full_like(x.lower, 1.0 if self.threshold == self.shift else 9.0)

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``: 1 outside, if it is continuous, which it is when shifted by the threshold."""
        if self.threshold != self.shift:
            raise NotImplementedError(f"Shrink jumps at {self.kinks()[-1]:g}")
        return Levels(self.kinks(), (1.0, 0.0, 1.0)) if self.threshold else Levels((), (1.0,))

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Shrink(), [(1, 7)]
        yield Shrink(0.75, 0.75), [(1, 7)]
        yield Shrink(0.25, -0.5), [(1, 7)]
        yield Shrink(0.0, 0.5), [(1, 7)]


@dataclass(frozen=True, eq=False)
class TwoLevels(Jumping, register=False):
    """One constant below 0 and another one above; over a box, the one-sided limits from inside it count as values."""

    levels: ClassVar[tuple[float, float]]

    @property
    def exact(self) -> bool:
        """See ``Elementwise.exact``."""
        return True

    def kinks(self) -> tuple[float, ...]:
        """See ``Piecewise.kinks``."""
        return (0.0,)

    def limits(self, kink: float) -> tuple[float, float] | None:
        """See ``Piecewise.limits``."""
        del kink
        return self.levels

    @property
    def height(self) -> float:
        """The height of the jump."""
        low, high = self.levels
        return high - low

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``: twice the chord; steeper lines of the hull are not worth having.

        Where f is constant, lines are flat: on a narrow box far from 0, the terms of a steep one would be large.
        """
        width = x.upper - x.lower
        jumps = (x.lower <= 0) & (x.upper >= 0) & (width > 0)
        return torch.where(jumps, 2 * self.height / torch.where(width > 0, width, 1), 0)

    def absolute_terms(self, *x: Box) -> Tensor:
        """See ``Curve.absolute_terms``: a box that reaches 0 is no narrower than its points are large."""
        (box,) = x
        return torch.full_like(box.lower, 8 * self.height)

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Curve.slopes``."""
        return torch.zeros_like(x.lower), self.steepest(x)


@dataclass(frozen=True, eq=False)
class Sign(TwoLevels):
    """y = -1, 0 or 1."""

    levels = (-1.0, 1.0)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return guided_step(x[0].sign(), x[0])

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Sign(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Step(TwoLevels):
    """y = 1 where x > 0, or where x >= 0 unless ``strict``; else 0."""

    strict: bool = False

    levels = (0.0, 1.0)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        reached = x[0] > 0 if self.strict else x[0] >= 0
        return guided_step(reached.to(x[0]), x[0])

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Step(), [(1, 7)]
        yield Step(strict=True), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Within(Jumping):
    """y = x, for low <= x <= high alone: over boxes that leave this range there are no bounds.

    It guards what means something else, or nothing, outside, such as an index beyond the end of an axis.
    """

    low: float = -math.inf
    high: float = math.inf

    @property
    def domain(self) -> tuple[float, float]:
        """Where there are bounds, as for ``Smooth``."""
        return self.low, self.high

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].clone()

    @property
    def exact(self) -> bool:
        """See ``Elementwise.exact``."""
        return True

    def kinks(self) -> tuple[float, ...]:
        """See ``Piecewise.kinks``: the ends, for splitting there."""
        return tuple(end for end in (self.low, self.high) if math.isfinite(end))

    def outside(self, *x: Box) -> Tensor:
        """See ``Elementwise.outside``."""
        (box,) = x
        return ~((box.lower >= self.low) & (box.upper <= self.high))

    def interval(self, *x: Box) -> Box:
        """See ``Op.interval``."""
        (box,) = x
        outside = self.outside(box)
        return Box(box.lower.masked_fill(outside, -math.inf), box.upper.masked_fill(outside, math.inf))

    def offsets(self, x: Box, slope: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Piecewise.offsets``."""
        outside = self.outside(x)
        low, high = super().offsets(x, slope)
        return low.masked_fill(outside, -math.inf), high.masked_fill(outside, math.inf)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``."""
        return torch.ones_like(x.lower)

    def absolute_terms(self, *x: Box) -> Tensor:
        """See ``Curve.absolute_terms``."""
        (box,) = x
        return 3 * box.magnitude

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Within(-0.5, 4.5), [(1, 7)]
