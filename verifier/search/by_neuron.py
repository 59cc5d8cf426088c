"""Neuron splitting: domains share the input box and differ in the boxes of hidden neurons (beta-CROWN)."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from verifier.bounds.optimise import Adam
from verifier.bounds.schedule import Bounds
from verifier.ops.curves import Curve
from verifier.problem import Cases
from verifier.search.branching.babsr import intercept_scores
from verifier.search.neuron_batch import Batch, NeuronDomains, Variables
from verifier.search.root import Root
from verifier.sets import Box, flat

EVALUATED = 1 << 23
"""Elements that one batch may hold at its widest node, all domains and candidates together."""

PATIENCE = 10
"""Steps without a gain of a thousandth of what is missing after which optimising a batch ends."""

ALPHA_RATE, BETA_RATE, WEIGHT_RATE = 0.2, 0.1, 0.05
"""Rates of ascent for slopes, multipliers and row combinations."""


class NeuronSplitting:
    """Split neurons at the kink; bound parts by optimised slopes and multipliers on the root's boxes.

    Property: sound; complete for ReLU networks up to rounding.
    Source: Wang et al., NeurIPS 2021 (arXiv:2103.06624); choosing among candidates by bounding them for real:
    De Palma et al., 2021 (arXiv:2104.06718).
    """

    def __init__(
        self,
        root: Root,
        cases: Cases,
        deadline: float = math.inf,
        batch: int = 256,
        iterations: int = 40,
        candidates: int = 3,
    ) -> None:
        """Search one input box, for those of the cases (float64) that lie on it; late rounds raise TimeoutError."""
        self.deadline = deadline
        self.root = root
        self.unstable = root.unstable()
        self.batch, self.iterations, self.count = batch, iterations, candidates
        self.fast, self.exact = (root.fast, cases.to(torch.float32)), (root.exact, cases)
        nodes = root.exact.graph.nodes
        curves = {name: node for name, node in nodes.items() if isinstance(node.op, Curve)}
        self.curves = {name: node.parents[0] for name, node in curves.items() if node.parents[0] in self.unstable}
        self.ops = {
            name: op.at(self.unstable[operand], nodes[operand].shape)
            for name, operand in self.curves.items()
            if isinstance(op := root.fast.graph.nodes[name].op, Curve)
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
            lower[name] = flat(boxes[name].lower)[:, index].repeat(count, 1)
            upper[name] = flat(boxes[name].upper)[:, index].repeat(count, 1)
            beta[name] = torch.zeros_like(lower[name], dtype=torch.half)
        for name, operand in self.curves.items():
            op = self.root.fast.graph.nodes[name].op
            assert isinstance(op, Curve)
            start = self.root.alpha.get(name)
            if start is None:
                start = op.start(boxes[operand]).expand(-1, -1, count, *([-1] * (boxes[operand].lower.dim() - 1)))
            else:
                start = start[:, :, alpha_row]
            slopes = start[:, 0].reshape(len(start), count, -1)[:, :, self.unstable[operand]]
            alpha[name] = slopes.transpose(0, 1).half()
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
        least = self._evaluate(trial)
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
            point = self._branch_point(name, box)
            below[name], above[name] = below[name].clone(), above[name].clone()
            below[name][here, element] = torch.fmin(point, box.upper)
            above[name][here, element] = torch.fmax(point, box.lower)
            first += len(index)
        return NeuronDomains.cat([replace(domains, upper=below), replace(domains, lower=above)])

    def _branch_point(self, name: str, box: Box) -> Tensor:
        """Ask the first curve on a node where to cut; the middle where it has no opinion."""
        op = next(self.root.exact.graph.nodes[curve].op for curve, operand in self.curves.items() if operand == name)
        assert isinstance(op, Curve)
        point = op.branch_point(box)
        return torch.where(point.isnan(), box.centre, point)

    def bound(self, domains: NeuronDomains) -> tuple[NeuronDomains, Tensor]:
        """Optimise slopes, multipliers and the row combination in float32; certify what closes in either precision."""
        done = [self._bound(part) for part in self._parts(domains)]
        return NeuronDomains.cat([part[0] for part in done]), torch.cat([part[1] for part in done])

    def _bound(self, domains: NeuronDomains) -> tuple[NeuronDomains, Tensor]:
        batch = self._batch(self.fast, domains)
        best = self._optimise(batch)
        record: dict[str, Tensor] = {}
        found = batch.evaluate(Variables.of(best, torch.float32, self._priced(best)), record, certify=True)
        assert found.error is not None
        least = found.least.double()
        unsure = ~(found.least > 0) & (found.least + found.error > 0)
        if unsure.any():
            some = best.take(unsure)
            exact = self._batch(self.exact, some)
            again = exact.evaluate(Variables.of(some, torch.float64, self._priced(some)), certify=True)
            least[unsure] = torch.fmax(least[unsure], again.least)
        best = replace(best, bound=torch.fmax(domains.bound, least), candidates=self._candidates(batch, record))
        return best, found.points.double()

    def _batch(self, side: tuple[Bounds, Cases], domains: NeuronDomains) -> Batch:
        return Batch(*side, self.unstable, self.curves, domains)

    @staticmethod
    def _priced(domains: NeuronDomains) -> list[str]:
        """Names of the nodes with multipliers that are not zero."""
        return [name for name, value in domains.beta.items() if value.any()]

    def _evaluate(self, domains: NeuronDomains) -> Tensor:
        """Bound in float32 without optimisation and without rounding margins: for choosing only."""
        parts = self._parts(domains)
        return torch.cat(
            [
                self._batch(self.fast, part).evaluate(Variables.of(part, torch.float32, self._priced(part))).least
                for part in parts
            ]
        )

    def _parts(self, domains: NeuronDomains) -> list[NeuronDomains]:
        """Cut a batch into parts that fit into memory."""
        widest = max(box.lower[0].numel() for box in self.root.fast.boxes.values())
        pieces = torch.arange(len(domains)).split(max(1, EVALUATED // widest))
        return [domains] if len(pieces) == 1 else [domains.take(piece) for piece in pieces]

    def _optimise(self, batch: Batch) -> NeuronDomains:
        """Ascend from the parents' variables; return the domains with the best variables found."""
        domains = batch.domains
        split = {name: mask for name in self.unstable if (mask := batch.split(name)).any()}
        variables = Variables.of(domains, torch.float32, list(split))
        tensors = variables.tensors()
        for tensor in tensors:
            tensor.requires_grad_()
        rates = [ALPHA_RATE] * len(variables.alpha) + [BETA_RATE] * len(variables.beta) + [WEIGHT_RATE]
        adam = Adam(tensors, rates)
        best = torch.full_like(domains.bound, -torch.inf, dtype=torch.float32)
        kept, stalled = [tensor.detach().clone() for tensor in tensors], 0
        for step in range(self.iterations + 1):
            if time.monotonic() > self.deadline:
                raise TimeoutError
            least = batch.evaluate(variables).least
            value = least.detach()
            better = value > best
            gain = float(torch.where(better & (best <= 0), value - best, 0).sum())
            best = torch.where(better, value, best)
            for copy, tensor in zip(kept, tensors, strict=True):
                copy[better] = tensor.detach()[better]
            stalled = stalled + 1 if gain < 1e-3 * float(best.clamp(max=0).abs().sum()) else 0
            missing = ~(best > 0)
            if step == self.iterations or stalled >= PATIENCE or not missing.any():
                break
            adam.step(torch.autograd.grad(least[missing].sum(), tensors, allow_unused=True))
            self._project(variables, split, batch)
        slopes, prices = len(variables.alpha), len(variables.beta)
        alpha = dict(zip(variables.alpha, kept[:slopes], strict=True))
        beta = dict(zip(variables.beta, kept[slopes : slopes + prices], strict=True))
        return replace(
            domains,
            alpha={name: value.half() for name, value in alpha.items()},
            beta={**domains.beta, **{name: value.clamp(-6e4, 6e4).half() for name, value in beta.items()}},
            weights=kept[-1].to(domains.weights),
        )

    @torch.no_grad()
    def _project(self, variables: Variables, split: dict[str, Tensor], batch: Batch) -> None:
        """Return the variables to where they are sound and useful after a step."""
        for name, value in variables.alpha.items():
            inside = self.ops[name].project(value.transpose(0, 1).unsqueeze(2), batch.local(self.curves[name]))
            value.copy_(inside.squeeze(2).transpose(0, 1))
        for name, value in variables.beta.items():
            value.mul_(split[name])
        variables.weights.clamp_(min=0).div_(variables.weights.sum(1, keepdim=True).clamp(min=1e-12))

    def _candidates(self, batch: Batch, record: dict[str, Tensor]) -> Tensor:
        """Choose the neurons that the next split will try, ``(B, C)``."""
        graph = batch.bounds.graph
        scores = torch.cat(
            [
                flat(intercept_scores(graph, record, name, batch.boxes, self.curves))[:, index]
                for name, index in self.unstable.items()
            ],
            dim=1,
        )
        best, top = scores.topk(min(self.count, scores.shape[1]), dim=1)
        top = torch.where(best < 0, top[:, :1], top)  # a split does not help there
        return torch.cat([top, top[:, :1].expand(-1, self.count - top.shape[1])], dim=1)
