"""From a graph to a system: what each node is in the variables, and which activations make new ones.

Functions of two slopes that meet at 0 (Relu, Abs, LeakyRelu, PRelu) of multiples of one value tell the same: each is a
sum of multiples of the value and of its absolute value. So they share one variable. That makes a maximum and a minimum
of a pair, ``b + relu(a - b)`` and ``a - relu(a - b)``, the MaxMin of that pair.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from verifier.errors import UnsupportedError
from verifier.graph.fuse import fuse
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node
from verifier.lipschitz.product import SLACK
from verifier.lipschitz.sdp.columns import check_size, image, scaled, take
from verifier.lipschitz.sdp.constraints.groupsort import GroupSort
from verifier.lipschitz.sdp.constraints.slopes import Slopes
from verifier.lipschitz.sdp.kink import ONE, Kink, rounded, two_slopes
from verifier.lipschitz.sdp.loops import loop
from verifier.lipschitz.sdp.system import Block, Builder, Signal, System
from verifier.lipschitz.sdp.twins import ZERO, Twins
from verifier.ops.curves import Curve
from verifier.ops.equilibrium import Equilibrium
from verifier.ops.op import Affine
from verifier.ops.product import Product
from verifier.ops.sort import Sort
from verifier.sets import Box


def read(graph: Graph, rows: Tensor | None = None, boxes: Mapping[str, Box] | None = None) -> System:
    """Read a network as a linear map in feedback with its activations.

    Args:
        graph: in float64. Without boxes it is read with the constants of its file, none of them merged with rounding.
        rows: combinations of outputs ``(S, m)``, if not the outputs themselves.
        boxes: of all nodes of this graph, ``(1, *node)``, for slopes on the input's box; without them slopes are those
            on the whole space.

    Returns:
        The system; its radii cover all rounding.

    Raises:
        UnsupportedError: a node is no linear function of activations with bounded slopes, or too large; it is named.
        ShapeError: the rows do not fit the outputs.

    Property: sound in floating point. Cost: one matrix of each node for each group that it reads.
    """
    reader = Reader(graph if boxes is not None else fuse(graph.sorts().exact()), boxes)
    output = reader.run()
    return reader.builder.finish(output if rows is None else output.after(rows.to(torch.float64)))


@contextmanager
def named(node: Node) -> Iterator[None]:
    """Say which node is not supported."""
    try:
        yield
    except UnsupportedError as error:
        raise UnsupportedError(f"node {node.name!r} ({type(node.op).__name__}): {error}") from None


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable that is a function of two slopes, for others of the same value to use."""

    group: int
    column: int
    kink: Kink


