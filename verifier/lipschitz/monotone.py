"""Monotonicity: the sign of the derivative of an output by an input over a box, proved or refuted by two points."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import specs
from specs import InputSet, Spec
from verifier.config import seconds
from verifier.errors import UsageError
from verifier.export import graph_of
from verifier.graph.graph import OUTPUT, Graph
from verifier.graph.jacobian import jacobian
from verifier.lipschitz.api import box_of, named, output_rows, size_of
from verifier.lipschitz.cut import CutShort
from verifier.lipschitz.signs import Signs
from verifier.lipschitz.supremum import Supremum
from verifier.lipschitz.witnesses import Slope, Witnesses
from verifier.sets import Box

if TYPE_CHECKING:
    import onnx

SHARED = 0.4
"""Part of the time that the backward bounds of all derivatives together may take."""

KEPT = 32
"""Searches that are kept to go on with."""

ASCENT, ROUNDS = 30, 4
"""Steps of ascent for each sign, and rounds of a search between two looks at the other sign."""


class Direction(enum.Enum):
    """How an output depends on an input over a box.

    ``increasing`` means that it never decreases, and may be constant in places; ``decreasing`` likewise.
    """

    INCREASING = "increasing"
    DECREASING = "decreasing"
    CONSTANT = "constant"
    NEITHER = "neither"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class MonotoneResult:
    """The sign of the derivative of an output by an input over a box.

    Attributes:
        verdict: what is known.
        lower: certified bound of the derivative from below; the search ends when a sign is decided, so it may be loose.
        upper: likewise from above.
        witnesses: a point where the output increases and one where it decreases, as far as they were met; for
            ``neither`` both.
        seconds: since the run began.
        input: index of the input.
        output: which output, as it was asked for.
        reason: why nothing is known; empty if something is.
    """

    verdict: Direction
    lower: float
    upper: float
    witnesses: tuple[Slope, ...]
    seconds: float
    input: int
    output: str
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "input": self.input,
            "output": self.output,
            "verdict": self.verdict.value,
            "lower": self.lower,
            "upper": self.upper,
            "witnesses": [{"point": one.point.tolist(), "derivative": one.derivative} for one in self.witnesses],
            "reason": self.reason,
            "seconds": self.seconds,
        }


def monotone(
    model: Graph | str | Path | onnx.ModelProto | nn.Module,
    region: InputSet | Spec | str | Path,
    input: int,
    output: int | str = 0,
    *,
    timeout: float | None = 60.0,
    seed: int = 0,
) -> MonotoneResult:
    """Decide whether an output increases or decreases with an input, wherever in a box the inputs are.

    Args:
        model: a network in float64, or what to read it from.
        region: a box, a property that has one input set, or its file.
        input: an index; its range in the region must have a width.
        output: an index, or ``"3-7"`` for the difference of two.
        timeout: seconds, or None for no limit.
        seed: of the points that are sampled.

    Returns:
        ``increasing`` if the output never decreases in this input, ``decreasing`` likewise, ``constant`` if both,
        ``neither`` with two points at which the derivative has opposite signs, else ``unknown`` with a reason.
        Timeouts, lack of memory and Ctrl-C are reasons, not exceptions.

    Raises:
        UsageError: no such input or output, or the input does not vary.
        ModelError, SpecError, ShapeError: the model or the region cannot be read, or they do not fit together.
        UnsupportedError: an operator has no derivative; it is named.

    Property: sound in floating point; complete in the limit for piecewise linear networks, up to rounding.
    Source: Shi et al., NeurIPS 2022 (arXiv:2210.07394), section 4.
    """
    (found,) = monotone_inputs(model, region, [input], output, timeout=timeout, seed=seed)
    return found


def monotone_inputs(
    model: Graph | str | Path | onnx.ModelProto | nn.Module,
    region: InputSet | Spec | str | Path,
    inputs: Sequence[int] | None = None,
    output: int | str = 0,
    *,
    timeout: float | None = 60.0,
    seed: int = 0,
    watch: Callable[[MonotoneResult], None] | None = None,
) -> list[MonotoneResult]:
    """Decide as ``monotone`` does for several inputs, in their order, by bounds that they share where they can.

    ``inputs`` None means all that vary; the timeout is for all together; ``watch`` is called with each result.
    """
    if output is None:
        raise UsageError("monotonicity is that of one output: name it")
    region = specs.load(region) if isinstance(region, (str, Path)) else region
    graph = graph_of(model, None, size_of(region))
    box, rows = box_of(region, graph), output_rows(output, graph.n_outputs).to(graph.device)
    places = varying(box, inputs)
    limit = seconds(timeout)
    run = Derivatives(graph, box, rows, places, limit, named(output), seed)
    found: list[MonotoneResult] = []
    for again in (False, True):  # what some leave of their time is for those that are open then
        for k in range(len(places)):
            run.work(k)
            while len(found) < len(places) and (run.settled(len(found)) or (again and len(found) <= k)):
                found.append(run.result(len(found)))
                if watch is not None:
                    watch(found[-1])
    return found


def varying(box: Box, inputs: Sequence[int] | None) -> list[int]:
    """Return the indices of inputs ``(1, n)`` that are asked for.

    Raises:
        UsageError: there is no such input, or it does not vary.
    """
    wide = (box.lower < box.upper)[0]
    if not wide.any():
        raise UsageError("no input varies: the region is a point")
    if inputs is None:
        return [int(place) for place in wide.nonzero().flatten()]
    for place in inputs:
        if not 0 <= place < len(wide):
            raise UsageError(f"there is no input {place}: the network has {len(wide)}, counted from 0")
        if not wide[place]:
            raise UsageError(f"input {place} does not vary: it is {float(box.lower[0, place]):g} in the whole region")
    return list(inputs)


class Derivatives:
    """The derivatives of an output by some inputs, bounded from both sides until their signs are decided."""

    def __init__(
        self, graph: Graph, box: Box, rows: Tensor, inputs: list[int], timeout: float, output: str, seed: int
    ) -> None:
        """Take rows ``(1, m)`` of outputs."""
        self.started = time.monotonic()
        self.until = self.started + timeout
        self.graph, self.box, self.rows, self.inputs, self.output = graph, box, rows, inputs, output
        self.entries = jacobian(graph, rows, torch.eye(graph.n_inputs, dtype=torch.float64)[:, inputs])
        count = len(inputs)
        self.lower, self.upper = (torch.full((count,), end, dtype=torch.float64) for end in (-math.inf, math.inf))
        self.signs = Witnesses(self.entries, box, seed)
        self.reason, self.prepared = "", False
        self.searches: dict[int, dict[int, Supremum]] = {}
        self.exhausted: set[int] = set()

    def work(self, k: int) -> None:
        """Work on an input until its sign is decided or its part of the time is up."""
        with CutShort() as cut:
            if not self.prepared and not self.reason:
                self.prepared = True
                self._prepare()
            if not self.settled(k) and time.monotonic() < self.until:
                now, open_ = time.monotonic(), sum(not self.settled(j) for j in range(k, len(self.inputs)))
                self._search(k, now + (self.until - now) / open_)
        self.reason = cut.reason or self.reason

    def _prepare(self) -> None:
        """Sample, and bound all derivatives together."""
        now = time.monotonic()
        self.signs.sample()
        plain = Supremum(self.entries, self.box)
        self._learn(plain)
        if any(not self._decided(k) for k in range(len(self.inputs))):
            both = jacobian(self.graph, self.rows, self._directions(self.inputs))
            whole = Supremum(both, self.box)
            self._learn(whole)
            whole.crown(now + SHARED * (self.until - now))
            self.upper, self.lower = (
                torch.fmin(self.upper, whole.upper[: len(self.inputs)].cpu()),
                torch.fmax(self.lower, -whole.upper[len(self.inputs) :].cpu()),
            )
            self._learn(whole)

    def _directions(self, inputs: list[int]) -> Tensor:
        """Return some inputs one by one, and their negatives."""
        unit = torch.eye(self.graph.n_inputs, dtype=torch.float64)[:, inputs]
        return torch.cat([unit, -unit], 1)

    def _learn(self, found: Supremum) -> None:
        """Take over the boxes and signs of derivatives, which come first among the outputs."""
        boxes, count = found.root.exact.boxes, len(self.inputs)
        box, sign = boxes[OUTPUT], Signs(found.graph).of(boxes)[OUTPUT]
        self.lower = torch.fmax(self.lower, box.lower[0, :count].cpu())
        self.upper = torch.fmin(self.upper, box.upper[0, :count].cpu())
        self.lower = torch.where(sign.positive[0, :count].cpu(), self.lower.clamp(min=0), self.lower)
        self.upper = torch.where(sign.negative[0, :count].cpu(), self.upper.clamp(max=0), self.upper)

    def settled(self, k: int) -> bool:
        """Tell whether more time would not help."""
        return bool(self.reason) or self._decided(k) or k in self.exhausted

    def _decided(self, k: int) -> bool:
        """Tell whether no more work is needed: a sign is proved, or both are met."""
        one_sided = bool(self.lower[k] >= 0 or self.upper[k] <= 0)
        return one_sided or (self.signs.rises[k] is not None and self.signs.falls[k] is not None)

    def _search(self, k: int, until: float) -> None:
        """Prove the sign that no point contradicts, while looking for points that do."""
        first = k not in self.searches
        if first:
            for old in list(self.searches)[: 1 - KEPT]:
                del self.searches[old]  # to be begun anew if there is time
            self.searches[k] = {sign: self._supremum(k, sign) for sign in (1, -1)}
            self.signs.climb(k)
        searches = self.searches[k]
        while not self._decided(k) and time.monotonic() < until:
            open_ = [
                sign
                for sign, search in searches.items()
                if not search.closed and (self.signs.falls[k] if sign < 0 else self.signs.rises[k]) is None
            ]
            if not open_:
                self.signs.climb(k)
                self.exhausted.add(k)
                return
            for sign in open_:
                search = searches[sign]
                if first:
                    search.crown(until)
                    if search.greatest > 0:
                        search.ascend(ASCENT, until)
                else:
                    search.branch(0.0, until, deadline=until, rounds=ROUNDS)
                self._enter(k, sign, search)
            first = False

    def _supremum(self, k: int, sign: int) -> Supremum:
        """Bound a derivative, or its negative, from above."""
        direction = torch.zeros(self.graph.n_inputs, 1, dtype=torch.float64)
        direction[self.inputs[k]] = sign
        graph = jacobian(self.graph, self.rows, direction)
        rules = Signs(graph)

        def known(boxes: Mapping[str, Box]) -> Tensor:
            return torch.where(rules.of(boxes)[OUTPUT].negative[:, 0], 0.0, math.inf).double()

        return Supremum(graph, self.box, known)

    def _enter(self, k: int, sign: int, search: Supremum) -> None:
        """Take over a bound, and try the points where it is attained."""
        if sign > 0:
            self.upper[k] = torch.fmin(self.upper[k], search.upper[0].cpu())
        else:
            self.lower[k] = torch.fmax(self.lower[k], -search.upper[0].cpu())
        self.signs.try_points(search.points)
        self.signs.climb(k)

    def result(self, k: int) -> MonotoneResult:
        """Return what is known of a derivative."""
        lower, upper = float(self.lower[k]), float(self.upper[k])
        rise, fall = self.signs.rises[k], self.signs.falls[k]
        if lower >= 0 or upper <= 0:
            one = Direction.INCREASING if lower >= 0 else Direction.DECREASING
            verdict = Direction.CONSTANT if lower >= 0 and upper <= 0 else one
        else:
            verdict = Direction.UNKNOWN if rise is None or fall is None else Direction.NEITHER
        reason = self.reason or ("gave up" if k in self.exhausted else "timeout")
        return MonotoneResult(
            verdict,
            lower,
            upper,
            tuple(one for one in (rise, fall) if one is not None),
            time.monotonic() - self.started,
            self.inputs[k],
            self.output,
            reason if verdict is Direction.UNKNOWN else "",
        )
