"""A network on one input box, folded to its undecided neurons: everything else is affine there, so multiplied out.

Most neurons of a network are stable on the root's boxes. What lies between the others is affine, and composes to one
dense matrix from any group of undecided neurons to the next, and to the input. Bounding a domain then costs a product
with a matrix of as many rows as there are undecided neurons and outputs, instead of a pass over the whole network.

The folded matrices carry rounding errors that nobody has bounded: what they say serves the search only.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from verifier.bounds.backward import Multiplier, backward
from verifier.bounds.schedule import Bounds, operands_of
from verifier.bounds.windows import CHUNK
from verifier.graph.graph import INPUT, OUTPUT, Node
from verifier.ops.elementwise import Elementwise
from verifier.problem import Cases
from verifier.search.neuron_batch import NeuronDomains, Outcome, Variables
from verifier.search.neurons import Neurons
from verifier.sets import Planes, flat

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
    neurons of each node, from the last node to the first.

    Attributes:
        order: the nodes with neurons, the last first.
        links: by reader, ``(k, E)``: what the first k joined coefficients, those behind its last operand, add to those
            of its elements.
        spread: ``(m + all K, n)``: what joined coefficients add to those of the input, each times its radius.
        constant: ``(m + all K,)``: what they add to the offset, with the input at its centre.
        place: by node, and for the output, where its coefficients begin and end among the joined ones.
    """

    def __init__(self, bounds: Bounds, neurons: Neurons) -> None:
        """Fold a root's network (B = 1)."""
        graph = bounds.graph
        self.bounds, self.neurons = bounds, neurons
        self.order = list(reversed(neurons.elements))
        self.last = {
            name: min((operand.name for operand in reader.operands), key=self.order.index)
            for name, reader in neurons.readers.items()
        }
        ends = [0, graph.n_outputs]
        for name in self.order:
            ends.append(ends[-1] + len(neurons.elements[name]))
        self.place = dict(zip([OUTPUT, *self.order], pairwise(ends), strict=True))
        box = bounds.boxes[INPUT]
        self.centre, self.radius = box.centre[0], box.radius[0]
        enclosures = dict(bounds.enclosures)
        for node in graph.nodes.values():
            if isinstance(node.op, Elementwise):
                enclosures[node.name] = self._affine(node, node.op)
        links: dict[str, list[Tensor]] = {name: [] for name in neurons.readers}
        spread, constant = [], []
        for start in [OUTPUT, *self.order]:
            node = graph.nodes[start]
            elements = neurons.elements.get(start, torch.arange(graph.n_outputs, device=self.centre.device))
            rows = self.centre.new_zeros(len(elements), flat(bounds.boxes[start].lower).shape[1])
            rows[torch.arange(len(elements)), elements] = 1
            widest = max(math.prod(graph.nodes[name].shape) for name in graph.ancestors(start))
            for part in rows.view(-1, *node.shape).split(max(1, CHUNK[rows.device.type] // widest)):
                record: dict[str, Tensor] = {}
                found = backward(graph, start, part.unsqueeze(0), enclosures, record=record)
                spread.append(found.coefficients[0] * self.radius)
                constant.append(found.offset[0] + found.coefficients[0] @ self.centre)
                for name, reader in neurons.readers.items():
                    if name in record:
                        links[name].append(flat(record[name][0])[:, reader.elements])
                    elif self._behind(start, self.last[name]):
                        links[name].append(part.new_zeros(len(part), len(reader.elements)))
        self.links = {name: torch.cat(values) for name, values in links.items()}
        self.spread, self.constant = torch.cat(spread), torch.cat(constant)

    def _behind(self, start: str, operand: str) -> bool:
        """Tell whether a backward pass meets ``start`` before the node ``operand``."""
        return start == OUTPUT or self.order.index(start) < self.order.index(operand)

    def _affine(self, node: Node, op: Elementwise) -> Planes:
        """Return a nonlinear node as the plane that it is where it reads no neuron, and as nothing elsewhere."""
        *slopes, low, high = op.parallel(*operands_of(self.bounds.graph, node, self.bounds.boxes))
        read = torch.zeros_like(flat(low), dtype=torch.bool)
        if node.name in self.neurons.readers:
            read[:, self.neurons.readers[node.name].elements] = True
        read = read.view_as(low)
        planes = tuple(slope.masked_fill(read, 0).unsqueeze(1) for slope in slopes)
        offset = ((low + high) / 2).masked_fill(read, 0).unsqueeze(1)
        return Planes(planes, offset, planes, offset)

    @staticmethod
    def pays(bounds: Bounds, neurons: Neurons) -> bool:
        """Tell whether a pass over the folded network is cheaper than one over the whole."""
        count = bounds.graph.n_outputs + sum(len(elements) for elements in neurons.elements.values())
        return count * (bounds.graph.n_inputs + count) <= DENSE * bounds.graph.work


class FoldedBatch:
    """Domains on a folded network, with everything prepared that does not depend on the variables."""

    def __init__(self, folded: Folded, cases: Cases, domains: NeuronDomains) -> None:
        self.folded, self.cases, self.domains = folded, cases, domains
        self.boxes, self.readers = domains.ends, folded.neurons.readers
        self.relaxations = {name: reader.op.prepare(*reader.boxes(self.boxes)) for name, reader in self.readers.items()}

    def evaluate(self, variables: Variables, record: dict[str, Tensor] | None = None) -> Outcome:
        """Bound each domain's combination of rows, up to rounding; differentiable.

        ``record`` receives the coefficients at the elements of every reader, ``(B, E)``.
        """
        folded, cases, case = self.folded, self.cases, self.domains.case
        joined = (variables.weights.unsqueeze(1) @ cases.y_rows[case]).squeeze(1)
        least = -(variables.weights * cases.bound[case]).sum(1)
        pulled = {name: torch.zeros_like(box.lower) for name, box in self.boxes.items()}
        for name in folded.order:
            for reader in (reader for reader, last in folded.last.items() if last == name):
                rows = joined @ folded.links[reader]
                if record is not None:
                    record[reader] = rows
                alpha = variables.alpha[reader].transpose(0, 1).unsqueeze(2)
                parts, offset = self.relaxations[reader](alpha).pullback(rows.unsqueeze(1))
                least = least + offset.squeeze(1)
                for operand, part in zip(self.readers[reader].operands, parts, strict=True):
                    pulled[operand.name] = operand.add(pulled[operand.name], part.squeeze(1))
            here = pulled[name]
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
