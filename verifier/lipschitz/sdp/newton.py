"""Factored matrices of an interior-point method."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Blocks = list[Tensor]
"""Block-diagonal matrices, batches ``(B, n, n)`` of blocks of one size."""


@dataclass(frozen=True, slots=True, eq=False)
class Newton:
    """A factored Newton matrix, scaled to a diagonal of ones; the last variables were eliminated."""

    factor: Tensor
    cross: Tensor
    size: Tensor

    @staticmethod
    def of(matrix: Tensor, tail: int) -> Newton | None:
        """Factor a matrix with as little added to its diagonal as it needs, or return None."""
        size = matrix.diagonal().clamp(min=1e-300).sqrt()
        scaled, head = matrix / size / size.unsqueeze(1), len(matrix) - tail
        cross = scaled[:head, head:]
        reduced = scaled[:head, :head] - cross @ cross.mT
        eye = torch.eye(head, dtype=scaled.dtype, device=scaled.device)
        for add in (0.0, 1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10):
            factor, info = torch.linalg.cholesky_ex(reduced + add * eye)
            if not int(info) and bool(factor.isfinite().all()):
                return Newton(factor, cross, size)
        return None

    def solve(self, right: Tensor) -> Tensor:
        """Solve for a vector."""
        right, head = right / self.size, len(self.factor)
        top = torch.cholesky_solve((right[:head] - self.cross @ right[head:]).unsqueeze(1), self.factor).squeeze(1)
        return torch.cat([top, right[head:] - self.cross.mT @ top]) / self.size


def cholesky(blocks: Blocks) -> Blocks | None:
    """Return Cholesky factors, or None if a block is not positive definite."""
    found = []
    for block in blocks:
        factor, info = torch.linalg.cholesky_ex(block)
        if bool(info.any()) or not bool(factor.isfinite().all()):
            return None
        found.append(factor)
    return found
