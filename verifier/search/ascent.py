"""Ascent of a batch of domains to better bounds: slopes, multipliers and row combinations, domain by domain."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from verifier.bounds.optimise import Adam
from verifier.search.neuron_batch import NeuronDomains, Outcome, Variables
from verifier.search.neurons import Neurons
from verifier.sets import Box

PATIENCE = 30
"""Steps without a gain of a thousandth of what is missing after which an ascent ends."""

ALPHA_RATE, BETA_RATE, WEIGHT_RATE = 0.2, 0.7, 0.05
"""Rates of ascent for slopes, multipliers (in units of the coefficients that they change) and row combinations."""

LONG = 40
"""Steps from which on multipliers move at their full rate."""

DECAY, MOMENTUM = 0.97, 0.75
"""Of the rates and of the gradients: for ascents of a few dozen steps."""

CROWDED = 0.8
"""A batch is made anew without the domains that are done once at most this part of it is left."""


class Bounder(Protocol):
    """Bounds a batch of domains for any variables."""

    domains: NeuronDomains

    def evaluate(self, variables: Variables, record: dict[str, Tensor] | None = None) -> Outcome:
        """Return bounds that are differentiable; ``record`` receives coefficients at the readers, ``(B, E)``."""
        ...


@dataclass(eq=False)
class Ascent:
    """How to ascend: what the domains of one search have in common.

    Attributes:
        bounder: prepares a batch.
        neurons: of the root.
        ends: their boxes at the root, ``(1, K)`` by node.
        deadline: value of ``time.monotonic()`` after which ``run`` raises TimeoutError.
        target: a domain whose bound exceeds this is done.
    """

    bounder: Callable[[NeuronDomains], Bounder]
    neurons: Neurons
    ends: Mapping[str, Box]
    deadline: float
    target: float = 0.0

    def run(self, domains: NeuronDomains, steps: int) -> tuple[NeuronDomains, Tensor]:
        """Ascend from the domains' variables; return the domains with the best ones found, and their bounds ``(B,)``.

        Domains that reach the target are left alone from there on.
        """
        split = {name: mask for name in self.ends if (mask := self._split(domains, name)).any()}
        kept = Variables.of(domains, torch.float32, list(split))
        variables, bounder = Variables.of(domains, torch.float32, list(split)), self.bounder(domains)
        adam = Adam(variables.tensors(), self._rates(bounder, variables, steps), DECAY, MOMENTUM)
        best = torch.full_like(domains.bound, -torch.inf, dtype=torch.float32)
        live, stalled = torch.arange(len(domains), device=best.device), 0
        for step in range(steps + 1):
            if time.monotonic() > self.deadline:
                raise TimeoutError
            tensors = variables.tensors()
            for tensor in tensors:
                tensor.requires_grad_()
            least = bounder.evaluate(variables).least
            value, before = least.detach(), best[live]
            better = value > before
            gain = float(torch.where(better & (before <= self.target), value - before, 0).sum())
            best[live[better]] = value[better]
            for copy, tensor in zip(kept.tensors(), tensors, strict=True):
                copy[live[better]] = tensor.detach()[better]
            here = best[live]
            missing = ~(here > self.target)
            stalled = stalled + 1 if gain < 1e-3 * float((self.target - here).clamp(0, 1e30).sum()) else 0
            if step == steps or stalled >= PATIENCE or not missing.any():
                break
            adam.step(torch.autograd.grad(least[missing].sum(), tensors, allow_unused=True))
            if int(missing.sum()) <= CROWDED * len(live):
                live, variables = live[missing], variables.take(missing)
                adam.take(variables.tensors(), missing)
                bounder = self.bounder(domains.take(live))
                split = {name: mask[missing] for name, mask in split.items()}
            self._project(variables, split)
        return kept.put(domains), best.double()

    def _rates(self, bounder: Bounder, variables: Variables, steps: int) -> list[float]:
        """Choose the rate of each variable: multipliers move in units of the coefficients that they are taken from.

        A long stride loses at first and wins later, so short ascents take shorter ones.
        """
        record: dict[str, Tensor] = {}
        bounder.evaluate(variables, record)
        sizes = dict.fromkeys(variables.beta, 0.0)
        for reader, rows in record.items():
            for operand in self.neurons.readers[reader].operands:
                if operand.name in sizes:
                    sizes[operand.name] += float(rows.square().mean(1).sqrt().median())
        prices = [BETA_RATE * min(1.0, steps / LONG) * sizes[name] for name in variables.beta]
        slopes = [ALPHA_RATE * self.neurons.readers[name].op.pace for name in variables.alpha]
        return slopes + prices + [WEIGHT_RATE]

    def _split(self, domains: NeuronDomains, name: str) -> Tensor:
        """Tell which undecided elements of a node a domain has narrowed, ``(B, K)``."""
        box, root = domains.ends[name], self.ends[name]
        return (box.lower > root.lower) | (box.upper < root.upper)

    @torch.no_grad()
    def _project(self, variables: Variables, split: Mapping[str, Tensor]) -> None:
        """Return the variables to where they are sound and useful after a step."""
        for value in variables.alpha.values():
            value.clamp_(0, 1)
        for name, value in variables.beta.items():
            value.mul_(split[name])
        variables.weights.clamp_(min=0).div_(variables.weights.sum(1, keepdim=True).clamp(min=1e-12))
