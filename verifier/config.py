"""How to run: every choice a user may make, with defaults for all."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    timeout: float | None = None
    device: str = "auto"
    threads: int | None = None
    attack: bool = True
    seed: int = 0
    max_iterations: int | None = None
    cluster: str | None = None
