"""A primal-dual interior-point method for semidefinite programs whose structure is known.

    minimise <cost, y>  subject to  Z_k(y) = Z0_k + sum_j y_j A_kj >= 0,

blocks in batches ``(B, n, n)``. The dual has matrices X_k >= 0 with ``sum_k <A_kj, X_k> = cost_j``. The method is the
predictor-corrector one of Mehrotra with the direction of Helmberg, Rendl, Vanderbei, Wolkowicz, Kojima and Monteiro:
with Y = Z^-1, the Newton system is ``H_ij = sum_k tr(X_k A_ki Y_k A_kj)``, which a model forms by its structure. Every
iterate y is strictly feasible up to rounding, so that a run can end at any time.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from verifier.lipschitz.sdp.newton import Blocks, Newton, cholesky
from verifier.lipschitz.sdp.spectrum import relative

EXACT = 400
"""Size of blocks up to which the step to the boundary is found by eigenvalues, and not by trial."""

BACK, NEAR = 0.9, 0.97
"""How far trials of steps shrink, and how far towards the boundary they go."""

CENTRED = 0.5
"""The Newton decrement at which a point counts as near the central path."""

CENTRING, SHRINK = 40, 0.7
"""Steps to the central path at most, and how far each goes to the boundary: further, it would have to come back."""

NEARLY, SLOW = 2.0, 0.8
"""A decrement below the first that shrinks by less than the second will not shrink for long."""

STALLED = 1e-4
"""Steps shorter than that lead nowhere."""


class Model(Protocol):
    """A semidefinite program in m variables."""

    @property
    def cost(self) -> Tensor:
        """The objective ``(m,)``."""

    @property
    def tail(self) -> int:
        """How many of the last variables never meet each other in H."""

    def start(self) -> Tensor:
        """Return a strictly feasible point ``(m,)``."""

    def slack(self, y: Tensor) -> Blocks:
        """Return ``Z(y)``."""

    def linear(self, y: Tensor) -> Blocks:
        """Return ``Z(y) - Z(0)``."""

    def adjoint(self, x: Blocks) -> Tensor:
        """Return ``sum_k <A_kj, X_k>``, ``(m,)``, for symmetric X."""

    def schur(self, x: Blocks, inverse: Blocks) -> Tensor:
        """Return H, ``(m, m)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Where a run ended.

    Attributes:
        y: the last point, or the best where it has not converged; strictly feasible up to rounding.
        gap: between the objectives of the pair, relative; an estimate.
        infeasibility: of the dual, relative.
        iterations: of them.
        reason: ``converged``, ``stalled``, ``timeout`` or ``iterations``.
    """

    y: Tensor
    gap: float
    infeasibility: float
    iterations: int
    reason: str


@dataclass(frozen=True, slots=True)
class Interior:
    """The method: relative gap to stop at, the seconds and the iterations that it may take."""

    gap: float = 1e-8
    timeout: float = math.inf
    iterations: int = 100

    def solve(self, model: Model) -> Outcome:
        """Minimise. Neither failed factorisations nor time-outs are errors: the best point so far is returned."""
        deadline = time.monotonic() + self.timeout
        y = model.start()
        if cholesky(model.slack(y)) is None:  # feasible, but not in floating point
            return Outcome(y, math.inf, math.inf, 0, "stalled")
        y, x = _centred(model, y, deadline)
        z = model.slack(y)
        factors = cholesky(z)
        assert factors is not None, "steps stay strictly feasible"
        inverse = [torch.cholesky_inverse(factor) for factor in factors]
        degree = sum(block.shape[0] * block.shape[1] for block in z)
        gap, lack, reason, count, best = math.inf, math.inf, "iterations", 0, y
        for count in range(self.iterations + 1):
            objective = float(model.cost @ y)
            best = y if objective <= float(model.cost @ best) else best
            rest = model.cost - model.adjoint(x)
            gap = (_inner(x, z) + float((rest * y).abs().sum())) / max(abs(objective), 1e-12)
            lack = float(rest.norm() / (1 + model.cost.norm()))
            if gap < self.gap and lack < max(self.gap, 1e-7):
                reason = "converged"
                break
            if time.monotonic() > deadline or count == self.iterations:
                reason = "timeout" if count < self.iterations else reason
                break
            moved = _step(model, x, z, factors, inverse, degree)
            if moved is None:
                reason = "stalled"
                break
            dx, dy, primal, dual = moved
            fresh = _fresh(model, y, dy, dual)
            if fresh is None or max(primal, dual) < STALLED:
                reason = "stalled"
                break
            y, z, factors = fresh
            x = [a + primal * b for a, b in zip(x, dx, strict=True)]
            inverse = [torch.cholesky_inverse(factor) for factor in factors]
        return Outcome(y if reason == "converged" else best, gap, lack, count, reason)


def _centred(model: Model, y: Tensor, deadline: float) -> tuple[Tensor, Blocks]:
    """Go to the central path by Newton's method for ``-logdet Z(y)``, from a feasible point, the objective constant.

    Where it has its minimum there, the gradient is ``cost / mu`` for some mu. Near it, at a decrement below 1,
    ``X = mu (Y - Y dZ Y)`` is positive definite and feasible. Where the way there gets slow, the matrices being near
    singular, ``X = mu Y`` is nearly so. Failing that, the first point is returned with the multiple of its Y that comes
    nearest to being feasible.
    """
    begun = y
    factors = cholesky(model.slack(y))
    assert factors is not None, "the first point is strictly feasible"
    first = [torch.cholesky_inverse(factor) for factor in factors]
    pull = model.adjoint(first)
    scale = max(float(model.cost @ pull / (pull @ pull)), 1e-6 * float(model.cost.norm() / pull.norm()))
    before = math.inf
    for _ in range(CENTRING):
        factors = cholesky(model.slack(y))
        assert factors is not None, "steps stay strictly feasible"
        inverse = [torch.cholesky_inverse(factor) for factor in factors]
        pull, newton = model.adjoint(inverse), Newton.of(model.schur(inverse, inverse), model.tail)
        if newton is None:
            break
        along = newton.solve(model.cost)
        rate = float(along @ pull) / float(along @ model.cost)  # 1 / mu
        slope = pull - rate * model.cost
        dy = newton.solve(slope)
        dz = model.linear(dy)
        decrement = math.sqrt(max(float(dy @ slope), 0.0))
        if decrement < CENTRED and rate > 0:
            return y, [(a - _symmetric(a @ b @ a)) / rate for a, b in zip(inverse, dz, strict=True)]
        if SLOW * before < decrement < NEARLY and rate > 0:
            return y, [block / rate for block in inverse]
        before = decrement
        if time.monotonic() > deadline or decrement < CENTRED:
            break
        step = _search(model, y, dy, dz, factors)
        if not step:
            break
        y = y + step * dy
    return begun, [scale * block for block in first]


def _search(model: Model, y: Tensor, dy: Tensor, dz: Blocks, factors: Blocks) -> float:
    """Return the step along which ``-logdet Z`` is least: by eigenvalues, it is a sum of logarithms."""
    rates = []
    for factor, direction in zip(factors, dz, strict=True):
        found = relative(factor, direction)
        if found is None:
            return 0.0
        rates.append(found.flatten())
    rate = torch.cat(rates)
    least = float(rate.min())
    low, high = 0.0, SHRINK / -least if least < 0 else 1e3
    for _ in range(40):  # bisection: the function is convex
        middle = (low + high) / 2
        if float((rate / (1 + middle * rate)).sum()) > 0:
            low = middle
        else:
            high = middle
    step = low
    while cholesky(model.slack(y + step * dy)) is None:
        step *= BACK
    return step


def _fresh(model: Model, y: Tensor, dy: Tensor, step: float) -> tuple[Tensor, Blocks, Blocks] | None:
    """Go a step, or what of it stays feasible in spite of rounding."""
    for _ in range(20):
        moved = y + step * dy
        z = model.slack(moved)
        factors = cholesky(z)
        if factors is not None:
            return moved, z, factors
        step *= BACK
    return None


def _step(
    model: Model, x: Blocks, z: Blocks, factors: Blocks, inverse: Blocks, degree: int
) -> tuple[Blocks, Tensor, float, float] | None:
    """Return directions and lengths of one predictor-corrector step, or None where rounding has won."""
    newton = Newton.of(model.schur(x, inverse), model.tail)
    bases = cholesky(x)
    if newton is None or bases is None:
        return None
    mean = _inner(x, z) / degree
    pull = model.adjoint(inverse)

    def direction(target: float, bend: Blocks | None) -> tuple[Blocks, Tensor, Blocks]:
        right = target * pull - model.cost
        if bend is not None:
            right = right - model.adjoint(bend)
        dy = newton.solve(right)
        dz = model.linear(dy)
        dx = [target * c - a - _symmetric(a @ b @ c) for a, b, c in zip(x, dz, inverse, strict=True)]
        return dx if bend is None else [a - b for a, b in zip(dx, bend, strict=True)], dy, dz

    dx, _, dz = direction(0.0, None)
    primal, dual = _length(bases, x, dx, 1.0), _length(factors, z, dz, 1.0)
    after = _inner(_along(x, dx, primal), _along(z, dz, dual)) / degree
    centring = min(1.0, max(1e-6, (max(after, 0.0) / mean) ** 2))
    if min(primal, dual) < 0.1:
        centring = max(centring, 0.5)
    bend = [_symmetric(a @ b @ c) for a, b, c in zip(dx, dz, inverse, strict=True)]
    dx, dy, dz = direction(centring * mean, bend)
    if not (bool(dy.isfinite().all()) and all(bool(block.isfinite().all()) for block in dx)):
        return None
    return dx, dy, _length(bases, x, dx, NEAR), _length(factors, z, dz, NEAR)


def _length(factors: Blocks, base: Blocks, change: Blocks, near: float) -> float:
    """Return the longest step up to 1, ``near`` as far as the boundary, that keeps ``base + step change`` positive."""
    best = 1.0
    for factor, matrix, direction in zip(factors, base, change, strict=True):
        if factor.shape[1] <= EXACT:
            found = relative(factor, direction)
            if found is None:
                return 0.0
            least = float(found.min())
            best = min(best, -near / least if least < 0 else 1.0)
            continue
        step = best
        while step > STALLED / 10 and cholesky([matrix + step / near * direction]) is None:
            step *= BACK
        best = min(best, step)
    return best


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def _along(base: Blocks, change: Blocks, step: float) -> Blocks:
    return [a + step * b for a, b in zip(base, change, strict=True)]


def _inner(left: Blocks, right: Blocks) -> float:
    return sum(float((a * b).sum()) for a, b in zip(left, right, strict=True))
