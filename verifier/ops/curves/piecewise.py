"""The other continuous piecewise affine curves: LeakyRelu, PRelu, Abs, Clip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from verifier.ops.curves.curve import Curve, Piecewise, is_single
from verifier.ops.curves.heaviside import Heaviside
from verifier.ops.curves.setvalued import Levels
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

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return Heaviside((self.slope, 1.0))

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

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return Heaviside((-1.0, 1.0))

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

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``: 1 between the ends, if there is anything between them."""
        if self.high <= self.low:
            return Levels((), (0.0,))
        below, above = math.isfinite(self.low), math.isfinite(self.high)
        return Levels(self.kinks(), (0.0,) * below + (1.0,) + (0.0,) * above)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Clip(0.0, 6.0), [(1, 7)]
        yield Clip(-1.0, 0.5), [(3, 2)]
        yield Clip(low=1.0), [(1, 7)]
        yield Clip(high=-1.0), [(1, 7)]
