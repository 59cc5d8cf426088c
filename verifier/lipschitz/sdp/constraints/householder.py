"""Householder activations: groups are reflected where they lie on the wrong side of a plane.

``phi(z) = z`` if ``v'z > 0``, and ``(I - 2 v v') z`` otherwise, with |v| = 1: so ``phi(z) = (I - v v') z + v |v'z|``.
MaxMin is the one with ``v = (-1, 1) / sqrt 2``, up to the order in which it gives the two.

Source: Singla et al., ICLR 2022 (arXiv:2108.04062); Pauli et al., ICLR 2024 (arXiv:2401.14033) for the constraint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.errors import ShapeError, UsageError
from verifier.lipschitz.sdp.constraints.parts import NEURON, Parts, apply, tied
from verifier.lipschitz.sdp.system import Block, Builder, Signal


@dataclass(frozen=True, slots=True)
class Householder:
    """Reflections of groups of neighbours, as many values as the vector has.

    Attributes:
        vectors: one for all groups, or one for each in order, all of one length; they need not be normalised, which
            is done exactly.

    Raises:
        UsageError: a vector is zero or not finite, or they differ in length.
    """

    vectors: tuple[tuple[float, ...], ...] = ((1.0, -1.0),)

    def __post_init__(self) -> None:
        """Check the vectors."""
        if len({len(vector) for vector in self.vectors}) != 1:
            raise UsageError("the vectors of reflections need to be of one length")
        for vector in self.vectors:
            if not all(math.isfinite(entry) for entry in vector) or not any(vector):
                raise UsageError(f"{vector} is no vector to reflect along: it must be finite and not zero")

    @property
    def size(self) -> int:
        """How many values a group has."""
        return len(self.vectors[0])

    def stretch(self, order: float) -> float:
        """See ``Activation``: a reflection is a rotation but for its sign, and norms differ by the root of the size."""
        return 1.0 if order == 2 else math.sqrt(self.size) * (1 + 1e-15)

    def parts(self, width: int, variant: str = NEURON) -> Parts:
        """See ``Activation``."""
        count = width // self.size
        if width % self.size or len(self.vectors) not in (1, count):
            raise ShapeError(f"a layer of {width} values does not fit {len(self.vectors)} vectors of {self.size}")
        scaled = [self._scaled(vector) for vector in self.vectors * (count // len(self.vectors))]
        unit = gamma(self.size + 4, torch.float64)
        given, kept = [], []
        for vector in scaled:
            given.append((vector / vector.square().sum()).unsqueeze(1))
            kept.append(torch.outer(vector, given[-1].flatten()))
        gives, away = torch.block_diag(*given), torch.block_diag(*kept)
        centre = torch.eye(width, dtype=torch.float64) - away
        return Parts(
            kept=Block(centre, (unit * away.abs() + gamma(1, torch.float64) * centre.abs()) * (away != 0)),
            reads=Block.exact(torch.block_diag(*[vector.unsqueeze(0) for vector in scaled])),
            gives=Block(gives, unit * gives.abs()),
            lower=-torch.ones(count, dtype=torch.float64),
            upper=torch.ones(count, dtype=torch.float64),
            ties=tied(torch.arange(count), variant),
        )

    def apply(self, builder: Builder, signal: Signal, variant: str = NEURON) -> Signal:
        """See ``Activation``."""
        return apply(self, builder, signal, variant)

    @staticmethod
    def _scaled(vector: tuple[float, ...]) -> Tensor:
        """Scale a vector by a power of two to entries near 1, so that no product underflows.

        Raises:
            UsageError: its entries are too far from each other.
        """
        exponent = math.frexp(max(abs(entry) for entry in vector))[1]
        found = [math.ldexp(entry, -exponent) for entry in vector]
        if any(entry and abs(entry) < 1e-140 for entry in found):
            raise UsageError(f"the entries of {vector} are too far from each other")
        return torch.tensor(found, dtype=torch.float64)
