"""What a VNNLIB 2.0 file declares: networks, and their tensors in the vectors of all inputs and of all outputs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NoReturn

from specs.lexer import Source, Token, shown
from specs.linear import Variable
from specs.query import Declaration, Network, Relation

FLOATS = (
    *("real", "float64", "float32", "float16", "bfloat16"),
    *("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "float4e2m1"),
)
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (4, 8, 16, 32, 64))
TYPES = (*FLOATS, *INTEGERS, "bool", "string", "complex64", "complex128")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_ROLES: dict[str, Literal["input", "hidden", "output"]] = {
    "declare-input": "input",
    "declare-hidden": "hidden",
    "declare-output": "output",
}


class Place(NamedTuple):
    """A declared tensor, and where the file declares it."""

    entry: Declaration
    offset: int


@dataclass(slots=True)
class Declarations:
    """What was declared so far; ``counts`` are the lengths of the two vectors, ``names`` are taken."""

    source: Source
    networks: list[Network] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"X": 0, "Y": 0})
    names: set[str] = field(default_factory=set)

    def network(self, tokens: Iterator[Token], opening: Token) -> int:
        """Read a network from its name on; return its end.

        Raises:
            SpecError: with line and column.
        """
        name = self._fresh(self.source.next(tokens, opening))
        parts: dict[str, list[Declaration]] = {"input": [], "hidden": [], "output": []}
        relation: tuple[Relation, str] | None = None
        last = 0
        while (token := self.source.next(tokens, opening)).text == "(":
            word = self.source.next(tokens, token)
            if word.text in ("equal-to", "isomorphic-to"):
                if relation is not None or last:
                    self._fail(f"{word.text} comes once, before all declarations of the network", word)
                relation = self._relation(word, self.source.next(tokens, token))
                self.source.expect(tokens, token, ")")
                continue
            if word.text not in _ROLES:
                supported = "equal-to isomorphic-to declare-input declare-hidden declare-output"
                self._fail(f"unknown declaration {shown(word.text)} (supported: {supported})", word)
            order = list(_ROLES).index(word.text)
            if order < last:
                self._fail("a network declares its inputs first, then hidden tensors, then outputs", word)
            last = order
            entry = self._declaration(_ROLES[word.text], tokens, token)
            parts[entry.role].append(entry)
        if token.text != ")":
            self._fail(f"expected a declaration, found {shown(token.text)}", token)
        for role in ("input", "output"):
            if not parts[role]:
                self._fail(f"network {name} declares no {role}", opening)
        network = Network(name, tuple(parts["input"]), tuple(parts["hidden"]), tuple(parts["output"]), relation)
        self._agrees(network, opening)
        self.networks.append(network)
        return token.end

    def _relation(self, word: Token, target: Token) -> tuple[Relation, str]:
        known = {network.name: network for network in self.networks}
        if target.text not in known:
            self._fail(f"{word.text} needs a network that was declared before, not {shown(target.text)}", target)
        if known[target.text].relation is not None:
            self._fail(f"{word.text} {target.text}: that network is itself related to another one", target)
        return ("equal-to" if word.text == "equal-to" else "isomorphic-to"), target.text

    def _agrees(self, network: Network, opening: Token) -> None:
        """Check that related networks have the same inputs and outputs."""
        if network.relation is None:
            return
        kind, name = network.relation
        other = next(known for known in self.networks if known.name == name)
        for role, own, theirs in (
            ("inputs", network.inputs, other.inputs),
            ("outputs", network.outputs, other.outputs),
        ):
            found, wanted = ([(entry.type, entry.shape) for entry in entries] for entries in (own, theirs))
            if found != wanted:
                self._fail(f"{network.name} is {kind} {name}, but their {role} differ", opening)

    def _declaration(
        self, role: Literal["input", "hidden", "output"], tokens: Iterator[Token], opening: Token
    ) -> Declaration:
        """Read a tensor from its name on."""
        token = self.source.next(tokens, opening)
        name = self._fresh(token)
        kind = self.source.next(tokens, opening)
        if kind.text not in TYPES:
            self._fail(f"unknown type {shown(kind.text)} (known: {' '.join(sorted(TYPES))})", kind)
        shape = self._shape(tokens, opening)
        tensor = ""
        if role == "hidden":
            quoted = self.source.next(tokens, opening)
            if not quoted.text.startswith('"'):
                self._fail(f"expected the tensor's name in quotes, found {shown(quoted.text)}", quoted)
            tensor = quoted.text[1:-1]
        self.source.expect(tokens, opening, ")")
        vector = "X" if role == "input" else "Y"
        entry = Declaration(name, role, kind.text, shape, self.counts[vector], tensor)
        self.counts[vector] += entry.size
        self.places[name] = Place(entry, token.offset)
        return entry

    def _fresh(self, token: Token) -> str:
        if not _NAME.fullmatch(token.text):
            self._fail(f"{shown(token.text)} is no name: a letter, then letters, digits and _", token)
        if token.text in self.names:
            self._fail(f"{token.text} is declared twice", token)
        self.names.add(token.text)
        return token.text

    def _shape(self, tokens: Iterator[Token], opening: Token) -> tuple[int, ...]:
        bracket = self.source.next(tokens, opening)
        if bracket.text != "[":
            self._fail(f"expected a shape as in [1,5], found {shown(bracket.text)}", bracket)
        sizes, last = self.numbers(tokens, bracket)
        if any(size == 0 for size in sizes):
            self._fail("all dimensions must be positive", last)
        return sizes

    def numbers(self, tokens: Iterator[Token], bracket: Token) -> tuple[tuple[int, ...], Token]:
        """Read whole numbers up to the closing bracket; return them and it."""
        found: list[int] = []
        token = self.source.next(tokens, bracket)
        while token.text != "]":
            if found:
                if token.text != ",":
                    self._fail(f"expected , or ], found {shown(token.text)}", token)
                token = self.source.next(tokens, bracket)
            if not re.fullmatch("[0-9]{1,18}", token.text):
                self._fail(f"expected a whole number, found {shown(token.text)}", token)
            found.append(int(token.text))
            token = self.source.next(tokens, bracket)
        return tuple(found), token

    @staticmethod
    def variable(entry: Declaration, index: tuple[int, ...]) -> Variable | None:
        """Return an element of a tensor, or None if there is no such element."""
        if len(index) != len(entry.shape):
            return None
        number = 0
        for k, size in zip(index, entry.shape, strict=True):
            if k >= size:
                return None
            number = number * size + k
        return Variable("X" if entry.role == "input" else "Y", entry.start + number)

    def inputs(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """Return where each input of a floating type begins in its vector, and its shape; without scalars."""
        entries = (place.entry for place in self.places.values())
        return {
            entry.name: (entry.start, entry.shape)
            for entry in entries
            if entry.role == "input" and entry.type in FLOATS and entry.shape
        }

    def input_name(self, number: int) -> tuple[str, int]:
        """Return how the file calls an element of the inputs, and where it is declared."""
        for entry, offset in self.places.values():
            if entry.role == "input" and number in range(entry.start, entry.start + entry.size):
                rest, index = number - entry.start, []
                for size in reversed(entry.shape):
                    rest, k = divmod(rest, size)
                    index.append(str(k))
                return entry.name + (f"[{','.join(reversed(index))}]" if index else ""), offset
        raise LookupError(number)

    def _fail(self, message: str, token: Token) -> NoReturn:
        raise self.source.error(message, token.offset)
