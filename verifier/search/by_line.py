"""Input boxes in which one coordinate varies: the network is followed along it, which decides the cases at once."""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.bounds.line import Course, Line, excess
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.ops.double_double import SLACK, UNIT
from verifier.problem import Cases
from verifier.result import Counterexample, Progress
from verifier.search.bab import Witness
from verifier.sets import Box

CANDIDATES = 16
"""Points of a case that are tried as counterexamples, the most violating first."""


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
        still, which = [case[:0]], self.cases.set_of[case]
        for k in which.unique().tolist():
            here = case[which == k]
            try:
                open_cases, found = self._decide(here, self.cases.boxes.take(torch.tensor([k])), until)
            except TimeoutError:
                still.append(here)
                continue
            if found is not None:
                return case, found
            still.append(open_cases)
            self.progress.visited += len(here)
            self.progress.closed += len(here) - len(open_cases)
        return torch.cat(still), None

    def _decide(self, case: Tensor, box: Box, until: float) -> tuple[Tensor, Counterexample | None]:
        """Decide the cases of one box."""
        still = torch.zeros(len(case), dtype=torch.bool, device=case.device)
        for courses in self.line.follow(box, until):
            for k in range(len(case)):
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
        if len(bound) > 1 and (places := course.crossings()) is not None:
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
