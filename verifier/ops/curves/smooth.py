"""Functions that are convex or concave on each of a few pieces: from that all bounds follow.

On a piece where ``g(x) = f(x) - a x`` is concave, its tangent at any point p lies above it, so on the piece

    max g <= g(p) + max(0, g'(p) (left - p), g'(p) (right - p)),

whatever p is; at the maximiser the last term vanishes. So a place where ``f' = a`` need only be known roughly for the
offset of a line of slope a to be right, and well for it to be tight. Below, the same holds upside down.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from verifier.ops.curves.curve import Curve
from verifier.sets import Box, Diagonal, Enclosure

NEAR = 1e-4
"""Part of a box's width by which a place may be missed where a second-order loss is all that follows."""


@dataclass(frozen=True, eq=False)
class Smooth(Curve, register=False):
    """A continuous function with a derivative on each of its pieces. Two parameters: the lower and the upper slope.

    A subclass gives ``forward``, ``derivative`` and ``root``, and the pieces: ``bends`` are the places between them,
    and ``curvature`` is +1 (convex), -1 (concave) or 0 (affine) for each.
    """

    parameters: ClassVar[int] = 2
    pace: ClassVar[float] = 0.3
    roundings: ClassVar[int] = 8
    domain: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """Where the function is defined; over a box that leaves it there are no bounds."""
    bends: ClassVar[tuple[float, ...]] = ()
    curvature: ClassVar[tuple[int, ...]]
    increasing: ClassVar[bool] = False
    halvings: ClassVar[int] = 30
    """Of the range of slopes in the search for the line of least area."""

    @abstractmethod
    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """Return f' at points of a piece; at its ends, the limit from within."""

    @abstractmethod
    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """Return about where f' takes a value on a piece; any number where it does not.

        ``within`` is a box that the place is wanted in, if it is there, for those who have to search.
        """

    def kinks(self) -> tuple[float, ...]:
        """Return the places between pieces."""
        return self.bends

    def ends(self, piece: int) -> tuple[float, float]:
        """Return where a piece begins and ends."""
        places = (-math.inf, *self.bends, math.inf)
        return places[piece], places[piece + 1]

    def meets(self, x: Box, piece: int) -> Tensor:
        """Tell which boxes have points of a piece."""
        low, high = self.ends(piece)
        return (x.upper >= low) & (x.lower <= high)

    def knots(self, x: Box, sign: int) -> list[Tensor]:
        """Return the ends of each box, and those ends inside of pieces that no crest accounts for."""
        beside = list(pairwise(self.curvature))  # periodic functions have pieces without bends
        inner = [bend for k, bend in enumerate(self.bends) if -sign not in beside[k]]
        return [x.lower, x.upper, *(torch.clamp(torch.full_like(x.lower, b), x.lower, x.upper) for b in inner)]

    def crests(self, x: Box, slope: Tensor, sign: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield, for each piece on which ``sign * (f(x) - slope * x)`` is concave, about where it is greatest there.

        Returns:
            The place, the ends of the piece, all clamped to the boxes, and f' at the place.
        """
        for piece, curvature in enumerate(self.curvature):
            if curvature == -sign:
                low, high = self.ends(piece)
                left, right = (torch.clamp(end.clamp(low, high), x.lower, x.upper) for end in (x.lower, x.upper))
                with torch.no_grad():
                    place = self.root(slope, piece, Box(left, right))
                place = torch.fmin(torch.fmax(place, left), right)
                yield place, left, right, self.derivative(place, piece)

    def extreme(self, x: Box, slope: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """Return the greatest (``sign`` = 1) or least (-1) ``f(x) - slope * x``, and where; in the broadcast shape."""
        best = place = None
        for point, value in self._candidates(x, slope, sign):
            if best is None or place is None:
                best, place = torch.broadcast_tensors(value, point)
            else:
                place = torch.where(value.detach() > best.detach(), point, place)
                best = torch.maximum(best, value)
        assert best is not None and place is not None
        return sign * _sure(best), place

    def offset(self, x: Box, slope: Tensor, sign: int) -> Tensor:
        """Return what ``extreme`` does, without the place; differentiable in the ends of the boxes and the slope."""
        found: Tensor = _Offset.apply(x.lower, x.upper, slope, self, sign)  # type: ignore[no-untyped-call]
        return found

    def _candidates(self, x: Box, slope: Tensor, sign: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield points, and upper bounds of ``sign * (f - slope * x)`` around them that cover the boxes together.

        Where an infinite end leaves it open, the bound is NaN.
        """
        times = torch.mul if bool((x.lower.isfinite() & x.upper.isfinite()).all()) else climb
        for knot in self.knots(x, sign):
            yield knot, sign * self.forward(knot) - times(slope, sign * knot)
        for place, left, right, steepness in self.crests(x, slope, sign):
            value = sign * (self.forward(place) - times(slope, place))
            with torch.no_grad():
                rise = steepness - slope if sign > 0 else slope - steepness
                excess = times(rise, torch.where(rise > 0, right, left) - place)
            yield place, value + excess

    def interval(self, *x: Box) -> Box:
        """See ``Op.interval``: the values at the ends, or the offsets of flat lines."""
        (box,) = x
        flat, outside = torch.zeros_like(box.lower), self.outside(box)
        if self.increasing:
            low, high = self.forward(box.lower), self.forward(box.upper)
        else:
            low, high = self.extreme(box, flat, -1)[0], self.extreme(box, flat, 1)[0]
        return Box(low.masked_fill(outside, -math.inf), high.masked_fill(outside, math.inf))

    def outside(self, *x: Box) -> Tensor:
        """Tell where a box leaves the domain: there are no bounds."""
        (box,) = x
        low, high = self.domain
        return ~((box.lower >= low) & (box.upper <= high))

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """Return the range of f' over boxes, ``(B, *node)`` each: f' is monotone on every piece."""
        least, most = torch.full_like(x.lower, math.inf), torch.full_like(x.lower, -math.inf)
        for piece in range(len(self.curvature)):
            low, high = self.ends(piece)
            met = self.meets(x, piece)
            for end in (x.lower, x.upper):
                slope = self.derivative(torch.clamp(end, low, high), piece)
                least = torch.where(met, torch.fmin(least, slope), least)
                most = torch.where(met, torch.fmax(most, slope), most)
        return least, most

    def rise(self, x: Box) -> Tensor:
        """Return by how much f grows from the lower end of each box to the upper one."""
        return self.forward(x.upper) - self.forward(x.lower)

    def chord(self, x: Box) -> Tensor:
        """Return the slopes of the chords over boxes, which for narrow ones rounding may make too steep."""
        width, (least, most) = x.upper - x.lower, self.slopes(x)
        slope = self.rise(x) / torch.where(width > 0, width, 1)
        return torch.minimum(torch.maximum(slope, least), most)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``."""
        least, most = self.slopes(x)
        return torch.maximum(least.abs(), most.abs())

    def start(self, *x: Box) -> Tensor:
        """See ``Elementwise.start``."""
        (box,) = x
        return self.places(self._least_area(box), box)

    @torch.no_grad()
    def _least_area(self, box: Box) -> Tensor:
        """Return the slopes of the lines that touch the hull at the middle of the box, ``(2, B, 1, *node)``.

        That is the tangent at the middle, or the chord, or what bisection finds between the two: a line's area against
        f depends on its height there alone, and above f, a line that touches left of the middle gets lower there by a
        smaller slope, and one that touches right of it by a larger one.
        """
        middle, found = box.centre, []
        width, chord, tangent = box.upper - box.lower, self.chord(box), self.slopes(Box(middle, middle))[0]
        for sign in (-1, 1):
            places = self.extreme(box, tangent, sign)[1], self.extreme(box, chord, sign)[1]
            ends = (places[1] == box.lower) | (places[1] == box.upper)
            near = (places[0] - middle).abs() <= NEAR * width
            slope, hard = torch.where(ends, chord, tangent), ~ends & ~near
            if hard.any():
                slope[hard] = self._bisect(Box(box.lower[hard], box.upper[hard]), sign)
            found.append(slope)
        return torch.stack(found).unsqueeze(2)

    def _bisect(self, x: Box, sign: int) -> Tensor:
        """Return the slopes of the lines that touch the upper (``sign`` = 1) or lower hull at the middle of boxes."""
        middle, (low, high) = x.centre, self.slopes(x)
        for _ in range(self.halvings):
            slope = low + (high - low) / 2
            _, place = self.extreme(x, slope, sign)
            smaller = (place < middle) if sign > 0 else (place > middle)
            low, high = torch.where(smaller, low, slope), torch.where(smaller, slope, high)
        return low + (high - low) / 2

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """Enclose between the lines of slopes at ``alpha[0]`` from below and ``alpha[1]`` from above."""
        (box,) = x
        lower, upper = self._least_area(box) if alpha is None else self.placed(alpha, box)
        wide = Box(box.lower.unsqueeze(1), box.upper.unsqueeze(1))
        outside = self.outside(wide)
        low, high = self.offset(wide, lower, -1), self.offset(wide, upper, 1)
        return Diagonal(lower, low.masked_fill(outside, -math.inf), upper, high.masked_fill(outside, math.inf))

    def parallel(self, *x: Box) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Curve.parallel``: the slope of the chord."""
        (box,) = x
        slope = self.chord(box)
        low, high, outside = self.extreme(box, slope, -1)[0], self.extreme(box, slope, 1)[0], self.outside(box)
        return slope, low.masked_fill(outside, -math.inf), high.masked_fill(outside, math.inf)

    def branch_point(self, x: Box) -> Tensor:
        """See ``Curve.branch_point``: the middle, while the box is not too narrow to matter."""
        return torch.where(x.wide, x.centre, torch.nan)


class _Offset(torch.autograd.Function):
    """The extreme of ``f(x) - a x``: it changes with a by -x at its place, and with an end only where it lies there."""

    @staticmethod
    def forward(ctx: Any, lower: Tensor, upper: Tensor, slope: Tensor, curve: Smooth, sign: int) -> Tensor:
        value, place = curve.extreme(Box(lower, upper), slope, sign)
        ctx.save_for_backward(lower, upper, slope, place)
        ctx.curve = curve
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        lower, upper, slope, place = ctx.saved_tensors
        (gradient,) = gradients
        by_end: list[Tensor | None] = [None, None]
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            for k, end in enumerate((lower, upper)):
                rise = (ctx.curve.slopes(Box(end, end))[0] - slope) * gradient
                by_end[k] = torch.where(place == end, rise, 0).sum_to_size(end.shape)
        by_slope = (-place * gradient).sum_to_size(slope.shape) if ctx.needs_input_grad[2] else None
        return by_end[0], by_end[1], by_slope, None, None


def climb(slope: Tensor, x: Tensor) -> Tensor:
    """Multiply; a flat slope rises by nothing, however far."""
    return torch.where(slope == 0, 0, slope * x)


def _sure(bound: Tensor) -> Tensor:
    """Return an upper bound that is infinite where it could not be computed."""
    return torch.where(bound.isnan(), math.inf, bound)
