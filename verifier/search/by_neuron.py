"""Neuron splitting: domains share the input box and differ in the boxes of hidden neurons (beta-CROWN)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from verifier.bounds.backward import Multiplier, backward
from verifier.bounds.optimise import Adam
from verifier.bounds.schedule import Bounds, relax_all
from verifier.graph.graph import INPUT, OUTPUT
from verifier.ops.curves import Curve
from verifier.problem import Cases
from verifier.search.branching.babsr import intercept_scores
from verifier.search.domains import Domains
from verifier.search.root import Root
from verifier.sets import Box

EVALUATED = 1 << 26
"""Elements that one batch of bounds may hold for its widest node, all domains and candidates together."""


@dataclass(frozen=True, eq=False)
class NeuronDomains(Domains):
    """Boxes of the neurons that are unstable at the root, ``(B, K)`` by node, with K its unstable neurons.

    Attributes:
        lower: lower ends by operand node.
        upper: upper ends by operand node.
        alpha: slopes by curve, ``(B, P, K)`` in half precision: any slope is sound.
        beta: multipliers of the boxes by operand node, ``(B, K)`` in half precision.
        weights: the combination of the case's rows that is bounded, ``(B, R)``, on the simplex.
        candidates: neurons worth splitting, best first, ``(B, C)``: positions in all nodes' K, joined.
    """

    lower: dict[str, Tensor]
    upper: dict[str, Tensor]
    alpha: dict[str, Tensor]
    beta: dict[str, Tensor]
    weights: Tensor
    candidates: Tensor


class NeuronSplitting:
    """Split neurons at the kink; bound parts by optimised slopes and multipliers on the root's boxes.

    Property: sound; complete for ReLU networks up to rounding.
    Source: Wang et al., NeurIPS 2021 (arXiv:2103.06624); choosing among candidates by bounding them for real:
    De Palma et al., 2021 (arXiv:2104.06718).
    """

    rates = (0.1, 0.05, 0.98)

    def __init__(
        self,
        root: Root,
        cases: Cases,
        deadline: float = math.inf,
        batch: int = 128,
        iterations: int = 40,
        candidates: int = 3,
    ) -> None:
        """Search one input box, for those of the cases (float64) that lie on it; late rounds raise TimeoutError."""
        self.deadline = deadline
        self.root = root
        self.unstable = root.unstable()
        self.batch, self.iterations, self.count = batch, iterations, candidates
        self.fast, self.exact = (root.fast, cases.to(torch.float32)), (root.exact, cases)
        self.curves = {
            name: node.parents[0]
            for name, node in root.exact.graph.nodes.items()
            if isinstance(node.op, Curve) and node.parents[0] in self.unstable
        }

    def roots(self, case: Tensor, bound: Tensor, row: Tensor, alpha_row: Tensor) -> NeuronDomains:
        """Make a domain of each case.

        Args:
            case: indices ``(B,)``.
            bound: their bounds ``(B,)``.
            row: the best row of each case ``(B,)``.
            alpha_row: which of the root's optimised rows that is ``(B,)``.
        """
        boxes, count = self.root.fast.boxes, len(case)
        lower, upper, alpha, beta = {}, {}, {}, {}
        for name, index in self.unstable.items():
            lower[name] = boxes[name].lower.flatten(1)[:, index].repeat(count, 1)
            upper[name] = boxes[name].upper.flatten(1)[:, index].repeat(count, 1)
            beta[name] = torch.zeros_like(lower[name], dtype=torch.half)
        for name, operand in self.curves.items():
            op = self.root.exact.graph.nodes[name].op
            assert isinstance(op, Curve)
            start = self.root.alpha.get(name)
            if start is None:
                start = op.start(boxes[operand]).expand(-1, -1, count, *([-1] * (boxes[operand].lower.dim() - 1)))
            else:
                start = start[:, :, alpha_row]
            alpha[name] = start[:, 0].flatten(2)[:, :, self.unstable[operand]].transpose(0, 1).half()
        weights = torch.zeros_like(self.fast[1].bound[case])
        weights[torch.arange(count), row] = 1
        candidates = torch.zeros(count, self.count, dtype=torch.long, device=case.device)
        weight = torch.full_like(bound, 1 / max(1, len(self.exact[1])))
        return NeuronDomains(case, bound, weight, lower, upper, alpha, beta, weights, candidates)

    def split(self, domains: NeuronDomains) -> NeuronDomains:
        """Split each domain at the candidate whose worse part is bounded best."""
        count, width = domains.candidates.shape
        owner = torch.arange(count).repeat_interleave(width)
        trial = self._halve(domains.take(owner), domains.candidates.flatten())
        least = self._evaluate(trial)[0]
        worse = torch.minimum(least[: len(owner)], least[len(owner) :]).view(count, width)
        better = torch.maximum(least[: len(owner)], least[len(owner) :]).view(count, width)
        choice = (worse.nan_to_num(nan=-torch.inf) + 1e-3 * better.clamp(max=0)).argmax(1)
        return self._halve(domains, domains.candidates.gather(1, choice.unsqueeze(1)).squeeze(1))

    def _halve(self, domains: NeuronDomains, position: Tensor) -> NeuronDomains:
        """Cut domain b at neuron ``position[b]``; the parts below come first, then those above."""
        domains = replace(domains, weight=domains.weight / 2)
        below, above, first = dict(domains.upper), dict(domains.lower), 0
        for name, index in self.unstable.items():
            here = ((position >= first) & (position < first + len(index))).nonzero().flatten()
            element = position[here] - first
            box = Box(domains.lower[name][here, element], domains.upper[name][here, element])
            point = self._branch_point(name, box, index[element])
            below[name], above[name] = below[name].clone(), above[name].clone()
            below[name][here, element] = torch.fmin(point, box.upper)
            above[name][here, element] = torch.fmax(point, box.lower)
            first += len(index)
        return NeuronDomains.cat([replace(domains, upper=below), replace(domains, lower=above)])

    def _branch_point(self, name: str, box: Box, elements: Tensor) -> Tensor:
        """Ask the first curve on a node where to cut; the middle where it has no opinion."""
        del elements
        op = next(self.root.exact.graph.nodes[curve].op for curve, operand in self.curves.items() if operand == name)
        assert isinstance(op, Curve)
        point = op.branch_point(box)
        return torch.where(point.isnan(), box.centre, point)

    def bound(self, domains: NeuronDomains) -> tuple[NeuronDomains, Tensor]:
        """Optimise slopes, multipliers and the row combination in float32; certify what closes in either precision."""
        best = self._optimise(domains)
        certified, unsure, points = self._certify(best, *self.fast)
        certified = certified.double()
        if unsure.any():
            certified[unsure] = torch.fmax(certified[unsure], self._certify(best.take(unsure), *self.exact)[0])
        return replace(best, bound=torch.fmax(domains.bound, certified)), points.double()

    def _boxes(self, domains: NeuronDomains, bounds: Bounds) -> dict[str, Box]:
        """Return the boxes of all nodes that nonlinear nodes read, ``(B, *node)``, in the bounds' dtype."""
        boxes = {}
        for name in {parent for curve in bounds.graph.nodes.values() for parent in curve.parents}:
            box = bounds.boxes[name].expand(len(domains))
            if name in self.unstable:
                index, shape = self.unstable[name], box.lower.shape
                lower = box.lower.flatten(1).index_copy(1, index, domains.lower[name].to(box.lower.dtype))
                upper = box.upper.flatten(1).index_copy(1, index, domains.upper[name].to(box.lower.dtype))
                inside = Box(lower.view(shape), upper.view(shape))
                box = inside if box.lower.dtype == torch.float32 else inside.intersect(box)
            boxes[name] = box
        return boxes

    def _bound_with(
        self, bounds: Bounds, cases: Cases, domains: NeuronDomains, leaves: NeuronDomains, boxes: dict[str, Box],
        record: dict[str, Tensor] | None = None, certify: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Bound each domain's combination of rows; ``leaves`` hold the variables, in the bounds' dtype."""
        graph, count = bounds.graph, len(domains)
        alpha = {}
        for name, operand in self.curves.items():
            shape = graph.nodes[operand].shape
            values = leaves.alpha[name].transpose(0, 1)
            dense = values.new_zeros(values.shape[0], count, boxes[operand].lower[0].numel())
            alpha[name] = dense.index_copy(2, self.unstable[operand], values).view(values.shape[0], count, 1, *shape)
        multipliers = {}
        for name, values in leaves.beta.items():
            dense = values.new_zeros(count, boxes[name].lower[0].numel()).index_copy(1, self.unstable[name], values)
            multipliers[name] = Multiplier.of(dense.view(count, 1, *graph.nodes[name].shape), boxes[name])
        rows = (leaves.weights.unsqueeze(1) @ cases.y_rows[domains.case])
        enclosures = relax_all(graph, boxes, alpha, bounds.enclosures)
        found = backward(
            graph, OUTPUT, rows, enclosures, multipliers, scales=bounds.scales if certify else None, record=record
        )
        box = bounds.boxes[INPUT].expand(count)
        full, least = cases.close_combined(domains.case, leaves.weights, found, box)
        return least.squeeze(1), None if full.error is None else full.error.squeeze(1), full.minimiser(box).squeeze(1)

    def _evaluate(self, domains: NeuronDomains) -> tuple[Tensor, Tensor]:
        """Bound in float32 without optimisation and without rounding margins: for choosing only."""
        bounds, cases = self.fast
        least = [
            self._bound_with(bounds, cases, part, self._leaves(part, torch.float32), self._boxes(part, bounds))
            for part in self._parts(domains)
        ]
        return torch.cat([part[0] for part in least]), torch.cat([part[2] for part in least])

    def _parts(self, domains: NeuronDomains) -> list[NeuronDomains]:
        widest = max(node.lower[0].numel() for node in self.root.fast.boxes.values())
        pieces = torch.arange(len(domains)).split(max(1, EVALUATED // (8 * widest)))
        return [domains.take(piece) for piece in pieces]

    @staticmethod
    def _leaves(domains: NeuronDomains, dtype: torch.dtype) -> NeuronDomains:
        return replace(
            domains,
            alpha={name: value.to(dtype) for name, value in domains.alpha.items()},
            beta={name: value.to(dtype) for name, value in domains.beta.items()},
            weights=domains.weights.to(dtype),
        )

    def _optimise(self, domains: NeuronDomains) -> NeuronDomains:
        """Ascend from the parents' variables; return the domains with the best variables found."""
        bounds, cases = self.fast
        boxes = self._boxes(domains, bounds)
        leaves = self._leaves(domains, torch.float32)
        split = {
            name: ((domains.lower[name] > box.lower.flatten(1)[:, index]) | (domains.upper[name] < box.upper.flatten(1)[:, index]))
            for name, index in self.unstable.items()
            for box in (bounds.boxes[name],)
        }
        active = [name for name, mask in split.items() if mask.any()]
        variables = [*leaves.alpha.values(), *(leaves.beta[name] for name in active), leaves.weights]
        for variable in variables:
            variable.requires_grad_()
        adam = Adam(variables, [self.rates[0]] * len(leaves.alpha) + [self.rates[1]] * len(active) + [0.05], self.rates[2])
        best, kept = None, None
        for step in range(self.iterations + 1):
            if time.monotonic() > self.deadline:
                raise TimeoutError
            least = self._bound_with(bounds, cases, domains, leaves, boxes)[0]
            value = least.detach()
            with torch.no_grad():
                if best is None or kept is None:
                    best, kept = value.clone(), [variable.detach().clone() for variable in variables]
                else:
                    better = value > best
                    best = torch.where(better, value, best)
                    for copy, variable in zip(kept, variables, strict=True):
                        copy[better] = variable[better]
            missing = ~(best > 0)
            if step == self.iterations or not missing.any():
                break
            adam.step(torch.autograd.grad(least[missing].sum(), variables, allow_unused=True))
            self._project(leaves, split, active, boxes)
        assert kept is not None
        slopes = dict(zip(leaves.alpha, kept, strict=False))
        prices = dict(zip(active, kept[len(slopes) :], strict=False))
        return replace(
            domains,
            alpha={name: value.half() for name, value in slopes.items()},
            beta={**domains.beta, **{name: value.half() for name, value in prices.items()}},
            weights=kept[-1],
        )

    @torch.no_grad()
    def _project(self, leaves: NeuronDomains, split: dict[str, Tensor], active: list[str], boxes: dict[str, Box]) -> None:
        for name, value in leaves.alpha.items():
            operand = self.curves[name]
            op, index = self.root.exact.graph.nodes[name].op, self.unstable[operand]
            assert isinstance(op, Curve)
            box = Box(boxes[operand].lower.flatten(1)[:, index], boxes[operand].upper.flatten(1)[:, index])
            value.copy_(op.project(value.transpose(0, 1).unsqueeze(2), box).squeeze(2).transpose(0, 1))
        for name in active:
            leaves.beta[name].mul_(split[name])
        leaves.weights.clamp_(min=0).div_(leaves.weights.sum(1, keepdim=True).clamp(min=1e-12))

    def _certify(self, best: NeuronDomains, bounds: Bounds, cases: Cases) -> tuple[Tensor, Tensor, Tensor]:
        """Bound with rounding margins; fill in the candidates for the next split.

        Returns:
            Certified bounds, where only the margin keeps a domain open, and candidate counterexamples.
        """
        record: dict[str, Tensor] = {}
        boxes = self._boxes(best, bounds)
        leaves = self._leaves(best, bounds.graph.dtype)
        least, error, points = self._bound_with(bounds, cases, best, leaves, boxes, record, certify=True)
        assert error is not None
        if bounds.graph.dtype == torch.float32:
            scores = torch.cat(
                [
                    intercept_scores(bounds.graph, record, name, boxes, self.curves).flatten(1)[:, index]
                    for name, index in self.unstable.items()
                ],
                dim=1,
            )
            top = scores.topk(min(self.count, scores.shape[1]), dim=1).indices
            best.candidates[:, : top.shape[1]] = top
            best.candidates[:, top.shape[1] :] = top[:, :1]
        return least, ~(least > 0) & (least + error > 0), points

