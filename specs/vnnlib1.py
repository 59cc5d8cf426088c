"""VNNLIB 1.0: an SMT-LIB text that declares inputs X_i and outputs Y_j and asserts linear conditions on them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from specs.assemble import assemble
from specs.common import Common, ContradictionError, UnboundedError
from specs.dnf import Clash, Dnf, Limit, TooLargeError
from specs.errors import SpecError
from specs.formula1 import INDEX, Formula1, bound_pattern
from specs.lexer import BLANK, Source, Token, shown
from specs.linear import Linear, Variable
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
    """What was declared, where, and asserted so far."""

    source: Source
    declared: dict[str, int] = field(default_factory=dict)
    common: Common = field(default_factory=Common)

    def read(self) -> None:
        """Read all statements."""
        if re.fullmatch(BLANK, self.source.text):
            raise self.source.error("the file is empty", 0)
        end: int | None = 0
        while end is not None:
            end = self._statement(self._common_statements(end))

    def _common_statements(self, start: int) -> int:
        """Read statements of the two common forms; return the end of the last."""
        text, declared, common = self.source.text, self.declared, self.common
        while match := _COMMON.match(text, start):
            name, _, operator, bounded, number = match.groups()
            if name in declared or (name is None and bounded not in declared):
                break
            if name is not None:
                declared[name] = match.start("declared")
            else:
                index, value = int(bounded[2:]), float(number)
                common.keys.append(index if operator == "<=" else ~index)
                common.limits.append(Limit(value if operator == "<=" else -value, match.start("bound")))
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
        command = self.source.next(tokens, opening)
        if command.text == "declare-const":
            self._declare(self.source.next(tokens, opening))
            self.source.expect(tokens, opening, "Real")
        elif command.text == "declare-fun":
            self._declare(self.source.next(tokens, opening))
            self.source.expect(tokens, opening, "(", ")", "Real")
        elif command.text == "assert":
            dnf, end = Formula1(self.source, self._variable).read(command.end, opening.offset)
            self._assert(dnf, command)
            tokens = self.source.tokens(end)
        elif command.text in _IGNORED:
            return self._skip(tokens, opening)
        else:
            supported = " ".join(("declare-const", "declare-fun", "assert", *_IGNORED))
            message = f"unknown command {shown(command.text)} (supported: {supported})"
            raise self.source.error(message, command.offset)
        return self.source.expect(tokens, opening, ")")

    def _skip(self, tokens: Iterator[Token], opening: Token) -> int:
        """Read up to the bracket that closes ``opening``; return its end."""
        depth = 1
        while depth:
            token = self.source.next(tokens, opening)
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
        if not dnf.conjuncts:
            raise self._empty(dnf.clash, at.offset)
        self.common.add(dnf)

    def spec(self) -> Spec:
        """Multiply out what was read."""
        n, m = self._dense("X"), self._dense("Y")
        try:
            cases, box = self.common.cases(n)
            return assemble(cases, box, self.common.rows, m)
        except TooLargeError as error:
            raise self.source.error(str(error), 0) from None
        except ContradictionError as error:
            raise self._empty(error.clash, 0) from None
        except UnboundedError as error:
            name = f"X_{error.number}"
            raise self.source.error(f"{name} {error}", self.declared[name]) from None

    def _dense(self, kind: str) -> int:
        """How many variables of this kind there are."""
        count = self._count(kind)
        missing = next((i for i in range(count) if f"{kind}_{i}" not in self.declared), None)
        if missing is not None:
            last = max((name for name in self.declared if name[0] == kind), key=lambda name: int(name[2:]))
            raise self.source.error(f"{last} is declared, {kind}_{missing} is not", self.declared[last])
        return count

    def _empty(self, clash: Clash | None, offset: int) -> SpecError:
        """No case is left, because of ``clash`` if that is known."""
        if clash is None:
            return self.source.error("the assertions contradict each other", offset)
        bounds = f"lower bound {clash.lower:.17g} > upper bound {clash.upper:.17g}"
        return self.source.error(f"empty box: X_{clash.number} has {bounds}", clash.offset)
