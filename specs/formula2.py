"""Formulas of VNNLIB 2.0: typed, without negation, with products of variables."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from specs.declarations import FLOATS, INTEGERS
from specs.dnf import Dnf, all_of, any_of
from specs.formula import FormulaReader, Frame, Value, combine, compare
from specs.lexer import Token, shown
from specs.linear import Linear, Variable, total

_DECIMAL, _INTEGER = re.compile(r"-?[0-9]+\.[0-9]+"), re.compile(r"-?[0-9]+")
_ARITY = dict.fromkeys(("<=", "<", ">=", ">", "==", "!="), (2, 2)) | dict.fromkeys(("and", "or", "+", "-", "*"), (1, 0))
_LITERALS = {"a decimal number": FLOATS, "an integer": INTEGERS}


@dataclass(frozen=True, slots=True)
class Term(Linear):
    """A linear term of one type: a declared one, or ``a decimal number`` or ``an integer``."""

    type: str = ""


@dataclass(frozen=True, slots=True)
class Formula2(FormulaReader):
    """Reads formulas of version 2.

    Args:
        term: reads a variable with its indices, from its name on; returns it and its end, or raises a SpecError.
        product: the variable that stands for the product of two.
        quick: see ``FormulaReader.shortcut``.
    """

    term: Callable[[Token], tuple[Term, int]]
    product: Callable[[Variable, Variable], Variable]
    quick: Callable[[int], tuple[Dnf, int, int] | None]

    operators = _ARITY

    def shortcut(self, start: int) -> tuple[Dnf, int, int] | None:
        """See ``FormulaReader.shortcut``."""
        return self.quick(start)

    def operand(self, token: Token, *, negated: bool) -> tuple[Value, int]:
        """Read a number or a variable."""
        del negated  # there is no ``not``
        for pattern, kind in ((_DECIMAL, "a decimal number"), (_INTEGER, "an integer")):
            if pattern.fullmatch(token.text):
                value = float(token.text)
                if math.isinf(value):
                    raise self.source.error(f"{shown(token.text)} is beyond the range of float64", token.offset)
                return Term({}, value, kind), token.end
        if token.text[0] in "+-.0123456789":
            message = (
                f"{shown(token.text)} is not a number of VNNLIB 2.0, which look like -12 or -0.5, without exponent"
            )
            raise self.source.error(message, token.offset)
        return self.term(token)

    def closed(self, frame: Frame) -> Value:
        """See ``FormulaReader.closed``."""
        if frame.operator in ("and", "or"):
            parts = [self.formula(value, frame.offset) for value in frame.values]
            return all_of(parts) if frame.operator == "and" else any_of(parts)
        terms = self.terms(frame)
        kind = self._type(terms, frame)
        first, *others = terms
        if frame.operator in ("+", "-"):
            found = combine(frame.operator, first, others)
        elif frame.operator == "*":
            found = first
            for other in others:
                found = self._multiplied(found, other)
        else:
            return compare(frame.operator, first, others[0], frame.offset)
        return Term(found.terms, found.constant, kind)

    def _type(self, terms: list[Linear], frame: Frame) -> str:
        """Return the one type of all terms; numbers take that of variables."""
        kinds = [term.type for term in terms if isinstance(term, Term)]
        found = next((kind for kind in kinds if kind not in _LITERALS), kinds[0])
        for kind in kinds:
            if kind != found and found not in _LITERALS.get(kind, ()):
                hint = "; write 1.0, not 1" if kind == "an integer" and found in FLOATS else ""
                message = f"{frame.operator} takes operands of one type, not {found} and {kind}{hint}"
                raise self.source.error(message, frame.offset)
        return found

    def _multiplied(self, a: Linear, b: Linear) -> Linear:
        parts = [a.scaled(b.constant), b.scaled(a.constant)] if a.terms and b.terms else []
        if not parts:
            return b.scaled(a.constant) if b.terms else a.scaled(b.constant)
        pairs = [
            Linear({self.product(left, right): c * d}) for left, c in a.terms.items() for right, d in b.terms.items()
        ]
        return Linear(total([*parts, *pairs]).terms, a.constant * b.constant)
