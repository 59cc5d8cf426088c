"""A network on one input box, folded to its undecided neurons: everything else is affine there, so multiplied out.

Most neurons of a network are stable on the root's boxes. What lies between the others is affine, and composes to one
dense matrix from any group of undecided neurons to the next, and to the input. Bounding a domain then costs a product
with a matrix of as many rows as there are undecided neurons and outputs, instead of a pass over the whole network.

The folded matrices carry rounding errors that nobody has bounded: what they say serves the search only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from verifier.bounds.backward import Multiplier, backward
from verifier.bounds.schedule import Bounds
from verifier.bounds.windows import CHUNK
from verifier.graph.graph import INPUT, OUTPUT, Node
from verifier.ops.curves import Curve
from verifier.problem import Cases
from verifier.search.neuron_batch import NeuronDomains, Outcome, Variables
from verifier.sets import Diagonal, flat

DENSE = 4
"""How many multiplications of a dense product take the time of one in a pass over the network, roughly."""


class _Spread(torch.autograd.Function):
    """The sum of absolute values over the last axis, in as few passes over memory as possible."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        total: Tensor = torch.linalg.vector_norm(values, 1, dim=-1)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        values: Tensor = ctx.saved_tensors[0]
        return values.sign().mul_(gradients[0].unsqueeze(-1))


