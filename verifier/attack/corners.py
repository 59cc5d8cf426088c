"""Points without a gradient: corners, the centre, and random points of each box."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.attack.objective import Objective
from verifier.result import Counterexample
from verifier.search.bab import Witness
from verifier.sets import Box

KEPT = 64
"""Points of a batch that are handed to the checker."""


@dataclass(frozen=True, slots=True)
class Corners:
    """Evaluates all corners of a box where they are few, else random ones, its centre, and random points inside.

    Attributes:
        corners: at most so many for each box.
        inside: random points of each box.

    Property: see ``Attack``. Cost: forward passes only; cases with the same box share them.
    """

    corners: int = 1024
    inside: int = 1024

    def run(
        self,
        problem: Objective,
        which: Tensor,
        checker: Witness,
        until: float,
        generator: torch.Generator,
        starts: Tensor | None = None,
    ) -> Counterexample | None:
        """See ``Attack.run``; starts are not used."""
        del starts
        sets = problem.cases.set_of[which]
        # The number of points doubles from a single one up, so that a slow network overruns the deadline by little.
        for box_index in sets.unique().tolist():
            box = problem.cases.boxes.take(torch.tensor([box_index], device=sets.device))
            points = self._points(box, generator)
            case = which[sets == box_index]
            done, size = 0, 1
            while done < len(points):
                if time.monotonic() >= until:
                    return None
                found = _try(problem, case, points[done : done + size], checker)
                if found is not None:
                    return found
                done, size = done + size, min(4 * size, problem.batch)
        return None

    def _points(self, box: Box, generator: torch.Generator) -> Tensor:
        """Return points of one box ``(1, n)``, shape ``(P, n)``: the centre, corners, others."""
        n = box.lower.shape[1]
        varying = (box.lower < box.upper)[0].nonzero().flatten()
        count, device = len(varying), varying.device
        if 1 << min(count, 62) <= self.corners:
            number = torch.arange(1 << count, device=device).unsqueeze(1)
            bits = (number >> torch.arange(count, device=device)) & 1
            weights = torch.zeros(len(bits), n, dtype=box.lower.dtype, device=box.lower.device)
            weights[:, varying] = bits.to(weights)
        else:
            weights = self._random(self.corners, box, generator).round()
        inside = self._random(self.inside if count else 0, box, generator)
        points = torch.lerp(box.lower, box.upper, torch.cat([torch.full_like(weights[:1], 0.5), weights, inside]))
        return points.clamp(box.lower, box.upper)

    def _random(self, count: int, box: Box, generator: torch.Generator) -> Tensor:
        like = box.lower
        return torch.rand(count, like.shape[1], generator=generator, dtype=like.dtype, device=like.device)


def _try(problem: Objective, case: Tensor, x: Tensor, checker: Witness) -> Counterexample | None:
    """Evaluate points ``(P, n)`` once, for all cases ``(c,)`` of their box."""
    with torch.no_grad():
        y = problem.graph(x)
        worst = [problem.excess(one.reshape(1), x, y).amax(-1) for one in case]
    worst_of = torch.stack(worst)  # (c, P)
    which, point = (worst_of <= 0).nonzero(as_tuple=True)
    best = worst_of[which, point].argsort()[:KEPT]
    return checker(case[which[best]], x[point[best]])
