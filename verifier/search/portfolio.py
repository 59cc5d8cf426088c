"""Which way to search, decided by measured progress: every way runs in turns, the one that closes more gets more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from verifier.result import Counterexample, Progress
from verifier.search.bab import Search, Witness
from verifier.search.by_input import InputDomains, InputSplitting
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.leaves import Leaves
from verifier.search.neuron_batch import NeuronDomains
from verifier.search.refine import refine
from verifier.search.root import Root, Roots

FIRST_TURN = 1.0
"""Seconds of the first turn; each later turn is longer by half."""

SLOW, TRIAL = 0.1, 0.25
"""A way that closes at most this part of what the best one does has turns of this part of the length."""

ROOT_ITERATIONS = 100
ROOT_SHARE = 0.3
"""Steps, and part of the time left, that optimising the bounds of one input box may take before its search."""

FIRST_SEARCH = 0.05
REFINE_SHARE = 0.25
"""Parts of the time left: for a search before its root is refined, and for refining it."""

REFINE_ROUNDS = (4, 8)
"""Rounds of the refinements of a root, one after the other, each with a search behind it."""

LEAST_SEARCH = 5.0
"""Seconds that a search gets at least before its root is refined."""

WORTHWHILE = 0.95
"""A refinement that leaves more than this part of the gaps of the relaxations is dropped, and is the last."""

FOREVER = 300.0
"""Seconds that count as left where there is no deadline."""


class Arm(Protocol):
    """A way to search that can be run for a while; ``leaves`` are what it closed."""

    leaves: Leaves

    @property
    def counterexample(self) -> Counterexample | None:
        """The counterexample found, if any."""
        ...

    def run(self, until: float, rounds: int | None) -> None:
        """Search on until ``time.monotonic()`` passes a time."""
        ...

    def cases(self) -> Tensor:
        """Return the cases that are still open."""
        ...

    def drop(self, case: Tensor) -> None:
        """Forget cases that were closed elsewhere."""
        ...

    def left(self) -> float:
        """Return the part of the whole that is still open, from 0 to 1."""
        ...

    def idle(self) -> bool:
        """Tell whether there is nothing left to do, though cases may be open."""
        ...


class InputArm:
    """Input splitting over all cases at once."""

    def __init__(
        self,
        strategy: InputSplitting,
        case: Tensor,
        witness: Witness,
        progress: Progress,
        make: Callable[..., Search[InputDomains]] = Search,
    ) -> None:
        """Take the cases to search; ``make`` makes the search."""
        self.leaves = Leaves()
        self.search = make(strategy, witness, progress, self.leaves)
        self.search.frontier.push(strategy.roots(case, torch.full_like(case, -math.inf, dtype=torch.float64)))

    @property
    def counterexample(self) -> Counterexample | None:
        """The counterexample found, if any."""
        return self.search.counterexample

    def run(self, until: float, rounds: int | None) -> None:
        """See ``Arm.run``."""
        self.search.run(until, rounds)

    def cases(self) -> Tensor:
        """See ``Arm.cases``."""
        return self.search.cases()

    def drop(self, case: Tensor) -> None:
        """See ``Arm.drop``."""
        self.search.drop(case)

    def left(self) -> float:
        """See ``Arm.left``."""
        return self.search.weight

    def idle(self) -> bool:
        """See ``Arm.idle``."""
        return not len(self.search.frontier)


class NeuronArm:
    """Neuron splitting, one input box after the other; a case without unstable neurons to split stays open."""

    def __init__(
        self,
        roots: Roots,
        case: Tensor,
        witness: Witness,
        progress: Progress,
        on_root: Callable[[Root, Tensor], Counterexample | None],
        make: Callable[..., Search[NeuronDomains]] = Search,
    ) -> None:
        """Take the cases to search; ``on_root`` may try candidates on each root's bounds, ``make`` makes searches."""
        self.roots, self.witness, self.progress, self.on_root, self.make = roots, witness, progress, on_root, make
        self.leaves = Leaves()
        self.waiting, self.stuck = case, case[:0]
        self.search: Search[NeuronDomains] | None = None
        self.refinements: tuple[int, ...] = ()
        self.patience, self.unvisited = math.inf, 0
        self.counterexample: Counterexample | None = None

    def run(self, until: float, rounds: int | None) -> None:
        """See ``Arm.run``."""
        while self.counterexample is None and time.monotonic() < until:
            if self.search is None or not len(self.search.frontier):
                if not len(self.waiting):
                    return
                if self.search is not None:
                    self.stuck = torch.cat([self.stuck, self.search.stuck])
                self.search = self._open()
            if self.counterexample is None:
                begun, visited = time.monotonic(), self.progress.visited
                self.search.run(min(until, begun + self.patience), rounds)
                self.patience -= time.monotonic() - begun
                self.unvisited -= self.progress.visited - visited
                self.counterexample = self.search.counterexample
            if rounds is not None and self.search.rounds >= rounds:
                return
            if self.patience <= 0 and self.counterexample is None and len(self.search.frontier):
                self.patience = max(LEAST_SEARCH, self._share(FIRST_SEARCH))
                if self.unvisited <= 0:
                    self.search = self._refine(self.search)

    def _share(self, part: float) -> float:
        """Return a part of the time left, in seconds."""
        return part * min(FOREVER, self.roots.deadline - time.monotonic())

    def _refine(self, search: Search[NeuronDomains]) -> Search[NeuronDomains]:
        """Refine the root of a search, and start anew from it; go on with the search if that gains too little."""
        strategy, case = search.strategy, search.cases()
        assert isinstance(strategy, NeuronSplitting)
        if self.refinements and strategy.folded is not None:
            until = time.monotonic() + self._share(REFINE_SHARE)
            root = refine(strategy.root, self.refinements[0], until, self.roots.deadline)
            if root.slack() <= WORTHWHILE * strategy.root.slack():
                which = int(self.roots.cases.set_of[case[0]])
                self.roots.replace(which, root)
                return self._start(which, case, self.refinements[1:])
        self.patience = math.inf
        return search

    def _open(self) -> Search[NeuronDomains]:
        """Take the next input box."""
        which = self.roots.cases.set_of[self.waiting[0]]
        here = self.roots.cases.set_of[self.waiting] == which
        case, self.waiting = self.waiting[here], self.waiting[~here]
        return self._start(int(which), case, REFINE_ROUNDS)

    def _start(self, which: int, case: Tensor, refinements: tuple[int, ...]) -> Search[NeuronDomains]:
        """Bound cases of an input box, close what that closes, and start a search of the rest.

        A search is refined once it has cost more than bounding each end of each undecided neuron will.
        """
        cases, deadline = self.roots.cases, self.roots.deadline
        until = time.monotonic() + self._share(ROOT_SHARE)
        root = self.roots.improve(which, case, ROOT_ITERATIONS, until)
        least, row = self.roots.least(cases, root, case).max(1)
        strategy = NeuronSplitting(root, cases, deadline)
        self.refinements, self.patience = refinements, max(LEAST_SEARCH, self._share(FIRST_SEARCH))
        self.unvisited = 2 * sum(len(elements) for elements in strategy.neurons.elements.values())
        search = self.make(strategy, self.witness, self.progress, self.leaves)
        still = (~(least > 0)).nonzero().flatten()
        if len(still) and not strategy.neurons.elements:
            self.stuck = torch.cat([self.stuck, case[still]])
        elif len(still):
            alpha_row = still * cases.bound.shape[1] + row[still]
            search.enter(*strategy.bound(strategy.roots(case[still], least[still], row[still], alpha_row)))
            self.counterexample = search.counterexample or self.on_root(root, search.cases())
        return search

    def cases(self) -> Tensor:
        """See ``Arm.cases``."""
        parts = [self.waiting, self.stuck]
        if self.search is not None:
            parts.append(self.search.cases())
        found: Tensor = torch.cat(parts).unique()
        return found

    def drop(self, case: Tensor) -> None:
        """See ``Arm.drop``."""
        self.waiting = self.waiting[~torch.isin(self.waiting, case)]
        self.stuck = self.stuck[~torch.isin(self.stuck, case)]
        if self.search is not None:
            self.search.drop(case)

    def left(self) -> float:
        """See ``Arm.left``."""
        searched = 0.0 if self.search is None else self.search.weight
        return (len(self.waiting) + len(self.stuck)) / max(1, len(self.roots.cases)) + searched

    def idle(self) -> bool:
        """See ``Arm.idle``."""
        return not len(self.waiting) and (self.search is None or not len(self.search.frontier))


