"""Reads one formula, a token at a time and without recursion, into disjunctive normal form."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from specs.dnf import Dnf, TooLargeError, all_of, any_of, literal
from specs.lexer import Source, Token, shown
from specs.linear import Linear, total

Value = Linear | Dnf


@dataclass(slots=True)
class Frame:
    """An open bracket: its operator, the operands read so far, and whether an odd number of ``not`` is around it."""

    operator: str
    offset: int
    negated: bool
    values: list[Value] = field(default_factory=list)

    def negates_next(self) -> bool:
        """Whether the next operand is under an odd number of ``not``; ``(=> a b)`` is ``(or (not a) b)``."""
        return self.negated ^ (self.operator == "not" or (self.operator == "=>" and not self.values))


@dataclass(frozen=True, slots=True)
class FormulaReader(ABC):
    """Reads formulas of a source; a version of VNNLIB says what brackets and words mean."""

    source: Source

    operators: ClassVar[Mapping[str, tuple[int, int]]]
    """How many operands each operator takes: at least, and at most; 0 for any number."""

    @abstractmethod
    def shortcut(self, start: int) -> tuple[Dnf, int, int] | None:
        """Read a whole comparison of the kind of which large files consist; return it, its begin and its end."""

    @abstractmethod
    def operand(self, token: Token, *, negated: bool) -> tuple[Value, int]:
        """Read a word that is no bracket; return its meaning and its end."""

    @abstractmethod
    def closed(self, frame: Frame) -> Value:
        """Return the value of a complete bracket.

        Raises:
            TooLargeError, OverflowError: as they come; ``read`` gives them their place.
        """

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
        stack: list[Frame] = []
        end = start
        while True:
            negated = bool(stack) and stack[-1].negates_next()
            short = None if negated else self.shortcut(end)
            value: Value
            if short is not None:
                value, begin, end = short
            else:
                token = self._token(end, stack[-1].offset if stack else opening)
                begin, end = token.offset, token.end
                if token.text == "(":
                    operator = self._token(end, begin)
                    stack.append(self._opened(operator, begin, negated=negated))
                    end = operator.end
                    continue
                if token.text != ")":
                    value, end = self.operand(token, negated=negated)
                elif stack:
                    value = self._closed(stack.pop())
                else:
                    raise self.source.error("expected a formula, found )", begin)
            if not stack:
                return self.formula(value, begin), end
            stack[-1].values.append(value)

    def _token(self, start: int, opening: int) -> Token:
        token = self.source.token(start)
        if token is None:
            raise self.source.error("this ( is never closed", opening)
        return token

    def _opened(self, operator: Token, begin: int, *, negated: bool) -> Frame:
        if operator.text not in self.operators:
            message = f"unknown operator {shown(operator.text)} (supported: {' '.join(self.operators)})"
            raise self.source.error(message, operator.offset)
        return Frame(operator.text, begin, negated)

    def _closed(self, frame: Frame) -> Value:
        least, most = self.operators[frame.operator]
        if not least <= len(frame.values) <= (most or len(frame.values)):
            wanted = f"{least} operands" if most else f"at least {least}"
            raise self.source.error(f"{frame.operator} has {len(frame.values)} operands, not {wanted}", frame.offset)
        try:
            return self.closed(frame)
        except (TooLargeError, OverflowError) as error:
            raise self.source.error(str(error), frame.offset) from None

    def terms(self, frame: Frame) -> list[Linear]:
        """Return the operands, all of which must be terms."""
        terms = [value for value in frame.values if isinstance(value, Linear)]
        if len(terms) != len(frame.values):
            raise self.source.error(f"{frame.operator} takes terms, not formulas", frame.offset)
        return terms

    def formula(self, value: Value, offset: int) -> Dnf:
        """Return a value that must be a formula."""
        if isinstance(value, Linear):
            raise self.source.error("expected a formula, found a term", offset)
        return value


def combine(operator: str, first: Linear, others: Sequence[Linear]) -> Linear:
    """A sum, a difference, or the negative of a single term."""
    if operator == "+":
        return total((first, *others))
    return total((first, *(other.scaled(-1.0) for other in others))) if others else first.scaled(-1.0)


def compare(operator: str, a: Linear, b: Linear, offset: int) -> Dnf:
    """One comparison; ``=`` is two inequalities together, ``!=`` two strict ones of which one holds."""
    strict = operator in ("<", ">", "!=")
    sides = [(a, b)] if operator[0] == "<" else [(b, a)] if operator[0] == ">" else [(a, b), (b, a)]
    parts = [literal(small.row_below(large, strict=strict), offset) for small, large in sides]
    if len(parts) == 1:
        return parts[0]
    return any_of(parts) if operator == "!=" else all_of(parts)
