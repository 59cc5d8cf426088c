"""How far a direction leads until a matrix is no longer positive definite.

For ``M = L L'`` and a symmetric direction D, ``M + s D`` is positive definite while s times the least eigenvalue of
``L^-1 D L^-T`` is above -1. In large matrices that eigenvalue is found by Lanczos's method, to a few per cent.

Source: Toh, "A note on the calculation of step-lengths in interior-point methods for semidefinite programming", 2002.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from verifier.lipschitz.sdp.spectrum import relative

EXACT = 120
"""Size of matrices up to which all eigenvalues are computed."""

ITERATIONS, EVERY = 80, 5
"""Lanczos vectors at most, and after how many the eigenvalue is looked at."""

CLOSE, ROUGH = 0.03, 0.15
"""The relative residuals at which it is close enough, and nearly so."""


def step_to_boundary(factors: list[Tensor], directions: list[Tensor], near: float, close: float = CLOSE) -> float:
    """Return the longest step up to 1 that goes at most ``near`` as far as the boundary; 0 if none is found.

    Factors are of Cholesky, and directions symmetric: blocks ``(B, n, n)``. An estimate in large blocks, ``close`` as
    the relative residual of the eigenvalue is: the caller factors what it steps to.
    """
    least = 0.0
    for factor, direction in zip(factors, directions, strict=True):
        if len(factor) == 1 and factor.shape[1] > EXACT:
            least = min(least, _least(factor[0], direction[0], -near, close))
            continue
        found = relative(factor, direction)
        if found is None:
            return 0.0
        least = min(least, float(found.min()))
    return min(1.0, near / -least) if least < 0 else 1.0


def _least(factor: Tensor, direction: Tensor, enough: float, close: float) -> float:
    """Estimate the least eigenvalue of ``L^-1 D L^-T`` from below, or return anything above ``enough`` if it is."""
    size, upper = len(factor), factor.mT
    most = min(ITERATIONS, size)
    vector = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(factor)
    basis, alpha, beta = factor.new_empty(most + 1, size), [], []
    basis[0] = vector / vector.norm()
    found = 0.0
    for k in range(1, most + 1):
        image = torch.linalg.solve_triangular(upper, basis[k - 1].unsqueeze(1), upper=True)
        image = torch.linalg.solve_triangular(factor, direction @ image, upper=False).squeeze(1)
        known = basis[:k]
        for again in (False, True):  # once is not enough for orthogonal vectors
            parts = known @ image
            image = torch.addmv(image, known.mT, parts, alpha=-1)
            if not again:
                alpha.append(float(parts[-1]))
        beta.append(float(image.norm()))
        if k % EVERY == 0 or k == most or beta[-1] < 1e-12:
            if not math.isfinite(sum(alpha) + sum(beta)):
                return -math.inf
            values, vectors = np.linalg.eigh(np.diag(alpha) + np.diag(beta[:-1], -1))
            lack = abs(beta[-1] * float(vectors[-1, 0]))
            found = float(values[0]) - lack
            if found > enough or lack <= close * abs(found) or beta[-1] < 1e-12:
                break
        basis[k] = image / beta[-1]
    return found
