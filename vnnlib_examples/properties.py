"""The example properties: what they ask, and how they are written as VNNLIB 1.0."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DIGITS = 6  # after the decimal point in the files; what is proved is what the files say


@dataclass(frozen=True, slots=True)
class Box:
    """Bounds of the flattened input."""

    lower: np.ndarray
    upper: np.ndarray

    @classmethod
    def of(cls, *sides: tuple[float, float]) -> "Box":
        """A box from its sides."""
        lower, upper = np.round(np.array(sides, dtype=np.float64).T, DIGITS)
        return cls(lower, upper)

    @classmethod
    def around(cls, centre: np.ndarray, radius: float | np.ndarray) -> "Box":
        """All points within ``radius`` of ``centre`` in every coordinate (or its own in each), within [0, 1]."""
        sides = np.clip([centre - radius, centre + radius], 0.0, 1.0)
        return cls(*np.round(sides, DIGITS))

    def text(self) -> list[str]:
        """One comparison per bound."""
        lines = []
        for k, (low, high) in enumerate(zip(self.lower, self.upper, strict=True)):
            lines += [f"(>= X_{k} {_number(low)})", f"(<= X_{k} {_number(high)})"]
        return lines


@dataclass(frozen=True, slots=True)
class Row:
    """The comparison Y_low <= Y_high, or with a number in the place of either."""

    low: int | float
    high: int | float

    def coefficients(self, outputs: int) -> tuple[np.ndarray, float]:
        """(a, b) such that the comparison is a.y <= b."""
        a, b = np.zeros(outputs), 0.0
        for side, sign in ((self.low, 1.0), (self.high, -1.0)):
            if isinstance(side, int):
                a[side] += sign
            else:
                b -= sign * round(side, DIGITS)
        return a, b

    def text(self) -> str:
        """The comparison with an output first."""
        if isinstance(self.low, int):
            return f"(<= Y_{self.low} {_operand(self.high)})"
        return f"(>= {_operand(self.high)} {_number(self.low)})"


@dataclass(frozen=True, slots=True)
class Case:
    """Unsafe: a point of the box at which all rows hold."""

    box: Box
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Property:
    """Unsafe in any of its cases; ``says`` is the property in words."""

    says: str
    cases: tuple[Case, ...]

    def text(self, outputs: int) -> str:
        """The file."""
        lines = [f"; {self.says}", "; Unsafe, and so `sat`, if some point satisfies all that is asserted here.", ""]
        lines += [f"(declare-const X_{k} Real)" for k in range(len(self.cases[0].box.lower))]
        lines += [f"(declare-const Y_{k} Real)" for k in range(outputs)]
        return "\n".join([*lines, "", *self._asserts()]) + "\n"

    def _asserts(self) -> list[str]:
        boxes = [case.box.text() for case in self.cases]
        rows = [[row.text() for row in case.rows] for case in self.cases]
        one_box, one_clause = all(box == boxes[0] for box in boxes), all(clause == rows[0] for clause in rows)
        if not one_box and not one_clause:
            return [_any_of([box + clause for box, clause in zip(boxes, rows, strict=True)])]
        inputs = [f"(assert {bound})" for bound in boxes[0]] if one_box else [_any_of(boxes)]
        outputs = [f"(assert {row})" for row in rows[0]] if one_clause else [_any_of(rows)]
        return [*inputs, "", *outputs]


def margin_cases(box: Box, label: int, classes: int) -> tuple[Case, ...]:
    """Unsafe: some other class scores at least as high."""
    return tuple(Case(box, (Row(label, other),)) for other in range(classes) if other != label)


def range_cases(box: Box, limits: Sequence[tuple[float, float]]) -> tuple[Case, ...]:
    """Unsafe: some output reaches one of its two limits."""
    cases = []
    for k, (low, high) in enumerate(limits):
        cases += [Case(box, (Row(k, float(low)),)), Case(box, (Row(float(high), k),))]
    return tuple(cases)


def _any_of(clauses: Sequence[Sequence[str]]) -> str:
    return "(assert (or\n" + "\n".join(f"    (and {' '.join(clause)})" for clause in clauses) + "\n))"


def _operand(side: int | float) -> str:
    return f"Y_{side}" if isinstance(side, int) else _number(side)


def _number(value: float) -> str:
    return f"{value + 0.0:.{DIGITS}f}".rstrip("0") + ("0" if float(f"{value:.{DIGITS}f}").is_integer() else "")
