"""Which solver a semidefinite program goes to: the project's own, or one of cvxpy's."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from verifier.errors import UsageError
from verifier.lipschitz.norms import Norm
from verifier.lipschitz.sdp.result import SdpResult
from verifier.lipschitz.sdp.system import System

OWN = ("auto", "barrier")
"""Names of the project's own solver."""

PREFIX = "cvxpy:"

SEMIDEFINITE = ("CLARABEL", "SCS", "CVXOPT", "SDPA", "MOSEK", "COPT")
"""Those of cvxpy's solvers that take semidefinite programs."""


def check(name: str) -> None:
    """Refuse a solver that is not there.

    Raises:
        UsageError: with what there is.
    """
    if name in OWN:
        return
    if not name.startswith(PREFIX):
        raise UsageError(f"there is no solver {name!r}; choose auto, barrier or cvxpy:NAME, as in cvxpy:CLARABEL")
    cp: Any = import_module("cvxpy")
    able, wanted = [each for each in SEMIDEFINITE if each in cp.installed_solvers()], name.removeprefix(PREFIX)
    if wanted not in able:
        raise UsageError(f"cvxpy has no solver {wanted!r} for semidefinite programs here, only {', '.join(able)}")


def solve(system: System, norm: Norm, solver: str, timeout: float) -> SdpResult:
    """Bound the Lipschitz constant of a system, from the norm p at the input to q at the output.

    Args:
        system: with one output, or with several for the norms 2,2 and inf,1.
        norm: of which q does not matter for one output.
        solver: a name that ``check`` accepts.
        timeout: seconds.
    """
    name = "2" if norm.p == 2 else "inf,1"
    from verifier.lipschitz.sdp.bound import bound

    return bound(system, name, timeout=timeout)
