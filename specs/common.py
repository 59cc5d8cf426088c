"""All assertions of a file together: what all cases share, and the alternatives."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from specs.dnf import Clash, Conjunct, Dnf, Limit, all_of, any_of, inside, literal
from specs.linear import Linear, Row, Variable
from specs.propagate import reads_inputs_alone, tighten
from specs.sets import Array

MAX_COPIES = 10_000_000  # numbers in the boxes of all cases that are tightened one by one


class ContradictionError(ValueError):
    """No case is left, because of ``clash`` if that is known."""

    def __init__(self, clash: Clash | None) -> None:
        """Store the reason."""
        super().__init__("the assertions contradict each other")
        self.clash = clash


class UnboundedError(ValueError):
    """Input ``X_number`` has no lower or no upper bound in a case, counted from 1."""

    def __init__(self, number: int, side: str, case: int, count: int) -> None:
        """Store the place."""
        where = f" in case {case} of {count}" if count > 1 else ""
        super().__init__(f"has no {side} bound{where}")
        self.number = number


@dataclass(slots=True)
class Common:
    """What was asserted; ``keys`` and ``limits`` are bounds that hold in all cases, see ``specs.dnf``."""

    keys: list[int] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    alternatives: list[Dnf] = field(default_factory=list)

    def add(self, dnf: Dnf) -> None:
        """Add a formula: a single conjunct to what all cases share, anything else to the alternatives."""
        if len(dnf.conjuncts) != 1:
            self.alternatives.append(dnf)
            return
        self.keys += dnf.conjuncts[0].limits.keys()
        self.limits += dnf.conjuncts[0].limits.values()
        self.rows += dnf.conjuncts[0].rows

    def cases(self, n: int) -> tuple[Sequence[Conjunct], list[float]]:
        """Multiply out; return the cases and the box of 2n limits that all are in.

        Conditions on inputs alone tighten the boxes.

        Raises:
            ContradictionError: no case is left.
            UnboundedError: an input has no bound.
            TooLargeError: there are too many cases.
        """
        box: list[float] = self._box(n).tolist()
        if _crossed(box):
            raise ContradictionError(self._clash())
        box = tighten(box, self.rows)
        if _crossed(box):
            raise ContradictionError(None)
        dnf = all_of(inside(alternative, box) for alternative in self.alternatives)
        cases = self._tightened(dnf.conjuncts, box)
        if not cases:
            raise ContradictionError(dnf.clash)
        _require_bounds(cases, box)
        return cases, box

    def renamed(self, index: Sequence[int]) -> "Common":
        """Return the same with input ``X_i`` called ``X_index[i]``: names that become one were equated."""
        found = Common([_key(key, index) for key in self.keys], list(self.limits))
        for row in self.rows:
            found.add(_renamed(row, index))
        for alternative in self.alternatives:
            parts = (
                all_of(
                    [
                        *(Dnf([Conjunct({_key(key, index): limit}, ())]) for key, limit in conjunct.limits.items()),
                        *(_renamed(row, index) for row in conjunct.rows),
                    ]
                )
                for conjunct in alternative.conjuncts
            )
            found.add(any_of(parts))
        return found

    def _box(self, n: int) -> Array:
        limits = np.full(2 * n, np.inf)
        np.minimum.at(limits, np.array(self.keys, dtype=np.int64), np.array([limit.value for limit in self.limits]))
        return limits

    def _clash(self) -> Clash | None:
        """The first contradiction among the common bounds, in the order of the text."""
        parts = ({key: limit} for key, limit in zip(self.keys, self.limits, strict=True))
        return all_of(Dnf([Conjunct(part, ())]) for part in parts).clash

    def _tightened(self, conjuncts: Sequence[Conjunct], box: list[float]) -> Sequence[Conjunct]:
        """Tighten the cases that have conditions on inputs alone, and leave out those without a point."""
        shared = any(map(reads_inputs_alone, self.rows))
        if len(conjuncts) * len(box) > MAX_COPIES:
            return conjuncts
        kept = []
        for conjunct in conjuncts:
            if not any(map(reads_inputs_alone, conjunct.rows)) and not (shared and conjunct.limits):
                kept.append(conjunct)
                continue
            own = list(box)
            for key, limit in conjunct.limits.items():
                own[key] = min(own[key], limit.value)
            own = tighten(own, (*self.rows, *conjunct.rows))
            if not _crossed(own):
                where = next((limit.offset for limit in conjunct.limits.values()), 0)
                keys = [key for key in range(-len(box) // 2, len(box) // 2) if own[key] < box[key]]
                kept.append(Conjunct({key: Limit(own[key], where) for key in keys}, conjunct.rows))
        return kept


def _crossed(box: Sequence[float]) -> bool:
    return any(box[key] < -box[~key] for key in range(len(box) // 2))


def _require_bounds(cases: Sequence[Conjunct], box: Sequence[float]) -> None:
    """Raise unless all inputs have both bounds in all cases."""
    open_keys = [key for key in range(-len(box) // 2, len(box) // 2) if box[key] == np.inf]
    for case, conjunct in enumerate(cases if open_keys else (), start=1):
        for key in open_keys:
            if key not in conjunct.limits:
                raise UnboundedError(max(key, ~key), "upper" if key >= 0 else "lower", case, len(cases))


def _key(key: int, index: Sequence[int]) -> int:
    return index[key] if key >= 0 else ~index[~key]


def _renamed(row: Row, index: Sequence[int]) -> Dnf:
    """A row over renamed inputs, which may have become a limit, or a truth."""
    terms: dict[Variable, float] = {}
    for variable, c in row.terms:
        name = Variable("X", index[variable.number]) if variable.kind == "X" else variable
        terms[name] = terms.get(name, 0.0) + c
    return literal(Linear(terms).row_below(Linear({}, row.bound), strict=row.strict), 0)


def equated(rows: Iterable[Row], n: int) -> list[int]:
    """Find inputs that rows equate, ``X_i <= X_j`` and ``X_j <= X_i``: return a new number for each, without gaps."""
    pairs = set()
    for row in rows:
        if len(row.terms) == 2 and row.bound == 0 and not row.strict:
            (a, c), (b, d) = row.terms
            if a.kind == b.kind == "X" and c == -d:
                pairs.add((a.number, b.number) if c > 0 else (b.number, a.number))
    root = list(range(n))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, j in pairs:
        if (j, i) in pairs:
            low, high = sorted((find(i), find(j)))
            root[high] = low
    numbers: dict[int, int] = {}
    return [numbers.setdefault(find(i), len(numbers)) for i in range(n)]
