"""Splitting for bounds of a Jacobian: at neurons that decide slopes and at inputs; every part is bounded anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from verifier.bounds.schedule import CROWN, bound_nodes
from verifier.graph.graph import INPUT, OUTPUT
from verifier.lipschitz.gates import levers, slope_scores
from verifier.problem import Cases
from verifier.search.branching.babsr import intercept_scores
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.neuron_batch import NeuronDomains
from verifier.search.neurons import Neurons
from verifier.search.root import Root
from verifier.sets import Box, flat

ITERATIONS = 10
"""Steps of ascent for each part: boxes that are bounded anew do most of the work."""

LITTLE = 1e-6
"""Part of a bound below which what a split may gain is rounding."""

SIGNS = 4
"""Random combinations of neurons whose gradients tell which inputs move them."""


class SlopeSplitting(NeuronSplitting):
    """Split whatever leaves the largest area of slopes open, or the input that moves such neurons the most.

    A domain's excess is the negative of an output: the greatest value over it is ``-bound``.

    Property: sound; complete for piecewise linear networks up to rounding.
    Source: Shi et al., NeurIPS 2022 (arXiv:2210.07394), section 3.3, with multipliers for the splits, and inputs.
    """

    folded = None

    def __init__(
        self,
        root: Root,
        cases: Cases,
        deadline: float,
        batch: int,
        known: Callable[[Mapping[str, Box]], Tensor] | None = None,
    ) -> None:
        """Search a root's outputs; ``known`` may bound them from above, ``(B,)``, by all boxes in a way of its own."""
        super().__init__(root, cases, deadline, batch, ITERATIONS, candidates=2, trial=0)
        self.parts, self.known, box = 2, known, root.box
        varying = (box.lower < box.upper)[0].nonzero().flatten()
        self.neurons = Neurons({INPUT: varying, **self.neurons.elements}, self.neurons.readers)
        self.ascent.neurons = self.neurons
        self.levers = levers(root.exact.graph, self.neurons)
        self.generator = torch.Generator(box.lower.device).manual_seed(0)

    def roots(self, case: Tensor, bound: Tensor, row: Tensor, alpha_row: Tensor) -> NeuronDomains:
        """See ``NeuronSplitting.roots``; the input is among the neurons, and candidates are chosen."""
        domains = super().roots(case, bound, row, alpha_row)
        box = self.neurons.ends(self.root.fast.boxes)[INPUT].expand(len(case))
        domains = replace(
            domains,
            lower={INPUT: box.lower, **domains.lower},
            upper={INPUT: box.upper, **domains.upper},
            beta={INPUT: torch.zeros_like(box.lower), **domains.beta},
        )
        return self.listed(domains)

    def listed(self, domains: NeuronDomains) -> NeuronDomains:
        """Choose candidates for the next split of domains."""
        return replace(domains, candidates=self._look(domains)[0])

    def halve(self, domains: NeuronDomains, position: Tensor) -> NeuronDomains:
        """See ``NeuronSplitting.halve``; the parts are bounded anew."""
        return self.rebound(super().halve(domains, position))

    @property
    def splittable(self) -> bool:
        """Whether there is anything to split."""
        return bool(self.neurons.readers)

    def maximise(self, domains: NeuronDomains) -> tuple[NeuronDomains, Tensor]:
        """Bound domains; also return points where the bounds are attained, ``(B, n)``.

        Those with nothing left to split are bounded exactly, unless they turn out to be empty, or the output negative
        all over them: then the bound is 0, which holds in both cases.
        """
        found, points = self.measure(domains)
        for place in (found.final & (found.bound < self.ascent.target)).nonzero().flatten().tolist():
            done, points[place : place + 1] = self.finish(found.take(torch.tensor([place])), points[place])
            if float(done.bound) > 0:
                found.bound[place] = max(0.0, float(found.bound[place]))
        return found, points

    def rebound(self, domains: NeuronDomains) -> NeuronDomains:
        """Bound all nodes anew over domains; the bound of those that turn out empty is infinite."""
        bounds, batch = self.fast[0], self._batch(self.fast, domains)
        known = {**bounds.boxes, **batch.boxes}
        del known[INPUT]
        until, relevant = self.deadline, bounds.relevant
        found = bound_nodes(bounds.graph, batch.input, CROWN, known, until=until, relevant=relevant).boxes
        empty = torch.stack([flat(box.lower > box.upper).any(1) for box in found.values()]).any(0)
        ends = {name: _ends(box, domains.ends[name], empty) for name, box in self.neurons.ends(found).items()}
        least = -found[OUTPUT].upper.gather(1, domains.case.unsqueeze(1)).squeeze(1).double()
        if self.known is not None:
            least = torch.maximum(least, -self.known(found))
        bound = torch.fmax(domains.bound, least).masked_fill(empty, math.inf)
        lower, upper = ({name: getattr(box, side) for name, box in ends.items()} for side in ("lower", "upper"))
        return replace(domains, bound=bound, lower=lower, upper=upper)

    def _candidates(self, domains: NeuronDomains, record: dict[str, Tensor]) -> Tensor:
        """Choose the neuron and the input with the greatest score, ``(B, 2)``; -1 where no neuron is undecided.

        Rows of the Jacobian are split once no slope is open. Where the operand of a slope is 0 on an open set, either
        slope will do there, but it has to be the same one on both sides of such a split.
        """
        ends = domains.ends
        by_node = slope_scores(self.levers, self.neurons, record, ends)
        open_ = self._open(ends)
        scores = torch.cat([by_node[name].masked_fill(~open_[name], -1) for name in self.neurons.elements], dim=1)
        least = intercept_scores(self.neurons.readers, record, ends)
        others = torch.cat([least[name] for name in self.neurons.elements], dim=1)
        little = LITTLE * domains.bound.abs().clamp(max=1e30).to(scores).unsqueeze(1)
        deciding = {lever.neuron for lever in self.levers}
        ours = torch.cat([torch.full_like(ends[n].lower[0], n in deciding) > 0 for n in self.neurons.elements])
        waiting = torch.cat([open_[name] for name in self.neurons.elements], dim=1)[:, ours].any(1, keepdim=True)
        others = others.masked_fill(waiting & ~ours, -1)
        scores = torch.where(scores.amax(1, keepdim=True) > little, scores, others)
        scores = torch.where(scores > little, scores, -1)
        count = len(self.neurons.elements[INPUT])
        scores[:, :count] = -1
        best, neuron = scores.max(1)
        moved = self._influence(domains, by_node)
        which = torch.where(moved.amax(1) > 0, moved.argmax(1), neuron)
        return torch.where(best.unsqueeze(1) < 0, -1, torch.stack([neuron, which], dim=1))

    def _open(self, ends: dict[str, Box]) -> dict[str, Tensor]:
        """Tell which neurons a nonlinearity still wants to be narrower, ``(B, K)`` by node."""
        found = {name: torch.zeros_like(box.lower, dtype=torch.bool) for name, box in ends.items()}
        for reader in self.neurons.readers.values():
            masks = reader.op.undecided_operands(*reader.boxes(ends))
            for operand, mask in zip(reader.operands, masks, strict=True):
                found[operand.name] = operand.add(found[operand.name].float(), mask.float()) > 0
        return found

    def _influence(self, domains: NeuronDomains, scores: dict[str, Tensor]) -> Tensor:
        """Estimate how much each input moves the neurons with a score over its range, ``(B, inputs)``."""
        graph, varying = self.fast[0].graph, self.neurons.elements[INPUT]
        box = self._batch(self.fast, domains).input
        scored = {name: score for name, score in scores.items() if name != INPUT and bool((score > 0).any())}
        if not scored:
            return torch.zeros_like(box.lower[:, varying])
        above = {name for start in scored for name in graph.ancestors(start)}
        total = torch.zeros_like(box.lower)
        with torch.enable_grad():
            x = box.centre.requires_grad_()
            values = {INPUT: x}
            for name, node in graph.nodes.items():
                if node.op is not None and name in above:
                    values[name] = node.op.forward(*(values[parent] for parent in node.parents))
            weighted = [score * flat(values[name])[:, self.neurons.elements[name]] for name, score in scored.items()]
            for _ in range(SIGNS):
                signs = (torch.randint(0, 2, part.shape, generator=self.generator) * 2 - 1 for part in weighted)
                mixed = torch.stack([(sign * part).sum() for sign, part in zip(signs, weighted, strict=True)]).sum()
                if mixed.requires_grad:  # else none of them depends on the input
                    total += torch.autograd.grad(mixed, x, retain_graph=True)[0].abs()
        return (total * box.radius)[:, varying]


def _ends(found: Box, before: Box, empty: Tensor) -> Box:
    """Keep the ends that were there before in empty domains: those that were found cross."""
    mask = empty.unsqueeze(1)
    return Box(torch.where(mask, before.lower, found.lower), torch.where(mask, before.upper, found.upper))
