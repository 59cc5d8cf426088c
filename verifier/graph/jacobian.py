"""A network's Clarke Jacobian as a network: its values are the rows of the Jacobian at the input.

The chain rule is applied node by node, from the outputs to the input, to S rows at once: coefficients ``(S, *node)`` at
every node. Slopes of rectifiers and their like are set-valued at their kinks, and can be split there like any neuron.

Source: Shi et al., NeurIPS 2022 (arXiv:2210.07394), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatchmethod

import torch
from torch import Tensor

from verifier.errors import UnsupportedError
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node, Port
from verifier.ops.adjoint import Adjoint
from verifier.ops.arithmetic import Add, Scale, Translate
from verifier.ops.curves import Curve, Heaviside, Power, PRelu, Scaled
from verifier.ops.gate import Gate
from verifier.ops.linear import Linear
from verifier.ops.op import Affine, Op, Shape
from verifier.ops.product import Product
from verifier.ops.select import Expand
from verifier.ops.shape import Reshape

INVERSE = Power(-1.0)


def jacobian(
    graph: Graph, rows: Tensor | None = None, directions: Tensor | None = None, gate: Gate | None = None
) -> Graph:
    """Return the network of ``rows @ J``, or of ``rows @ J @ directions``, with J the Clarke Jacobian at the input.

    Args:
        graph: from n inputs to m outputs.
        rows: combinations of outputs, ``(S, m)``; all outputs one by one if left out.
        directions: vectors ``(n, d)``; the inputs one by one if left out.
        gate: how to multiply rows by slopes.

    Returns:
        A network from the same inputs to the S * n (or S * d) numbers, row by row.

    Raises:
        UnsupportedError: a node has no derivative, for instance because it jumps; it is named.

    Property: over a box, bounds of the result hold for the Jacobian at almost all points, and so for its limits; in
    directions in which the box has a width.
    """
    like = torch.zeros((), dtype=graph.dtype, device=graph.device)
    rows = torch.eye(graph.n_outputs).to(like) if rows is None else rows.to(like)
    shapes = {node.name: node.shape for node in graph.nodes.values()}
    forward = {node.name: node for node in list(graph.nodes.values())[:-1]}
    tape = Tape(forward, len(rows), like, shapes, gate or Gate())
    tape.pulled[OUTPUT] = [tape.constant(rows)]
    for node in reversed(list(graph.nodes.values())):
        if node.op is not None and node.name in tape.pulled:
            tape.pull(node)
    if INPUT not in tape.pulled:  # nothing depends on it
        tape.pulled[INPUT] = [tape.constant(rows.new_zeros(len(rows), graph.n_inputs))]
    found, width = tape.rows(INPUT), graph.n_inputs
    if directions is not None:
        width = directions.shape[1]
        found = tape.add(Linear(directions.to(like)), (found,), (len(rows), width))
    last = Node(OUTPUT, Reshape((len(rows) * width,)), (found,), (len(rows) * width,))
    port = Port("jacobian", (len(rows), width), "float32")
    return Graph([*tape.forward.values(), *tape.nodes, last], graph.inputs, (port,), graph.dtype, graph.device)


@dataclass
class Tape:
    """Nodes in the making.

    Attributes:
        forward: by name, those of the network itself but its output, and of the slopes. They come first: where a slope
            is known, the rows that it multiplies need no bounds of their own.
        count: the rows S.
        like: a number of the network's dtype, on its device.
        shapes: of all nodes.
        product: multiplies rows by slopes.
        nodes: those of the rows.
        pulled: by node, the names of all coefficients that arrive at it, to be added up.
    """

    forward: dict[str, Node]
    count: int
    like: Tensor
    shapes: dict[str, Shape]
    product: Gate
    nodes: list[Node] = field(default_factory=list)
    pulled: dict[str, list[str]] = field(default_factory=dict)

    def add(self, op: Op, parents: tuple[str, ...], shape: Shape) -> str:
        """Add a node; return its name."""
        node = Node(f"<derivative {len(self.shapes)}>", op, parents, shape)
        if self.forward.keys() >= set(parents):
            self.forward[node.name] = node
        else:
            self.nodes.append(node)
        self.shapes[node.name] = shape
        return node.name

    def constant(self, value: Tensor) -> str:
        """Add a node of a constant value."""
        (inputs,) = self.shapes[INPUT]
        nothing = Linear(value.new_zeros(inputs, value.numel()), value.flatten())
        node = Node(f"<constant {len(self.shapes)}>", nothing, (INPUT,), (value.numel(),))
        self.nodes.append(node)
        self.shapes[node.name] = node.shape
        return self.add(Reshape(tuple(value.shape)), (node.name,), tuple(value.shape))

    def rows(self, name: str) -> str:
        """Return the sum of all that arrives at a node."""
        first, *others = self.pulled[name]
        for other in others:
            first = self.add(Add(), (first, other), self.shapes[first])
        return first

    def pull(self, node: Node) -> None:
        """Pull the rows at a node back to its operands."""
        assert node.op is not None
        rows = self.rows(node.name)
        for parent, found in zip(node.parents, self.through(node.op, node, rows), strict=True):
            self.pulled.setdefault(parent, []).append(found)

    @singledispatchmethod
    def through(self, op: Op, node: Node, rows: str) -> Sequence[str]:
        """Return the coefficients at each operand of a node, given those at the node."""
        del rows
        kind = type(op).__name__
        raise UnsupportedError(f"node {node.name!r} ({kind}) has no derivative that is known")

    @through.register
    def _(self, op: Affine, node: Node, rows: str) -> Sequence[str]:
        shapes = tuple(self.shapes[parent] for parent in node.parents)
        if isinstance(op, Reshape):
            return [self.add(Reshape((self.count, *shapes[0])), (rows,), (self.count, *shapes[0]))]
        return [self.add(Adjoint(op, k, shapes), (rows,), (self.count, *shape)) for k, shape in enumerate(shapes)]

    @through.register
    def _(self, op: Product, node: Node, rows: str) -> Sequence[str]:
        del op
        return [self.gate(other, rows) for other in reversed(node.parents)]

    @through.register
    def _(self, op: Curve, node: Node, rows: str) -> Sequence[str]:
        try:
            slope = op.slope_curve()
        except NotImplementedError as error:
            raise UnsupportedError(f"node {node.name!r} has no derivative: {error}") from None
        return [self.gate(self.add(slope, node.parents, node.shape), rows)]

    @through.register
    def _(self, op: Power, node: Node, rows: str) -> Sequence[str]:
        try:
            slope = self.add(op.slope_curve(), node.parents, node.shape)
        except NotImplementedError:  # ``a x ** (a - 1)`` is ``a x ** a / x``, without the difference
            scaled, inverse = (
                self.add(curve, node.parents, node.shape) for curve in (Scaled(op, op.exponent), INVERSE)
            )
            slope = self.add(Product(), (scaled, inverse), node.shape)
        return [self.gate(slope, rows)]

    @through.register
    def _(self, op: PRelu, node: Node, rows: str) -> Sequence[str]:
        risen = self.add(Heaviside(), node.parents, node.shape)
        bend = self.add(Scale(1 - op.slope, roundings=1), (risen,), node.shape)
        return [self.gate(self.add(Translate(op.slope), (bend,), node.shape), rows)]

    def gate(self, slope: str, rows: str) -> str:
        """Multiply rows ``(S, *node)`` by the slope of the same node."""
        shape = (self.count, *self.shapes[slope])
        return self.add(self.product, (self.add(Expand(shape), (slope,), shape), rows), shape)
