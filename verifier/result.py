"""What a run answers: one verdict enum, a reason where there is no verdict, and what was reached."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from specs import Query


class Verdict(Enum):
    """The answer: ``unsat`` (the property holds), ``sat`` (a checked counterexample), or ``unknown``."""

    UNSAT = "unsat"
    SAT = "sat"
    UNKNOWN = "unknown"


class Reason(Enum):
    """Why a verdict is unknown."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
    INTERRUPTED = "interrupted"
    NUMERICAL = "numerical"
    UNSUPPORTED = "unsupported domain"
    GAVE_UP = "gave up"


@dataclass(frozen=True, slots=True, eq=False)
class Counterexample:
    """A point of the input set at which the network violates the property, replayed on the model file.

    ``x`` and ``y`` are flat, in declaration order, float64; ``case`` is the violated case of the specification. Of a
    ``query``, which may have several networks, ``x`` and ``y`` are the joint inputs and outputs.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    case: int
    query: Query | None = None


@dataclass(slots=True)
class Progress:
    """What a run has reached: kept up to date while it runs, so that an interrupt loses nothing.

    ``phases`` has seconds by name; ``bound`` is the worst lower bound of an open domain (the property holds once every
    one is above 0).
    """

    phases: dict[str, float] = field(default_factory=dict)
    visited: int = 0
    open: int = 0
    closed: int = 0
    bound: float | None = None

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the seconds of a block to a phase."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.phases[phase] = self.phases.get(phase, 0.0) + time.monotonic() - begun


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The answer of a run.

    ``reason`` says why a verdict is unknown, ``detail`` adds words for a person; ``leaves`` are the closed parts of the
    search (``search.leaves.Leaves``), one entry for each way of searching.
    """

    verdict: Verdict
    reason: Reason | None
    seconds: float
    progress: Progress
    counterexample: Counterexample | None = None
    detail: str = ""
    leaves: tuple[Any, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        witness = self.counterexample
        return {
            "verdict": self.verdict.value,
            "reason": None if self.reason is None else self.reason.value,
            "detail": self.detail,
            "seconds": self.seconds,
            "phases": self.progress.phases,
            "domains": {
                "visited": self.progress.visited,
                "open": self.progress.open,
                "closed": self.progress.closed,
            },
            "bound": self.progress.bound,
            "counterexample": None
            if witness is None
            else {"x": witness.x.tolist(), "y": witness.y.tolist(), "case": witness.case},
        }