def take_turns(
    arms: list[Arm], case: Tensor, until: float, rounds: int | None, between: Callable[[Tensor], Counterexample | None]
) -> tuple[Counterexample | None, Tensor]:
    """Run several ways of searching until every case is closed by one of them.

    Args:
        arms: the ways, the most promising first.
        case: the open cases.
        until: value of ``time.monotonic()`` at which to stop.
        rounds: limit for each arm, or None.
        between: called with the open cases after each turn; may find a counterexample.

    Returns:
        A counterexample or None, and the cases that are still open.
    """
    rate, turn, seconds = [math.inf] * len(arms), 0, FIRST_TURN
    while len(case) and time.monotonic() < until:
        busy = [k for k, arm in enumerate(arms) if not arm.idle()]
        if not busy:
            break
        fastest = max(busy, key=rate.__getitem__)
        k = busy[turn // 4 % len(busy)] if turn % 4 == 3 else fastest  # each fourth turn goes round
        before, begun = arms[k].left(), time.monotonic()
        trial = rate[k] <= SLOW * rate[fastest] and k != fastest
        arms[k].run(min(until, begun + seconds * (TRIAL if trial else 1)), rounds)
        if arms[k].counterexample is not None:
            return arms[k].counterexample, case
        spent = time.monotonic() - begun
        rate[k] = max(0.0, math.log(max(before, 1e-12) / max(arms[k].left(), 1e-12))) / max(spent, 1e-3)
        still = arms[k].cases()
        gone = case[~torch.isin(case, still)]
        case = case[torch.isin(case, still)]
        for arm in arms:
            arm.drop(gone)
        turn, seconds = turn + 1, seconds * 1.5
        if len(case) and (found := between(case)) is not None:
            return found, case
        if rounds is not None and spent < 1e-3:
            break
    return None, case
