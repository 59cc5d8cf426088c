"""The greatest output of a network over a box, from above: by backward bounds, by ascent, by branch and bound."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from verifier.bounds.windows import CHUNK
from verifier.graph.graph import Graph
from verifier.lipschitz.splitting import SlopeSplitting
from verifier.problem import Cases
from verifier.search.bab import out_of_memory
from verifier.search.domains import Frontier
from verifier.search.neuron_batch import NeuronDomains
from verifier.search.root import Root
from verifier.sets import Box

WORK, MOST = 1 << 31, 256
"""Multiplications of one round of a search, roughly, and the domains that it splits at most."""

SHARE = 0.4
"""Part of the time for backward bounds that those of a twin may take."""

KEPT = 4096
"""Points of a search that are kept."""

FEW = 32
"""Domains up to which a round splits their parts again before they are bounded with care, which takes a while."""


class Supremum:
    """Upper bounds of the outputs of a network over a box, which get better with the work that is put in.

    Attributes:
        upper: a bound for each output, ``(G,)``, infinite where nothing is known.
        closed: whether more work would not make the greatest of them any better.
        points: inputs where the bounds that were met last would be attained, ``(B, n)``.

    Property: sound in floating point.
    """

    def __init__(
        self,
        graph: Graph,
        box: Box,
        known: Callable[[Mapping[str, Box]], Tensor] | None = None,
        twin: Graph | None = None,
    ) -> None:
        """Bound by intervals, or forward where few inputs vary.

        ``known`` is that of ``SlopeSplitting``. A twin has the same nodes with the same values, and relaxes them in
        other ways.
        """
        self.graph, self.box, self.known = graph, box, known
        self.twin = twin
        self.root = Root.cheap(graph, box)
        self.upper = torch.full((graph.n_outputs,), math.inf, dtype=torch.float64, device=graph.device)
        self.closed, self.points = False, box.centre
        self._strategy: SlopeSplitting | None = None
        self._frontier: Frontier[NeuronDomains] = Frontier()
        self._settled = -math.inf
        self._learn()

    @property
    def greatest(self) -> float:
        """The bound of all outputs."""
        return float(self.upper.max())

    def crown(self, until: float) -> None:
        """Add backward bounds."""
        rows = torch.eye(self.graph.n_outputs).to(self.upper)
        self.root = self.root.reading(rows)
        if self.twin is not None:
            other = Supremum(self.twin, self.box, self.known)
            now = time.monotonic()
            other.crown(now + SHARE * (until - now))
            self.root = self.root.knowing(other.root.exact.boxes)
            self.upper = torch.fmin(self.upper, other.upper)
        self.root = self.root.crown(until)
        self._learn(rows)

    def ascend(self, iterations: int, until: float) -> None:
        """Optimise the relaxations for the greatest output."""
        worst = self.upper.argmax().unsqueeze(0)
        rows = torch.zeros(1, 1, self.graph.n_outputs).to(self.upper)
        rows[0, 0, worst] = -1
        with torch.enable_grad():
            self.root = self.root.improve(rows, torch.zeros(1).to(rows), iterations, until, until)
        least = self.root.rows(rows).minimum(self.box)[0]
        self._learn()
        self.upper[worst] = torch.fmin(self.upper[worst], -least)

    def _learn(self, rows: Tensor | None = None) -> None:
        """Take over what the root says of the outputs, by boxes and by given rows ``(S, G)``."""
        output = list(self.root.exact.boxes.values())[-1]
        self.upper = torch.fmin(self.upper, output.upper[0])
        if self.known is not None:
            self.upper = torch.fmin(self.upper, self.known(self.root.exact.boxes))
        if rows is not None:
            widest = max(math.prod(node.shape) for node in self.graph.nodes.values())
            for part in torch.arange(len(rows)).split(max(1, CHUNK[self.upper.device.type] // widest)):
                least = self.root.rows(-rows[part].unsqueeze(0)).minimum(self.box)[0]
                self.upper[part] = torch.fmin(self.upper[part], -least)

    def branch(self, target: float, until: float, *, deadline: float = math.inf, rounds: float = math.inf) -> None:
        """Search until no part can exceed the target, or nothing is left to split, for at most so many rounds.

        No round begins after ``until``, and none goes on after the deadline. A search that was left goes on where it
        was.
        """
        strategy = self._begin(target, deadline)
        strategy.deadline = strategy.ascent.deadline = deadline
        self.points = self.points[:0]
        strategy.ascent.target = -target
        while len(self._frontier) and self.greatest > target and time.monotonic() < until and rounds > 0:
            rounds -= 1
            batch = self._frontier.pop(strategy.batch)
            try:
                self._enter(strategy, self._grown(strategy, batch, target), target)
            except (TimeoutError, MemoryError, RuntimeError) as error:
                self._frontier.push(batch)
                if isinstance(error, TimeoutError):
                    return
                if not out_of_memory(error):
                    raise
                if strategy.batch == 1:
                    raise MemoryError("a single domain does not fit into memory") from None
                strategy.batch //= 2
        self.closed = not len(self._frontier) or self.greatest <= target

    def _begin(self, target: float, deadline: float) -> SlopeSplitting:
        """Start a search from the outputs that exceed the target, unless there is one."""
        if self._strategy is None:
            count, box = self.graph.n_outputs, self.box
            eye, zeros = torch.eye(count).to(self.upper), torch.zeros(count).to(self.upper)
            cases = Cases(box, zeros.long(), -eye.unsqueeze(1), None, zeros.unsqueeze(1))
            size = max(1, min(MOST, WORK // (self.graph.work * (1 + 2 * box.lower.shape[1]))))
            strategy = SlopeSplitting(self.root, cases, deadline, size, self.known)
            case = (self.upper > target).nonzero().flatten()
            self._settled = max([-math.inf, *self.upper[self.upper <= target].tolist()])
            none = torch.zeros_like(case)
            self._strategy = strategy
            if len(case) and strategy.splittable:
                self._frontier.push(strategy.roots(case, -self.upper[case], none, none))
            self.closed = not len(self._frontier)
        return self._strategy

    def _grown(self, strategy: SlopeSplitting, batch: NeuronDomains, target: float) -> NeuronDomains:
        """Split domains, several times while they are few; return the parts that may exceed the target."""
        parts = self._exceeding(strategy.split(batch), target)
        while 0 < len(parts) <= min(FEW, strategy.batch // 2):
            listed = strategy.listed(parts)
            if listed.final.any():
                break
            parts = self._exceeding(strategy.split(listed), target)
        return parts

    def _enter(self, strategy: SlopeSplitting, parts: NeuronDomains, target: float) -> None:
        """Bound domains, and keep those that may exceed the target and can be split."""
        if len(parts):
            parts, points = strategy.maximise(parts)
            self.points = torch.cat([self.points, points])[-KEPT:]
            stuck = parts.final & (parts.bound < -target)
            self._settle(parts.take(stuck))
            self._frontier.push(self._exceeding(parts.take(~stuck), target))
        worst = self._frontier.worst
        bound = max(self._settled, -math.inf if worst is None else -worst)
        self.upper = self.upper.clamp(max=bound)

    def _exceeding(self, parts: NeuronDomains, target: float) -> NeuronDomains:
        """Return the domains that may exceed the target; the others are settled."""
        open_ = parts.bound < -target
        self._settle(parts.take(~open_))
        return parts.take(open_)

    def _settle(self, parts: NeuronDomains) -> None:
        """Take note of the bounds of domains that are not looked at any more."""
        self._settled = max([self._settled, *(-parts.bound).tolist()])
