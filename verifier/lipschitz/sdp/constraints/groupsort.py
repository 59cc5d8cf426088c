"""GroupSort: neighbours in groups of one size are sorted. MaxMin sorts pairs.

For differences dz of inputs and dphi of outputs, ``|dphi| <= |dz|`` and ``sum dphi = sum dz`` in every group. So with
T = lam I + gam 1 1' on it, lam >= 0 and gam of either sign, ``dz' T dz - dphi' T dphi >= 0``.

Source: Pauli et al., "Novel quadratic constraints for extending LipSDP beyond slope-restricted activations", ICLR
2024 (arXiv:2401.14033).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.errors import ShapeError, UsageError


@dataclass(frozen=True, slots=True)
class GroupSort:
    """Groups of ``size`` neighbours: 2 is MaxMin.

    Raises:
        UsageError: the size is not a positive number.
    """

    size: int = 2

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"groups of {self.size} cannot be sorted: a positive size is needed")

    @property
    def constant(self) -> float:
        """The Lipschitz constant of the activation, in every norm that does not depend on the order."""
        return 1.0

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
