"""Branch and bound: the loop, which knows nothing of bounds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from verifier.result import Counterexample, Progress
from verifier.search.domains import Domains, Frontier
from verifier.search.leaves import Leaves

MAX_DOMAINS = 4_000_000
"""Open domains kept at once before the search gives up for lack of memory."""

D = TypeVar("D", bound=Domains)


class Strategy(Protocol[D]):
    """A way to search: what a domain is, how it is split, and how its parts are bounded."""

    batch: int
    """How many domains one round takes; halved when memory runs out."""

    def split(self, domains: D) -> D:
        """Cut each domain into parts that cover it."""
        ...

    def bound(self, domains: D) -> tuple[D, Tensor]:
        """Bound domains; also return a candidate counterexample for each, ``(B, n)``."""
        ...


class Witness(Protocol):
    """Tests candidates."""

    def __call__(self, case: Tensor, x: Tensor) -> Counterexample | None:
        """Return a checked counterexample among points ``(B, n)`` of cases ``(B,)``, if there is one."""
        ...


@dataclass
class Search(Generic[D]):
    """A search under way: it can be run for a while, left, and run on.

    Attributes:
        strategy: how to split and bound.
        witness: how to test candidates.
        progress: counts, for people.
        leaves: what was closed.
        frontier: the open domains.
        stuck: cases ``(C,)`` with an open domain that has nothing left to split.
        stuck_weight: the share of the whole problem of such domains.
    """

    strategy: Strategy[D]
    witness: Witness
    progress: Progress
    leaves: Leaves = field(default_factory=Leaves)
    frontier: Frontier[D] = field(default_factory=Frontier)
    counterexample: Counterexample | None = None
    rounds: int = 0
    stuck: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    stuck_weight: float = 0.0

    def run(self, until: float, max_rounds: int | None = None) -> None:
        """Search until ``time.monotonic()`` passes a time, everything is closed, or a counterexample is found.

        Raises:
            MemoryError: more domains are open than allowed, or not even one fits into memory.
        """
        while len(self.frontier) and self.counterexample is None and time.monotonic() < until:
            if max_rounds is not None and self.rounds >= max_rounds:
                return
            if len(self.frontier) > MAX_DOMAINS:
                raise MemoryError(f"more than {MAX_DOMAINS} open domains")
            self.rounds += 1
            batch = self.frontier.pop(self.strategy.batch)
            try:
                children, points = self.strategy.bound(self.strategy.split(batch))
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                self.frontier.push(batch)
                if self.strategy.batch == 1:
                    raise MemoryError("a single domain does not fit into device memory") from None
                self.strategy.batch //= 2
                continue
            self.progress.visited += len(children)
            self.progress.closed += self.enter(children, points)
            self.progress.open, self.progress.bound = len(self.frontier), self.frontier.worst

    def enter(self, domains: D, points: Tensor) -> int:
        """Take in bounded domains, and try a point of each that is open; return how many are closed."""
        closed = domains.bound > 0
        self.counterexample = self.witness(domains.case[~closed], points[~closed])
        stuck = ~closed & domains.final
        self.stuck = torch.cat([self.stuck.to(domains.case), domains.case[stuck]]).unique()
        self.stuck_weight += float(domains.weight[stuck].sum())
        self.frontier.push(domains.take(~closed & ~stuck))
        self.leaves.add(domains.take(closed))
        return int(closed.sum())

    def cases(self) -> Tensor:
        """Return the cases that are not closed."""
        found: Tensor = torch.cat([self.stuck, self.frontier.cases().to(self.stuck)]).unique()
        return found

    @property
    def weight(self) -> float:
        """The share of the whole problem that is not closed."""
        return self.frontier.weight + self.stuck_weight

    def drop(self, case: Tensor) -> None:
        """Forget cases that were decided elsewhere."""
        self.frontier.drop(case)
        self.stuck = self.stuck[~torch.isin(self.stuck, case.to(self.stuck))]
        self.stuck_weight *= bool(len(self.stuck))


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out: on the CPU, torch raises a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
