"""GroupSort: neighbours in groups of one size are sorted. MaxMin sorts pairs.

For differences dz of inputs and dphi of outputs, ``|dphi| <= |dz|`` and ``sum dphi = sum dz`` in every group. So with
T = lam I + gam 1 1' on it, lam >= 0 and gam of either sign, ``dz' T dz - dphi' T dphi >= 0``.

A group's mean can also be passed by, ``M z = (1 1' / g) z``. What is orthogonal to it has g - 1 coordinates ``D z``, D
with orthonormal rows, and sorting gives them a norm that is not larger: the sum of the constraints of as many slopes in
[-1, 1] with one multiplier. Of a pair, ``z_1 - z_2`` gets a slope, and no root of 2 is needed. The rows are Helmert's,
``(1, .., 1, -j, 0, ..) / sqrt(j (j + 1))``.

Source: Pauli et al., "Novel quadratic constraints for extending LipSDP beyond slope-restricted activations", ICLR
2024 (arXiv:2401.14033).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.errors import ShapeError, UsageError
from verifier.lipschitz.sdp.constraints.parts import NEURON, Parts, apply, grouped, tied
from verifier.lipschitz.sdp.system import Block, Builder, Signal


@dataclass(frozen=True, slots=True)
class GroupSort:
    """Groups of ``size`` neighbours: 2 is MaxMin.

    Attributes:
        size: of the groups.
        sums: whether it is used that sorting keeps the sum of a group. Without it, the mean is a variable like what is
            orthogonal to it, with a multiplier of its own that is at least 0. Chains of layers do not need it.

    Raises:
        UsageError: the size is not a positive number.
    """

    size: int = 2
    sums: bool = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"groups of {self.size} cannot be sorted: a positive size is needed")

    def groups(self, width: int) -> int:
        """Return how many groups a layer has.

        Raises:
            ShapeError: it does not consist of whole groups.
        """
        if width % self.size:
            raise ShapeError(f"a layer of {width} neurons has no whole groups of {self.size}")
        return width // self.size

    def basis(self, width: int) -> Tensor:
        """Return a rotation ``(n, n)`` that makes all multipliers diagonal: in each group, its mean comes first."""
        one = torch.eye(self.size, dtype=torch.float64)
        one[:, 0] = 1
        rotation = torch.linalg.qr(one)[0]
        found: Tensor = torch.block_diag(*[rotation] * self.groups(width))
        return found

    def ties(self, width: int) -> Tensor:
        """Return which neurons share a number in that basis, as columns ``(n, numbers)``.

        Two numbers a group: on the mean, lam + size gam, and on what is orthogonal to it, lam.
        """
        one = torch.zeros(self.size, min(2, self.size), dtype=torch.float64)
        one[0, 0] = 1
        one[1:, -1] = 1
        found: Tensor = torch.block_diag(*[one] * self.groups(width))
        return found

    def split(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Turn those numbers into lam and gam, one of each a group."""
        mean, rest = numbers.reshape(-1, min(2, self.size)).T[[0, -1]]
        return rest, (mean - rest) / self.size

    def matrix(self, lam: Tensor, gam: Tensor) -> Tensor:
        """Return ``lam I + gam 1 1'`` of all groups, ``(n, n)``; one rounding on the diagonal."""
        eye, ones = torch.eye(self.size).to(lam), torch.ones(self.size, self.size).to(lam)
        found: Tensor = torch.block_diag(*(lam.reshape(-1, 1, 1) * eye + gam.reshape(-1, 1, 1) * ones))
        return found

    def stretch(self, order: float) -> float:
        """See ``Activation``: the same in both norms."""
        return 1.0

    def parts(self, width: int, variant: str = NEURON) -> Parts | None:
        """See ``Activation``."""
        count, size = self.groups(width), self.size
        groups, one = torch.arange(count), torch.ones(1, size, dtype=torch.float64)
        if size == 1:
            return None
        reads, gives = grouped(count, *_helmert(size)), grouped(count, *_given(size))
        ties = groups.repeat_interleave(size - 1)
        kept = grouped(count, (one.mT @ one) / size, units=1) if self.sums else None
        if not self.sums:
            reads, gives = _stack(reads, grouped(count, one), 0), _stack(gives, grouped(count, one.mT / size, 1), 1)
            ties = torch.cat([ties, groups + count])
        slope = torch.ones(len(ties), dtype=torch.float64)
        return Parts(kept, reads, gives, -slope, slope, tied(ties, variant))

    def apply(self, builder: Builder, signal: Signal, variant: str = NEURON) -> Signal:
        """See ``Activation``."""
        return apply(self, builder, signal, variant)


def _helmert(size: int) -> tuple[Tensor, int]:
    """Return D ``(size - 1, size)`` of a group, and the units of roundoff by which it may be wrong."""
    if size == 2:
        return torch.tensor([[1.0, -1.0]], dtype=torch.float64), 0
    j = torch.arange(1, size, dtype=torch.float64).unsqueeze(1)
    at = torch.arange(size)
    rows = torch.where(at < j, 1.0, torch.where(at == j, -j, 0.0))
    return rows / (j * (j + 1)).sqrt(), 4


def _given(size: int) -> tuple[Tensor, int]:
    """Return B ``(size, size - 1)`` of a group, the pseudo-inverse of D, and its units of roundoff."""
    matrix, units = _helmert(size)
    return (matrix.mT / 2, 0) if size == 2 else (matrix.mT, units)


def _stack(one: Block, other: Block, axis: int) -> Block:
    return Block(torch.cat([one.centre, other.centre], axis), torch.cat([one.radius, other.radius], axis))
