"""Curves in the neighbourhood of a point: what is small stays small, and so does its rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.curves.curve import Curve
from verifier.ops.op import Op, Shape
from verifier.sets import Box, Diagonal, Enclosure, Window, cut, widened

SLACK = 16 * torch.finfo(torch.float64).eps
"""More than the relative error of the few float64 operations that make one offset."""


JUMP = 1e-9
"""Part of the absolute terms from which on two lines that should be the same are two."""


@dataclass(frozen=True, eq=False)
class Shifted(Curve, register=False):
    """``y = f(x + v) - value`` elementwise, for any v between ``lower`` and ``upper``; enclosures hold for all of them.

    The three have shape ``(1, *node)`` and stay in float64: the lines are found there, for operands of any dtype.
    """

    curve: Curve
    lower: Tensor
    upper: Tensor
    value: Tensor

    @property
    def parameters(self) -> int:  # type: ignore[override]
        """The curve's."""
        return self.curve.parameters

    def to(self, dtype: torch.dtype, device: torch.device) -> Shifted:
        """Move to a device; the dtype stays."""
        del dtype
        places = (place.to(device) for place in (self.lower, self.upper, self.value))
        return Shifted(self.curve.to(torch.float64, device), *places)

    def actual(self, x: Box) -> Box:
        """Return the curve's own operand's boxes, in float64."""
        return widened(x.lower.double() + self.lower, x.upper.double() + self.upper)

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate in the middle of the range."""
        middle = Box(self.lower, self.upper).centre
        return (self.curve.forward(x[0].double() + middle) - self.value).to(x[0])

    def interval(self, *x: Box) -> Box:
        """See ``Op.interval``; the curve's own values are rounded unless it is exact."""
        actual = self.actual(x[0])
        box = self.curve.interval(actual)
        slack = 0 if self.curve.exact else SLACK * self.curve.absolute_terms(actual)
        return widened(box.lower - slack - self.value, box.upper + slack - self.value).to(x[0].lower.dtype)

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """Shift the curve's own lines, downward and upward by all that rounding and v can do."""
        box = self.actual(x[0])
        lines = self.curve.relax(box, alpha=None if alpha is None else alpha.double())
        assert isinstance(lines, Diagonal)
        terms = self.curve.absolute_terms(box).unsqueeze(1)
        low = self._offset(lines.lower_slope, lines.lower_offset, terms, -1)
        high = self._offset(lines.upper_slope, lines.upper_offset, terms, 1)
        dtype = x[0].lower.dtype
        outward = Box(low, high).to(dtype)
        return Diagonal(lines.lower_slope.to(dtype), outward.lower, lines.upper_slope.to(dtype), outward.upper)

    def _offset(self, slope: Tensor, offset: Tensor | None, terms: Tensor, side: int) -> Tensor:
        """Return the offset of a shifted line of the curve, to be on the given side of it; lines ``(B, S, *node)``."""
        middle, value = Box(self.lower, self.upper).centre.unsqueeze(1), self.value.unsqueeze(1)
        reach = (self.upper - self.lower).unsqueeze(1)  # the middle is off by no more than half of it, and rounding
        moved = slope * middle - value if offset is None else slope * middle - value + offset
        slack = slope.abs() * reach + SLACK * ((slope * middle).abs() + value.abs() + terms)
        return moved + side * slack

    def parallel(self, *x: Box) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Curve.parallel``."""
        (box,) = x
        box, dtype = self.actual(box), box.lower.dtype
        slope, low, high = (line.unsqueeze(1) for line in self.curve.parallel(box))
        terms = self.curve.absolute_terms(box).unsqueeze(1)
        outward = Box(self._offset(slope, low, terms, -1), self._offset(slope, high, terms, 1)).to(dtype)
        return slope.squeeze(1).to(dtype), outward.lower.squeeze(1), outward.upper.squeeze(1)

    def start(self, *x: Box) -> Tensor:
        """See ``Curve.start``."""
        (box,) = x
        return self.curve.start(self.actual(box)).to(box.lower.dtype)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``."""
        return self.curve.steepest(self.actual(x)).to(x.lower.dtype)

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Curve.slopes``."""
        least, most = self.curve.slopes(self.actual(x))
        return least.to(x.lower.dtype), most.to(x.lower.dtype)

    def absolute_terms(self, *x: Box) -> Tensor:
        """See ``Curve.absolute_terms``."""
        (box,) = x
        return super().absolute_terms(box) + self._slack(box)

    def offset_terms(self, *x: Box) -> Tensor:
        """See ``Curve.offset_terms``: next to nothing where the curve is affine, for its line passes near zero."""
        (box,) = x
        terms, actual = self.absolute_terms(box), self.actual(box)
        jumps = self.curve.gap(actual) > JUMP * (1 + self.curve.absolute_terms(actual))  # one may lie at an end
        return torch.where(self.undecided(box) | jumps, terms, self._slack(box))

    def _slack(self, x: Box) -> Tensor:
        """Bound what rounding and v leave open in any offset."""
        box = self.actual(x)
        spread = (1 + self.curve.steepest(box)) * (self.upper - self.lower)
        return (8 * (spread + SLACK * (self.curve.absolute_terms(box) + self.value.abs()))).to(x.lower.dtype)

    def branch_point(self, x: Box) -> Tensor:
        """See ``Curve.branch_point``."""
        return (self.curve.branch_point(self.actual(x)) - Box(self.lower, self.upper).centre).to(x.lower.dtype)

    def undecided(self, x: Box, *others: Box) -> Tensor:
        """See ``Curve.undecided``."""
        del others
        return self.curve.undecided(self.actual(x))

    def within(self, window: Window, shape: Shape) -> Shifted:
        """See ``Curve.within``."""
        places = (cut(place, window) for place in (self.lower, self.upper, self.value))
        return Shifted(self.curve.within(window, shape), *places)

    def at(self, elements: Tensor, shape: Shape) -> Shifted:
        """See ``Curve.at``."""
        places = (place.flatten(1)[:, elements] for place in (self.lower, self.upper, self.value))
        return Shifted(self.curve.at(elements, shape), *places)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield none: it is no operator of a model."""
        yield from ()
