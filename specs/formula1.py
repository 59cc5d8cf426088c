"""Formulas of VNNLIB 1.0: those of SMT-LIB that are linear."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from specs.dnf import Dnf, all_of, any_of, literal, truth
from specs.formula import FormulaReader, Frame, Value, combine, compare
from specs.lexer import BLANK, Token, shown
from specs.linear import Linear, Row

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NEGATED = {"<=": ">", "<": ">=", ">=": "<", ">": "<=", "=": "!=", "==": "!=", "!=": "=", "distinct": "="}
_ARITY = {"not": (1, 1), "=>": (2, 2), "!=": (2, 2), "distinct": (2, 2)} | dict.fromkeys(("<=", "<", ">=", ">"), (2, 0))
_ARITY |= dict.fromkeys(("=", "=="), (2, 0)) | dict.fromkeys(("and", "or", "+", "-", "*"), (1, 0))

INDEX = "(?:0|[1-9][0-9]{0,8}+)"


def bound_pattern(kinds: str) -> str:
    """A regular expression for a variable of the kinds compared with a number that is too short to overflow."""
    number = r"[-+]?(?:[0-9]{1,99}+\.?+[0-9]*+|\.[0-9]++)(?:[eE][-+]?[0-9]{1,2}+)?"
    variable = rf"(?P<variable>[{kinds}]_{INDEX})"
    return rf"(?P<bound>\(\s*+(?P<operator>[<>]=)\s++{variable}\s++(?P<number>{number})\s*+\))"


_BOUND = re.compile(BLANK + bound_pattern("XY"))


def number(text: str) -> float | None:
    """The float64 nearest to a decimal number; None if ``text`` is no number or beyond the range of float64."""
    value = float(text) if _NUMBER.fullmatch(text) else None
    return None if value is None or abs(value) == float("inf") else value


@dataclass(frozen=True, slots=True)
class Formula1(FormulaReader):
    """Reads formulas of version 1.

    Args:
        term: the meaning of a word that is no number: a variable, or a SpecError.
    """

    term: Callable[[Token], Linear]

    operators = _ARITY

    def shortcut(self, start: int) -> tuple[Dnf, int, int] | None:
        """Read ``(<= X_0 0.5)`` and the like."""
        match = _BOUND.match(self.source.text, start)
        if match is None:
            return None
        (variable,) = self.term(Token(match["variable"], match.start("variable"))).terms
        sign = 1.0 if match["operator"] == "<=" else -1.0
        row = Row(((variable, sign),), sign * float(match["number"]) + 0.0, strict=False)
        begin = match.start("bound")
        return literal(row, begin), begin, match.end()

    def operand(self, token: Token, *, negated: bool) -> tuple[Value, int]:
        """Read a truth, a number or a variable."""
        if token.text in ("true", "false"):
            return truth((token.text == "true") != negated), token.end
        value = number(token.text)
        if value is not None:
            return Linear({}, value), token.end
        if token.text[0] in "+-.0123456789" or token.text.lower() in ("nan", "inf", "infinity"):
            raise self.source.error(f"{shown(token.text)} is not a finite number", token.offset)
        return self.term(token), token.end

    def closed(self, frame: Frame) -> Value:
        """See ``FormulaReader.closed``."""
        if frame.operator in ("+", "-"):
            first, *others = self.terms(frame)
            return combine(frame.operator, first, others)
        if frame.operator == "*":
            return self._product(frame)
        if frame.operator in _NEGATED:
            return self._comparison(frame)
        parts = [self.formula(value, frame.offset) for value in frame.values]
        conjunction = (frame.operator == "and") != frame.negated
        return all_of(parts) if conjunction else any_of(parts)

    def _product(self, frame: Frame) -> Linear:
        first, *others = self.terms(frame)
        for other in others:
            if first.terms and other.terms:
                message = "product of two variables: only linear terms are supported in VNNLIB 1.0"
                raise self.source.error(message, frame.offset)
            first = other.scaled(first.constant) if other.terms else first.scaled(other.constant)
        return first

    def _comparison(self, frame: Frame) -> Dnf:
        """``(<= a b c)`` is ``a <= b`` and ``b <= c``."""
        terms = self.terms(frame)
        operator = _NEGATED[frame.operator] if frame.negated else frame.operator
        pairs = [compare(operator, a, b, frame.offset) for a, b in pairwise(terms)]
        if len(pairs) == 1:
            return pairs[0]
        return any_of(pairs) if frame.negated else all_of(pairs)
