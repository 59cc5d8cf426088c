"""VNNLIB 2.0: declared networks with named, typed and shaped tensors, and assertions on their elements."""

import re
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from specs.assemble import assemble
from specs.common import Common, ContradictionError, UnboundedError, equated
from specs.declarations import FLOATS, Declarations
from specs.dnf import Dnf, Limit, TooLargeError, literal
from specs.formula2 import Formula2, Term
from specs.lexer import BLANK, Source, Token, shown
from specs.linear import Row, Variable
from specs.query import Query
from specs.spec import Spec

VERSION = re.compile(r"<([0-9]+)\.([0-9]+)>")
_BOUND = (
    r"(?P<bound>\(\s*+(?P<operator>[<>]=)\s++(?P<name>[A-Za-z][A-Za-z0-9_]*+)\s*+"
    r"\[\s*+(?P<index>[0-9]++(?:\s*+,\s*+[0-9]++)*+)\s*+\]\s*+(?P<number>-?[0-9]{1,99}+\.[0-9]++)\s*+\))"
)
_ONE_BOUND = re.compile(BLANK + _BOUND)
_ASSERTED_BOUND = re.compile(rf"{BLANK}\(\s*+assert\s*+{_BOUND}\s*+\)")


def parse(text: str, name: str = "<string>") -> Query:
    """Read a VNNLIB 2.0 query.

    Assertions may speak of elements of real and floating types; all else in the grammar is read. Inputs that are
    equated become one, and conditions on inputs alone tighten their boxes. Contradictory assertions give a property
    without cases, which holds.

    Args:
        text: the whole file.
        name: what errors call it.

    Raises:
        SpecError: with line and column: the text is not such a query, an input lacks a bound, or there are more than a
            million cases.

    Cost: linear in the text, some microseconds for a bound; plus the product of the disjunctions.
    """
    source = Source(text, name)
    reader = _Reader(source, Declarations(source))
    reader.read()
    return reader.query()


