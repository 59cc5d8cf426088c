"""Eigenvalues that may fail to be found."""

from __future__ import annotations

import torch
from torch import Tensor


def eigenvalues(matrix: Tensor) -> Tensor | None:
    """Return the eigenvalues of symmetric matrices ``(..., n)``, ascending, or None where the algorithm fails."""
    if not bool(matrix.isfinite().all()):
        return None
    try:
        found: Tensor = torch.linalg.eigvalsh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return None
    return found


def relative(factor: Tensor, matrix: Tensor) -> Tensor | None:
    """Return the eigenvalues of ``L^-1 M L^-T`` for Cholesky factors L and symmetric M ``(..., n, n)``, ascending."""
    if factor.shape[-1] == 1:
        ratio = (matrix / factor / factor).squeeze(-1)
        return ratio if bool(ratio.isfinite().all()) else None
    half = torch.linalg.solve_triangular(factor, matrix, upper=False)
    whole = torch.linalg.solve_triangular(factor, half.mT, upper=False)
    return eigenvalues((whole + whole.mT) / 2)
