"""What a semidefinite bound answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class SdpResult:
    """A certified global Lipschitz bound.

    Attributes:
        upper: the bound, rounding included: the smaller of the semidefinite one and the product of norms.
        product: the product of norms.
        norm: ``2`` or ``inf``.
        method: ``sdp`` or ``product``, whichever gave the bound.
        certified: whether ``upper`` is finite: then it is proved, be it only by the product.
        closed: whether the program was solved to its optimum.
        multipliers: what the proof rests on, one array a program, for weights scaled to norms near 1: rho, or
            tau and mu, and then t for systems, dead neurons left out; q or sigma and then the numbers of each S_i for
            chains of GroupSort.
        shift: the largest shift that made a matrix of the proof positive; its price is in the bound.
        residual: the least eigenvalue that was proved before any shift.
        gap: between the objectives of the program and its dual, relative; an estimate.
        iterations: of the interior-point method, of all programs together.
        seconds: of the run.
        reason: why the run ended: ``converged``, ``stalled``, ``iterations``, ``timeout``,
            ``out of range`` for weights whose scaling would round, or ``not well-posed`` for an implicit network for
            which no multipliers were found that prove it so.
    """

    upper: float
    product: float
    norm: str
    method: str
    certified: bool
    closed: bool
    multipliers: tuple[npt.NDArray[np.float64], ...]
    shift: float
    residual: float
    gap: float
    iterations: int
    seconds: float
    reason: str
