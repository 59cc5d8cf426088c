"""Constant powers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from verifier.ops.curves.curve import Curve, is_single
from verifier.ops.curves.scaled import Scaled
from verifier.ops.curves.smooth import Smooth
from verifier.ops.op import Op, Shape
from verifier.sets import Box

POLE = 1e-12
"""How near to 0 a negative power may come."""


@dataclass(frozen=True, eq=False)
class Power(Smooth):
    """y = x ** exponent; for x >= 0 only (x > 0 below exponent 0) unless the exponent is whole.

    A negative whole power has a pole at 0: over boxes that contain it there are no bounds.
    """

    exponent: float = 2.0

    bends = (0.0,)

    @cached_property
    def whole(self) -> bool:
        """Whether negative numbers have this power."""
        return self.exponent == int(self.exponent)

    @cached_property
    def odd(self) -> bool:
        """Whether the power is that of an odd number."""
        return self.whole and int(self.exponent) % 2 == 1

    @property
    def domain(self) -> tuple[float, float]:  # type: ignore[override]
        """See ``Smooth``; without the pole of negative whole powers."""
        if self.whole:
            return (-math.inf, math.inf)
        return (0.0 if self.exponent > 0 else POLE, math.inf)

    @property
    def curvature(self) -> tuple[int, ...]:  # type: ignore[override]
        """See ``Smooth``."""
        right = 0 if self.exponent in (0, 1) else 1 if self.exponent > 1 or self.exponent < 0 else -1
        return (-right if self.odd else right, right)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        if self.whole:
            return x[0] ** int(self.exponent)
        if x[0].dtype == torch.float32 and not is_single(self.exponent):
            return (x[0].double() ** self.exponent).to(x[0])
        return x[0] ** self.exponent

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``; at 0 it may be infinite, for which a large number stands."""
        del piece
        if self.exponent < 1:
            x = torch.where(x < 0, x.clamp(max=-POLE), x.clamp(min=POLE))
        lower = self.exponent - 1
        return self.exponent * x ** (int(lower) if self.whole else lower)

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``."""
        del within
        if self.exponent in (0, 1):
            return torch.zeros_like(slope)
        place = (slope / self.exponent).abs() ** (1 / (self.exponent - 1))
        rising = slope if piece or self.odd else -slope
        wanted = (rising >= 0) if self.exponent > 0 else (rising <= 0)
        beyond = 0.0 if self.exponent > 1 else math.inf  # from 0 on it is steeper than that, or too flat
        return torch.where(wanted, place, beyond) * (1 if piece else -1)

    def outside(self, *x: Box) -> Tensor:
        """See ``Smooth.outside``."""
        (box,) = x
        outside = super().outside(box)
        if self.whole and self.exponent < 0:
            outside = outside | ((box.lower < POLE) & (box.upper > -POLE))
        return outside

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``; a fraction that is not exact any more has none."""
        power = Power(self.exponent - 1 if self.exponent else 0.0)
        if self.exponent and power.exponent + 1 != self.exponent:
            raise NotImplementedError(f"Power: {self.exponent!r} - 1 is no float64 number")
        return Scaled(power, self.exponent)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        for exponent in (2.0, 3.0, 4.0, 0.5, 1.5, -1.0, -2.0, -0.5):
            yield Power(exponent), [(1, 7)]
