"""Strict conditions that are excluded at equality, where a bound with a margin for rounding cannot do it.

``y < b`` is excluded by ``y >= b``. Boxes of single outputs and signs of sums are known without margins: a rectifier's
output is at least 0, exactly.
"""

from __future__ import annotations

import numpy as np

from specs import Case
from verifier.bounds.schedule import Bounds
from verifier.graph.graph import OUTPUT
from verifier.lipschitz.signs import Signs


def excluded(cases: list[Case], bounds: Bounds) -> list[bool]:
    """Tell which cases have a strict condition that cannot hold on a box.

    Args:
        cases: with one box of inputs.
        bounds: of the network over it, one domain.

    Property: sound in floating point.
    """
    box, sign = bounds.boxes[OUTPUT], None
    lower, upper = box.lower[0].cpu().numpy(), box.upper[0].cpu().numpy()
    found = []
    for case in cases:
        rows = case.rows
        plain = np.ones(len(rows), bool) if rows.x is None else ~rows.x.any(1)
        out = False
        for row in (rows.strict & plain).nonzero()[0]:
            coefficients, bound = rows.y[row], rows.bound[row]
            places = coefficients.nonzero()[0]
            if len(places) == 1 and abs(coefficients[places[0]]) == 1:
                j = places[0]
                out = out or bool((lower[j] if coefficients[j] > 0 else -upper[j]) >= bound)
            if bound <= 0 and len(places) and not out:
                sign = Signs(bounds.graph).of(bounds.boxes)[OUTPUT] if sign is None else sign
                positive, negative = sign.positive[0].cpu().numpy(), sign.negative[0].cpu().numpy()
                out = bool(np.where(coefficients > 0, positive, negative)[places].all())
        found.append(out or _beside(case))
    return found


def _beside(case: Case) -> bool:
    """Tell whether a strict condition on one input alone excludes all of the box, in which it is closed."""
    rows = case.rows
    if rows.x is None:
        return False
    for row in (rows.strict & ~rows.y.any(1)).nonzero()[0]:
        places = rows.x[row].nonzero()[0]
        if len(places) == 1 and abs(rows.x[row, places[0]]) == 1:
            i = places[0]
            least = case.inputs.lower[i] if rows.x[row, i] > 0 else -case.inputs.upper[i]
            if least >= rows.bound[row]:
                return True
    return False
