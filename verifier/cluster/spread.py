"""One search on many workers: open domains go out in parts, and come back as what is left of them.

Each worker searches its part for a moment and returns the domains that are still open, which are handed out again: so
those who have nothing to do get a share of what others have left. A domain counts as closed only when the worker that
had it has answered without it; the domains of one that dies are open as they were. Nothing is handed out between two
turns of a search, so whoever looks at it sees all of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from verifier.attack import Checker
from verifier.cluster.connect import check_installed, connected
from verifier.cluster.plan import Item, Part, recipe, work
from verifier.cluster.pool import Pool, Worker
from verifier.search.bab import MAX_DOMAINS, D, Search, Strategy

ALONE = 2.0
"""Seconds that a search goes on by itself first: many end sooner, and starting workers takes longer."""

SLICE, SHORT = 2.0, 0.5
"""Seconds that a worker searches before it answers; the latter while there is too little for all of them."""

BATCHES = 4
"""Rounds' worth of domains that are handed to a worker at most."""

LATE = 5.0
"""Seconds after the end of the whole run at which answers are no longer waited for."""

POLL = 0.2
"""Seconds between two looks at the clock."""


class Searcher(Worker):
    """Searches items; it keeps the plan of the search that it worked on last."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._number = -1
        self._plan: tuple[Strategy[Any], Checker]

    def run(self, number: int, references: list[Any], item: Item[Any]) -> Part[Any]:
        """Search an item of the search ``number``, whose recipe and checker are in the cluster's store."""
        if number != self._number:
            import ray

            make, checker = ray.get(references)
            self._plan, self._number = (make(time.monotonic() + item.left), checker), number
        return work(*self._plan, item)


class Team:
    """The workers for the searches of a run; they start when the first is needed.

    Args:
        address: see ``connect.connected``.
        checker: tells counterexamples.
        deadline: of the run, a value of ``time.monotonic()``.
        stack: keeps the connection.
        alone: seconds that each search goes on by itself first.
    """

    def __init__(self, address: str, checker: Checker, deadline: float, stack: ExitStack, alone: float = ALONE) -> None:
        self.address, self.deadline, self.alone = address, deadline, alone
        self._checker, self._stack, self._count = checker, stack, 0

    @cached_property
    def pool(self) -> Pool[int]:
        """The workers, one for each core of the cluster."""
        machines = self._stack.enter_context(connected(self.address))
        return Pool(Searcher, (), sum(machines.cores))

    @cached_property
    def _witness(self) -> Any:
        import ray

        return ray.put(self._checker.without_file())

    def plan(self, strategy: Strategy[Any]) -> tuple[int, list[Any]]:
        """Put what workers need for a search into the cluster's store; return its number, and where that is."""
        import ray

        self._count += 1
        return self._count, [ray.put(recipe(strategy)), self._witness]

    def search(self, *arguments: Any) -> Search[Any]:
        """Make a search as ``Search`` does, that this team works on."""
        return SpreadSearch(*arguments, team=self)


@contextmanager
def team(address: str, checker: Checker, deadline: float) -> Iterator[Callable[..., Search[Any]]]:
    """Return what makes searches that are spread over a cluster, for the length of a block.

    Raises:
        ClusterError: Ray is not installed; at the first search that lasts, there is no cluster at the address.
    """
    check_installed()
    with ExitStack() as stack:
        yield Team(address, checker, deadline, stack).search


@dataclass
class SpreadSearch(Search[D]):
    """A search whose domains a team works on.

    Attributes:
        team: the workers.
        given: the domains that are handed out, by the number of the request.
        trusting: whether workers' counterexamples have all been confirmed.
    """

    team: Team = field(kw_only=True)
    given: dict[int, D] = field(default_factory=dict)
    trusting: bool = True
    spent: float = 0.0
    _requests: int = 0

    def run(self, until: float, max_rounds: int | None = None) -> None:
        """See ``Search.run``; rounds are counted on this machine only.

        Raises:
            ClusterError: the cluster is of no use.
        """
        begun = time.monotonic()
        if self.spent < self.team.alone:
            super().run(min(until, begun + self.team.alone - self.spent), max_rounds)
            self.spent += time.monotonic() - begun
        try:
            while self.counterexample is None and self._goes_on(until):
                self._step(until)
        finally:
            if self.given:
                self.team.pool.cancel()
                for domains in self.given.values():
                    self.frontier.push(domains)
                self.given.clear()

    def _goes_on(self, until: float) -> bool:
        """Tell whether there is something to hand out, or to wait for."""
        now = time.monotonic()
        if self.given:
            return now < self.team.deadline + LATE
        return len(self.frontier) > 0 and now < until

    def _step(self, until: float) -> None:
        """Hand out what is open, and take answers in; without any worker yet, go on here."""
        if len(self.frontier) > MAX_DOMAINS:
            raise MemoryError(f"more than {MAX_DOMAINS} open domains")
        pool = self.team.pool
        self._hand_out(until)
        if not self.given:
            super().run(min(until, time.monotonic() + POLL))
        for answer in pool.wait(POLL if self.given else 0.0):
            if not answer.lost:
                self._take_in(answer.value)
                del self.given[answer.key]
                continue
            self.frontier.push(self.given.pop(answer.key))
        self.progress.open = len(self.frontier) + sum(map(len, self.given.values()))
        self.progress.bound = self.frontier.worst

    def _hand_out(self, until: float) -> None:
        """Give each idle worker an equal share of the open domains, the least bounds first."""
        pool, now = self.team.pool, time.monotonic()
        if now >= until or not pool.idle:
            return
        share = min(math.ceil(len(self.frontier) / pool.count), BATCHES * self.strategy.batch)
        enough = len(self.frontier) >= pool.idle
        seconds = min(SLICE if enough else SHORT, until - now)
        while pool.idle and len(self.frontier):
            domains = self.frontier.pop(share)
            self._requests += 1
            item = Item(domains.map(lambda tensor: tensor.cpu()), seconds, self.team.deadline - now, self.trusting)
            pool.start(self._requests, *self._plan, item)
            self.given[self._requests] = domains

    @cached_property
    def _plan(self) -> tuple[int, list[Any]]:
        return self.team.plan(self.strategy)

    def _take_in(self, part: Part[D]) -> None:
        """Enter what became of an item."""
        self.progress.visited += part.visited
        self.progress.closed += part.closed
        self.stuck = torch.cat([self.stuck.to(part.stuck), part.stuck]).unique()
        self.stuck_weight += part.stuck_weight
        self.leaves.leave()
        if part.open is not None:
            self.frontier.push(part.open)
        for one in part.found:
            point = torch.from_numpy(one.x).unsqueeze(0)
            if self.counterexample is None:
                self.counterexample = self.witness(torch.tensor([one.case]), point)
                self.trusting = self.trusting and self.counterexample is not None