class Reader:
    """Walks a graph from the input on.

    ``origins`` tells what the variables of each layer are: elements of a node, by their numbers, or a matrix times all.
    """

    def __init__(self, graph: Graph, boxes: Mapping[str, Box] | None) -> None:
        self.graph, self.boxes = graph, boxes
        if boxes is None:
            self._check_sizes()
        self.twins = Twins(graph)
        self.builder = Builder(graph.n_inputs)
        self.kinks: dict[int, _Variable] = {}
        self.origins: list[tuple[str, Tensor]] = []
        self.signals: dict[str, Signal] = {INPUT: self.builder.input}

    def run(self) -> Signal:
        """Return the output."""
        readers = Counter(parent for node in self.graph.nodes.values() for parent in node.parents)
        for node in self.graph.nodes.values():
            if node.op is None:
                continue
            with named(node):
                self.signals[node.name] = self._node(node)
            readers.subtract(node.parents)
            for parent in {parent for parent in node.parents if not readers[parent]}:
                del self.signals[parent]
        return self.signals[OUTPUT]

    def _check_sizes(self) -> None:
        """Refuse layers that are too large before anything is computed."""
        for node in self.graph.nodes.values():
            if isinstance(node.op, Curve):
                with named(node):
                    check_size(math.prod(node.shape), math.prod(node.shape))

    def _node(self, node: Node) -> Signal:
        """Read one node."""
        op, operands = node.op, [self.signals[parent] for parent in node.parents]
        if isinstance(op, Affine):
            found = image(op, operands, [self.graph.nodes[parent].shape for parent in node.parents], node.shape)
        elif isinstance(op, Curve):
            slopes = two_slopes(op, node.shape)
            found = self._curve(op, node, operands[0]) if slopes is None else self._kinked(node, operands[0], *slopes)
        elif isinstance(op, Equilibrium):
            found = self._equilibrium(op, node, operands[0])
        elif isinstance(op, Sort):
            found = self._sorted(op, node, operands[0])
        elif isinstance(op, Product):
            raise UnsupportedError("it multiplies values that both depend on the input, and has no bounded slope")
        else:
            raise UnsupportedError("only affine operators and elementwise functions of bounded slope are supported")
        if not all(bool(part.isfinite().all()) for b in found.blocks.values() for part in (b.centre, b.radius)):
            raise UnsupportedError("its coefficients are too large for float64")
        return found

    def _box(self, node: Node) -> Box:
        """Return where the operand of a curve may lie, ``(1, *node)``."""
        if self.boxes is not None:
            return self.boxes[node.parents[0]]
        everywhere = torch.full((1, *node.shape), math.inf, dtype=torch.float64)
        return Box(-everywhere, everywhere)

    def _curve(self, op: Curve, node: Node, before: Signal) -> Signal:
        """Read an elementwise function: linear where it has one slope, else a new variable."""
        lower, upper = (end.reshape(-1) for end in slope_range(op, self._box(node)))
        linear = lower == upper
        zero = torch.zeros_like(lower)
        found = scaled(before, torch.where(linear, lower, zero), zero)
        fresh = (~linear).nonzero().squeeze(1)
        if not len(fresh):
            return found
        group = self._new(node, before, fresh, lower, upper)
        return found + self._picked(group, node, [(row, k, ONE) for k, row in enumerate(fresh.tolist())])

    def _kinked(self, node: Node, before: Signal, left: Tensor, right: Tensor) -> Signal:
        """Read a function of two slopes: linear on one side of 0, a multiple of a twin's variable, or a new one."""
        box = self._box(node)
        positive, negative = (box.lower >= 0).reshape(-1), (box.upper <= 0).reshape(-1)
        multiples, numbers = self.twins[node.parents[0]]
        linear = positive | negative | (left == right) | (numbers == ZERO)
        factor = torch.where(linear, torch.where(positive, right, left), 0.0)
        error = torch.zeros_like(factor)
        fresh: list[int] = []
        entries: dict[int, list[tuple[int, int, Fraction]]] = defaultdict(list)
        group = len(self.builder.layers) + 1
        for row in (~linear).nonzero().squeeze(1).tolist():
            number, kink = int(numbers[row]), Kink(*(part[row].item() for part in (multiples, left, right)))
            if number in self.kinks:
                twin = self.kinks[number]
                passed, share = kink.by(twin.kink)
                factor[row], error[row] = rounded(passed)
                entries[twin.group].append((row, twin.column, share))
            else:
                self.kinks[number] = _Variable(group, len(fresh), kink)
                entries[group].append((row, len(fresh), ONE))
                fresh.append(row)
        if fresh:
            self._new(node, before, torch.tensor(fresh), torch.minimum(left, right), torch.maximum(left, right))
        found = scaled(before, factor, error)
        for number, places in entries.items():
            found = found + self._picked(number, node, places)
        return found

    def _equilibrium(self, op: Equilibrium, node: Node, before: Signal) -> Signal:
        """Read an implicit layer: any two of its solutions satisfy what its activations do."""
        check_size(before.rows, before.rows)
        everywhere = torch.full((1, *node.shape), math.inf, dtype=torch.float64)
        ends = two_slopes(op.curve, node.shape) or slope_range(op.curve, Box(-everywhere, everywhere))
        lower, upper = (end.reshape(-1) for end in ends)
        weight = torch.block_diag(*[op.weight.mT.to(torch.float64)] * (before.rows // len(op.weight)))
        self.origins.append((node.name, torch.arange(before.rows)))
        slopes = Slopes(float(torch.minimum(lower, upper).min()), float(torch.maximum(lower, upper).max()))
        return loop(self.builder, weight, before, slopes)

    def _sorted(self, op: Sort, node: Node, before: Signal) -> Signal:
        """Read a sort: what lies along its axis is a group."""
        constraint = GroupSort(node.shape[op.axis])
        places = torch.arange(before.rows).reshape(node.shape).movedim(op.axis, -1).reshape(-1)
        parts = constraint.parts(before.rows)
        assert parts is not None and parts.reads is not None
        check_size(before.rows, before.rows)
        self.origins.append((node.name, parts.reads.centre[:, places.argsort()]))
        return take(constraint.apply(self.builder, take(before, places)), places.argsort())

    def _new(self, node: Node, before: Signal, rows: Tensor, lower: Tensor, upper: Tensor) -> int:
        """Put activations behind some elements; return their group."""
        check_size(len(rows), len(rows))
        self.builder.slopes(take(before, rows), lower[rows], upper[rows])
        self.origins.append((node.name, rows))
        return len(self.builder.layers)

    def _picked(self, group: int, node: Node, entries: list[tuple[int, int, Fraction]]) -> Signal:
        """Return multiples of single variables of a group: element, variable, factor."""
        rows, size = math.prod(node.shape), self.builder.layers[group - 1].before.rows
        check_size(rows, size)
        centre, radius = (torch.zeros(rows, size, dtype=torch.float64) for _ in range(2))
        places = tuple(torch.tensor(part) for part in list(zip(*entries, strict=True))[:2])
        values = torch.tensor([rounded(factor) for *_, factor in entries], dtype=torch.float64)
        centre[places], radius[places] = values.unbind(1)
        return Signal(rows, {group: Block(centre, radius)})


def slope_range(op: Curve, box: Box) -> tuple[Tensor, Tensor]:
    """Bound the slopes of a curve over boxes, ``(1, *node)``.

    Raises:
        UnsupportedError: it has no derivative, or one without bounds.
    """
    try:
        slope = op.slope_curve()
    except NotImplementedError as error:
        raise UnsupportedError(f"{error}; functions of bounded slope are supported") from None
    found = slope.interval(box)
    most = found.magnitude
    if not bool(most.isfinite().all()) or bool(op.outside(box).any()):
        raise UnsupportedError("its slope has no bound; functions of bounded slope are supported")
    if slope.exact:
        return found.lower, found.upper
    unbounded = box.lower.isinf() & box.upper.isinf()  # a slope of 0 there is a limit, and not rounded
    lower, upper = (
        end + sign * torch.where(unbounded & (end == 0), 0.0, SLACK * most)
        for end, sign in ((found.lower, -1.0), (found.upper, 1.0))
    )
    return lower, upper
