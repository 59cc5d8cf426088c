"""Tightening of boxes by linear conditions on inputs alone."""

import math
from collections.abc import Iterable, Sequence

from specs.linear import Row

SWEEPS = 4
"""How often all rows are gone through at most."""

LARGE = 1e300
"""Products of that size count as infinite, lest their sums overflow."""

WORTH = 1e-6
"""A limit that moves by less than that, relative to what it was, is not worth another sweep."""


def tighten(box: Sequence[float], rows: Iterable[Row]) -> list[float]:
    """Return limits that hold wherever those of a box and all rows do.

    A row ``sum c_j x_j <= b`` bounds each of its inputs, with the others where they make the sum least.

    Args:
        box: 2n limits, see ``specs.dnf``; they may be infinite.
        rows: those that read an output are left out.

    Property: sound in floating point: every new limit is rounded outward.
    """
    limits = list(box)
    own = [row for row in rows if reads_inputs_alone(row)]
    for _ in range(SWEEPS):
        moved = False
        for row in own:
            parts = [_least(c, variable.number, limits) for variable, c in row.terms]
            unbounded = [abs(part) > LARGE for part in parts]
            if sum(unbounded) > 1:
                continue
            for k, (variable, c) in enumerate(row.terms):
                if any(unbounded[:k]) or any(unbounded[k + 1 :]):
                    continue
                others = [part for j, part in enumerate(parts) if j != k]
                lost = 4e-16 * (len(parts) + 4) * (math.fsum(map(abs, others)) + abs(row.bound))
                room = (row.bound - math.fsum(others) + lost) / abs(c)
                value = room + 4e-16 * abs(room) + 5e-324
                key = variable.number if c > 0 else ~variable.number
                if value < limits[key]:
                    moved = moved or not limits[key] - value <= WORTH * (1 + abs(value))
                    limits[key] = value
                    parts[k] = _least(c, variable.number, limits)
        if not moved:
            break
    return limits


def reads_inputs_alone(row: Row) -> bool:
    """Whether a row is a condition on inputs, and on no output."""
    return bool(row.terms) and all(variable.kind == "X" for variable, _ in row.terms)


def _least(c: float, number: int, limits: Sequence[float]) -> float:
    """The least value of ``c x``."""
    return c * -limits[~number] if c > 0 else c * limits[number]
