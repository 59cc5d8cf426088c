"""The exact course of a piecewise affine network along a line of inputs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.double_double import SLACK, TINY, UNIT, DoubleDouble, ExactAffine, blockwise
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.ops.curves import Relu
from verifier.ops.linear import Linear
from verifier.ops.op import Affine
from verifier.sets import Box, flat

ROOM = 1 << 24
"""Numbers that one node may have along a part of a line that is followed at once."""


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

    def pieces(self, part: slice) -> Course:
        """Keep some of the pieces of the line."""
        return Course(self.values.take(slice(part.start, part.stop + 1)), self.error[part])

    def crossings(self) -> tuple[Tensor, DoubleDouble] | None:
        """Find where values pass through zero, as ``start`` and ``share`` of ``spread``; None if nowhere."""
        values = self.values.reshape(-1)
        signs = values.high.sign()
        piece, element = (signs[:-1] * signs[1:] < 0).nonzero().unbind(1)
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
        positive = high > 0
        ends = high.abs() * SLACK
        bent = positive[:-1] != positive[1:]
        bend = torch.where(bent, torch.minimum(ends[:-1], ends[1:]), 0)
        dead = torch.maximum(high[:-1], high[1:]) * (2 - SLACK) + self.error <= 0
        dead = dead & ~positive[:-1] & ~positive[1:]
        error = torch.where(dead, 0, (self.error + bend) * SLACK)
        return Course(DoubleDouble(torch.where(positive, high, 0), torch.where(positive, low, 0)), error)


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
                self.affine[name] = ExactAffine(node.op, shapes, node.shape)
            elif node.op is not None and not isinstance(node.op, Relu):
                raise NotImplementedError(f"lines are not followed through {type(node.op).__name__}")
        self.widest = max(math.prod(node.shape) for node in graph.nodes.values())
        order = [name for name, node in graph.nodes.items() if node.op is not None]
        self.last = {name: max(map(order.index, graph.consumers[name]), default=len(order)) for name in graph.nodes}

    def follow(self, box: Box, until: float) -> Iterator[tuple[Course, Course]]:
        """Yield the courses of input and output over a box ``(1, n)`` with one coordinate that varies.

        They come in parts that cover the box, as many as memory makes necessary.

        Raises:
            TimeoutError: ``until`` has passed.
        """
        nodes = [node for node in self.graph.nodes.values() if node.op is not None]
        ends = torch.cat([box.lower, box.upper])
        waiting = [(0, {INPUT: Course(DoubleDouble.of(ends), torch.zeros_like(box.lower))})]
        while waiting:
            position, live = waiting.pop()
            while position < len(nodes):
                if time.monotonic() > until:
                    raise TimeoutError
                node = nodes[position]
                if isinstance(node.op, Relu):
                    parts = self.cut(live, live[node.parents[0]])
                    if len(parts) > 1:
                        waiting += [(position, part) for part in reversed(parts)]
                        break
                    live = parts[0]
                    course = live[node.parents[0]].relu()
                else:
                    course = step(self.affine[node.name], [live[parent] for parent in node.parents])
                position += 1
                live = {name: live[name] for name in live if name == INPUT or self.last[name] >= position}
                live[node.name] = course
            else:
                yield live[INPUT], live[OUTPUT]

    def cut(self, live: dict[str, Course], course: Course) -> list[dict[str, Course]]:
        """Cut courses where one of them passes through zero.

        Where that would take too much room, return instead parts of the line with fewer such places.
        """
        places = course.crossings()
        if places is None:
            return [live]
        start, share = places
        if len(start) * self.widest <= ROOM:
            return [{name: values.spread(start, share) for name, values in live.items()}]
        if (count := len(course.error)) == 1:  # a single piece: cut it once, in the middle of the places
            pick = torch.tensor([0, len(start) // 2, len(start) - 1], device=start.device)
            live = {name: values.spread(start[pick], share.take(pick)) for name, values in live.items()}
            count = 2
        parts = (slice(0, count // 2), slice(count // 2, count))
        return [{name: values.pieces(part) for name, values in live.items()} for part in parts]


def _between(operands: list[DoubleDouble]) -> tuple[DoubleDouble, Tensor]:
    """Interpolate between two ends by a weight; also return a bound of the error."""
    first, last, weight = operands
    lost = 16 * UNIT**2 * (first.high.abs() + last.high.abs()) + TINY
    return first + weight * (last + -first), torch.where(weight.high == 0, 0, lost)


def step(op: ExactAffine, operands: list[Course]) -> Course:
    """Carry courses over an affine operator."""
    values, lost = op([operand.values for operand in operands])
    error = op.spread([operand.error for operand in operands])
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
