"""What a worker needs for a search, and what it answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

from torch import Tensor

from verifier.attack import Checker
from verifier.result import Counterexample, Progress
from verifier.search.bab import D, Search, Strategy
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.leaves import Leaves

MOST_FOUND = 16
"""Points that an answer has at most."""

Recipe = Callable[[float], Strategy[Any]]
"""Makes a strategy for a deadline, a value of ``time.monotonic()``: clocks differ between machines."""


@dataclass(frozen=True, slots=True)
class Item(Generic[D]):
    """Open domains to search.

    Attributes:
        domains: on the CPU.
        seconds: for how long.
        left: seconds until the whole run has to end.
        stop: whether to answer at once when a counterexample was found; else the search goes on.
    """

    domains: D
    seconds: float
    left: float
    stop: bool


@dataclass(frozen=True, slots=True)
class Part(Generic[D]):
    """What became of an item: whatever is neither ``open`` nor ``stuck`` is closed.

    Attributes:
        open: domains, or None.
        stuck: cases with a domain that has nothing left to split, ``(C,)``.
        stuck_weight: the share of the whole problem of such domains.
        found: counterexamples by the network in float64, not replayed on a file.
        visited: domains that were bounded.
        closed: how many of these were closed.
    """

    open: D | None
    stuck: Tensor
    stuck_weight: float
    found: list[Counterexample]
    visited: int
    closed: int


def recipe(strategy: Strategy[Any]) -> Recipe:
    """Return what makes a strategy anew, in another process."""
    if isinstance(strategy, NeuronSplitting):
        sizes = {"batch": strategy.batch, "iterations": strategy.iterations}
        sizes |= {"candidates": strategy.count, "trial": strategy.trial}
        return partial(NeuronSplitting, strategy.root, strategy.exact[1], **sizes)
    return partial(timeless, strategy)


def timeless(strategy: Strategy[Any], deadline: float) -> Strategy[Any]:
    """Return a strategy that goes by no deadline."""
    return strategy


@dataclass(slots=True)
class Finds:
    """A witness that keeps what it finds."""

    checker: Checker
    stop: bool
    found: list[Counterexample] = field(default_factory=list)

    def __call__(self, case: Tensor, x: Tensor) -> Counterexample | None:
        """Check candidates; a counterexample is returned only if the search is to end with it."""
        if len(self.found) >= MOST_FOUND or (one := self.checker(case, x)) is None:
            return None
        self.found.append(one)
        return one if self.stop else None


def work(strategy: Strategy[D], checker: Checker, item: Item[D]) -> Part[D]:
    """Search an item for its time.

    Raises:
        TimeoutError, MemoryError: as ``Search.run``; nothing is known of the item then.
    """
    finds = Finds(checker, item.stop)
    search: Search[D] = Search(strategy, finds, Progress(), Leaves(complete=False))
    search.frontier.push(item.domains)
    search.run(time.monotonic() + item.seconds)
    still = len(search.frontier)
    return Part(
        search.frontier.pop(still) if still else None,
        search.stuck,
        search.stuck_weight,
        finds.found,
        search.progress.visited,
        search.progress.closed,
    )
