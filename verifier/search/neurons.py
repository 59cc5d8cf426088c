"""The neurons of a network that a search can split, and the nonlinearities that read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.schedule import Bounds, operands_of, undecided
from verifier.graph.graph import Graph
from verifier.ops.elementwise import Elementwise
from verifier.sets import Box, flat


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """The elements of a node that an operator reads: the listed ones ``(E,)`` of the node's neurons.

    ``places`` are positions among the node's K neurons; None stands for all of them in order.
    """

    name: str
    places: Tensor | None

    def read(self, values: Tensor) -> Tensor:
        """Return the neurons' values ``(B, K)`` as the operator reads them, ``(B, E)``."""
        return values if self.places is None else values[:, self.places]

    def add(self, total: Tensor, parts: Tensor) -> Tensor:
        """Add to neurons ``(B, K)`` what their readers have for them, ``(B, E)``."""
        return total + parts if self.places is None else total.index_add(1, self.places, parts)


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """A nonlinear node as a search sees it: its elements ``(E,)`` that read a neuron, and the operator on these."""

    op: Elementwise
    elements: Tensor
    operands: tuple[Operand, ...]

    def boxes(self, ends: Mapping[str, Box]) -> list[Box]:
        """Return the operands' boxes ``(B, E)`` from those of the neurons, ``(B, K)`` by node."""
        return [
            Box(operand.read(ends[operand.name].lower), operand.read(ends[operand.name].upper))
            for operand in self.operands
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Neurons:
    """The neurons of a network on one input box.

    Attributes:
        elements: flat indices ``(K,)`` of the neurons, by the node that makes them, in topological order. A neuron is
            undecided itself, or an operand of a nonlinearity that has an undecided one.
        readers: nonlinear nodes that read neurons, themselves or copies of them, in topological order.
    """

    elements: dict[str, Tensor]
    readers: dict[str, Reader]

    @staticmethod
    def of(bounds: Bounds) -> Neurons:
        """Find the neurons on the boxes of one domain (B = 1), without those that are not relevant."""
        graph, marks = bounds.graph, {}
        for name, node in graph.nodes.items():
            mask = undecided(graph, node, bounds.boxes, bounds.relevant)
            if mask is not None and mask.any():
                marks[name] = mask
        nonlinear = {name: node for name, node in graph.nodes.items() if isinstance(node.op, Elementwise)}
        seen = {name: _close(graph, name, marks) for name in nonlinear}
        while any(len(node.parents) > 1 for node in nonlinear.values()):
            again = {name: _close(graph, name, marks) for name in nonlinear}
            if all(torch.equal(again[name], seen[name]) for name in nonlinear):
                break
            seen = again
        elements = {name: marks[name].flatten().nonzero().flatten() for name in graph.nodes if name in marks}
        readers = {}
        for name, node in nonlinear.items():
            if not seen[name].any():
                continue
            read = seen[name].flatten().nonzero().flatten()
            operands = []
            for parent in node.parents:
                source = graph.sources[parent]
                positions, all_of_them = source.positions(read), elements[source.name]
                same = torch.equal(positions, all_of_them)
                places = None if same else torch.searchsorted(all_of_them, positions)
                operands.append(Operand(source.name, places))
            assert isinstance(node.op, Elementwise)
            readers[name] = Reader(node.op.at(read, node.shape), read, tuple(operands))
        return Neurons(elements, readers)

    def ends(self, boxes: Mapping[str, Box]) -> dict[str, Box]:
        """Return the neurons' boxes ``(B, K)`` by node, from those of whole nodes."""
        return {
            name: Box(flat(boxes[name].lower)[:, index], flat(boxes[name].upper)[:, index])
            for name, index in self.elements.items()
        }


def _close(graph: Graph, name: str, marks: dict[str, Tensor]) -> Tensor:
    """Mark all operands of those elements of a nonlinear node that have a marked one; return them, ``(1, *node)``."""
    node = graph.nodes[name]
    found = torch.zeros(1, *node.shape, dtype=torch.bool, device=graph.device)
    sources = [graph.sources[parent] for parent in node.parents]
    for source in sources:
        if source.name in marks:
            found = found | source.pick(Box(marks[source.name], marks[source.name]), node.shape).lower
    if len(sources) > 1 and found.any():
        for source in sources:
            more = source.spread(found, graph.nodes[source.name].shape)
            marks[source.name] = more | marks[source.name] if source.name in marks else more
    return found


def gaps(graph: Graph, boxes: Mapping[str, Box]) -> float:
    """Sum the heights between the planes of all relaxations on boxes: what a search has to overcome."""
    total = 0.0
    for node in graph.nodes.values():
        if isinstance(node.op, Elementwise):
            total += float(node.op.gap(*operands_of(graph, node, boxes)).sum())
    return total
