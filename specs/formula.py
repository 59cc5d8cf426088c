"""Reads one formula, a token at a time and without recursion, into disjunctive normal form."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from specs.dnf import Dnf, TooLargeError, all_of, any_of, literal, truth
from specs.lexer import BLANK, Source, Token, shown
from specs.linear import Linear, Row, total

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

Value = Linear | Dnf


@dataclass(slots=True)
class _Frame:
    """An open bracket: its operator, the operands read so far, and whether an odd number of ``not`` is around it."""

    operator: str
    offset: int
    negated: bool
    values: list[Value] = field(default_factory=list)

    def negates_next(self) -> bool:
        """Whether the next operand is under an odd number of ``not``; ``(=> a b)`` is ``(or (not a) b)``."""
        return self.negated ^ (self.operator == "not" or (self.operator == "=>" and not self.values))


def number(text: str) -> float | None:
    """The float64 nearest to a decimal number; None if ``text`` is no number or beyond the range of float64."""
    value = float(text) if _NUMBER.fullmatch(text) else None
    return None if value is None or abs(value) == float("inf") else value


@dataclass(frozen=True, slots=True)
class FormulaReader:
    """Reads formulas of a source.

    Args:
        source: where errors are reported.
        term: the meaning of a word that is no number: a variable, or a SpecError.
    """

    source: Source
    term: Callable[[Token], Linear]

    def read(self, start: int, opening: int) -> tuple[Dnf, int]:
        """Read one formula; return it and its end.

        A negation is pushed down to the comparisons while reading, and every bracket is multiplied out when it closes.
        Nesting may have any depth.

        Args:
            start: where the formula begins, or blanks before it.
            opening: offset of the bracket around the formula, for the error if the text ends early.

        Raises:
            SpecError: with line and column, for whatever is not a linear formula or becomes too large.
        """
        stack: list[_Frame] = []
        end = start
        while True:
            negated = bool(stack) and stack[-1].negates_next()
            bound = None if negated else _BOUND.match(self.source.text, end)
            value: Value
            if bound is not None:
                value, begin, end = self._bound(bound), bound.start("bound"), bound.end()
            else:
                token = self._token(end, stack[-1].offset if stack else opening)
                begin, end = token.offset, token.end
                if token.text == "(":
                    operator = self._token(end, begin)
                    stack.append(self._opened(operator, begin, negated=negated))
                    end = operator.end
                    continue
                if token.text == ")" and not stack:
                    raise self.source.error("expected a formula, found )", begin)
                value = self._closed(stack.pop()) if token.text == ")" else self._operand(token, negated=negated)
            if not stack:
                return self._formula(value, begin), end
            stack[-1].values.append(value)

    def _token(self, start: int, opening: int) -> Token:
        token = self.source.token(start)
        if token is None:
            raise self.source.error("this ( is never closed", opening)
        return token

    def _bound(self, match: re.Match[str]) -> Dnf:
        """The shortcut for ``(<= X_0 0.5)`` and the like, of which large files consist."""
        (variable,) = self.term(Token(match["variable"], match.start("variable"))).terms
        sign = 1.0 if match["operator"] == "<=" else -1.0
        row = Row(((variable, sign),), sign * float(match["number"]) + 0.0, strict=False)
        return literal(row, match.start("bound"))

    def _opened(self, operator: Token, begin: int, *, negated: bool) -> _Frame:
        if operator.text not in _ARITY:
            message = f"unknown operator {shown(operator.text)} (supported: {' '.join(_ARITY)})"
            raise self.source.error(message, operator.offset)
        return _Frame(operator.text, begin, negated)

    def _operand(self, token: Token, *, negated: bool) -> Value:
        if token.text in ("true", "false"):
            return truth((token.text == "true") != negated)
        value = number(token.text)
        if value is not None:
            return Linear({}, value)
        if token.text[0] in "+-.0123456789" or token.text.lower() in ("nan", "inf", "infinity"):
            raise self.source.error(f"{shown(token.text)} is not a finite number", token.offset)
        return self.term(token)

    def _closed(self, frame: _Frame) -> Value:
        """The value of a complete bracket."""
        least, most = _ARITY[frame.operator]
        if not least <= len(frame.values) <= (most or len(frame.values)):
            wanted = f"{least} operands" if most else f"at least {least}"
            raise self.source.error(f"{frame.operator} has {len(frame.values)} operands, not {wanted}", frame.offset)
        try:
            if frame.operator in ("+", "-", "*"):
                return self._arithmetic(frame)
            if frame.operator in _NEGATED:
                return self._comparison(frame)
            parts = [self._formula(value, frame.offset) for value in frame.values]
            conjunction = (frame.operator == "and") != frame.negated
            return all_of(parts) if conjunction else any_of(parts)
        except (TooLargeError, OverflowError) as error:
            raise self.source.error(str(error), frame.offset) from None

    def _arithmetic(self, frame: _Frame) -> Linear:
        first, *others = self._terms(frame)
        if frame.operator == "+":
            return total((first, *others))
        if frame.operator == "-":
            return total((first, *(other.scaled(-1.0) for other in others))) if others else first.scaled(-1.0)
        for other in others:
            if first.terms and other.terms:
                raise self.source.error("product of two variables: only linear terms are supported", frame.offset)
            first = other.scaled(first.constant) if other.terms else first.scaled(other.constant)
        return first

    def _comparison(self, frame: _Frame) -> Dnf:
        """``(<= a b c)`` is ``a <= b`` and ``b <= c``."""
        terms = self._terms(frame)
        operator = _NEGATED[frame.operator] if frame.negated else frame.operator
        pairs = [_compare(operator, a, b, frame.offset) for a, b in pairwise(terms)]
        if len(pairs) == 1:
            return pairs[0]
        return any_of(pairs) if frame.negated else all_of(pairs)

    def _terms(self, frame: _Frame) -> list[Linear]:
        terms = [value for value in frame.values if isinstance(value, Linear)]
        if len(terms) != len(frame.values):
            raise self.source.error(f"{frame.operator} takes terms, not formulas", frame.offset)
        return terms

    def _formula(self, value: Value, offset: int) -> Dnf:
        if isinstance(value, Linear):
            raise self.source.error("expected a formula, found a term", offset)
        return value


def _compare(operator: str, a: Linear, b: Linear, offset: int) -> Dnf:
    """One comparison; ``=`` is two inequalities together, ``!=`` two strict ones of which one holds."""
    strict = operator in ("<", ">", "!=")
    sides = [(a, b)] if operator[0] == "<" else [(b, a)] if operator[0] == ">" else [(a, b), (b, a)]
    parts = [literal(small.row_below(large, strict=strict), offset) for small, large in sides]
    if len(parts) == 1:
        return parts[0]
    return any_of(parts) if operator == "!=" else all_of(parts)
