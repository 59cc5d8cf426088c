"""Input boxes in which one coordinate varies: the network is followed along it, which decides the cases at once."""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.bounds.line import GAP, Course, Line, excess
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.ops.double_double import SLACK, UNIT
from verifier.problem import Cases
from verifier.result import Counterexample, Progress
from verifier.search.bab import Witness

CANDIDATES = 16
"""Points of a case that are tried as counterexamples, the most violating first."""


TOGETHER = 64
"""Boxes that are followed together."""


class LineSearch:
    """Decides cases by the exact course of the network over their boxes.

    Property: sound; complete for ReLU networks, up to double-double rounding and room in memory.
    """

    def __init__(self, graph: Graph, cases: Cases, witness: Witness, progress: Progress) -> None:
        """Take a problem in float64, with at most one varying coordinate in each box.

        Raises:
            NotImplementedError: the network has an operator that lines are not followed through.
        """
        self.line, self.cases, self.witness, self.progress = Line(graph), cases, witness, progress

    def run(self, case: Tensor, until: float) -> tuple[Tensor, Counterexample | None]:
        """Return the cases ``(C,)`` that are open at ``until`` at the latest, and a counterexample if one turns up."""
        if (found := self._ends(case)) is not None:
            return case, found
        still, which = [case[:0]], self.cases.set_of[case]
        for together in which.unique().split(TOGETHER):
            here = case[torch.isin(which, together)]
            try:
                open_cases, found = self._decide(here, together, until)
            except TimeoutError:
                open_cases = here
            if found is not None:
                return case, found
            still.append(open_cases)
            self.progress.visited += len(here)
            self.progress.closed += len(here) - len(open_cases)
        return torch.cat(still), None

    def _ends(self, case: Tensor) -> Counterexample | None:
        """Try the ends of the boxes: what is violated all the way up to an end is easiest confirmed there."""
        for part in case.split(TOGETHER):
            box = self.cases.boxes.take(self.cases.set_of[part])
            if (found := self.witness(part.repeat(2), torch.cat([box.lower, box.upper]))) is not None:
                return found
        return None

    def _decide(self, case: Tensor, which: Tensor, until: float) -> tuple[Tensor, Counterexample | None]:
        """Decide the cases of some boxes, given in ascending order."""
        still = torch.zeros(len(case), dtype=torch.bool, device=case.device)
        place = torch.searchsorted(which, self.cases.set_of[case])
        for owner, inputs, outputs in self.line.follow(self.cases.boxes.take(which), until):
            for box in owner[owner != GAP].unique():
                inside = (owner == box).nonzero().flatten()  # neighbours
                part = slice(int(inside[0]), int(inside[-1]) + 1)
                courses = inputs.pieces(part), outputs.pieces(part)
                for k in (place == box).nonzero().flatten().tolist():
                    points = self._points(case[k], *courses)
                    if len(points):
                        if (found := self.witness(case[k].expand(len(points)), points)) is not None:
                            return case, found
                        still[k] = True
        return case[still], None

    def _points(self, case: Tensor, inputs: Course, outputs: Course) -> Tensor:
        """Return the ends of the pieces that are not excluded, the most violating first, ``(P, n)``."""
        y_rows, bound = self.cases.y_rows[case], self.cases.bound[case]
        x_rows = y_rows.new_zeros(len(y_rows), self.line.graph.n_inputs)
        rows = {INPUT: x_rows if self.cases.x_rows is None else self.cases.x_rows[case], OUTPUT: y_rows}
        course = excess(inputs, outputs, rows, bound)
        live = {INPUT: inputs, OUTPUT: course}
        everywhere = torch.ones_like(course.error[:, 0], dtype=torch.bool)
        if len(bound) > 1 and (places := course.crossings(everywhere)) is not None:
            live = {name: values.spread(*places) for name, values in live.items()}
        values = live[OUTPUT].values.high
        lower = values - 4 * UNIT * values.abs()  # the low parts are smaller
        least = torch.minimum(lower[:-1], lower[1:]) - SLACK * live[OUTPUT].error
        closed = (least.isfinite() & (least > 0)).any(1)
        ends = torch.zeros(len(values), dtype=torch.bool, device=values.device)
        ends[:-1] |= ~closed
        ends[1:] |= ~closed
        worst = values.amax(1)
        order = worst[ends].argsort()[:CANDIDATES]
        return live[INPUT].values.high[ends][order]
