"""Multiples of curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from verifier.ops.curves.curve import Curve
from verifier.ops.curves.sigmoid import Sigmoid
from verifier.ops.curves.smooth import Smooth
from verifier.ops.op import Op, Shape
from verifier.sets import Box, Diagonal, Enclosure


@dataclass(frozen=True, eq=False)
class Scaled(Curve):
    """y = factor * f(x), for a smooth f; a negative factor turns it upside down."""

    curve: Smooth
    factor: float

    parameters = 2

    @property
    def roundings(self) -> int:  # type: ignore[override]
        """The curve's, and those of the products."""
        return self.curve.roundings + 2

    @property
    def domain(self) -> tuple[float, float]:
        """See ``Smooth.domain``: the curve's."""
        return self.curve.domain

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return self.factor * self.curve.forward(*x)

    def _ordered(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply the ends of a range."""
        low, high = self.factor * low, self.factor * high
        return (high, low) if self.factor < 0 else (low, high)

    def _turned(self, alpha: Tensor) -> Tensor:
        """Return the parameters of the curve for those of the multiple, or the reverse."""
        return 1 - alpha.flip(0) if self.factor < 0 else alpha

    def interval(self, *x: Box) -> Box:
        """See ``Op.interval``."""
        box = self.curve.interval(*x)
        return Box(*self._ordered(box.lower, box.upper))

    def outside(self, *x: Box) -> Tensor:
        """See ``Elementwise.outside``."""
        return self.curve.outside(*x)

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Curve.slopes``."""
        return self._ordered(*self.curve.slopes(x))

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``."""
        return abs(self.factor) * self.curve.steepest(x)

    def start(self, *x: Box) -> Tensor:
        """See ``Elementwise.start``."""
        return self._turned(self.curve.start(*x))

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """Multiply the curve's lines."""
        lines = self.curve.relax(*x, alpha=None if alpha is None else self._turned(alpha))
        assert isinstance(lines, Diagonal) and lines.lower_offset is not None and lines.upper_offset is not None
        slopes = self._ordered(lines.lower_slope, lines.upper_slope)
        offsets = self._ordered(lines.lower_offset, lines.upper_offset)
        return Diagonal(slopes[0], offsets[0], slopes[1], offsets[1])

    def parallel(self, *x: Box) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Curve.parallel``."""
        slope, low, high = self.curve.parallel(*x)
        return self.factor * slope, *self._ordered(low, high)

    def branch_point(self, x: Box) -> Tensor:
        """See ``Elementwise.branch_point``."""
        return self.curve.branch_point(x)

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``; factors that are not exact any more when multiplied have none."""
        slope = self.curve.slope_curve()
        inner, factor = (slope.curve, slope.factor) if isinstance(slope, Scaled) else (slope, 1.0)
        if not isinstance(inner, Smooth):
            raise NotImplementedError(f"Scaled: the slope of {type(self.curve).__name__} is no smooth curve")
        if Fraction(self.factor) * Fraction(factor) != Fraction(self.factor * factor):
            raise NotImplementedError(f"Scaled: {self.factor!r} * {factor!r} is no float64 number")
        return Scaled(inner, self.factor * factor)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Scaled(Sigmoid(), -3.0), [(1, 7)]
