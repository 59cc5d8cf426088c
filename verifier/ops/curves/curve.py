"""One-dimensional nonlinearities: every relaxation is a slope with its exact offset.

For f on [l, u] and any slope a, the lowest line of slope a above f has the offset ``max f(x) - a x`` over the ends, the
kinks and the one-sided limits at jumps; below f it is the min. So the free parameters of a relaxation are its slopes,
and every choice of them is sound.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from verifier.ops.elementwise import Elementwise
from verifier.sets import Box, Diagonal, Enclosure


@dataclass(frozen=True, eq=False)
class Curve(Elementwise, register=False):
    """An elementwise function of one operand; its parameters say where slopes lie in their range."""

    def slope_curve(self) -> Curve:
        """Return the derivative as a curve of its own, on the domain of its own.

        At a kink it has both one-sided slopes, and all between them: over a box that has the kink inside, or is the
        kink alone, bounds hold for the whole set; over one that only begins or ends there, for the slopes from within.
        That is enough for a Clarke Jacobian: where a piecewise smooth operand is at the kink, its own gradient is 0 at
        almost all points, and limits of gradients at other points are all that there is to the Jacobian.

        Raises:
            NotImplementedError: the function jumps, or does not say.
        """
        raise NotImplementedError(f"{type(self).__name__} jumps, or does not say what its derivative is")

    @abstractmethod
    def steepest(self, x: Box) -> Tensor:
        """Bound the absolute slope of any line that ``relax`` may use, shape ``(B, *node)`` or broadcastable."""

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """Return the range of slopes that lines over boxes may have, ``(B, *node)`` each."""
        steepest = self.steepest(x)
        return -steepest, steepest

    def places(self, slopes: Tensor, x: Box) -> Tensor:
        """Return where slopes ``(P, B, S, *node)`` lie in their range, from 0 to 1."""
        least, most = (end.unsqueeze(1) for end in self.slopes(x))
        return ((slopes - least) / torch.where(most > least, most - least, 1)).clamp(0, 1)

    def placed(self, alpha: Tensor, x: Box) -> Tensor:
        """Return the slopes at places in their range; these are constant for gradients."""
        with torch.no_grad():
            least, most = (end.unsqueeze(1) for end in self.slopes(x))
        return torch.lerp(least, most, alpha.clamp(0, 1))

    def absolute_terms(self, *x: Box) -> Tensor:
        """See ``Elementwise.absolute_terms``."""
        (box,) = x
        return self.interval(box).magnitude + 2 * self.steepest(box) * box.magnitude


@dataclass(frozen=True, eq=False)
class Piecewise(Curve, register=False):
    """A piecewise affine function with kinks, and perhaps jumps, at known places. Two slopes: lower and upper."""

    parameters: ClassVar[int] = 2

    @abstractmethod
    def kinks(self) -> tuple[float, ...]:
        """Return where the slope changes or the value jumps, increasing."""

    def limits(self, kink: float) -> tuple[float, float] | None:
        """Return the limits from the left and from the right at a jump; None at a plain kink."""
        del kink
        return None

    def knots(self, x: Box) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield points of the closure of the graph over each box, among which lie all extremes of ``f(x) - a x``."""
        yield x.lower, self.forward(x.lower)
        yield x.upper, self.forward(x.upper)
        for kink in self.kinks():
            point = torch.full_like(x.lower, kink).clamp(x.lower, x.upper)
            value = self.forward(point)
            yield point, value
            if (limits := self.limits(kink)) is not None:
                for limit, reached in zip(limits, (x.lower < kink, x.upper > kink), strict=True):
                    yield point, torch.where((point == kink) & reached, torch.full_like(value, limit), value)

    def interval(self, *x: Box) -> Box:
        """Enclose the values: they are extreme at ends, kinks and jumps."""
        values = torch.stack([value for _, value in self.knots(x[0])])
        return Box(values.amin(0), values.amax(0))

    def offsets(self, x: Box, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and greatest ``f(x) - slope * x``, in the shape that slope and box broadcast to."""
        gaps = torch.stack([value - slope * point for point, value in self.knots(x)])
        return gaps.amin(0), gaps.amax(0)

    def _envelope_slopes(self, x: Box) -> Tensor:
        """Return the slopes of the lower and upper hull of the graph at the middle of the box, ``(2, B, *node)``.

        A line's area against f depends only on its height there, so these are the slopes of least area.
        """
        middle = x.centre
        knots = list(self.knots(x))
        lowest = torch.full_like(middle, torch.inf)
        highest = -lowest
        slopes = [torch.zeros_like(middle), torch.zeros_like(middle)]
        for left, left_value in knots:
            for right, right_value in knots:
                width = right - left
                slope = (right_value - left_value) / torch.where(width > 0, width, 1)
                height = left_value + slope * (middle - left)
                brackets = (left <= middle) & (middle <= right) & (width > 0)
                lower, upper = brackets & (height < lowest), brackets & (height > highest)
                lowest, highest = torch.where(lower, height, lowest), torch.where(upper, height, highest)
                slopes = [torch.where(lower, slope, slopes[0]), torch.where(upper, slope, slopes[1])]
        return torch.stack(slopes)

    def start(self, *x: Box) -> Tensor:
        """See ``Elementwise.start``."""
        (box,) = x
        return self.places(self._least_area(box), box)

    def _least_area(self, x: Box) -> Tensor:
        """Return the slopes of least area that the range has, ``(2, B, 1, *node)``."""
        least, most = self.slopes(x)
        return self._envelope_slopes(x).clamp(least, most).unsqueeze(2)

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """Enclose between the lines of slopes at ``alpha[0]`` from below and ``alpha[1]`` from above."""
        (box,) = x
        wide = Box(box.lower.unsqueeze(1), box.upper.unsqueeze(1))
        slopes = self._least_area(box) if alpha is None else self.placed(alpha, box)
        return Diagonal(slopes[0], self.offsets(wide, slopes[0])[0], slopes[1], self.offsets(wide, slopes[1])[1])

    def parallel(self, *x: Box) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Curve.parallel``: the slope of the chord."""
        (box,) = x
        width = box.upper - box.lower
        slope = (self.forward(box.upper) - self.forward(box.lower)) / torch.where(width > 0, width, 1)
        slope = slope.clamp(*self.slopes(box))
        return slope, *self.offsets(box, slope)

    def branch_point(self, x: Box) -> Tensor:
        """See ``Curve.branch_point``: the inner kink nearest to the middle."""
        middle, point = x.centre, torch.full_like(x.lower, torch.nan)
        for kink in self.kinks():
            inside = (x.lower < kink) & (kink < x.upper)
            nearer = inside & ~((point - middle).abs() <= (kink - middle).abs())
            point = torch.where(nearer, torch.full_like(point, kink), point)
        return point


def is_single(value: float) -> bool:
    """Tell whether float32 has a number."""
    return not math.isfinite(value) or float(torch.tensor(value, dtype=torch.float32)) == value
