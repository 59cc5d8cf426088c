"""The root of a search by neurons: certified bounds of one input box, in float64 and in a float32 twin."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from verifier.balls import Ball
from verifier.bounds.backward import LinearBound, backward
from verifier.bounds.centred import Centred
from verifier.bounds.optimise import Climb, JointAscent
from verifier.bounds.relevance import relevance
from verifier.bounds.schedule import (
    CROWN,
    FORWARD,
    INTERVAL,
    Bounds,
    CoarseError,
    Method,
    Slopes,
    bound_nodes,
    relax_all,
)
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.problem import Cases
from verifier.search.folded_ascent import FoldedAscent
from verifier.search.neurons import Neurons, gaps
from verifier.sets import Box

CROWN_SHARE, CERTIFY_SHARE = 0.6, 0.5
"""Parts of the time left that tightening the boxes of a root may take, plainly and by optimised slopes."""

COARSE = 0.05
"""Part of the width of backward bounds in float32 that may be margins for rounding before float64 takes over."""

FEW_INPUTS = 50
"""Varying inputs up to which forward bounds, which cost a column for each, are worth having."""

FORWARD_ROOM, FORWARD_WORK = 1 << 27, 10**11
"""Numbers that forward forms of one node may consist of, and multiplications that those of all may take."""


@dataclass(frozen=True, eq=False)
class Root:
    """Certified bounds of a network over one input box (B = 1).

    ``exact`` is in float64, and ``fast`` its float32 twin for the search, on the same boxes rounded outward.
    ``alpha`` are the slopes of the output rows that were optimised last, ``(P, 1, S, *node)`` by node.
    """

    exact: Bounds
    fast: Bounds
    alpha: dict[str, Tensor]

    @staticmethod
    def cheap(graph: Graph, box: Box) -> Root:
        """Bound a network over a box ``(1, n)`` in float64 without backward bounds: forward where few inputs vary."""
        exact = bound_nodes(graph, box, FORWARD if _few(box) else INTERVAL)
        return Root(exact, rounded(exact), {})

    def reading(self, rows: Tensor) -> Root:
        """Restrict what is tightened and split from now on to what some rows ``(S, m)`` of the output depend on."""
        found = relevance(self.exact.graph, self.exact.boxes, self.exact.enclosures, rows)
        exact, fast = (replace(bounds, relevant=found) for bounds in (self.exact, self.fast))
        return replace(self, exact=exact, fast=fast)

    def crown(self, until: float = math.inf) -> Root:
        """Add plain backward bounds: in float32, and in float64 where rounding is in the way.

        Where few inputs vary, forward bounds with a coordinate for each undecided neuron come first. After ``until`` no
        more boxes are tightened.
        """
        named = replace(FORWARD, named=_coordinates(self.exact.graph))
        root = self._with(self.exact.boxes, named) if _few(self.box) else self
        known, fine = root._single(until)
        return root._with(known) if fine else root._with(known, CROWN, until)

    def _single(self, until: float) -> tuple[dict[str, Box], bool]:
        """Return boxes by backward bounds in float32, and whether rounding takes only a small part of them.

        Rounding knows only the size of values. Where it is not small beside what they vary by, as where few inputs
        vary, a pass about the middle helps.
        """
        boxes, method = self.exact.boxes, replace(CROWN, coarse=COARSE)
        try:
            if not _few(self.box):
                fast = self.fast
                found = bound_nodes(
                    fast.graph, fast.boxes[INPUT], method, fast.boxes, until=until, relevant=fast.relevant
                )
                return self._narrowed(found.boxes), True
        except CoarseError as error:
            boxes = self._narrowed(error.boxes)
        try:
            centred = Centred.about(self.exact.graph, self.box.centre)
            return self._narrowed(centred.bound(boxes, method, until, self.exact.relevant)), True
        except CoarseError as error:
            return self._narrowed(error.boxes), False
        except NotImplementedError:
            return boxes, False

    def _narrowed(self, boxes: dict[str, Box]) -> dict[str, Box]:
        """Intersect the boxes at hand with others that hold, where there are any."""
        found = _known(boxes)
        return {name: box.intersect(found.get(name, box)) for name, box in self.exact.boxes.items()}

    def improve(
        self, rows: Tensor, threshold: Tensor, iterations: int, until: float, deadline: float = math.inf
    ) -> Root:
        """Optimise all slopes for output rows ``(1, S, m)`` to exceed thresholds ``(S,)``, and certify the outcome.

        The optimisation ends at ``until``, the tightening of boxes by what it found at the deadline.
        """
        ascent = self._ascent(rows.to(torch.float32))
        ascent.run(threshold.to(torch.float32), iterations, until)
        better = self._with(self.exact.boxes, CROWN, deadline, ascent.slopes())
        return replace(better, alpha=ascent.output_slopes())

    def _ascent(self, rows: Tensor) -> Climb:
        """Choose the cheaper way to ascend."""
        neurons = self.neurons()
        boxed = not isinstance(self.box, Ball)
        if not boxed or not neurons.elements or not FoldedAscent.pays(self.fast, neurons):
            return JointAscent(self.fast, rows)
        return FoldedAscent(self.fast, rows, neurons)

    def knowing(self, boxes: Mapping[str, Box]) -> Root:
        """Take over boxes ``(1, *node)`` that hold at some nodes, with what follows from them by intervals."""
        both = {name: self.exact.boxes[name].intersect(box) for name, box in boxes.items()}
        return self._with({**self.exact.boxes, **both})

    def _with(
        self,
        known: dict[str, Box],
        method: Method = INTERVAL,
        until: float = math.inf,
        slopes: dict[str, Slopes] | None = None,
    ) -> Root:
        """Bound all nodes anew, with boxes that are known to hold."""
        exact = self.exact
        better = bound_nodes(exact.graph, self.box, method, known, slopes, until, exact.relevant, exact)
        return Root(better, rounded(better, self.fast), {})

    def rows(self, rows: Tensor) -> LinearBound:
        """Bound output rows ``(1, S, m)`` from below with the optimised slopes, if they are for as many rows."""
        alpha = {
            name: value.to(rows.dtype) for name, value in self.alpha.items() if value.shape[2] in (1, rows.shape[1])
        }
        enclosures = relax_all(self.exact.graph, self.exact.boxes, alpha, self.exact.enclosures)
        return backward(self.exact.graph, OUTPUT, rows, enclosures, scales=self.exact.scales)

    @property
    def box(self) -> Box:
        """The input box, ``(1, n)``."""
        return self.exact.boxes[INPUT]

    def slack(self) -> float:
        """Sum the heights between the planes of all relaxations: what a search has to overcome."""
        return gaps(self.fast.graph, self.fast.boxes)

    def neurons(self) -> Neurons:
        """Find what can be split."""
        return Neurons.of(self.fast)


def rounded(exact: Bounds, before: Bounds | None = None) -> Bounds:
    """Return the float32 twin of certified bounds, on boxes rounded outward; ``before`` is one of other bounds."""
    graph = exact.graph.to(torch.float32) if before is None else before.graph
    known, box = _known(exact.boxes, torch.float32), exact.boxes[INPUT].to(torch.float32)
    return bound_nodes(graph, box, INTERVAL, known, relevant=exact.relevant, before=before)


def _coordinates(graph: Graph) -> int:
    """Count the coordinates that forward forms may have besides the input's."""
    widest = max(math.prod(node.shape) for node in graph.nodes.values())
    return min(FORWARD_ROOM // widest, FORWARD_WORK // graph.work)


def _few(box: Box) -> bool:
    return not isinstance(box, Ball) and int((box.lower < box.upper).sum()) <= FEW_INPUTS


def _known(boxes: dict[str, Box], dtype: torch.dtype = torch.float64) -> dict[str, Box]:
    return {name: box.to(dtype) for name, box in boxes.items() if name != INPUT}


class Roots:
    """The roots of a problem's input boxes, bounded when first asked for."""

    def __init__(self, graph: Graph, cases: Cases, deadline: float = math.inf) -> None:
        """Take the problem in float64."""
        self.graph, self.cases, self.deadline = graph, cases, deadline
        self._roots: dict[int, Root] = {}
        self._bounded: set[int] = set()

    @property
    def known(self) -> list[Root]:
        """The roots bounded so far."""
        return list(self._roots.values())

    def first(self, which: int) -> Root:
        """Return the root of an input box by the cheap bounds, or better ones if they exist."""
        if which not in self._roots:
            box = self.cases.boxes.take(torch.tensor([which], device=self.graph.device))
            self._roots[which] = Root.cheap(self.graph, box)
        return self._roots[which]

    def of(self, which: int) -> Root:
        """Return the root of an input box by plain backward bounds, or better ones if they exist."""
        if which not in self._bounded:
            rows = self.cases.y_rows[self.cases.set_of == which].flatten(0, 1)
            self._roots[which] = self.first(which).reading(rows).crown(self._part(CROWN_SHARE))
            self._bounded.add(which)
            self._check()
        return self._roots[which]

    def _part(self, share: float) -> float:
        """Return when a part of the time left will have passed."""
        now = time.monotonic()
        return now + share * (self.deadline - now)

    def _check(self) -> None:
        """Raise TimeoutError after the deadline: what was left out for want of time is no bound to search with."""
        if time.monotonic() > self.deadline:
            raise TimeoutError

    def improve(self, which: int, case: Tensor, iterations: int, until: float) -> Root:
        """Optimise a root for some of its cases: all their rows, case by case."""
        root, cases = self.of(which), self.cases
        threshold = cases.bound[case].flatten()
        if cases.x_rows is not None:  # the rest of an excess is at least this
            rows = cases.x_rows[case].flatten(0, 1)
            threshold = threshold - rows.clamp(min=0) @ root.box.lower[0] - rows.clamp(max=0) @ root.box.upper[0]
        rows = cases.y_rows[case].flatten(0, 1).unsqueeze(0)
        self._roots[which] = root.improve(rows, threshold, iterations, until, self._part(CERTIFY_SHARE))
        self._check()
        return self._roots[which]

    def replace(self, which: int, root: Root) -> None:
        """Take over a better root of an input box."""
        self._roots[which] = root

    @staticmethod
    def least(cases: Cases, root: Root, case: Tensor) -> Tensor:
        """Return certified bounds of the excess of a root's cases, ``(B, R)``."""
        found = root.rows(cases.y_rows[case].flatten(0, 1).unsqueeze(0))
        by_case = found.reshape(len(case), cases.bound.shape[1])
        return cases.close(case, by_case, root.box.expand(len(case)))[1]
