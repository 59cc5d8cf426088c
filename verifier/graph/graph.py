"""The network: an immutable directed acyclic graph of operators."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor

from verifier.errors import ModelError
from verifier.ops.op import Affine, Op, Shape
from verifier.ops.shape import Reshape
from verifier.sets import Box, flat

INPUT = "<input>"
"""Name of the node that holds the whole input as one flat vector; every named input is a view of it."""

OUTPUT = "<output>"
"""Name of the node that holds all outputs as one flat vector, in declaration order."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One tensor of the network: the operator that makes it, its operands, and its shape without the domain axis."""

    name: str
    op: Op | None
    parents: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where the elements of a node come from: they are those of the node ``name``, in its flat order ``index`` (K,).

    An index that is None stands for all of them in their order.
    """

    name: str
    index: Tensor | None

    def pick(self, box: Box, shape: Shape) -> Box:
        """Return the node's box ``(B, *shape)`` from that of the source."""
        lower, upper = (
            (flat(end) if self.index is None else flat(end)[:, self.index]).reshape(len(end), *shape)
            for end in (box.lower, box.upper)
        )
        return Box(lower, upper)

    def spread(self, mask: Tensor, shape: Shape) -> Tensor:
        """Mark the source's elements ``(B, *shape)`` that have a marked copy, ``(B, *node)``."""
        if self.index is None:
            return mask.reshape(len(mask), *shape)
        found = mask.new_zeros(len(mask), math.prod(shape))
        pairs = flat(mask).nonzero()
        found[pairs[:, 0], self.index[pairs[:, 1]]] = True
        return found.view(len(mask), *shape)

    def positions(self, elements: Tensor) -> Tensor:
        """Return the flat indices in the source of some of the node's elements."""
        return elements if self.index is None else self.index[elements]


@dataclass(frozen=True, slots=True)
class Port:
    """A named input or output of the model, with the shape and dtype its file declares (free dimensions are 1)."""

    name: str
    shape: Shape
    dtype: str


def unused(name: str, taken: Container[str]) -> str:
    """Return a name that is not taken: the given one, or it with tildes behind it."""
    while name in taken:
        name += "~"
    return name


class Graph:
    """A network from one flat input vector to one flat output vector.

    Named inputs are slices of the input vector, in declaration order and row-major, and named outputs those of the
    output vector, so bounds, search and attacks know only ``(B, n) -> (B, m)``. Immutable: passes build new graphs.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        inputs: tuple[Port, ...],
        outputs: tuple[Port, ...],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        exact: Callable[[], Graph] | None = None,
        ranking: Callable[[], Graph] | None = None,
        sorts: Callable[[], Graph] | None = None,
    ) -> None:
        """Build from nodes in topological order; the first is ``INPUT`` and the last ``OUTPUT``.

        ``exact`` makes the same network without rounded constants, where this one has some; ``ranking`` makes the one
        whose outputs are ordered alike, where a last function does not change their order; ``sorts`` makes the one
        whose sorts are one operator each, where there are some.

        Raises:
            ModelError: two nodes have one name.
        """
        listed = list(nodes)
        self.nodes: Mapping[str, Node] = MappingProxyType({node.name: node for node in listed})
        if len(self.nodes) < len(listed):
            twice = next(name for name, count in Counter(node.name for node in listed).items() if count > 1)
            raise ModelError(f"the name {twice!r} would stand for two tensors; choose another one")
        self.inputs, self.outputs = inputs, outputs
        self.dtype, self.device = dtype, torch.device(device)
        self._ancestors: dict[str, list[str]] = {}
        self._exact, self._ranking, self._sorts = exact, ranking, sorts

    @cached_property
    def consumers(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the nodes that read each node."""
        readers: dict[str, dict[str, None]] = {name: {} for name in self.nodes}
        for node in self.nodes.values():
            for parent in node.parents:
                readers[parent][node.name] = None
        return MappingProxyType({name: tuple(found) for name, found in readers.items()})

    @property
    def n_inputs(self) -> int:
        """Length of the flat input vector."""
        return self.nodes[INPUT].shape[0]

    @property
    def n_outputs(self) -> int:
        """Length of the flat output vector."""
        return self.nodes[OUTPUT].shape[0]

    def ancestors(self, name: str) -> list[str]:
        """Names of the nodes that a node depends on, itself included, in topological order."""
        if name not in self._ancestors:
            above = {name}
            for node in reversed(tuple(self.nodes.values())):
                if node.name in above:
                    above.update(node.parents)
            self._ancestors[name] = [other for other in self.nodes if other in above]
        return self._ancestors[name]

    @cached_property
    def sources(self) -> Mapping[str, Source]:
        """Where each node's elements are made, if it only copies those of another one: by what is not a copy."""
        found: dict[str, Source] = {}
        for name, node in self.nodes.items():
            found[name] = Source(name, None)
            if isinstance(node.op, Affine) and node.op.copies and node.parents[0] != INPUT:
                (parent,) = node.parents
                source, shape = found[parent], self.nodes[parent].shape
                if not isinstance(node.op, Reshape):
                    numbers = torch.arange(math.prod(shape), dtype=torch.float64, device=self.device)
                    index = flat(node.op.forward(numbers.view(1, *shape)))[0].long()
                    source = Source(source.name, source.positions(index))
                found[name] = source
        return MappingProxyType(found)

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the nonlinear nodes that read a node or copies of it."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for name, node in self.nodes.items():
            if node.op is not None and not isinstance(node.op, Affine):
                for source in {self.sources[parent].name for parent in node.parents}:
                    found[source].append(name)
        return MappingProxyType({name: tuple(readers) for name, readers in found.items()})

    @cached_property
    def work(self) -> int:
        """Multiplications of one evaluation, roughly: what one domain costs."""
        total = 0
        for node in self.nodes.values():
            shapes = [self.nodes[parent].shape for parent in node.parents]
            terms = node.op.terms(shapes, node.shape) if isinstance(node.op, Affine) else 1
            total += terms * min(math.prod(shape) for shape in [*shapes, node.shape])
        return total

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """Evaluate every node at points ``x`` of shape ``(B, n)``."""
        values = {INPUT: x}
        for node in self.nodes.values():
            if node.op is not None:
                values[node.name] = node.op.forward(*(values[parent] for parent in node.parents))
        return values

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate the output at points ``x`` of shape ``(B, n)``; shape ``(B, m)``."""
        return self.values(x)[OUTPUT]

    def to(self, dtype: torch.dtype, device: torch.device | str | None = None) -> Graph:
        """Return the same network in another dtype or on another device."""
        device = self.device if device is None else torch.device(device)
        if dtype == self.dtype and device == self.device:
            return self
        nodes = (
            Node(node.name, None if node.op is None else node.op.to(dtype, device), node.parents, node.shape)
            for node in self.nodes.values()
        )
        return Graph(nodes, self.inputs, self.outputs, dtype, device, self._exact, self._ranking, self._sorts)

    def exact(self) -> Graph:
        """Return the same network with the constants of its file, none of them merged with rounding."""
        return self if self._exact is None else self._exact().to(self.dtype, self.device)

    def ranking(self) -> Graph:
        """Return a network whose outputs are ordered as those of this one, at every input: without a final softmax."""
        return self if self._ranking is None else self._ranking().to(self.dtype, self.device)

    def sorts(self) -> Graph:
        """Return the same network, in which long sorts are one operator each; it has no bounds over boxes."""
        return self if self._sorts is None else self._sorts().to(self.dtype, self.device)
