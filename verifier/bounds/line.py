"""The exact course of a piecewise affine network along a line of inputs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from verifier.graph.graph import INPUT, OUTPUT, Graph, Node
from verifier.ops.curves import Relu
from verifier.ops.double_double import SLACK, TINY, UNIT, DoubleDouble, ExactAffine, blockwise
from verifier.ops.linear import Linear
from verifier.ops.op import Affine, Shape
from verifier.sets import Box, flat

ROOM = 1 << 18
"""Moving numbers that one node may have along a part of a line that is followed at once: a cache holds some of them."""

FEW = 8
"""Points that a part may have whatever room they take: a place is found again where rounding moved it."""

GAP = -1
"""Marks a piece between the boxes."""


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Values along a line cut at N points: between neighbours, linear up to an error.

    ``values`` has shape ``(N, *node)``; ``error`` ``(N - 1, *node)`` bounds, for each piece of the line, by how much a
    value misses the linear interpolation of its ends.
    """

    values: DoubleDouble
    error: Tensor

    def spread(self, start: Tensor, share: DoubleDouble) -> Course:
        """Cut pieces of the line: point k of the result lies in piece ``start[k]``, at ``share[k]`` of its length."""
        flat_values, shape = self.values.reshape(-1), (len(start), *self.error.shape[1:])
        weight = share.reshape(1)
        moving = self.values.moving()
        some = flat_values.columns(moving)
        between, lost = blockwise(_between, [some.take(start), some.take(start + 1), weight], len(moving))
        error = flat(self.error)[start[:-1]]
        error[:, moving] += torch.maximum(lost[:-1], lost[1:])
        values = flat_values.take(start)
        values.high[:, moving], values.low[:, moving] = between.high, between.low
        return Course(values.reshape(*shape[1:]), error.reshape(len(error), *shape[1:]))

    def flat(self) -> Course:
        """Join the axes of the elements."""
        return Course(self.values.reshape(-1), flat(self.error))

    def columns(self, index: Tensor) -> Course:
        """Select elements of a flat course."""
        return Course(self.values.columns(index), self.error[:, index])

    def zero(self) -> Course:
        """Return zeros in the same places."""
        return Course(DoubleDouble.of(torch.zeros_like(self.values.high)), torch.zeros_like(self.error))

    def put(self, index: Tensor, other: Course) -> Course:
        """Replace elements of a flat course by another's."""
        high, low = self.values.high.clone(), self.values.low.clone()
        high[:, index], low[:, index] = other.values.high, other.values.low
        error = self.error.clone()
        error[:, index] = other.error
        return Course(DoubleDouble(high, low), error)

    def pieces(self, part: slice) -> Course:
        """Keep some of the pieces of the line."""
        return Course(self.values.take(slice(part.start, part.stop + 1)), self.error[part])

    def crossings(self, within: Tensor) -> tuple[Tensor, DoubleDouble] | None:
        """Find where values pass through zero within some pieces, as ``start`` and ``share`` of ``spread``, if at all.

        ``within`` ``(N - 1,)`` is a mask.
        """
        values = self.values.reshape(-1)
        signs = values.high.sign()
        piece, element = ((signs[:-1] * signs[1:] < 0) & within.unsqueeze(1)).nonzero().unbind(1)
        if not len(piece):
            return None
        before = DoubleDouble(values.high[piece, element], values.low[piece, element])
        after = DoubleDouble(values.high[piece + 1, element], values.low[piece + 1, element])
        share = before / (before + -after)
        count = len(values.high) - 1
        start = torch.cat([torch.arange(count, device=piece.device), piece])
        high = torch.cat([share.high.new_zeros(count), share.high])
        low = torch.cat([share.low.new_zeros(count), share.low])
        keys = torch.stack([start.double(), high, low], dim=1)
        keys = keys[(high >= 0) & (high < 1)].unique(dim=0)  # sorted
        start = torch.cat([keys[:, 0].long(), start.new_tensor([count - 1])])
        one = torch.ones_like(keys[:1, 1])
        return start, DoubleDouble(torch.cat([keys[:, 1], one]), torch.cat([keys[:, 2], 0 * one]))

    def relu(self) -> Course:
        """Rectify; where a value changes its sign within a piece, the bend counts as an error."""
        high, low = self.values.high, self.values.low
        positive, vague = high > 0, unknown(self.values)
        ends = high.abs() * SLACK
        bent = positive[:-1] != positive[1:]
        bend = torch.where(bent, torch.minimum(ends[:-1], ends[1:]), 0)
        dead = torch.maximum(high[:-1], high[1:]) * (2 - SLACK) + self.error <= 0
        dead = dead & ~positive[:-1] & ~positive[1:]
        error = torch.where(dead, 0, (self.error + bend) * SLACK) + torch.maximum(vague[:-1], vague[1:])
        return Course(DoubleDouble(torch.where(positive, high, 0), torch.where(positive, low, 0)), error)


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A course by what moves on the line and what stands still, which is carried along once and not for every point.

    ``still`` (two equal points, K elements) is all of a node but the elements ``index`` (M,), which are zero there and
    whose course is ``moving``.
    """

    shape: Shape
    still: Course
    index: Tensor
    moving: Course

    @staticmethod
    def of(course: Course) -> Track:
        """Sort the elements of a course; what does not move has its largest error."""
        shape, moving = tuple(course.error.shape[1:]), course.flat()
        everything = torch.arange(moving.error.shape[1], device=course.error.device)
        return Track(shape, moving.pieces(slice(0, 1)).zero(), everything, moving).settled()

    def settled(self) -> Track:
        """Let elements that do not move any more stand still."""
        moves = self.moving.values.moving()
        if len(moves) == len(self.index):
            return self
        rests = torch.ones_like(self.index, dtype=torch.bool)
        rests[moves] = False
        values, start = self.moving.values, torch.zeros(2, dtype=torch.long, device=moves.device)
        resting = Course(values.columns(rests).take(start), self.moving.error[:, rests].amax(0, keepdim=True))
        still = self.still.put(self.index[rests], resting)
        return Track(self.shape, still, self.index[moves], self.moving.columns(moves))

    def course(self) -> Course:
        """Return the course of all elements."""
        same = torch.zeros(len(self.moving.values.high), dtype=torch.long, device=self.index.device)
        every = Course(self.still.values.take(same), self.still.error[same[1:]]).put(self.index, self.moving)
        return Course(every.values.reshape(*self.shape), every.error.reshape(-1, *self.shape))

    def spread(self, start: Tensor, share: DoubleDouble) -> Track:
        """See ``Course.spread``."""
        return replace(self, moving=self.moving.spread(start, share))

    def pieces(self, part: slice) -> Track:
        """See ``Course.pieces``."""
        return replace(self, moving=self.moving.pieces(part)).settled()

    def relu(self, within: Tensor) -> Track:
        """See ``Course.relu``; what happens in the pieces outside of ``within`` ``(N - 1,)`` does not matter."""
        moving = self.moving.relu()
        moving = Course(moving.values, torch.where(within.unsqueeze(1), moving.error, 0))
        return replace(self, still=self.still.relu(), moving=moving).settled()

    def through(self, op: ExactAffine, shape: Shape) -> Track:
        """Carry over a flat operator: what stands still once, the rest by the coefficients that it meets."""
        still, (part, reached) = step(op, [self.still]), op.rows(self.index)
        if not len(reached):
            return Track(shape, still, reached, self.moving.columns(reached))
        base, rest = still.columns(reached), step(part, [self.moving])
        values = rest.values + base.values.take(torch.zeros(len(rest.values.high), dtype=torch.long))
        lost = 5 * UNIT**2 * values.high.abs() + unknown(values)
        error = (rest.error + base.error + torch.maximum(lost[:-1], lost[1:])) * SLACK
        return Track(shape, still.put(reached, base.zero()), reached, Course(values, error))


class Line:
    """Follows a network along lines; every coefficient is prepared once.

    Property: sound in floating point, and complete up to double-double rounding.
    Source: "ExactLine", Sotoudeh and Thakur, NeurIPS 2019 (arXiv:1908.06214).
    """

    def __init__(self, graph: Graph) -> None:
        """Take a network in float64.

        Raises:
            NotImplementedError: it has an operator that is neither a rectifier nor affine with known coefficients.
        """
        self.graph = graph
        self.affine: dict[str, ExactAffine] = {}
        for name, node in graph.nodes.items():
            if isinstance(node.op, Affine):
                shapes = [graph.nodes[parent].shape for parent in node.parents]
                self.affine[name] = ExactAffine.of(node.op, shapes, node.shape)
            elif node.op is not None and not isinstance(node.op, Relu):
                raise NotImplementedError(f"lines are not followed through {type(node.op).__name__}")
        order = [name for name, node in graph.nodes.items() if node.op is not None]
        self.last = {name: max(map(order.index, graph.consumers[name]), default=len(order)) for name in graph.nodes}

    def follow(self, boxes: Box, until: float) -> Iterator[tuple[Tensor, Course, Course]]:
        """Yield the courses of input and output over boxes ``(B, n)``, each with one coordinate that varies at most.

        All are followed as one line that leads from box to box, where it is not looked at. It comes in parts that cover
        the boxes, as many as memory makes necessary: each with the box that a piece lies in, or ``GAP``, ``(N - 1,)``.

        Raises:
            TimeoutError: ``until`` has passed.
        """
        nodes = [node for node in self.graph.nodes.values() if node.op is not None]
        ends = torch.stack([boxes.lower, boxes.upper], dim=1).flatten(0, 1)
        owner = torch.full((len(ends) - 1,), GAP, device=ends.device)
        owner[::2] = torch.arange(len(boxes.lower), device=ends.device)
        start = Track.of(Course(DoubleDouble.of(ends), torch.zeros_like(ends[1:])))
        waiting = [(0, Stretch(owner, {INPUT: start}))]
        while waiting:
            position, stretch = waiting.pop()
            while position < len(nodes):
                if time.monotonic() > until:
                    raise TimeoutError
                node = nodes[position]
                parts = self.cut(stretch, node)
                if len(parts) != 1:
                    waiting += [(position, part) for part in reversed(parts)]
                    break
                (stretch,) = parts
                live = stretch.live
                tracks = [live[parent] for parent in node.parents]
                if isinstance(node.op, Relu):
                    track = tracks[0].relu(stretch.owner != GAP)
                elif self.affine[node.name].flat:
                    track = tracks[0].through(self.affine[node.name], node.shape)
                else:
                    track = Track.of(step(self.affine[node.name], [track.course() for track in tracks]))
                position += 1
                live = {name: live[name] for name in live if name == INPUT or self.last[name] >= position}
                stretch = Stretch(stretch.owner, {**live, node.name: track})
            else:
                yield stretch.owner, stretch.live[INPUT].course(), stretch.live[OUTPUT].course()

    def cut(self, stretch: Stretch, node: Node) -> list[Stretch]:
        """Cut pieces where the operand of a rectifier passes through zero.

        Where a node would take too much room, return instead parts of the line with fewer pieces.
        """
        operand, count = stretch.live[node.parents[0]], len(stretch.owner)
        if not isinstance(node.op, Relu):
            op = self.affine[node.name]
            width = len(op.rows(operand.index)[1]) if op.flat else math.prod(node.shape)
            return [stretch] if count == 1 or count * width <= ROOM else stretch.halves()
        places = operand.moving.crossings(stretch.owner != GAP)
        if places is None:
            return [stretch]
        start, share = places
        if len(start) <= FEW or len(start) * max(len(track.index) for track in stretch.live.values()) <= ROOM:
            return [stretch.spread(start, share)]
        if count == 1:  # a single piece: cut it once, in the middle of the places
            pick = torch.tensor([0, len(start) // 2, len(start) - 1], device=start.device)
            stretch = stretch.spread(start[pick], share.take(pick))
        return stretch.halves()


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A part of a line: the box that each piece lies in, or ``GAP``, ``(N - 1,)``, and the tracks still needed."""

    owner: Tensor
    live: dict[str, Track]

    def spread(self, start: Tensor, share: DoubleDouble) -> Stretch:
        """See ``Course.spread``."""
        return Stretch(self.owner[start[:-1]], {name: track.spread(start, share) for name, track in self.live.items()})

    def halves(self) -> list[Stretch]:
        """Cut two pieces or more into two parts, without gaps at their ends."""
        middle, found = len(self.owner) // 2, []
        for first, last in ((0, middle), (middle, len(self.owner))):
            inside = (self.owner[first:last] != GAP).nonzero().flatten()
            if len(inside):
                part = slice(first + int(inside[0]), first + int(inside[-1]) + 1)
                found.append(Stretch(self.owner[part], {name: track.pieces(part) for name, track in self.live.items()}))
        return found


