"""Bounding a batch of domains that share the input box: what the optimiser evaluates again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from verifier.bounds.backward import Multiplier, backward
from verifier.bounds.schedule import Bounds
from verifier.graph.graph import INPUT, OUTPUT
from verifier.ops.curves import Curve
from verifier.problem import Cases
from verifier.search.domains import Domains
from verifier.sets import Box, flat


@dataclass(frozen=True, eq=False)
class NeuronDomains(Domains):
    """Boxes of the neurons that are unstable at the root, ``(B, K)`` by node, with K its unstable neurons.

    Attributes:
        lower: lower ends by operand node.
        upper: upper ends by operand node.
        alpha: slopes by curve, ``(B, P, K)`` in half precision: any slope is sound.
        beta: multipliers of the boxes by operand node, ``(B, K)``: large ones cancel, so half precision will not do.
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

    def box(self, name: str) -> Box:
        """Return the box of a node's undecided elements, ``(B, K)``."""
        return Box(self.lower[name], self.upper[name])


@dataclass(frozen=True, slots=True, eq=False)
class Variables:
    """What is optimised: slopes ``(B, P, K)`` by curve, multipliers ``(B, K)`` by node, weights ``(B, R)``."""

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
        unstable: flat indices of the root's unstable elements, by operand node.
        curves: operand of each curve that has unstable elements.
        domains: the batch.
    """

    def __init__(
        self,
        bounds: Bounds,
        cases: Cases,
        unstable: Mapping[str, Tensor],
        curves: Mapping[str, str],
        domains: NeuronDomains,
    ) -> None:
        self.bounds, self.cases, self.unstable, self.curves, self.domains = bounds, cases, unstable, curves, domains
        self.boxes = {name: self._box(name) for name in self._operands()}
        self.input = bounds.boxes[INPUT].expand(len(domains))
        self.relaxations = {
            name: node.op.prepare(self.boxes[node.parents[0]])
            for name, node in bounds.graph.nodes.items()
            if isinstance(node.op, Curve)
        }

        self.starts = {  # stable elements keep the slopes that are exact on them
            name: op.start(bounds.boxes[operand])
            for name, operand in curves.items()
            if isinstance(op := bounds.graph.nodes[name].op, Curve)
        }

    def _operands(self) -> set[str]:
        nodes = self.bounds.graph.nodes.values()
        return {node.parents[0] for node in nodes if isinstance(node.op, Curve)}

    def _box(self, name: str) -> Box:
        """Return the box of an operand, ``(B, *node)``: the root's, narrowed by the domain's."""
        box = self.bounds.boxes[name].expand(len(self.domains))
        if name not in self.unstable:
            return box
        index, shape = self.unstable[name], box.lower.shape
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

        ``record`` receives the coefficients at the undecided elements of every curve, ``(B, K)``.
        """
        graph, count = self.bounds.graph, len(self.domains)
        enclosures = dict(self.bounds.enclosures)
        for name, relaxation in self.relaxations.items():
            alpha = None
            if name in self.curves:
                operand, values = self.curves[name], variables.alpha[name].transpose(0, 1)
                dense = self.starts[name].reshape(len(values), 1, -1).expand(-1, count, -1)
                dense = dense.index_copy(2, self.unstable[operand], values)
                alpha = dense.view(values.shape[0], count, 1, *graph.nodes[operand].shape)
            enclosures[name] = relaxation(alpha)
        multipliers = {}
        for name, values in variables.beta.items():
            dense = values.new_zeros(count, self.boxes[name].lower[0].numel())
            dense = dense.index_copy(1, self.unstable[name], values)
            multipliers[name] = Multiplier.of(dense.view(count, 1, *graph.nodes[name].shape), self.boxes[name])
        rows = variables.weights.unsqueeze(1) @ self.cases.y_rows[self.domains.case]
        scales = self.bounds.scales if certify else None
        dense_record: dict[str, Tensor] | None = None if record is None else {}
        found = backward(graph, OUTPUT, rows, enclosures, multipliers, scales, dense_record)
        if record is not None and dense_record is not None:
            for name, operand in self.curves.items():
                if name in dense_record:
                    record[name] = flat(dense_record[name])[:, self.unstable[operand]]
        if found.error is not None:  # rows that cancel each other in the combination were rounded all the same
            sizes = variables.weights.unsqueeze(1) @ self.cases.y_rows[self.domains.case].abs()
            rounding = self.bounds.scales[OUTPUT].error(sizes) * (2 + self.cases.bound.shape[1])
            found = replace(found, error=found.error + rounding)
        full, least = self.cases.close_combined(self.domains.case, variables.weights, found, self.input)
        error = None if full.error is None else full.error.squeeze(1)
        return Outcome(least.squeeze(1), error, full.minimiser(self.input).squeeze(1))
