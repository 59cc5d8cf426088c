"""Robust radii: how far an input can move before a Lipschitz bound no longer proves its label."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from specs.sets import vector
from verifier.balls import Ball
from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.config import seconds
from verifier.errors import ShapeError, UsageError
from verifier.export import graph_of
from verifier.graph.graph import INPUT, Graph
from verifier.graph.jacobian import jacobian
from verifier.lipschitz.cut import CutShort
from verifier.lipschitz.gradients import Gradients
from verifier.lipschitz.norms import Norm
from verifier.lipschitz.supremum import Supremum
from verifier.ops.gate import ConstantGate
from verifier.sets import Box

if TYPE_CHECKING:
    import onnx

Clip = tuple[npt.ArrayLike, npt.ArrayLike]

CLOSE = 1e-3
"""Relative distance of a radius that is proved from one that is not, at which to stop."""

SAFE = 1e-12
"""Part of a radius that is given up for rounding."""

COARSE = 0.02
"""Likewise before searches begin."""

TURN = 0.25
"""Part of the time left that a search over one ball may take."""

ASCENT = 30
"""Steps of ascent before a search."""

WHOLE = "the whole range of data is proved"

LARGEST = 2.0**60
"""Radius beyond which none is looked for."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A ball that was looked at.

    Attributes:
        eps: its radius.
        bound: over it, of the greatest ``L_k / margin_k``; the label is proved where ``eps * bound < 1``.
        radius: the best radius so far.
        seconds: since the run began.
    """

    eps: float
    bound: float
    radius: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class RadiusResult:
    """A radius within which a label is proved.

    Attributes:
        radius: certified, rounding included; 0 if nothing is proved, infinite if the whole range of data is.
        label: the output that is the only largest in the ball; None if the run ended before it was known.
        steps: the balls that were looked at, in time.
        ball: the norm.
        reason: why the run ended.
        seconds: of the run.
    """

    radius: float
    label: int | None
    steps: tuple[Trial, ...]
    ball: str
    reason: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "radius": self.radius,
            "label": self.label,
            "ball": self.ball,
            "reason": self.reason,
            "seconds": self.seconds,
            "steps": [[step.seconds, step.eps, step.bound, step.radius] for step in self.steps],
        }


def robust_radius(
    model: Graph | str | Path | onnx.ModelProto | nn.Module,
    x: npt.ArrayLike,
    label: int | None = None,
    ball: str = "inf",
    clip: Clip | None = None,
    *,
    timeout: float | None = 60.0,
    seed: int = 0,
    watch: Callable[[Trial], None] | None = None,
) -> RadiusResult:
    """Find a large ball about an input in which one output stays the only largest.

    Every margin ``f_label - f_k`` is at least its value at x less ``eps`` times its Lipschitz constant over the ball of
    radius ``eps``, cut to the range of data. Balls are tried from both sides; a bound over one holds for all smaller
    ones.

    Args:
        model: a network in float64, or what to read it from.
        x: n numbers, of any shape.
        label: an output; the largest at x if left out.
        ball: norm of the ball, ``inf``, ``2`` or ``1``.
        clip: lowest and highest valid input, numbers or n of them.
        timeout: seconds, or None for no limit.
        seed: of the points that are sampled.
        watch: called with every ball that was looked at.

    Returns:
        The radius, proved with all rounding; 0 where the label is not even the only largest at x. Timeouts, lack of
        memory and Ctrl-C end the run with the best radius so far.

    Raises:
        UsageError: no such output or ball, or x lies outside of the range of data.
        ModelError, SpecError, ShapeError: the model or x cannot be read, or they do not fit together.
        UnsupportedError: an operator has no derivative; it is named.

    Property: sound in floating point; not complete.
    Source: Hein and Andriushchenko, NeurIPS 2017 (arXiv:1705.08475), theorem 2.1.
    """
    graph = graph_of(model, None, np.size(x))
    centre, low, high = place(x, clip, graph)
    run = Run(graph, centre, (low, high), Norm.parse(ball), seconds(timeout), seed, watch)
    with CutShort() as cut:
        run.choose(label)
        run.grow()
    spent = time.monotonic() - run.started
    return RadiusResult(run.radius, run.label, tuple(run.steps), ball, cut.reason or run.reason, spent)


def place(x: npt.ArrayLike, clip: Clip | None, graph: Graph) -> tuple[Tensor, Tensor, Tensor]:
    """Return an input and the ends of the range of data, each ``(n,)``.

    Raises:
        ShapeError, SpecError, UsageError: they are no such things, or do not fit together.
    """
    centre = vector(np.asarray(x).reshape(-1), "x")
    if centre.size != graph.n_inputs:
        raise ShapeError(f"the centre has {centre.size} numbers, the network has {graph.n_inputs} inputs")
    try:
        ends = [np.broadcast_to(np.asarray(end, np.float64), centre.shape) for end in clip or (-np.inf, np.inf)]
    except ValueError:
        raise ShapeError(f"clip must be two numbers or two arrays of {centre.size} numbers") from None
    outside = np.flatnonzero(~((ends[0] <= centre) & (centre <= ends[1])))
    if outside.size:
        raise UsageError(f"the centre lies outside of the range of data: input {outside[0]} is {centre[outside[0]]:g}")
    point, low, high = (torch.from_numpy(np.array(part)).to(graph.device) for part in (centre, *ends))
    return point, low, high


@dataclass
class Run:
    """A search under way.

    Attributes:
        graph: the network, in float64.
        centre: ``(n,)``.
        ends: of the range of data, each ``(n,)``.
        norm: of the ball, at the input.
        timeout: seconds.
        seed: of the points that are sampled.
        watch: called with every trial.
        radius: the largest that is proved.
        ceiling: the least that a gradient rules out, or at which the ball holds the whole range of data.
    """

    graph: Graph
    centre: Tensor
    ends: tuple[Tensor, Tensor]
    norm: Norm
    timeout: float
    seed: int
    watch: Callable[[Trial], None] | None
    radius: float = 0.0
    ceiling: float = math.inf
    label: int = 0
    reason: str = "timeout"
    steps: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.started = time.monotonic()
        self.until = self.started + self.timeout
        order = self.norm.p
        self.norm = Norm(order, math.inf)
        farthest = torch.maximum(self.ends[1] - self.centre, self.centre - self.ends[0])
        self.cover = float(torch.linalg.vector_norm(farthest, order)) * (1 + SAFE)

    def choose(self, label: int | None) -> None:
        """Set the label, and rows ``(S, m)`` of margins in units of their certified values at the centre."""
        point, count = self.centre.unsqueeze(0), self.graph.n_outputs
        if count < 2:
            raise UsageError("a robust radius needs at least 2 outputs to compare")
        self.label = int(self.graph(point).argmax()) if label is None else label
        if not 0 <= self.label < count:
            raise UsageError(f"there is no output {self.label}: the network has {count}, counted from 0")
        eye = torch.eye(count).to(point)
        rows = eye[self.label] - torch.cat([eye[: self.label], eye[self.label + 1 :]])
        bounds = bound_nodes(self.graph, Box(point, point), INTERVAL)
        margins = bounds.rows(rows.unsqueeze(0)).minimum(bounds.boxes[INPUT])[0]
        self.rows = rows / margins.clamp(min=0).unsqueeze(1)

    def grow(self) -> None:
        """Try balls until what is proved is close to what cannot be, or the time is up."""
        if not bool(self.rows.isfinite().all()):
            self.reason = "the label is not the only largest output at the centre"
            return
        if self.cover == 0:
            self.radius, self.reason = math.inf, WHOLE
            return
        slopes = jacobian(self.graph, self.rows)(self.centre.unsqueeze(0)).unflatten(1, (len(self.rows), -1))
        steepest = float(self.norm.of_matrix(slopes))
        self.ceiling = min(self.cover, 1 / steepest if steepest > 0 else math.inf)
        for search in (False, True):
            most, close = self.ceiling, CLOSE if search else COARSE
            while self.radius * (1 + close) < most and time.monotonic() < self.until:
                eps = self._next(most)
                if eps > LARGEST:
                    self.reason = "the radius is as large as is looked for"
                    return
                bound = self._bound(eps, search)
                if eps * bound * (1 + SAFE) < 1:
                    self.radius = eps
                else:  # what holds over a ball holds over smaller ones as well
                    most = eps
                    self.radius = max(self.radius, min(eps, (1 - 2 * SAFE) / bound))
                self._note(eps, bound)
                if self.radius >= self.cover:
                    self.radius, self.reason = math.inf, WHOLE
                    return
                most = min(most, self.ceiling)
        if time.monotonic() < self.until:
            self.reason = "the radius is as large as it can be proved"

    def _next(self, most: float) -> float:
        """Choose the next ball: all data at first, then between what is proved and what is not."""
        if math.isinf(most):
            return max(1.0, 2 * self.radius)
        return most if most == self.cover else (self.radius + most) / 2

    def _note(self, eps: float, bound: float) -> None:
        """Keep a record."""
        self.steps.append(Trial(eps, bound, self.radius, time.monotonic() - self.started))
        if self.watch is not None:
            self.watch(self.steps[-1])

    def _bound(self, eps: float, search: bool) -> float:
        """Bound the constants of all rows over a ball; with a search, until they prove the label or cannot."""
        now = time.monotonic()
        until = now + TURN * (self.until - now) if search else self.until
        box = self._box(eps)
        counts = (box.lower < box.upper)[0]
        directions = torch.eye(self.graph.n_inputs, dtype=torch.float64)[:, counts.cpu()]
        if not directions.shape[1]:
            return 0.0
        entries = jacobian(self.graph, self.rows, directions)
        gradients = Gradients(entries, len(self.rows), self.norm, box, self.seed)
        gradients.sample()
        whole = self._supremum(self.rows, directions, box)
        goal = (1 - 3 * SAFE) / eps
        if self.norm.of_layers(whole.greatest) > goal:
            whole.crown(until)
        gradients.try_points(whole.points)
        if gradients.best * eps >= 1:
            self.ceiling = min(self.ceiling, eps)
        elif search:
            self._search(whole, goal, box, directions, until)
        return self.norm.of_layers(whole.greatest)

    def _search(self, whole: Supremum, goal: float, box: Box, directions: Tensor, until: float) -> None:
        """Improve the bounds of rows, one after the other, until one misses the goal."""
        target = goal**2 * (1 - SAFE) if self.norm.squared else goal
        by_row = whole.upper.view(len(self.rows), -1)
        for k in by_row.amax(1).argsort(descending=True).tolist():
            if float(by_row[k].max()) <= target:
                continue
            one = self._supremum(self.rows[k : k + 1], directions, box)
            now = time.monotonic()
            one.crown(now + (until - now) / 3)
            if one.greatest > target:
                one.ascend(ASCENT, now + (until - now) / 2)
            if one.greatest > target:
                one.branch(target, until, deadline=self.until)
            by_row[k] = torch.fmin(by_row[k], one.upper.amax())
            if one.greatest > target:
                return

    def _supremum(self, rows: Tensor, directions: Tensor, box: Box) -> Supremum:
        """Bound the norms of rows, or their squares, one by one."""
        plain, constant = (
            self.norm.on_top(jacobian(self.graph, rows, directions, gate), len(rows)) for gate in (None, ConstantGate())
        )
        return Supremum(plain, box, None, constant)

    def _box(self, eps: float) -> Box:
        """Return a ball, cut to the range of data, rounded outward."""
        far = torch.full_like(self.centre, math.inf)
        lower = torch.maximum(torch.nextafter(self.centre - eps, -far), self.ends[0])
        upper = torch.minimum(torch.nextafter(self.centre + eps, far), self.ends[1])
        if math.isinf(self.norm.p):
            return Box(lower.unsqueeze(0), upper.unsqueeze(0))
        reach = torch.full((1, 1), math.nextafter(eps, math.inf), dtype=torch.float64, device=far.device)
        return Ball(lower.unsqueeze(0), upper.unsqueeze(0), self.centre.unsqueeze(0), reach, self.norm.p)