def _between(operands: list[DoubleDouble]) -> tuple[DoubleDouble, Tensor]:
    """Interpolate between two ends by a weight; also return a bound of the error."""
    first, last, weight = operands
    between = first + weight * (last + -first)
    lost = 16 * UNIT**2 * (first.high.abs() + last.high.abs()) + TINY
    return between, lost + unknown(between)


def unknown(values: DoubleDouble) -> Tensor:
    """Return 0, and infinity where values are no numbers, or overflowed."""
    return torch.where(values.high.isfinite() & values.low.isfinite(), 0, math.inf)


def step(op: ExactAffine, operands: list[Course]) -> Course:
    """Carry courses over an affine operator."""
    values, lost = op([operand.values for operand in operands])
    error = op.spread([operand.error for operand in operands])
    lost = lost + unknown(values)
    return Course(values, (error + torch.maximum(lost[:-1], lost[1:])) * SLACK)


def excess(inputs: Course, outputs: Course, rows: Mapping[str, Tensor], bound: Tensor) -> Course:
    """Return the course of ``rows . (x, y) - bound``, ``(R,)``."""
    joined = Course(
        DoubleDouble(
            torch.cat([flat(inputs.values.high), flat(outputs.values.high)], 1),
            torch.cat([flat(inputs.values.low), flat(outputs.values.low)], 1),
        ),
        torch.cat([flat(inputs.error), flat(outputs.error)], 1),
    )
    weight = torch.cat([rows[INPUT], rows[OUTPUT]], 1).T.contiguous()
    op = Linear(weight, -bound)
    return step(ExactAffine(op, [(len(weight),)], (len(bound),)), [joined])
