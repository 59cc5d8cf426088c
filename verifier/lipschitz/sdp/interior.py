"""A primal-dual interior-point method for semidefinite programs whose structure is known.

    minimise <cost, y>  subject to  Z_k(y) = Z0_k + sum_j y_j A_kj >= 0,

blocks in batches ``(B, n, n)``. The dual has matrices X_k >= 0 with ``sum_k <A_kj, X_k> = cost_j``. The method is the
predictor-corrector one of Mehrotra with the direction of Helmberg, Rendl, Vanderbei, Wolkowicz, Kojima and Monteiro:
with Y = Z^-1, the Newton system is ``H_ij = sum_k tr(X_k A_ki Y_k A_kj)``, which a model forms by its structure. Every
iterate y is strictly feasible up to rounding, so that a run can end at any time; X becomes feasible on the way.
Tensors live where the model's are.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from verifier.lipschitz.sdp.lanczos import ROUGH, step_to_boundary
from verifier.lipschitz.sdp.newton import Blocks, Newton, cholesky

START = 30.0
"""The gap of the first pair, relative: X is that multiple of Z^-1. Where it is too small, X gets feasible slowly."""

NEAR, NEARER = 0.9, 0.08
"""How far towards the boundary steps go: more, the longer those of the predictor were. Bolder ones lose the centre."""

BACK, STALLED = 0.9, 1e-4
"""How far steps shrink that rounding makes infeasible, and below what length they lead nowhere."""


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

    def solve(self, model: Model, first: Tensor | None = None) -> Outcome:
        """Minimise, from a strictly feasible point ``(m,)`` or from the model's own.

        Neither failed factorisations nor time-outs are errors: the best point so far is returned. No step begins that
        would end too late if it took as long as the last one.
        """
        deadline = time.monotonic() + self.timeout
        begun = model.start() if first is None else first
        point = _Point.start(model, begun)
        if point is None:  # feasible, but not in floating point
            return Outcome(begun, math.inf, math.inf, 0, "stalled")
        cost, gap, lack, reason, count, spent = model.cost, math.inf, math.inf, "iterations", 0, 0.0
        best = point.y
        for count in range(self.iterations + 1):
            best = point.y if float(cost @ point.y) <= float(cost @ best) else best
            rest = cost - model.adjoint(point.x)
            distance = _inner(point.x, point.z) + float((rest * point.y).abs().sum())
            gap = distance / max(abs(float(cost @ point.y)), 1e-12)
            lack = float(rest.norm() / (1 + cost.norm()))
            if gap < self.gap and lack < max(self.gap, 1e-7):
                reason = "converged"
                break
            now = time.monotonic()
            if now + spent > deadline or count == self.iterations:
                reason = "timeout" if count < self.iterations else reason
                break
            moved = point.step(model, cost)
            if moved is None:
                reason = "stalled"
                break
            point, spent = moved, time.monotonic() - now
        return Outcome(point.y if reason == "converged" else best, gap, lack, count, reason)


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """An iterate: y, Z(y) and X with their Cholesky factors, and Y = Z^-1."""

    y: Tensor
    z: Blocks
    x: Blocks
    z_factors: Blocks
    x_factors: Blocks
    inverse: Blocks

    @staticmethod
    def start(model: Model, y: Tensor) -> _Point | None:
        """Begin on what would be the central path if X were feasible, or return None if y is not."""
        z = model.slack(y)
        factors = cholesky(z)
        if factors is None:
            return None
        inverse = [torch.cholesky_inverse(factor) for factor in factors]
        degree = sum(block.shape[0] * block.shape[1] for block in z)
        x = [START * max(abs(float(model.cost @ y)), 1e-12) / degree * block for block in inverse]
        bases = cholesky(x)
        return None if bases is None else _Point(y, z, x, factors, bases, inverse)

    def step(self, model: Model, cost: Tensor) -> _Point | None:
        """Go one predictor-corrector step, or return None where rounding has won."""
        newton = Newton.of(model.schur(self.x, self.inverse), model.tail)
        if newton is None:
            return None
        pull, mean = model.adjoint(self.inverse), _inner(self.x, self.z) / sum(len(b) * b.shape[1] for b in self.z)
        dz = model.linear(newton.solve(-cost))
        half = [a @ b for a, b in zip(dz, self.inverse, strict=True)]
        dx = [-a - _symmetric(a @ b) for a, b in zip(self.x, half, strict=True)]
        primal = step_to_boundary(self.x_factors, dx, 1.0, ROUGH)
        dual = step_to_boundary(self.z_factors, dz, 1.0, ROUGH)
        after = _inner(_along(self.x, dx, primal), _along(self.z, dz, dual)) / _inner(self.x, self.z)
        shortest = min(primal, dual)
        target = mean * min(1.0, max(1e-6, max(after, 0.0) ** 2, 0.5 if shortest < 0.1 else 0.0))
        bend = [_symmetric(a @ b) for a, b in zip(dx, half, strict=True)]
        dy = newton.solve(target * pull - cost - model.adjoint(bend))
        dz = model.linear(dy)
        terms = zip(self.x, dz, self.inverse, bend, strict=True)
        dx = [target * c - a - _symmetric(a @ (b @ c)) - d for a, b, c, d in terms]
        if not (bool(dy.isfinite().all()) and all(bool(block.isfinite().all()) for block in dx)):
            return None
        near = NEAR + NEARER * shortest
        primal, dual = step_to_boundary(self.x_factors, dx, near), step_to_boundary(self.z_factors, dz, near)
        return self._moved(model, dx, dy, primal, dual)

    def _moved(self, model: Model, dx: Blocks, dy: Tensor, primal: float, dual: float) -> _Point | None:
        """Go steps, or what of them stays feasible in spite of rounding; None where both are too short."""
        bases = cholesky(x := _along(self.x, dx, primal))
        while bases is None and primal > STALLED:
            primal *= BACK
            bases = cholesky(x := _along(self.x, dx, primal))
        factors = cholesky(z := model.slack(y := self.y + dual * dy))
        while factors is None and dual > STALLED:
            dual *= BACK
            factors = cholesky(z := model.slack(y := self.y + dual * dy))
        if bases is None or factors is None or max(primal, dual) < STALLED:
            return None
        return _Point(y, z, x, factors, bases, [torch.cholesky_inverse(factor) for factor in factors])


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def _along(base: Blocks, change: Blocks, step: float) -> Blocks:
    return [a + step * b for a, b in zip(base, change, strict=True)]


def _inner(left: Blocks, right: Blocks) -> float:
    return sum(float((a * b).sum()) for a, b in zip(left, right, strict=True))
