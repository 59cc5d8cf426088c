"""VNNLIB 1.0: an SMT-LIB text that declares inputs X_i and outputs Y_j and asserts linear conditions on them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from specs.assemble import assemble
from specs.dnf import Clash, Conjunct, Dnf, Limit, TooLargeError, all_of, inside
from specs.errors import SpecError
from specs.formula import INDEX, FormulaReader, bound_pattern
from specs.lexer import BLANK, Source, Token, shown
from specs.linear import Linear, Row, Variable
from specs.spec import Spec

_NAME = re.compile(f"[XY]_{INDEX}")
# The two statements that make up nearly all of a large file. Whatever else it holds, and whatever is wrong in it, goes
# through the tokens.
_COMMON = re.compile(
    rf"{BLANK}\(\s*+(?:declare-const\s++(?P<declared>[XY]_{INDEX})\s++Real|assert\s*+{bound_pattern('X')})\s*+\)"
)
_IGNORED = ("set-logic", "set-info", "set-option", "check-sat", "get-model", "exit")


def parse(text: str, name: str = "<string>") -> Spec:
    """Read a VNNLIB 1.0 property: its cases are the disjuncts of the conjunction of all assertions.

    Declarations are ``(declare-const X_i Real)`` or ``(declare-fun Y_j () Real)``, with indices from 0 without gaps.
    Formulas have and, or, not, =>, <=, <, >=, >, = (or ==), != (or distinct), and terms +, -, * that are linear.
    Comparisons of one input with a number make the box of a case, all others its rows. A strict bound of an input
    closes the box and stays as a row. Numbers are rounded to the nearest float64. Contradictory cases are left out.

    Args:
        text: the whole file.
        name: what errors call it.

    Raises:
        SpecError: with line and column: the text is not such a property, an input lacks a bound, all cases have an
            empty box, or there are more than a million cases.

    Cost: linear in the text, about a microsecond for a declaration or a bound; plus the product of the disjunctions.
    """
    reader = _Reader(Source(text, name))
    reader.read()
    return reader.spec()


@dataclass(slots=True)
class _Reader:
    """What was declared and asserted so far; ``keys`` and ``limits`` are the common bounds, see ``specs.dnf``."""

    source: Source
    declared: dict[str, int] = field(default_factory=dict)
    keys: list[int] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    alternatives: list[Dnf] = field(default_factory=list)

    def read(self) -> None:
        """Read all statements."""
        if re.fullmatch(BLANK, self.source.text):
            raise self.source.error("the file is empty", 0)
        end: int | None = 0
        while end is not None:
            end = self._statement(self._common_statements(end))

    def _common_statements(self, start: int) -> int:
        """Read statements of the two common forms; return the end of the last."""
        text, declared = self.source.text, self.declared
        while match := _COMMON.match(text, start):
            name, _, operator, bounded, number = match.groups()
            if name in declared or (name is None and bounded not in declared):
                break
            if name is not None:
                declared[name] = match.start("declared")
            else:
                index, value = int(bounded[2:]), float(number)
                self.keys.append(index if operator == "<=" else ~index)
                self.limits.append(Limit(value if operator == "<=" else -value, match.start("bound")))
            start = match.end()
        return start

    def _statement(self, start: int) -> int | None:
        """Read one statement of any form; return its end, or None at the end of the text."""
        tokens = self.source.tokens(start)
        opening = next(tokens, None)
        if opening is None:
            return None
        if opening.text != "(":
            raise self.source.error(f"expected ( before {shown(opening.text)}", opening.offset)
        command = self._next(tokens, opening)
        if command.text == "declare-const":
            self._declare(self._next(tokens, opening))
            self._expect(tokens, opening, "Real")
        elif command.text == "declare-fun":
            self._declare(self._next(tokens, opening))
            self._expect(tokens, opening, "(", ")", "Real")
        elif command.text == "assert":
            dnf, end = FormulaReader(self.source, self._variable).read(command.end, opening.offset)
            self._assert(dnf, command)
            tokens = self.source.tokens(end)
        elif command.text in _IGNORED:
            return self._skip(tokens, opening)
        else:
            supported = " ".join(("declare-const", "declare-fun", "assert", *_IGNORED))
            message = f"unknown command {shown(command.text)} (supported: {supported})"
            raise self.source.error(message, command.offset)
        return self._expect(tokens, opening, ")")

    def _next(self, tokens: Iterator[Token], opening: Token) -> Token:
        token = next(tokens, None)
        if token is None:
            raise self.source.error("this ( is never closed", opening.offset)
        return token

    def _expect(self, tokens: Iterator[Token], opening: Token, *texts: str) -> int:
        """Read exactly these tokens; return the end of the last."""
        for text in texts:
            token = self._next(tokens, opening)
            if token.text != text:
                raise self.source.error(f"expected {text}, found {shown(token.text)}", token.offset)
        return token.end

    def _skip(self, tokens: Iterator[Token], opening: Token) -> int:
        """Read up to the bracket that closes ``opening``; return its end."""
        depth = 1
        while depth:
            token = self._next(tokens, opening)
            depth += (token.text == "(") - (token.text == ")")
        return token.end

    def _declare(self, token: Token) -> None:
        if not _NAME.fullmatch(token.text):
            message = f"cannot declare {shown(token.text)}: inputs are X_0, X_1, ..., outputs Y_0, Y_1, ..."
            raise self.source.error(message, token.offset)
        if token.text in self.declared:
            raise self.source.error(f"{token.text} is declared twice", token.offset)
        self.declared[token.text] = token.offset

    def _variable(self, token: Token) -> Linear:
        if token.text not in self.declared:
            message = f"unknown variable {shown(token.text)} ({self._known(token.text[0])})"
            raise self.source.error(message, token.offset)
        kind: Literal["X", "Y"] = "X" if token.text[0] == "X" else "Y"
        return Linear({Variable(kind, int(token.text[2:])): 1.0})

    def _known(self, kind: str) -> str:
        """Which variables of this kind, or of both if it is neither, there are."""
        counts = {k: self._count(k) for k in ((kind,) if kind in "XY" else "XY")}
        return " and ".join(
            f"{k}_0..{k}_{n - 1} are declared" if n else f"no {k}_i is declared" for k, n in counts.items()
        )

    def _count(self, kind: str) -> int:
        return sum(name[0] == kind for name in self.declared)

    def _assert(self, dnf: Dnf, at: Token) -> None:
        """Add a formula: a single conjunct to what all cases share, anything else to the alternatives."""
        if not dnf.conjuncts:
            raise self._empty(dnf.clash, at.offset)
        if len(dnf.conjuncts) > 1:
            self.alternatives.append(dnf)
            return
        self.keys += dnf.conjuncts[0].limits.keys()
        self.limits += dnf.conjuncts[0].limits.values()
        self.rows += dnf.conjuncts[0].rows

    def spec(self) -> Spec:
        """Multiply out what was read."""
        n, m = self._dense("X"), self._dense("Y")
        limits = np.full(2 * n, np.inf)
        np.minimum.at(limits, np.array(self.keys, dtype=np.int64), np.array([limit.value for limit in self.limits]))
        if (limits[:n] < -limits[::-1][:n]).any():
            raise self._empty(self._common_clash(), 0)
        box: list[float] = limits.tolist()
        try:
            dnf = all_of(inside(alternative, box) for alternative in self.alternatives)
            if not dnf.conjuncts:
                raise self._empty(dnf.clash, 0)
            self._require_bounds(dnf, box)
            return assemble(dnf.conjuncts, box, self.rows, m)
        except TooLargeError as error:
            raise self.source.error(str(error), 0) from None

    def _dense(self, kind: str) -> int:
        """How many variables of this kind there are."""
        count = self._count(kind)
        missing = next((i for i in range(count) if f"{kind}_{i}" not in self.declared), None)
        if missing is not None:
            last = max((name for name in self.declared if name[0] == kind), key=lambda name: int(name[2:]))
            raise self.source.error(f"{last} is declared, {kind}_{missing} is not", self.declared[last])
        return count

    def _require_bounds(self, dnf: Dnf, box: list[float]) -> None:
        """Raise unless all inputs have both bounds in all cases."""
        open_keys = [key for key in range(-len(box) // 2, len(box) // 2) if box[key] == np.inf]
        for case, conjunct in enumerate(dnf.conjuncts if open_keys else (), start=1):
            for key in open_keys:
                if key not in conjunct.limits:
                    name = f"X_{max(key, ~key)}"
                    where = f" in case {case} of {len(dnf.conjuncts)}" if len(dnf.conjuncts) > 1 else ""
                    message = f"{name} has no {'upper' if key >= 0 else 'lower'} bound{where}"
                    raise self.source.error(message, self.declared[name])

    def _common_clash(self) -> Clash | None:
        """The first contradiction among the common bounds, in the order of the text."""
        parts = ({key: limit} for key, limit in zip(self.keys, self.limits, strict=True))
        return all_of(Dnf([Conjunct(part, ())]) for part in parts).clash

    def _empty(self, clash: Clash | None, offset: int) -> SpecError:
        """No case is left, because of ``clash`` if that is known."""
        if clash is None:
            return self.source.error("the assertions contradict each other", offset)
        bounds = f"lower bound {clash.lower:.17g} > upper bound {clash.upper:.17g}"
        return self.source.error(f"empty box: X_{clash.number} has {bounds}", clash.offset)