class Folded:
    """The matrices of a folded network.

    Coefficients are joined in the order in which a backward pass meets them: those of the m outputs first, then of the
    undecided elements of each node, from the last node to the first.

    Attributes:
        order: the nodes with undecided elements, the last first.
        links: by curve, ``(k, K)``: what the first k joined coefficients add to those of its undecided elements.
        spread: ``(m + all K, n)``: what joined coefficients add to those of the input, each times its radius.
        constant: ``(m + all K,)``: what they add to the offset, with the input at its centre.
        place: by node, and for the output, where its coefficients begin and end among the joined ones.
    """

    def __init__(self, bounds: Bounds, unstable: Mapping[str, Tensor], curves: Mapping[str, str]) -> None:
        """Fold a root's network (B = 1), whose undecided elements ``unstable`` lists by operand node."""
        graph = bounds.graph
        self.bounds, self.unstable, self.curves = bounds, unstable, curves
        self.ops = {
            name: op.at(unstable[operand], graph.nodes[operand].shape)
            for name, operand in curves.items()
            if isinstance(op := graph.nodes[name].op, Curve)
        }
        self.order = [name for name in reversed(list(graph.nodes)) if name in unstable]
        ends = [0, graph.n_outputs]
        for name in self.order:
            ends.append(ends[-1] + len(unstable[name]))
        self.place = dict(zip([OUTPUT, *self.order], pairwise(ends), strict=True))
        box = bounds.boxes[INPUT]
        self.centre, self.radius = box.centre[0], box.radius[0]
        enclosures = {**bounds.enclosures, **{node.name: self._affine(node) for node in self._curves()}}
        links: dict[str, list[Tensor]] = {name: [] for name in curves}
        spread, constant = [], []
        for start in [OUTPUT, *self.order]:
            node = graph.nodes[start]
            elements = unstable.get(start, torch.arange(graph.n_outputs, device=self.centre.device))
            rows = self.centre.new_zeros(len(elements), flat(bounds.boxes[start].lower).shape[1])
            rows[torch.arange(len(elements)), elements] = 1
            widest = max(math.prod(graph.nodes[name].shape) for name in graph.ancestors(start))
            for part in rows.view(-1, *node.shape).split(max(1, CHUNK[rows.device.type] // widest)):
                record: dict[str, Tensor] = {}
                found = backward(graph, start, part.unsqueeze(0), enclosures, record=record)
                spread.append(found.coefficients[0] * self.radius)
                constant.append(found.offset[0] + found.coefficients[0] @ self.centre)
                for name, operand in curves.items():
                    if name in record:
                        links[name].append(flat(record[name][0])[:, unstable[operand]])
                    elif self._behind(start, operand):
                        links[name].append(part.new_zeros(len(part), len(unstable[operand])))
        self.links = {name: torch.cat(values) for name, values in links.items()}
        self.spread, self.constant = torch.cat(spread), torch.cat(constant)

    def _curves(self) -> list[Node]:
        return [node for node in self.bounds.graph.nodes.values() if isinstance(node.op, Curve)]

    def _behind(self, start: str, operand: str) -> bool:
        """Tell whether a backward pass meets ``start`` before the node ``operand``."""
        return start == OUTPUT or self.order.index(start) < self.order.index(operand)

    def _affine(self, node: Node) -> Diagonal:
        """Return a curve as the line that it is on stable elements, and as nothing on undecided ones."""
        operand = node.parents[0]
        box = self.bounds.boxes[operand]
        assert isinstance(node.op, Curve)
        slope, low, high = node.op.parallel(box)
        keep = torch.ones_like(flat(slope))
        if operand in self.unstable:
            keep[:, self.unstable[operand]] = 0
        keep = keep.view_as(slope)
        slope, offset = (slope * keep).unsqueeze(1), ((low + high) / 2 * keep).unsqueeze(1)
        return Diagonal(slope, offset, slope, offset)

    @staticmethod
    def pays(bounds: Bounds, unstable: Mapping[str, Tensor]) -> bool:
        """Tell whether a pass over the folded network is cheaper than one over the whole."""
        count = bounds.graph.n_outputs + sum(len(elements) for elements in unstable.values())
        return count * (bounds.graph.n_inputs + count) <= DENSE * bounds.graph.work


class FoldedBatch:
    """Domains on a folded network, with everything prepared that does not depend on the variables."""

    def __init__(self, folded: Folded, cases: Cases, domains: NeuronDomains) -> None:
        self.folded, self.cases, self.domains = folded, cases, domains
        self.boxes = {name: domains.box(name) for name in folded.order}
        self.relaxations = {name: op.prepare(self.boxes[folded.curves[name]]) for name, op in folded.ops.items()}

    def evaluate(self, variables: Variables, record: dict[str, Tensor] | None = None) -> Outcome:
        """Bound each domain's combination of rows, up to rounding; differentiable.

        ``record`` receives the coefficients at the undecided elements of every curve, ``(B, K)``.
        """
        folded, cases, case = self.folded, self.cases, self.domains.case
        joined = (variables.weights.unsqueeze(1) @ cases.y_rows[case]).squeeze(1)
        least = -(variables.weights * cases.bound[case]).sum(1)
        for name in folded.order:
            here = torch.zeros_like(self.boxes[name].lower)
            for curve, operand in folded.curves.items():
                if operand == name:
                    rows = joined @ folded.links[curve]
                    if record is not None:
                        record[curve] = rows
                    alpha = variables.alpha[curve].transpose(0, 1).unsqueeze(2)
                    (pulled,), offset = self.relaxations[curve](alpha).pullback(rows.unsqueeze(1))
                    here, least = here + pulled.squeeze(1), least + offset.squeeze(1)
            if name in variables.beta:
                price = Multiplier.of(variables.beta[name].unsqueeze(1), self.boxes[name])
                here, least = here - price.values.squeeze(1), least + price.offset.squeeze(1)
            joined = torch.cat([joined, here], dim=1)
        spread, least = joined @ folded.spread, least + joined @ folded.constant
        if cases.x_rows is not None:
            mixed = (variables.weights.unsqueeze(1) @ cases.x_rows[case]).squeeze(1)
            spread, least = spread + mixed * folded.radius, least + mixed @ folded.centre
        least = least - _Spread.apply(spread)  # type: ignore[no-untyped-call]
        return Outcome(least, None, folded.centre - spread.detach().sign() * folded.radius)
