"""Generic solvers in the place of the project's own: what they find is only proposed, and proved like all else."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verifier.errors import UsageError
from verifier.lipschitz.sdp import reference
from verifier.lipschitz.sdp.interior import Outcome
from verifier.lipschitz.sdp.program import Program

OWN = ("auto", "barrier", "first-order")
"""Names of the project's own solvers."""

PREFIX = "cvxpy:"

LIMITS = {
    "CLARABEL": "time_limit",
    "SCS": "time_limit_secs",
    "CVXOPT": None,
    "SDPA": None,
    "MOSEK": None,
    "COPT": None,
}
"""Those of cvxpy's solvers that take semidefinite programs, and what they call the seconds that they may take."""


def check(name: str) -> None:
    """Refuse a solver that is not there.

    Raises:
        UsageError: with what there is.
    """
    if name in OWN:
        return
    if not name.startswith(PREFIX):
        raise UsageError(
            f"there is no solver {name!r}; choose auto, barrier, first-order or cvxpy:NAME, as in cvxpy:CLARABEL"
        )
    cp: Any = import_module("cvxpy")
    able, wanted = [each for each in LIMITS if each in cp.installed_solvers()], name.removeprefix(PREFIX)
    if wanted not in able:
        raise UsageError(f"cvxpy has no solver {wanted!r} for semidefinite programs here, only {', '.join(able)}")


@dataclass(frozen=True, slots=True)
class Generic:
    """One of cvxpy's solvers, by a name as in ``cvxpy:CLARABEL``, and the seconds that it may take."""

    name: str
    timeout: float = math.inf

    def solve(self, model: Program) -> Outcome:
        """Minimise; where the solver fails, the first point is returned."""
        cp: Any = import_module("cvxpy")
        started = time.monotonic()
        problem, variables = reference.program(model.system, model.infinite)
        kind, limit = self.name.removeprefix(PREFIX), self.timeout - (time.monotonic() - started)
        key = LIMITS[kind]
        extra = {key: max(limit, 1e-3)} if key is not None and math.isfinite(limit) else {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of inaccurate solutions, which the proof pays for
                problem.solve(solver=kind, **extra)
        except cp.SolverError:
            return Outcome(model.start(), math.inf, math.inf, 0, "stalled")
        iterations = int(getattr(problem.solver_stats, "num_iters", None) or 0)
        if any(variable.value is None for variable in variables):
            reason = "timeout" if time.monotonic() - started >= self.timeout else "stalled"
            return Outcome(model.start(), math.inf, math.inf, iterations, reason)
        done = problem.status == cp.OPTIMAL
        return Outcome(_point(variables), math.inf, math.inf, iterations, "converged" if done else "stalled")


def _point(variables: list[Any]) -> Tensor:
    """Return the values of all variables in a row; those just below 0 become 0."""
    values = [np.atleast_1d(np.asarray(variable.value, dtype=np.float64)) for variable in variables]
    return torch.from_numpy(np.concatenate(values)).clamp(min=0)
