"""Semidefinite bounds by whichever method the size of a network and the time allow."""

from __future__ import annotations

from verifier.config import seconds
from verifier.lipschitz.sdp.bound import bound
from verifier.lipschitz.sdp.choice import choose, largest
from verifier.lipschitz.sdp.gains import acyclic
from verifier.lipschitz.sdp.result import SdpResult
from verifier.lipschitz.sdp.splitting import split
from verifier.lipschitz.sdp.system import System


def solve(
    system: System, norm: str = "2", *, timeout: float | None = 60.0, gap: float = 1e-8, solver: str = "auto"
) -> SdpResult:
    """Bound the Lipschitz constant of a system on the whole space.

    Args:
        system: the network.
        norm: see ``bound``.
        timeout: seconds, or None for no limit.
        gap: see ``bound``.
        solver: ``auto`` takes the interior-point method, or for larger networks the first-order one, or pieces; another
            name is passed on to ``bound``.

    Raises:
        UsageError: no such norm or solver.

    Property: sound in floating point.
    """
    method = choose(system, norm, timeout) if solver == "auto" else solver
    if method == "split":
        pieces = largest(system, norm, seconds(timeout))
        assert pieces is not None, "there are such pieces where they are chosen"
        return split(system, norm, largest=pieces, timeout=timeout, gap=gap)
    if method == "product":  # nothing ends in time, but what can be stopped may be better
        method = "first-order" if system.layers and acyclic(system) else "barrier"
    return bound(system, norm, timeout=timeout, gap=gap, solver=method)
