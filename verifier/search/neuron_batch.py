"""Bounding a batch of domains that share the input box: what the optimiser evaluates again and again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from verifier.bounds.backward import Multiplier, backward
from verifier.bounds.schedule import Bounds, operands_of
from verifier.graph.graph import INPUT, OUTPUT
from verifier.ops.elementwise import Elementwise
from verifier.problem import Cases
from verifier.search.domains import Domains
from verifier.search.neurons import Neurons
from verifier.sets import Box, flat


@dataclass(frozen=True, eq=False)
class NeuronDomains(Domains):
    """Boxes of the neurons of the root, ``(B, K)`` by node, with K its neurons.

    Attributes:
        lower: lower ends by node.
        upper: upper ends by node.
        alpha: parameters by reader, ``(B, P, E)`` in half precision: any are sound.
        beta: multipliers of the boxes by node, ``(B, K)``: large ones cancel, so half precision will not do.
        weights: the combination of the case's rows that is bounded, ``(B, R)``, on the simplex.
        candidates: neurons worth splitting, best first, ``(B, C)``: positions in all nodes' K, joined; -1 where every
            neuron is decided.
    """

    lower: dict[str, Tensor]
    upper: dict[str, Tensor]
    alpha: dict[str, Tensor]
    beta: dict[str, Tensor]
    weights: Tensor
    candidates: Tensor

    @property
    def final(self) -> Tensor:
        """See ``Domains.final``."""
        return self.candidates[:, 0] < 0

    @property
    def ends(self) -> dict[str, Box]:
        """The boxes of the neurons, ``(B, K)`` by node."""
        return {name: Box(self.lower[name], self.upper[name]) for name in self.lower}


@dataclass(frozen=True, slots=True, eq=False)
class Variables:
    """What is optimised: parameters ``(B, P, E)`` by reader, multipliers ``(B, K)`` by node, weights ``(B, R)``."""

    alpha: dict[str, Tensor]
    beta: dict[str, Tensor]
    weights: Tensor

    @staticmethod
    def of(domains: NeuronDomains, dtype: torch.dtype, prices: list[str]) -> Variables:
        """Copy those of domains, with the multipliers of the listed nodes."""
        return Variables(
            {name: value.to(dtype, copy=True) for name, value in domains.alpha.items()},
            {name: domains.beta[name].to(dtype, copy=True) for name in prices},
            domains.weights.to(dtype, copy=True),
        )

    def tensors(self) -> list[Tensor]:
        """Return all of them in a fixed order."""
        return [*self.alpha.values(), *self.beta.values(), self.weights]

    def take(self, index: Tensor) -> Variables:
        """Copy those of some domains, by an index or a mask."""
        return Variables(
            {name: value.detach()[index] for name, value in self.alpha.items()},
            {name: value.detach()[index] for name, value in self.beta.items()},
            self.weights.detach()[index],
        )

    def put(self, domains: NeuronDomains) -> NeuronDomains:
        """Return domains with these variables."""
        return replace(
            domains,
            alpha={name: value.half() for name, value in self.alpha.items()},
            beta={**domains.beta, **self.beta},
            weights=self.weights.to(domains.weights),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Bounds ``(B,)``, of which ``error`` is the part for rounding (None if left out), and where they are attained."""

    least: Tensor
    error: Tensor | None
    points: Tensor


class Batch:
    """Domains on their boxes, with everything prepared that does not depend on the variables.

    Args:
        bounds: of the root, in the dtype to compute in.
        cases: in the same dtype.
        neurons: of the root.
        domains: the batch.
    """

    def __init__(self, bounds: Bounds, cases: Cases, neurons: Neurons, domains: NeuronDomains) -> None:
        self.bounds, self.cases, self.neurons, self.domains = bounds, cases, neurons, domains
        graph = bounds.graph
        nodes = [node for node in graph.nodes.values() if isinstance(node.op, Elementwise)]
        sources = {graph.sources[parent].name for node in nodes for parent in node.parents}
        self.boxes = {name: self._box(name) for name in {*sources, *neurons.elements}}
        self.input = self._box(INPUT)
        self.relaxations, self.starts = {}, {}
        for node in nodes:
            assert isinstance(node.op, Elementwise)
            self.relaxations[node.name] = node.op.prepare(*operands_of(graph, node, self.boxes))
            if node.name in neurons.readers:  # stable elements keep the slopes that are exact on them
                self.starts[node.name] = bounds.start(node.name)

    def _box(self, name: str) -> Box:
        """Return the box of a node, ``(B, *node)``: the root's, narrowed by the domain's."""
        box = self.bounds.boxes[name].expand(len(self.domains))
        if name not in self.neurons.elements:
            return box
        index, shape = self.neurons.elements[name], box.lower.shape
        ends = self.domains.lower[name].to(box.lower), self.domains.upper[name].to(box.lower)
        lower, upper = (
            flat(old).index_copy(1, index, new).view(shape)
            for old, new in zip((box.lower, box.upper), ends, strict=True)
        )
        return Box(lower, upper).intersect(box)

    def evaluate(
        self, variables: Variables, record: dict[str, Tensor] | None = None, *, certify: bool = False
    ) -> Outcome:
        """Bound each domain's combination of rows; with rounding margins if ``certify``, else differentiable.

        ``record`` receives the coefficients at the elements of every nonlinear node that read neurons, ``(B, E)``.
        """
        graph, count = self.bounds.graph, len(self.domains)
        enclosures = dict(self.bounds.enclosures)
        for name, relaxation in self.relaxations.items():
            alpha = None
            if name in self.neurons.readers:
                values = variables.alpha[name].transpose(0, 1)
                dense = self.starts[name].reshape(len(values), 1, -1).expand(-1, count, -1)
                dense = dense.index_copy(2, self.neurons.readers[name].elements, values)
                alpha = dense.view(values.shape[0], count, 1, *graph.nodes[name].shape)
            enclosures[name] = relaxation(alpha)
        multipliers = {}
        for name, values in variables.beta.items():
            dense = values.new_zeros(count, self.boxes[name].lower[0].numel())
            dense = dense.index_copy(1, self.neurons.elements[name], values)
            multipliers[name] = Multiplier.of(dense.view(count, 1, *graph.nodes[name].shape), self.boxes[name])
        rows = variables.weights.unsqueeze(1) @ self.cases.y_rows[self.domains.case]
        scales = self.bounds.scales if certify else None
        dense_record: dict[str, Tensor] | None = None if record is None else {}
        found = backward(graph, OUTPUT, rows, enclosures, multipliers, scales, dense_record)
        if record is not None and dense_record is not None:
            for name, reader in self.neurons.readers.items():
                if name in dense_record:
                    record[name] = flat(dense_record[name])[:, reader.elements]
        if found.error is not None:  # rows that cancel each other in the combination were rounded all the same
            sizes = variables.weights.unsqueeze(1) @ self.cases.y_rows[self.domains.case].abs()
            rounding = self.bounds.scales[OUTPUT].error(sizes) * (2 + self.cases.bound.shape[1])
            found = replace(found, error=found.error + rounding)
        full, least = self.cases.close_combined(self.domains.case, variables.weights, found, self.input)
        error = None if full.error is None else full.error.squeeze(1)
        return Outcome(least.squeeze(1), error, full.minimiser(self.input).squeeze(1))
