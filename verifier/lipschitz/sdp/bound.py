"""Certified global Lipschitz bounds of systems: prepared, solved and proved."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch

from verifier.config import seconds
from verifier.errors import UsageError
from verifier.lipschitz.sdp.firstorder import FirstOrder
from verifier.lipschitz.sdp.gains import acyclic, product
from verifier.lipschitz.sdp.generic import OWN, Generic, check
from verifier.lipschitz.sdp.guarantee import guarantee
from verifier.lipschitz.sdp.interior import Interior, Outcome
from verifier.lipschitz.sdp.program import Program
from verifier.lipschitz.sdp.pruning import alive, distinct
from verifier.lipschitz.sdp.reproof import TINY, Proof
from verifier.lipschitz.sdp.result import Answer, SdpResult, summary
from verifier.lipschitz.sdp.scaling import balanced, reduced
from verifier.lipschitz.sdp.start import start
from verifier.lipschitz.sdp.system import Block, Signal, System
from verifier.machine import threads_for

Method = Interior | FirstOrder | Generic

ROUGHEST = 1e-3
"""The least gap that the first-order method is asked for."""

NORMS = ("2", "inf", "inf,1")
"""Of the input and the output: 2 to 2, infinity to infinity, and infinity to 1."""


def bound(
    system: System,
    norm: str = "2",
    *,
    timeout: float | None = 60.0,
    gap: float = 1e-8,
    solver: str = "auto",
) -> SdpResult:
    """Bound the Lipschitz constant of a system on the whole space.

    Args:
        system: the network.
        norm: ``2``, ``inf`` (the greatest of the bounds of the outputs one by one), or ``inf,1``, from the norm
            infinity to the sum of the outputs' absolute values.
        timeout: seconds until the solver stops where it is, or None for no limit; proving comes after it.
        gap: of the program and its dual, relative, at which to stop; cvxpy's solvers have tolerances of their own.
        solver: ``auto`` or ``barrier``, the interior-point method of ``sdp.interior``; ``first-order`` for large
            networks that are not implicit, which stops at a gap of 1e-3 at least; or one of cvxpy's as in
            ``cvxpy:CLARABEL``. What any of them finds is proved in the same way.

    Returns:
        A certified bound, never above the product of the layers' gains; a looser one if the time was too short. It is
        infinite where an implicit network could not be proved well-posed.

    Raises:
        UsageError: no such norm, or no such solver.

    Property: sound in floating point, for all matrices within their radii; incomplete. Cost: some 10 to 30 steps, each
    of a few products of matrices as large as all variables together.
    Source: Fazlyab et al., NeurIPS 2019 (arXiv:1906.04893); Pauli et al., ICLR 2024 (arXiv:2401.14033).
    """
    if norm not in NORMS:
        raise UsageError(f"there is no semidefinite bound for norm {norm!r}; choose one of {', '.join(NORMS)}")
    check(solver)
    started = time.monotonic()
    limit = seconds(timeout)
    tasks = [_row(system, k) for k in range(system.output.rows)] if norm == "inf" else [system]
    answers = []
    with threads_for(system.size):
        for k, task in enumerate(tasks):
            left = (limit - (time.monotonic() - started)) / (len(tasks) - k)
            answers.append(_program(alive(task), norm != "2", _method(solver, gap, max(left, 0.0))))
    whole = product(system, norm)
    upper, numbers = max(answer.proof.upper for answer in answers), [answer.multipliers for answer in answers]
    return summary(upper, whole, norm, answers, numbers, time.monotonic() - started)


def within(found: SdpResult, product: float) -> SdpResult:
    """Compare a result with the product of the layers' norms instead of the system's gains."""
    upper = min(found.upper, product)
    method = found.method if found.upper < product else "product"
    return replace(found, upper=upper, product=product, method=method, certified=math.isfinite(upper))


def _method(solver: str, gap: float, timeout: float) -> Method:
    if solver == "first-order":
        return FirstOrder(max(gap, ROUGHEST), timeout)
    return Interior(gap, timeout) if solver in OWN else Generic(solver, timeout)


def _program(system: System, infinite: bool, method: Method) -> Answer:
    """Solve and prove one program."""
    open_proof = Proof(math.inf, 0.0, -math.inf)
    if not system.output.blocks and acyclic(system):
        return Answer(Proof(0.0, 0.0, 0.0), "converged", 0.0)
    try:
        system, exponent = balanced(system)
    except OverflowError:
        return Answer(open_proof, "out of range")
    core, kept = distinct(system)
    outcome = _solve(core if infinite else reduced(core), infinite, method)
    if outcome is None:
        return Answer(open_proof, "stalled" if acyclic(system) else "not well-posed")
    head = len(outcome.y) - len(kept)
    y = torch.zeros(head + system.multipliers, dtype=torch.float64)
    y[:head], y[head + kept] = outcome.y[:head], outcome.y[head:]
    proof = guarantee(system, y, infinite)
    upper = times_power(proof.upper, exponent)
    return Answer(Proof(upper, proof.shift, proof.residual), outcome.reason, outcome.gap, outcome.iterations, y.numpy())


def _solve(system: System, infinite: bool, method: Method) -> Outcome | None:
    """Solve a program, or return None where it has no first point."""
    first = start(system, infinite, method.timeout)
    if first is None:
        return None
    if isinstance(method, FirstOrder) and system.layers and acyclic(system):
        return method.solve(system, infinite, first)
    solver = Interior(method.gap, method.timeout) if isinstance(method, FirstOrder) else method
    return solver.solve(Program(system, infinite, first))


def _row(system: System, k: int) -> System:
    """Keep one output."""
    blocks = {
        group: Block(block.centre[k : k + 1], block.radius[k : k + 1]) for group, block in system.output.blocks.items()
    }
    return System(system.inputs, system.layers, Signal(1, blocks))


def times_power(value: float, exponent: int) -> float:
    """Return a number times a power of two, rounded upward where it leaves the range."""
    if not math.isfinite(value) or value == 0:
        return value
    try:
        return max(math.ldexp(value, exponent), TINY)
    except OverflowError:
        return math.inf
