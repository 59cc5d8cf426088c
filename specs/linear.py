"""Linear terms over inputs and outputs, and the rows and bounds they are compared into."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Variable(NamedTuple):
    """Input ``X_number`` or output ``Y_number``."""

    kind: Literal["X", "Y"]
    number: int


class Row(NamedTuple):
    """The condition ``sum(coefficient * variable) <= bound``, or ``<`` if strict."""

    terms: tuple[tuple[Variable, float], ...]
    bound: float
    strict: bool


@dataclass(frozen=True, slots=True)
class Linear:
    """``sum(coefficient * variable) + constant``; constants are folded in float64, each step rounds to nearest."""

    terms: dict[Variable, float]
    constant: float = 0.0

    def scaled(self, factor: float) -> "Linear":
        """``factor * self``."""
        return Linear({variable: factor * c for variable, c in self.terms.items()}, factor * self.constant)

    def row_below(self, other: "Linear", *, strict: bool) -> Row:
        """The condition ``self <= other``, or ``self < other``, with the variables on the left.

        Raises:
            OverflowError: a number is beyond the range of float64.
        """
        difference = total((self, other.scaled(-1.0)))
        terms = tuple(sorted((variable, c) for variable, c in difference.terms.items() if c != 0))
        if not all(map(math.isfinite, (difference.constant, *(c for _, c in terms)))):
            raise OverflowError("a number in this comparison is beyond the range of float64")
        return Row(terms, 0.0 - difference.constant, strict)


def total(parts: Iterable[Linear]) -> Linear:
    """The sum of the parts, in time linear in their lengths."""
    terms: dict[Variable, float] = {}
    constant = 0.0
    for part in parts:
        constant += part.constant
        for variable, c in part.terms.items():
            terms[variable] = terms.get(variable, 0.0) + c
    return Linear(terms, constant)
