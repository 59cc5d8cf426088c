"""How to run: every choice a user may make, with defaults for all."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

from verifier.errors import UsageError


@dataclass(frozen=True, slots=True)
class Config:
    """Options of a verification run.

    Attributes:
        timeout: seconds of wall-clock time, or None for no limit.
        device: ``auto`` (CUDA where there is one), ``cpu`` or ``cuda``.
        threads: CPU threads, or None for a choice by the problem's size.
        attack: whether to look for counterexamples beside the search (the search may meet one all the same).
        seed: of every random draw.
        max_iterations: rounds of branch and bound, or None; with it and no timeout a run is reproducible.
        cluster: address of a Ray cluster that a long search is spread over, or None, see ``cluster.connect.connected``.

    Raises:
        UsageError: a number is none, or out of range.
    """

    timeout: float | None = None
    device: str = "auto"
    threads: int | None = None
    attack: bool = True
    seed: int = 0
    max_iterations: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        seconds(self.timeout)
        for name, least in (("threads", 1), ("seed", 0), ("max_iterations", 0)):
            value = getattr(self, name)
            if value is None and name != "seed":
                continue
            if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
                raise UsageError(f"{name} is a whole number from {least} on, not {value!r}")


def seconds(timeout: float | None) -> float:
    """Return how many seconds a run has, infinitely many for None.

    Raises:
        UsageError: it is not a number.
    """
    if timeout is None:
        return math.inf
    if not isinstance(timeout, numbers.Real) or isinstance(timeout, bool) or math.isnan(timeout):
        raise UsageError(f"a timeout is a number of seconds, or None for no limit, not {timeout!r}")
    return float(timeout)
