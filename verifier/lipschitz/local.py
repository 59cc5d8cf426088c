"""Local Lipschitz constants: the greatest norm of the Clarke Jacobian over a box, from both sides, at any time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from verifier.graph.graph import Graph
from verifier.graph.jacobian import jacobian
from verifier.lipschitz.gradients import Gradients
from verifier.lipschitz.norms import ENTRIES, Norm
from verifier.lipschitz.result import LipschitzResult, Step, lower_end
from verifier.lipschitz.supremum import Supremum
from verifier.ops.gate import ConstantGate
from verifier.sets import Box

INTERVAL, CROWN, ALPHA, BRANCHING = "interval", "crown", "alpha", "branch and bound"

ASCENT = 100
"""Steps of ascent before branching."""

SHARES = {CROWN: 0.4, ALPHA: 0.3}
"""Parts of the time left that these may take."""

SAMPLES = 6
"""Batches of points, random ones and such about the best, that are tried between two other steps."""

TURN = 1.0
"""Seconds that a search has before another output may be the worst."""


@dataclass
class LocalLipschitz:
    """A run under way.

    Attributes:
        graph: the network, in float64.
        box: the input set ``(1, n)``; inputs of zero width do not count.
        norm: of the Jacobian.
        rows: combinations of outputs, ``(S, m)``.
        inputs: mask ``(n,)`` of those that count, if not all do.
        gap: relative width of the bracket at which to stop.
        timeout: seconds.
        seed: of the samples.
        watch: called with every step.
    """

    graph: Graph
    box: Box
    norm: Norm
    rows: Tensor
    inputs: Tensor | None = None
    gap: float = 1e-4
    timeout: float = math.inf
    seed: int = 0
    watch: Callable[[Step], None] | None = None
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Set up the networks of the Jacobian's rows."""
        self.started = time.monotonic()
        box, norm = self.box, self.norm
        counts = (box.lower < box.upper)[0]
        counts = counts if self.inputs is None else counts & self.inputs
        eye = torch.eye(self.graph.n_inputs, dtype=torch.float64)
        self.directions = None if bool(counts.all()) else eye[:, counts]
        if len(self.rows) == 1:
            norm = Norm(norm.p, math.inf)
        entries = jacobian(self.graph, self.rows, self.directions)
        self.gradients = Gradients(entries, len(self.rows), norm, box, self.seed)
        self.measure, self.method = norm, INTERVAL
        self.groups = self.rows.split(1) if norm.rowwise else (self.rows,)
        self.groups = self.groups if entries.n_outputs else ()
        self.parts: dict[int, Supremum] = {}
        self.bounds: list[float] = []
        if self.groups:
            first = Supremum(norm.on_top(entries, len(self.rows)), box, self._known)
            self.bounds = first.upper.view(len(self.groups), -1).amax(1).tolist()

    @property
    def _known(self) -> Callable[[Mapping[str, Box]], Tensor] | None:
        return _spectral if self.measure.spectral else None

    def part(self, k: int) -> Supremum:
        """Return the search for the norm of a group of rows, or for its square."""
        if k not in self.parts:
            rows = self.groups[k]
            plain, constant = (
                self.measure.on_top(jacobian(self.graph, rows, self.directions, gate), len(rows))
                for gate in (None, ConstantGate())
            )
            self.parts[k] = Supremum(plain, self.box, self._known, constant)
        return self.parts[k]

    @property
    def upper(self) -> float:
        """The upper bound."""
        return max(map(self.measure.of_layers, self.bounds), default=0.0)

    @property
    def target(self) -> float:
        """What the layers' outputs may reach without widening the bracket beyond the gap."""
        goal = self.gradients.best * (1 + self.gap)
        return goal * goal if self.measure.squared else goal

    def run(self) -> tuple[str, bool]:
        """Narrow the bracket until it is narrow enough, as narrow as it can be, or the time is up; say why it ended."""
        until = self.started + self.timeout
        for k in range(SAMPLES):
            if not k or time.monotonic() < until:
                self.gradients.sample()
        self._note()
        for method, part_of_time in SHARES.items():
            done: set[int] = set()
            while (worst := self._worst()) is not None and worst not in done and time.monotonic() < until:
                now = time.monotonic()
                share = part_of_time * (until - now) / (len(self.groups) - len(done))
                self._improve(worst, method, now + share)
                done.add(worst)
        while (worst := self._worst()) is not None and time.monotonic() < until:
            if self.part(worst).closed:
                return "nothing is left to split", False
            self._improve(worst, BRANCHING, min(until, time.monotonic() + TURN))
        closed = self._worst() is None
        return ("the bracket is narrow enough" if closed else "timeout"), closed

    def _worst(self) -> int | None:
        """Return the group with the greatest bound, unless the bracket is narrow enough."""
        if not self.bounds or self.upper <= self.gradients.best * (1 + self.gap):
            return None
        return max(range(len(self.bounds)), key=self.bounds.__getitem__)

    def _improve(self, k: int, method: str, until: float) -> None:
        """Let the bound of a group get better, and look for greater gradients where it is attained."""
        before, deadline, part = self.upper, self.started + self.timeout, self.part(k)
        if method == CROWN:
            part.crown(until)
        elif method == ALPHA:
            part.ascend(ASCENT, until)
        else:
            part.branch(self.target, until, deadline=deadline)
        self.bounds[k] = min(self.bounds[k], part.greatest)
        self.gradients.try_points(part.points)
        for _ in range(SAMPLES):
            if time.monotonic() < deadline:
                self.gradients.climb()
        if self.upper < before:
            self.method = method
        self._note()

    def _note(self) -> None:
        """Keep a record."""
        step = Step(time.monotonic() - self.started, self.gradients.best, self.upper, self.method)
        self.steps.append(step)
        if self.watch is not None:
            self.watch(step)

    def result(self, output: str, reason: str, closed: bool) -> LipschitzResult:
        """Return the bracket as it stands."""
        upper, best = self.upper, self.gradients.best
        return LipschitzResult(
            upper,
            lower_end(best, upper),
            str(self.norm),
            output,
            self.method,
            time.monotonic() - self.started,
            closed,
            reason,
            point=self.gradients.point.numpy(),
            steps=tuple(self.steps),
        )


def _spectral(boxes: Mapping[str, Box]) -> Tensor:
    """Bound the square of the largest singular value by the boxes of the entries, ``(B,)``."""
    entries = boxes[ENTRIES].to(torch.float64)
    return Norm(2, 2).of_boxes(entries).square() * (1 + 1e-15)