@dataclass(slots=True)
class _Reader:
    """What was declared and asserted so far.

    ``products`` numbers each product of variables; ``formulas`` are the offsets of those that read more than inputs.
    """

    source: Source
    declared: Declarations
    products: dict[tuple[Variable, ...], int] = field(default_factory=dict)
    common: Common = field(default_factory=Common)
    formulas: list[int] = field(default_factory=list)
    inputs_alone: bool = True

    def read(self) -> None:
        """Read the header, then the networks, then the assertions."""
        end, asserted = self._header(), False
        while (opening := self.source.token(end)) is not None:
            tokens = self.source.tokens(opening.offset)
            self.source.expect(tokens, opening, "(")
            command = self.source.next(tokens, opening)
            if command.text == "declare-network":
                if asserted:
                    self._fail("networks are declared before the first assertion", command)
                end = self.declared.network(tokens, opening)
            elif command.text == "assert":
                if not self.declared.networks:
                    self._fail("a network must be declared before assertions", command)
                end, asserted = self._bounds(self._assertion(command, opening)), True
            else:
                self._fail(f"unknown command {shown(command.text)} (supported: declare-network assert)", command)
        if not asserted:
            missing = "nothing is asserted" if self.declared.networks else "no network is declared"
            raise self.source.error(missing, end)

    def query(self) -> Query:
        """Multiply out what was read."""
        n, m = self.declared.counts["X"], self.declared.counts["Y"] + len(self.products)
        shared = equated(self.common.rows, n)
        used = max(shared) + 1
        common = self.common.renamed(shared) if used < n else self.common
        spec = Spec((), used, m)
        try:
            cases, box = common.cases(used)
            spec = assemble(cases, box, common.rows, m)
        except TooLargeError as error:
            raise self.source.error(str(error), 0) from None
        except UnboundedError as error:
            name, offset = self.declared.input_name(shared.index(error.number))
            raise self.source.error(f"{name} {error}", offset) from None
        except ContradictionError:
            pass  # no assignment makes all assertions true
        products = tuple(
            tuple(Variable("X", shared[v.number]) if v.kind == "X" else v for v in factors) for factors in self.products
        )
        networks = tuple(self.declared.networks)
        index = np.array(shared, dtype=np.int64)
        return Query(spec.cases, used, m, networks, index, products, self.source, tuple(self.formulas))

    def _header(self) -> int:
        opening = self.source.token(0)
        if opening is None:
            raise self.source.error("the file is empty", 0)
        tokens = self.source.tokens(opening.offset)
        self.source.expect(tokens, opening, "(", "vnnlib-version")
        token = self.source.next(tokens, opening)
        version = VERSION.fullmatch(token.text)
        if version is None or version[1] != "2":
            self._fail(f"version {shown(token.text)} of VNNLIB is not supported, only <2.0> and 1.0", token)
        return self.source.expect(tokens, opening, ")")

    def _assertion(self, command: Token, opening: Token) -> int:
        self.inputs_alone = True
        dnf, end = Formula2(self.source, self._term, self._product, self._quick).read(command.end, opening.offset)
        self.common.add(dnf)
        if not self.inputs_alone:
            self.formulas.append(command.end)
        return self.source.expect(self.source.tokens(end), opening, ")")

    def _bounds(self, start: int) -> int:
        """Read assertions that bound one input each, of which large files consist; return the end of the last."""
        text, keys, limits = self.source.text, self.common.keys, self.common.limits
        shapes = self.declared.inputs()
        while match := _ASSERTED_BOUND.match(text, start):
            operator, name, index, digits = match.group("operator", "name", "index", "number")
            places = index.split(",")
            first, sizes = shapes.get(name, (0, ()))
            if len(places) != len(sizes):
                break
            number = 0
            for place, size in zip(places, sizes, strict=True):
                k = int(place)
                if k >= size:
                    return start
                number = number * size + k
            number += first
            if operator == "<=":
                keys.append(number)
                limits.append(Limit(float(digits), match.start("bound")))
            else:
                keys.append(~number)
                limits.append(Limit(-float(digits), match.start("bound")))
            start = match.end()
        return start

    def _quick(self, start: int) -> tuple[Dnf, int, int] | None:
        """Read a bound on one element."""
        match = _ONE_BOUND.match(self.source.text, start)
        variable = self._bounded(match) if match is not None else None
        if match is None or variable is None:
            return None
        sign = 1.0 if match["operator"] == "<=" else -1.0
        begin, bound = match.start("bound"), sign * float(match["number"]) + 0.0
        return literal(Row(((variable, sign),), bound, strict=False), begin), begin, match.end()

    def _bounded(self, match: re.Match[str]) -> Variable | None:
        """Return the variable of a bound; None where an error is to be found."""
        place = self.declared.places.get(match["name"])
        if place is None or place.entry.type not in FLOATS:
            return None
        variable = self.declared.variable(place.entry, tuple(map(int, match["index"].split(","))))
        self.inputs_alone &= variable is None or variable.kind == "X"
        return variable

    def _term(self, token: Token) -> tuple[Term, int]:
        """Read a variable and its indices."""
        place = self.declared.places.get(token.text)
        if place is None:
            known = ", ".join(self.declared.places)
            self._fail(f"unknown variable {shown(token.text)} (declared: {shown(known)})", token)
        entry, end = place.entry, token.end
        index: tuple[int, ...] = ()
        following = self.source.token(end)
        if following is not None and following.text == "[":
            if not entry.shape:
                self._fail(f"{entry.name} is a scalar, which takes no index", following)
            tokens = self.source.tokens(following.end)
            index, last = self.declared.numbers(tokens, following)
            end = last.end
        variable = self.declared.variable(entry, index)
        if variable is None:
            self._fail(f"{entry.name} has shape {list(entry.shape)}, which has no element {list(index)}", token)
        if entry.type not in FLOATS:
            self._fail(
                f"{entry.name} is of type {entry.type}: only real and floating tensors can be reasoned about", token
            )
        self.inputs_alone &= variable.kind == "X"
        return Term({variable: 1.0}, 0.0, entry.type), end

    def _product(self, a: Variable, b: Variable) -> Variable:
        """Return the output that stands for a product."""
        count = self.declared.counts["Y"]
        factors: list[Variable] = []
        for variable in (a, b):
            behind = variable.number - count if variable.kind == "Y" else -1
            factors += list(self.products)[behind] if behind >= 0 else [variable]
        number = self.products.setdefault(tuple(sorted(factors)), len(self.products))
        return Variable("Y", count + number)

    def _fail(self, message: str, token: Token) -> NoReturn:
        raise self.source.error(message, token.offset)
