"""Activations that act on each neuron alone, with slopes in an interval: ReLU, tanh, leaky ReLU and their like.

For differences dz of inputs and dphi of outputs, and every multiplier t >= 0 of a neuron,

    2 t (b dz - dphi) (dphi - a dz) >= 0.

Source: Fazlyab et al., NeurIPS 2019 (arXiv:1906.04893); the multipliers that couple neurons are left out, which are
not valid (Pauli et al., arXiv:2103.06794).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from verifier.errors import UsageError
from verifier.lipschitz.sdp.constraints.parts import NEURON, Parts, apply, tied
from verifier.lipschitz.sdp.system import Builder, Signal


@dataclass(frozen=True, slots=True)
class Slopes:
    """Slopes within ``[lower, upper]``: ``[0, 1]`` for ReLU, sigmoid (in ``[0, 1/4]``), tanh.

    Raises:
        UsageError: the ends are not finite, or the lower one is not below the upper.
    """

    lower: float = 0.0
    upper: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower) and math.isfinite(self.upper) and self.lower < self.upper):
            raise UsageError(f"slopes in [{self.lower}, {self.upper}]: two finite ends are needed, the lower first")

    def stretch(self, order: float) -> float:
        """See ``Activation``: the same in both norms."""
        return max(abs(self.lower), abs(self.upper))

    def parts(self, width: int, variant: str = NEURON) -> Parts:
        """See ``Activation``."""
        lower, upper = (torch.full((width,), end, dtype=torch.float64) for end in (self.lower, self.upper))
        return Parts(None, None, None, lower, upper, tied(torch.arange(width), variant))

    def apply(self, builder: Builder, signal: Signal, variant: str = NEURON) -> Signal:
        """See ``Activation``."""
        return apply(self, builder, signal, variant)
