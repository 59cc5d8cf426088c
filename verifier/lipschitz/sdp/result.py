"""What a semidefinite bound answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from verifier.lipschitz.sdp.reproof import Proof


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


class Part(Protocol):
    """What is known of how one program, or several, were solved and proved; see ``SdpResult``."""

    @property
    def shift(self) -> float:
        """What had to be added."""

    @property
    def residual(self) -> float:
        """The least eigenvalue."""

    @property
    def gap(self) -> float:
        """Between program and dual."""

    @property
    def iterations(self) -> int:
        """Of the solver."""

    @property
    def reason(self) -> str:
        """Why it ended."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Of one program: the bound, how its solver ended, and the variables of the balanced weights."""

    proof: Proof
    reason: str
    gap: float = math.inf
    iterations: int = 0
    multipliers: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @property
    def shift(self) -> float:
        """See ``SdpResult``."""
        return self.proof.shift

    @property
    def residual(self) -> float:
        """See ``SdpResult``."""
        return self.proof.residual


def summary(
    upper: float,
    product: float,
    norm: str,
    parts: Sequence[Part],
    multipliers: Sequence[npt.NDArray[np.float64]],
    seconds: float,
) -> SdpResult:
    """Put together what is known of all programs: the bound is the smaller of theirs and the product of norms."""
    open_ones = [part.reason for part in parts if part.reason != "converged"]
    return SdpResult(
        upper=min(upper, product),
        product=product,
        norm=norm,
        method="sdp" if upper < product else "product",
        certified=math.isfinite(min(upper, product)),
        closed=not open_ones,
        multipliers=tuple(multipliers),
        shift=max((part.shift for part in parts), default=0.0),
        residual=min((part.residual for part in parts), default=0.0),
        gap=max((part.gap for part in parts), default=0.0),
        iterations=sum(part.iterations for part in parts),
        seconds=seconds,
        reason=open_ones[0] if open_ones else "converged",
    )
