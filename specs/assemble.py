"""From conjuncts to a ``Spec``: dense arrays, shared where they are equal."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from specs.dnf import Conjunct, Limit, TooLargeError
from specs.linear import Row
from specs.sets import Array, InputSet
from specs.spec import Case, Rows, Spec

MAX_NUMBERS = 2**28  # in all arrays of a Spec together: 2 GiB

Tightened = frozenset[tuple[int, float]]


def assemble(conjuncts: Iterable[Conjunct], box: Sequence[float], rows: Sequence[Row], n_outputs: int) -> Spec:
    """One case for each different conjunct; every case is also inside ``box`` and has the common ``rows`` first.

    Args:
        conjuncts: none of them leaves the box empty or an input without a bound.
        box: 2n limits, see ``specs.dnf``.
        rows: conditions of every case.
        n_outputs: m.

    Raises:
        TooLargeError: the arrays would have more than ``MAX_NUMBERS`` numbers.
    """
    n = len(box) // 2
    base = np.array(box, dtype=np.float64)
    boxes: dict[Tightened, InputSet] = {}
    matrices: dict[tuple[Row, ...], Rows] = {}
    cases: dict[tuple[Tightened, tuple[Row, ...]], Case] = {}
    numbers = 0
    for conjunct in conjuncts:
        tightened = _tightened(conjunct.limits, box)
        own = conjunct.rows
        if tightened not in boxes:
            numbers = _spend(numbers, 2 * n)
            boxes[tightened] = _input_set(base, tightened)
        if own not in matrices:
            different = tuple(dict.fromkeys((*rows, *own)))
            numbers = _spend(numbers, len(different) * (n_outputs + n * _touches_inputs(different)))
            matrices[own] = _rows(different, n, n_outputs)
        if (tightened, own) not in cases:
            cases[tightened, own] = Case(boxes[tightened], matrices[own])
    return Spec(tuple(cases.values()), n, n_outputs)


def _spend(numbers: int, more: int) -> int:
    """``numbers + more``, if that is allowed."""
    if numbers + more > MAX_NUMBERS:
        raise TooLargeError(f"the cases need more than {MAX_NUMBERS} numbers")
    return numbers + more


def _tightened(limits: Mapping[int, Limit], box: Sequence[float]) -> Tightened:
    """The limits that cut something off the box."""
    return frozenset((key, limit.value) for key, limit in limits.items() if limit.value < box[key])


def _input_set(base: Array, tightened: Tightened) -> InputSet:
    """The box ``base`` after ``tightened``; the sums with 0.0 make -0.0 positive."""
    limits = base.copy()
    for key, value in tightened:
        limits[key] = value
    n = len(limits) // 2
    return InputSet(0.0 - limits[: n - 1 : -1] if n else limits, 0.0 + limits[:n])


def _touches_inputs(rows: Iterable[Row]) -> bool:
    return any(variable.kind == "X" for row in rows for variable, _ in row.terms)


def _rows(rows: Sequence[Row], n_inputs: int, n_outputs: int) -> Rows:
    """The rows as dense matrices, with an x part only if it is needed."""
    y = np.zeros((len(rows), n_outputs))
    x = np.zeros((len(rows), n_inputs)) if _touches_inputs(rows) else None
    for r, row in enumerate(rows):
        for (kind, number), c in row.terms:
            if kind == "Y":
                y[r, number] = c
            elif x is not None:
                x[r, number] = c
    bound = np.array([row.bound for row in rows], dtype=np.float64)
    return Rows(y, x, bound, np.array([row.strict for row in rows], dtype=np.bool_))
