"""Which way to search, decided by measured progress: every way runs in turns, the one that closes more gets more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from verifier.bounds.schedule import BOTH, CROWN
from verifier.graph.graph import INPUT, Graph
from verifier.problem import Cases
from verifier.result import Counterexample, Progress
from verifier.search.bab import Search, Witness
from verifier.search.by_input import InputSplitting
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.root import Root

FIRST_TURN = 1.0
"""Seconds of the first turn; each later turn is longer by half."""

ROOT_ITERATIONS = 100
ROOT_SHARE = 0.2
"""Steps, and part of the time left, that optimising the bounds of one input box may take before its search."""


class Arm(Protocol):
    """A way to search that can be run for a while."""

    counterexample: Counterexample | None

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


class InputArm:
    """Input splitting over all cases at once."""

    def __init__(self, graph: Graph, cases: Cases, case: Tensor, witness: Witness, progress: Progress) -> None:
        """Take the cases to search; they are bounded whole first, to know what to split."""
        self.search: Search[Any] = Search(InputSplitting(graph, cases), witness, progress)
        self.search.frontier.push(self.search.strategy.roots(case, torch.full_like(case, -math.inf, dtype=torch.float64)))

    @property
    def counterexample(self) -> Counterexample | None:
        """The counterexample found, if any."""
        return self.search.counterexample

    def run(self, until: float, rounds: int | None) -> None:
        """See ``Arm.run``."""
        self.search.run(until, rounds)

    def cases(self) -> Tensor:
        """See ``Arm.cases``."""
        return self.search.frontier.cases()

    def drop(self, case: Tensor) -> None:
        """See ``Arm.drop``."""
        self.search.frontier.drop(case)

    def left(self) -> float:
        """See ``Arm.left``."""
        return self.search.frontier.weight


class NeuronArm:
    """Neuron splitting, one input box after the other."""

    def __init__(
        self, graph: Graph, cases: Cases, case: Tensor, witness: Witness, progress: Progress, deadline: float,
        on_root: Callable[[Root, Tensor], Counterexample | None],
    ) -> None:
        """Take the cases to search; ``on_root`` may try candidates on each root's bounds."""
        self.graph, self.all, self.witness, self.progress = graph, cases, witness, progress
        self.deadline, self.on_root = deadline, on_root
        self.waiting = case
        self.search: Search[Any] | None = None
        self.counterexample: Counterexample | None = None

    def run(self, until: float, rounds: int | None) -> None:
        """See ``Arm.run``."""
        while self.counterexample is None and time.monotonic() < until:
            if self.search is None or not len(self.search.frontier):
                if not len(self.waiting):
                    return
                self._open(until)
            assert self.search is not None
            self.search.run(until, rounds)
            self.counterexample = self.counterexample or self.search.counterexample
            if rounds is not None and self.search.rounds >= rounds:
                return

    def _open(self, until: float) -> None:
        """Bound the next input box, close what that closes, and start a search of the rest."""
        which = int(self.all.set_of[self.waiting[0]])
        case = self.waiting[self.all.set_of[self.waiting] == which]
        box = self.all.boxes.take(torch.tensor([which], device=self.waiting.device))
        few = int((box.lower < box.upper).sum()) <= 64
        root = Root.of(self.graph, box, BOTH if few else CROWN, self.deadline)
        share = ROOT_SHARE * (self.deadline - time.monotonic()) if math.isfinite(self.deadline) else 60.0
        limit = min(time.monotonic() + share, self.deadline)
        height = self.all.bound.shape[1]
        rows = self.all.y_rows[case].flatten(0, 1).unsqueeze(0)
        root = root.improve(rows, self._threshold(case, root), ROOT_ITERATIONS, limit, self.deadline)
        least = self._close(case, root.rows(rows), root)
        best, row = least.view(len(case), height).max(1)
        still = ~(best > 0)
        self.waiting = self.waiting[self.all.set_of[self.waiting] != which]
        strategy = NeuronSplitting(root, self.all)
        self.search = Search(strategy, self.witness, self.progress)
        if still.any():
            alpha_row = torch.arange(len(case), device=case.device) * height + row
            domains = strategy.roots(case[still], best[still], row[still], alpha_row[still])
            domains, points = strategy.bound(domains)
            kept = ~(domains.bound > 0)
            self.search.frontier.push(domains.take(kept))
            self.counterexample = self.witness(domains.case[kept], points[kept]) or self.on_root(root, domains.case[kept])

    def _threshold(self, case: Tensor, root: Root) -> Tensor:
        """Return what the bare output rows must exceed: the right-hand sides less what input rows can give."""
        threshold = self.all.bound[case].flatten()
        if self.all.x_rows is not None:
            rows, box = self.all.x_rows[case].flatten(0, 1), root.exact.boxes[INPUT]
            least = rows.clamp(min=0) @ box.lower[0] + rows.clamp(max=0) @ box.upper[0]
            threshold = threshold - least
        return threshold

    def _close(self, case: Tensor, found: Any, root: Root) -> Tensor:
        height = self.all.bound.shape[1]
        boxes = root.exact.boxes[INPUT].expand(len(case))
        by_case = found.reshape(len(case), height)
        return self.all.close(case, by_case, boxes)[1]

    def cases(self) -> Tensor:
        """See ``Arm.cases``."""
        return self.waiting if self.search is None else torch.cat([self.waiting, self.search.frontier.cases()]).unique()

    def drop(self, case: Tensor) -> None:
        """See ``Arm.drop``."""
        self.waiting = self.waiting[~torch.isin(self.waiting, case)]
        if self.search is not None:
            self.search.frontier.drop(case)

    def left(self) -> float:
        """See ``Arm.left``."""
        return len(self.waiting) / max(1, len(self.all)) + (0.0 if self.search is None else self.search.frontier.weight)


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
        fastest = max(range(len(arms)), key=rate.__getitem__)
        k = turn % len(arms) if turn % 4 == 3 else fastest
        before, begun = arms[k].left(), time.monotonic()
        arms[k].run(min(until, begun + seconds), rounds)
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
