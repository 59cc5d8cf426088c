"""An activation as what it leaves alone and a layer of slopes: ``phi(z) = M z + B h(D z)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from verifier.errors import UsageError
from verifier.lipschitz.sdp.system import Block, Builder, Signal

NEURON, LAYER = "neuron", "layer"


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Of a layer of n values.

    Attributes:
        kept: M ``(n, n)``, or None for 0.
        reads: D ``(m, n)``; None for the identity, as for ``gives``.
        gives: B ``(n, m)``.
        lower, upper: of the slopes of h, ``(m,)``.
        ties: of its multipliers, ``(m,)``.
    """

    kept: Block | None
    reads: Block | None
    gives: Block | None
    lower: Tensor
    upper: Tensor
    ties: Tensor

    def onto(self, builder: Builder, signal: Signal) -> Signal:
        """Put the activation behind a signal."""
        before = signal if self.reads is None else signal.after(self.reads)
        given = builder.slopes(before, self.lower, self.upper, self.ties)
        given = given if self.gives is None else given.after(self.gives)
        return given if self.kept is None else signal.after(self.kept) + given


class Activation(Protocol):
    """A family of activations."""

    def stretch(self, order: float) -> float:
        """Bound its Lipschitz constant in the norm of an order, 2 or infinity."""

    def parts(self, width: int, variant: str = NEURON) -> Parts | None:
        """Split a layer of so many values, or return None where the activation changes nothing.

        Args:
            width: of the layer.
            variant: ``neuron`` for a multiplier for each neuron, or group of them; ``layer`` for one for all. What is
                called ``network``, multipliers that couple neurons, is not valid: it compares the steps that two
                neurons make between two inputs as if they were steps of one neuron (Pauli et al., arXiv:2103.06794).

        Raises:
            ShapeError: the width does not fit.
            UsageError: no such variant.
        """

    def apply(self, builder: Builder, signal: Signal, variant: str = NEURON) -> Signal:
        """Put the activation behind a signal; arguments and errors are those of ``parts``."""


def apply(activation: Activation, builder: Builder, signal: Signal, variant: str = NEURON) -> Signal:
    """Put an activation behind a signal."""
    parts = activation.parts(signal.rows, variant)
    return signal if parts is None else parts.onto(builder, signal)


def tied(ties: Tensor, variant: str) -> Tensor:
    """Return the ties of a variant, given those of one multiplier a neuron."""
    if variant not in (NEURON, LAYER):
        raise UsageError(f"there is no variant {variant!r}: choose {NEURON} or {LAYER}")
    return ties if variant == NEURON else torch.zeros_like(ties)


def grouped(count: int, one: Tensor, units: int = 0) -> Block:
    """Repeat a matrix along the diagonal, its entries being wrong by so many units of roundoff at most."""
    centre = torch.block_diag(*[one] * count)
    return Block(centre, units * torch.finfo(torch.float64).eps * centre.abs())
