"""Bounds from multipliers, proved in spite of rounding, however the multipliers were found.

For any real R, ``M = R R' + (M - R R')``, and R R' has no negative eigenvalue. So the least eigenvalue of M is at least
minus the norm of M - R R', which is computed with a bound on its rounding (Higham, 2nd ed., section 3.1): nothing has
to be known of the algorithm that found R, here Cholesky's for M - shift I. What the forming of M itself rounded is
bounded by the same sums over absolute values. What is missing to 0 is paid for in the bound, see ``chain`` and
``guarantee``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.lipschitz.norms import spectral
from verifier.lipschitz.sdp.constraints.groupsort import GroupSort
from verifier.lipschitz.sdp.spectrum import eigenvalues, relative
from verifier.sets import Box

TRIES = 6
"""Shifts that are tried, each ten times further from the least eigenvalue."""

TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, slots=True)
class Proof:
    """A certified bound.

    Attributes:
        upper: of the Lipschitz constant.
        shift: what had to be added to the matrices, the largest; 0 if they are positive as they stand.
        residual: the least eigenvalue that was proved, before any shift.
    """

    upper: float
    shift: float
    residual: float


def least_eigenvalue(matrix: Tensor, error: float) -> float:
    """Bound the least eigenvalue of any symmetric matrix within ``error`` (in norm) of a symmetric float64 one.

    Property: sound in floating point; minus infinity where nothing is known. Cost: an eigenvalue problem.
    """
    size, eye = len(matrix), torch.eye(len(matrix), dtype=torch.float64)
    if not bool(matrix.isfinite().all()) or not math.isfinite(error):
        return -math.inf
    scale = float(matrix.abs().sum(1).max())
    spectrum = eigenvalues(matrix)
    if spectrum is None:
        return -math.inf
    start = float(spectrum[0])
    away = (1e-15 * scale + 1e-6 * abs(start)) + TINY
    for _ in range(TRIES):
        shift = start - away
        factor, info = torch.linalg.cholesky_ex(matrix - shift * eye)
        if not int(info) and bool(factor.isfinite().all()):
            unit = gamma(size + 4, torch.float64)
            rest = (matrix - shift * eye - factor @ factor.mT).abs().sum(1)
            terms = factor.abs() @ factor.abs().sum(0) + matrix.abs().sum(1) + abs(shift)
            norm = float((rest + unit * terms).max()) * (1 + 2 * unit) + size * size * TINY
            return shift - (norm + error) * (1 + 4 * unit) - 1e-15 * (abs(shift) + norm + error)
        away *= 10
    return -math.inf


def norms(weights: list[Tensor]) -> list[float]:
    """Bound the largest singular values of all weights from above."""
    return [float(spectral(Box(weight.unsqueeze(0), weight.unsqueeze(0)))) for weight in weights]


def chain(weights: list[Tensor], constraint: GroupSort, numbers: list[Tensor], infinite: bool) -> Proof:
    """Prove a bound for a GroupSort network from the numbers of S_0 .. S_{L-1}, see ``sdp.chain``.

    Every S_i > 0 of the family measures layer i by ``|v|_i^2 = v' S_i^-1 v``, which GroupSort does not increase. If
    ``kappa_i S_i >= W_i S_{i-1} W_i'``, then by Schur complements ``W_i' S_i^-1 W_i <= kappa_i S_{i-1}^-1``: layer i
    stretches by at most the root of kappa_i, and the bound is the product. So each matrix pays on its own: with
    ``kappa S - W S' W' >= -delta I``, kappa + delta / lambda_min(S) will do, and lambda_min(S) is the least of lam and
    lam + g gam. At the end, S_L = I for the norm 2. For the norm inf, ``|d|_0^2 <= sum 1 / sigma`` where
    ``|d|_inf <= 1``, and ``|w v|^2 <= w S_{L-1} w' |v|^2``.
    Each pair of matrices is scaled by powers of two to a diagonal near 1 first, which is exact.

    Property: sound in floating point, for any numbers.
    """
    *inner, last = weights
    width = weights[0].shape[1]
    before = torch.diag(numbers[0] if infinite else torch.ones(width, dtype=torch.float64))
    total, shift, residual = 1.0, 0.0, math.inf
    if infinite and not bool((numbers[0] > 0).all()):
        return Proof(math.inf, math.inf, -math.inf)
    for weight, number in zip(inner, numbers[1:], strict=True):
        lam, gam = constraint.split(number)
        after = constraint.matrix(lam, gam)
        powers = torch.exp2(-(after.diagonal().log2() / 2).round())
        pieces = powers.reshape(-1, constraint.size)[:, 0].square()
        ground = (
            lam + constraint.size * gam - 8 * torch.finfo(torch.float64).eps * (lam.abs() + constraint.size * gam.abs())
        )
        least = float((torch.minimum(lam, ground) * pieces).min()) * (1 - 1e-15)
        if not least > 0:
            return Proof(math.inf, math.inf, -math.inf)
        found = _factor(powers.unsqueeze(1) * weight, before, powers.unsqueeze(1) * after * powers, least)
        total, shift, residual = total * found.upper, max(shift, found.shift), min(residual, found.residual)
        before = after
    if infinite:
        ends = float((1 / numbers[0]).sum()) * float((last @ before @ last.mT).squeeze())
        room = float((last.abs() @ before.abs() @ last.abs().mT).squeeze()) * float((1 / numbers[0]).sum())
        total *= ends + gamma(2 * width + 2 * len(before) + 8, torch.float64) * room
    else:
        found = _factor(last, before, torch.eye(len(last), dtype=torch.float64), 1.0)
        total, shift, residual = total * found.upper, max(shift, found.shift), min(residual, found.residual)
    return Proof(_root(total, len(weights)), shift, residual)


def _factor(weight: Tensor, before: Tensor, after: Tensor, least: float) -> Proof:
    """Return kappa with ``kappa after >= weight before weight'``, given the least eigenvalue of ``after``."""
    image = (weight @ before) @ weight.mT
    image = (image + image.mT) / 2
    lower, info = torch.linalg.cholesky_ex(after)
    spectrum = None if int(info) else relative(lower, image)
    if spectrum is None:
        return Proof(math.inf, math.inf, -math.inf)
    kappa = max(float(spectrum[-1]), 0.0) * (1 + 1e-13) + TINY
    sizes = weight.abs() @ (before.abs() @ weight.abs().sum(0)) + kappa * after.abs().sum(1)
    error = gamma(2 * len(before) + 16, torch.float64) * float(sizes.max()) + len(before) ** 2 * TINY
    residual = least_eigenvalue(kappa * after - image, error)
    shift = max(0.0, -residual)
    return Proof((kappa + shift / least * (1 + 1e-15)) * (1 + 1e-15), shift, residual)


def _root(square: float, roundings: int) -> float:
    """Return the root of what was computed with a few roundings, from above."""
    return math.sqrt(square * (1 + gamma(4 * roundings + 16, torch.float64))) * (1 + 1e-15)
