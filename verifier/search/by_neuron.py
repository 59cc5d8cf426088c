"""Neuron splitting: domains share the input box and differ in the boxes of hidden neurons (beta-CROWN)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from verifier.bounds.schedule import Bounds
from verifier.ops.curves import Piecewise, Relu
from verifier.problem import Cases
from verifier.search.ascent import Ascent, Bounder
from verifier.search.branching.babsr import intercept_scores
from verifier.search.branching.bbps import Shortcut, shortcut_gains, shortcuts
from verifier.search.branching.points import BranchPoints
from verifier.search.final import multipliers
from verifier.search.folded import Folded, FoldedBatch
from verifier.search.neuron_batch import Batch, NeuronDomains, Variables
from verifier.search.root import Root
from verifier.sets import Box

SHORT_LIST = 32
"""Neurons, best first by their intercepts, among which gains with shortcuts choose the candidates."""

UNKNOWN_GAIN = -1e30
"""Of neurons that can be split, but whose gain cannot be computed."""

PARTS = 4
"""Parts that a split makes of each domain while all of them fit into a batch; else it makes two.

A trial costs as much as bounding many parts, and a small batch hardly less than a large one. Of 15 searches that end
within eight seconds (sines, Gelu, products, power flow, convolutions), eight took 0.5 to 0.8 times as long with four
parts as with two, and the others 0.96 to 1.1 times; longer ones fill their batches soon. With eight parts, some end
sooner still, and one not at all in that time.
"""

EVALUATED = 1 << 23
"""Elements that one batch may hold at its widest node, all domains and candidates together."""


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
        candidates: int = 8,
        trial: int = 8,
    ) -> None:
        """Search one input box, for those of the cases (float64) that lie on it; late rounds raise TimeoutError.

        A round splits ``batch`` domains and bounds their parts in so many ``iterations``, after a ``trial`` of that
        many iterations for each of the ``candidates``.
        """
        self.deadline = deadline
        self.root = root
        self.parts = PARTS
        self.neurons = root.neurons()
        self.batch, self.iterations, self.count, self.trial = batch, iterations, candidates, trial
        self.fast, self.exact = (root.fast, cases.to(torch.float32)), (root.exact, cases)
        self.ascent = Ascent(self._bounder, self.neurons, self.neurons.ends(root.fast.boxes), deadline)

    @cached_property
    def folded(self) -> Folded | None:
        """The network folded to its undecided neurons, if that is worth it."""
        bounds = self.fast[0]
        if not Folded.pays(bounds, self.neurons):
            return None
        return Folded(bounds, self.neurons)

    @cached_property
    def points(self) -> BranchPoints:
        """Where to split."""
        return BranchPoints(self.neurons)

    @cached_property
    def shortcuts(self) -> dict[str, Shortcut] | None:
        """The neurons' bounds by the input, where there is room; intercepts do for rectifiers and the like."""
        if all(isinstance(reader.op, (Relu, Piecewise)) for reader in self.neurons.readers.values()):
            return None
        return shortcuts(self.fast[0], self.neurons)

    def _bounder(self, domains: NeuronDomains) -> Bounder:
        """Prepare domains for bounding in float32 without rounding margins."""
        if self.folded is None:
            return self._batch(self.fast, domains)
        return FoldedBatch(self.folded, self.fast[1], domains)

    def roots(self, case: Tensor, bound: Tensor, row: Tensor, alpha_row: Tensor) -> NeuronDomains:
        """Make a domain of each case.

        Args:
            case: indices ``(B,)``.
            bound: their bounds ``(B,)``.
            row: the best row of each case ``(B,)``.
            alpha_row: which of the root's optimised rows that is ``(B,)``.
        """
        count = len(case)
        lower, upper, alpha, beta = {}, {}, {}, {}
        for name, box in self.ascent.ends.items():
            lower[name], upper[name] = box.lower.repeat(count, 1), box.upper.repeat(count, 1)
            beta[name] = torch.zeros_like(lower[name])
        for name, reader in self.neurons.readers.items():
            start = self.root.alpha.get(name)
            if start is None:
                slopes = reader.op.start(*reader.boxes(self.ascent.ends)).squeeze(2).expand(-1, count, -1)
            else:
                slopes = start[:, 0, alpha_row].reshape(len(start), count, -1)[:, :, reader.elements]
            alpha[name] = slopes.transpose(0, 1).half()
        weights = torch.zeros_like(self.fast[1].bound[case])
        weights[torch.arange(count), row] = 1
        candidates = torch.zeros(count, self.count, dtype=torch.long, device=case.device)
        weight = torch.full_like(bound, 1 / max(1, len(self.exact[1])))
        return NeuronDomains(case, bound, weight, lower, upper, alpha, beta, weights, candidates)

    def split(self, domains: NeuronDomains) -> NeuronDomains:
        """Split each domain at the candidate whose parts, after a few steps of ascent, miss the least in sum.

        Where the parts of their parts still fit into a batch, these are split at the next best candidate at once.
        """
        count, width = domains.candidates.shape
        owner = torch.arange(count).repeat_interleave(width)
        trial = self.halve(domains.take(owner), domains.candidates.flatten())
        done = [self.ascent.run(part, self.trial) for part in self._parts(trial)]
        trial, value = NeuronDomains.cat([part[0] for part in done]), torch.cat([part[1] for part in done])
        value = torch.fmax(value, trial.bound).nan_to_num(nan=-torch.inf)
        missed = value.clamp(max=self.ascent.target).view(2, count, width).sum(0)
        choice = torch.arange(count) * width + missed.argmax(1)
        parts = trial.take(torch.cat([choice, choice + count * width]))
        if self.parts < 4 or self.parts * count > self.batch:
            return parts
        return self._again(parts, domains.candidates, missed)

    def _again(self, parts: NeuronDomains, candidates: Tensor, missed: Tensor) -> NeuronDomains:
        """Halve both parts of each domain at its next best candidate ``(B, C)``, if it has another one to split."""
        first = candidates.gather(1, missed.argmax(1, keepdim=True))
        other = candidates != first
        second = missed.masked_fill(~other, -torch.inf).argmax(1, keepdim=True)
        twice = other.any(1).repeat(2)
        position = candidates.gather(1, second).flatten().repeat(2)
        halved = self.halve(parts.take(twice), position[twice])
        return NeuronDomains.cat([parts.take(~twice), halved])

    def halve(self, domains: NeuronDomains, position: Tensor) -> NeuronDomains:
        """Cut domain b at neuron ``position[b]``; the parts below come first, then those above."""
        domains = replace(domains, weight=domains.weight / 2)
        below, above, first = dict(domains.upper), dict(domains.lower), 0
        for name, index in self.neurons.elements.items():
            here = ((position >= first) & (position < first + len(index))).nonzero().flatten()
            element = position[here] - first
            box = Box(domains.lower[name][here, element], domains.upper[name][here, element])
            point = self.points.at(name, element, box)
            below[name], above[name] = below[name].clone(), above[name].clone()
            below[name][here, element] = torch.fmin(point, box.upper)
            above[name][here, element] = torch.fmax(point, box.lower)
            first += len(index)
        return NeuronDomains.cat([replace(domains, upper=below), replace(domains, lower=above)])

    def bound(self, domains: NeuronDomains) -> tuple[NeuronDomains, Tensor]:
        """Optimise slopes, multipliers and the row combination in float32; certify what closes in either precision."""
        done = [self._bound(part) for part in self._parts(domains)]
        bounded, points = NeuronDomains.cat([part[0] for part in done]), torch.cat([part[1] for part in done])
        last = (bounded.final & ~(bounded.bound > 0)).nonzero().flatten()
        if not len(last):
            return bounded, points
        finished = [self.finish(bounded.take(place.unsqueeze(0)), points[place]) for place in last]
        rest = torch.ones_like(bounded.final)
        rest[last] = False
        order = torch.cat([rest.nonzero().flatten(), last]).argsort()
        points[last] = torch.cat([part[1] for part in finished])
        return NeuronDomains.cat([bounded.take(rest), *(part[0] for part in finished)]).take(order), points

    def finish(self, domain: NeuronDomains, point: Tensor) -> tuple[NeuronDomains, Tensor]:
        """Close a domain that has nothing left to split by the best multipliers, or learn where it is violated."""
        if time.monotonic() > self.deadline:
            raise TimeoutError
        found = multipliers(self._batch(self.exact, domain), self.deadline)
        if found is None:
            return domain, point.unsqueeze(0)
        alpha = {}
        for name, reader in self.neurons.readers.items():  # those of the pieces
            alpha[name] = reader.op.start(*reader.boxes(domain.ends)).squeeze(2).transpose(0, 1).half()
        better, x = replace(found[0], alpha=alpha), found[1]
        least = self._certify_exactly(better)
        closed = bool(least > 0)
        return (replace(better, bound=least) if closed else domain), x.to(point)

    def _bound(self, domains: NeuronDomains) -> tuple[NeuronDomains, Tensor]:
        best, value = self.ascent.run(domains, self.iterations)
        near = value > 0
        least = value.clamp(max=0)  # what is not certified does not close
        if near.any():
            least[near] = self._certify(best.take(near))
        candidates, points = self._look(best)
        return replace(best, bound=torch.fmax(domains.bound, least), candidates=candidates), points.double()

    def measure(self, domains: NeuronDomains) -> tuple[NeuronDomains, Tensor]:
        """Optimise in float32 as ``bound`` does, and certify all values, for cases of one row.

        Also return points where they are attained, ``(B, n)``.

        Property: ``bound`` is below the excess itself all over each domain, rounding included, and not only in sign.
        """
        done = [self._measure(part) for part in self._parts(domains)]
        return NeuronDomains.cat([part[0] for part in done]), torch.cat([part[1] for part in done])

    def _measure(self, domains: NeuronDomains) -> tuple[NeuronDomains, Tensor]:
        best = self.ascent.run(domains, self.iterations)[0]
        best = replace(best, weights=torch.ones_like(best.weights))  # another weight would scale the excess
        bound = torch.fmax(domains.bound, self._certify_exactly(best))
        candidates, points = self._look(best)
        return replace(best, bound=bound, candidates=candidates), points.double()

    def _look(self, domains: NeuronDomains) -> tuple[Tensor, Tensor]:
        """Choose candidates for the next split, ``(B, C)``, and points where the bounds are attained, ``(B, n)``."""
        record: dict[str, Tensor] = {}
        variables = Variables.of(domains, torch.float32, self._priced(domains))
        points = self._bounder(domains).evaluate(variables, record).points
        return self._candidates(domains, record), points

    def _certify(self, domains: NeuronDomains) -> Tensor:
        """Bound with rounding margins, ``(B,)``: in float32, and in float64 where that may make the difference."""
        batch, priced = self._batch(self.fast, domains), self._priced(domains)
        found = batch.evaluate(Variables.of(domains, torch.float32, priced), certify=True)
        assert found.error is not None
        self.ascent.target = float(found.error.nan_to_num(nan=0.0, posinf=0.0).median())
        least = found.least.double()
        unsure = ~(found.least > 0) & (found.least + found.error > 0)
        if unsure.any():
            least[unsure] = torch.fmax(least[unsure], self._certify_exactly(domains.take(unsure)))
        return least

    def _certify_exactly(self, domains: NeuronDomains) -> Tensor:
        """Bound in float64 with rounding margins, ``(B,)``."""
        variables = Variables.of(domains, torch.float64, self._priced(domains))
        return self._batch(self.exact, domains).evaluate(variables, certify=True).least

    def _batch(self, side: tuple[Bounds, Cases], domains: NeuronDomains) -> Batch:
        return Batch(*side, self.neurons, domains)

    @staticmethod
    def _priced(domains: NeuronDomains) -> list[str]:
        """Names of the nodes with multipliers that are not zero."""
        return [name for name, value in domains.beta.items() if value.any()]

    def _parts(self, domains: NeuronDomains) -> list[NeuronDomains]:
        """Cut a batch into parts that fit into memory."""
        widest = max(box.lower[0].numel() for box in self.root.fast.boxes.values())
        pieces = torch.arange(len(domains)).split(max(1, EVALUATED // widest))
        return [domains] if len(pieces) == 1 else [domains.take(piece) for piece in pieces]

    def _candidates(self, domains: NeuronDomains, record: dict[str, Tensor]) -> Tensor:
        """Choose the neurons that the next split will try, ``(B, C)``: half by gains, the others by gaps."""
        scores = torch.cat(list(intercept_scores(self.neurons.readers, record, domains.ends).values()), dim=1)
        listed = self.count if self.shortcuts is None else max(SHORT_LIST, self.count)
        best, top = scores.topk(min(listed, scores.shape[1]), dim=1)
        if self.shortcuts is not None:
            gains = self._gains(self.shortcuts, domains, record, top)
            gains = gains.nan_to_num(nan=UNKNOWN_GAIN, neginf=UNKNOWN_GAIN).masked_fill(best < 0, -torch.inf)
            count = min(self.count, top.shape[1])
            promising = gains.topk((count + 1) // 2, dim=1).indices
            others = best.scatter(1, promising, -torch.inf).topk(count // 2, dim=1).indices
            order = torch.cat([promising, others], dim=1)
            best, top = best.gather(1, order), top.gather(1, order)
        top = torch.where(best < 0, top[:, :1], top)  # decided ones are never split
        top = torch.where(best[:, :1] < 0, -1, top)
        return torch.cat([top, top[:, :1].expand(-1, self.count - top.shape[1])], dim=1)

    def _gains(
        self, known: Mapping[str, Shortcut], domains: NeuronDomains, record: dict[str, Tensor], listed: Tensor
    ) -> Tensor:
        """Estimate the gains of splitting listed neurons ``(B, M)``, positions in all nodes' K, joined."""
        gains, first = torch.full(listed.shape, -torch.inf, device=listed.device), 0
        for name, index in self.neurons.elements.items():
            here = (listed >= first) & (listed < first + len(index))
            if here.any():
                places = (listed - first).clamp(0, len(index) - 1)
                box = domains.ends[name]
                chosen = Box(box.lower.gather(1, places), box.upper.gather(1, places))
                point = self.points.at(name, places, chosen)
                found = shortcut_gains(self.neurons, known, record, domains, name, places, point)
                gains = torch.where(here, found, gains)
            first += len(index)
        return gains
