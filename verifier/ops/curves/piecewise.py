"""The other piecewise affine curves: LeakyRelu, PRelu, Abs, Clip, and those that jump: Sign, Step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from verifier.ops.curves.curve import Piecewise
from verifier.ops.curves.guided import guided_step
from verifier.ops.op import Op, Shape
from verifier.sets import Box, Window, cut


@dataclass(frozen=True, eq=False)
class LeakyRelu(Piecewise):
    """y = x for x >= 0, slope * x below; any slope."""

    slope: float = 0.01

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return torch.where(x[0] < 0, self.slope * x[0], x[0])

    def kinks(self) -> tuple[float, ...]:
        """See ``Piecewise.kinks``."""
        return (0.0,)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``."""
        return torch.full_like(x.lower, max(1.0, abs(self.slope)))

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Curve.slopes``."""
        low, high = sorted((1.0, self.slope))
        return torch.full_like(x.lower, low), torch.full_like(x.lower, high)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        for slope in (0.1, -0.5, 2.0):
            yield LeakyRelu(slope), [(1, 7)]


@dataclass(frozen=True, eq=False)
class PRelu(Piecewise):
    """LeakyRelu with a slope for each element; ``slope`` broadcasts to the node's shape, without the domain axis."""

    slope: Tensor

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return torch.where(x[0] < 0, self.slope * x[0], x[0])

    def at(self, elements: Tensor, shape: Shape) -> Self:
        """See ``Curve.at``."""
        return replace(self, slope=self.slope.expand(shape).reshape(-1)[elements])

    def within(self, window: Window, shape: Shape) -> Self:
        """See ``Curve.within``."""
        return replace(self, slope=cut(self.slope.expand(shape), window))

    def kinks(self) -> tuple[float, ...]:
        """See ``Piecewise.kinks``."""
        return (0.0,)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``."""
        return self.slope.abs().clamp(min=1).expand_as(x.lower)

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Curve.slopes``."""
        slope = self.slope.expand_as(x.lower)
        return slope.clamp(max=1), slope.clamp(min=1)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield PRelu(torch.tensor([0.25, -1.0, 3.0], dtype=torch.float64)), [(1, 2, 3)]


@dataclass(frozen=True, eq=False)
class Abs(Piecewise):
    """y = |x|."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].abs()

    @property
    def exact(self) -> bool:
        """See ``Elementwise.exact``."""
        return True

    def kinks(self) -> tuple[float, ...]:
        """See ``Piecewise.kinks``."""
        return (0.0,)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``."""
        return torch.ones_like(x.lower)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Abs(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Clip(Piecewise):
    """y = min(max(x, low), high); an end may be infinite."""

    low: float = -math.inf
    high: float = math.inf

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``; like ONNX, ``high`` wins where it is below ``low``."""
        return x[0].clamp(min=self.low).clamp(max=self.high)

    def kinks(self) -> tuple[float, ...]:
        """See ``Piecewise.kinks``."""
        return tuple(kink for kink in (self.low, self.high) if math.isfinite(kink))

    @property
    def exact(self) -> bool:
        """See ``Elementwise.exact``: ends that float32 has."""
        return is_single(self.low) and is_single(self.high)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``."""
        return torch.ones_like(x.lower)

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Curve.slopes``."""
        return torch.zeros_like(x.lower), torch.ones_like(x.lower)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Clip(0.0, 6.0), [(1, 7)]
        yield Clip(-1.0, 0.5), [(3, 2)]
        yield Clip(low=1.0), [(1, 7)]
        yield Clip(high=-1.0), [(1, 7)]


@dataclass(frozen=True, eq=False)
class ThresholdedRelu(Piecewise):
    """y = x above a threshold, 0 up to it, where it jumps."""

    threshold: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a place of a jump that float32 does not have: no margin covers one that is moved."""
        if not all(is_single(kink) for kink in self.kinks()):
            raise ValueError(f"a jump at {self.kinks()[0]!r}, which single precision cannot tell from its neighbours")

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

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield ThresholdedRelu(), [(1, 7)]
        yield ThresholdedRelu(-0.5), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Shrink(Piecewise):
    """y = 0 from -threshold to threshold, and x moved by ``shift`` towards 0 outside; it may jump between them."""

    threshold: float = 0.5
    shift: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a place of a jump that float32 does not have: no margin covers one that is moved."""
        if not all(is_single(kink) for kink in self.kinks()):
            raise ValueError(f"a jump at {self.kinks()[0]!r}, which single precision cannot tell from its neighbours")

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

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Shrink(), [(1, 7)]
        yield Shrink(0.75, 0.75), [(1, 7)]
        yield Shrink(0.25, -0.5), [(1, 7)]
        yield Shrink(0.0, 0.5), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Sign(Piecewise):
    """y = -1, 0 or 1; it jumps at 0, where the graph over a box holds the one-sided limits from inside the box too."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return guided_step(x[0].sign(), x[0])

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
        return (-1.0, 1.0)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``: twice the chord; steeper lines of the hull are not worth having.

        Where f is constant, lines are flat: on a narrow box far from 0, the terms of a steep one would be large.
        """
        width = x.upper - x.lower
        return torch.where((x.lower <= 0) & (x.upper >= 0) & (width > 0), 4 / torch.where(width > 0, width, 1), 0)

    def absolute_terms(self, *x: Box) -> Tensor:
        """See ``Curve.absolute_terms``: a box that reaches 0 is no narrower than its points are large."""
        (box,) = x
        return torch.full_like(box.lower, 16.0)

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Curve.slopes``."""
        return torch.zeros_like(x.lower), self.steepest(x)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Sign(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Step(Piecewise):
    """y = 1 where x > 0, or where x >= 0 unless ``strict``; else 0."""

    strict: bool = False

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        reached = x[0] > 0 if self.strict else x[0] >= 0
        return guided_step(reached.to(x[0]), x[0])

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
        return (0.0, 1.0)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``: twice the chord, and flat where f is constant, as for ``Sign``."""
        width = x.upper - x.lower
        return torch.where((x.lower <= 0) & (x.upper >= 0) & (width > 0), 2 / torch.where(width > 0, width, 1), 0)

    def absolute_terms(self, *x: Box) -> Tensor:
        """See ``Curve.absolute_terms``: a box that reaches 0 is no narrower than its points are large."""
        (box,) = x
        return torch.full_like(box.lower, 8.0)

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Curve.slopes``."""
        return torch.zeros_like(x.lower), self.steepest(x)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Step(), [(1, 7)]
        yield Step(strict=True), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Within(Piecewise):
    """y = x, for low <= x <= high alone: over boxes that leave this range there are no bounds.

    It guards what means something else, or nothing, outside, such as an index beyond the end of an axis.
    """

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        """Refuse a place of a jump that float32 does not have: no margin covers one that is moved."""
        if not all(is_single(kink) for kink in self.kinks()):
            raise ValueError(f"a jump at {self.kinks()[0]!r}, which single precision cannot tell from its neighbours")

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


def is_single(value: float) -> bool:
    """Tell whether float32 has a number."""
    return not math.isfinite(value) or float(torch.tensor(value, dtype=torch.float32)) == value
