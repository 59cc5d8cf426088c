"""Formulas in disjunctive normal form, multiplied out as they are read.

A bound on one input is kept apart from the rows. ``X_i <= b`` is the limit b under the key i, ``-X_i <= b`` the limit
b under the key ~i: the tighter of two limits is always the smaller, and an array of 2n limits is indexed by the keys.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from specs.linear import Row

MAX_CONJUNCTS = 1_000_000
MAX_WORK = 100 * MAX_CONJUNCTS  # limits and rows copied on the way, also into conjuncts that prove contradictory


class TooLargeError(ValueError):
    """The formula has too many cases, or they need too much memory."""


class Limit(NamedTuple):
    """A bound on an input, and the offset in the text of the comparison that states it."""

    value: float
    offset: int


class Clash(NamedTuple):
    """A contradiction: input ``X_number`` has a lower bound above its upper bound, as of the text at ``offset``."""

    number: int
    lower: float
    upper: float
    offset: int


class Conjunct(NamedTuple):
    """Limits and rows that hold together."""

    limits: Mapping[int, Limit]
    rows: tuple[Row, ...]


class Dnf(NamedTuple):
    """True iff one of the conjuncts is.

    ``clash`` is one contradiction among the conjuncts that were dropped, ``work`` what it took to multiply this out.
    """

    conjuncts: Sequence[Conjunct]
    clash: Clash | None = None
    work: int = 0

    def size(self) -> int:
        """How many limits and rows there are, and conjuncts."""
        return sum(1 + len(conjunct.limits) + len(conjunct.rows) for conjunct in self.conjuncts)


def truth(value: bool) -> Dnf:
    """The formula that is always true, or always false."""
    return Dnf([Conjunct({}, ())] if value else [])


def literal(row: Row, offset: int) -> Dnf:
    """A single row; if it bounds one input, as a limit.

    A limit is closed, and rounded outwards where the input has a coefficient. Where it is therefore weaker than the
    row, the row is kept too: proofs cover the closed box, and a point on an open border is no counterexample.
    """
    if not row.terms:
        return truth(row.bound > 0 or (row.bound == 0 and not row.strict))
    (variable, c), *others = row.terms
    if others or variable.kind == "Y":
        return Dnf([Conjunct({}, (row,))])
    exact = abs(c) == 1
    value = row.bound if exact else math.nextafter(row.bound / abs(c), math.inf)
    limits = {variable.number if c > 0 else ~variable.number: Limit(value, offset)} if value < math.inf else {}
    return Dnf([Conjunct(limits, () if exact and not row.strict else (row,))])


def any_of(parts: Iterable[Dnf]) -> Dnf:
    """The disjunction.

    Raises:
        TooLargeError: more than ``MAX_CONJUNCTS``.
    """
    parts = list(parts)
    count = sum(len(part.conjuncts) for part in parts)
    if count > MAX_CONJUNCTS:
        raise TooLargeError(f"more than {MAX_CONJUNCTS} cases")
    conjuncts = [conjunct for part in parts for conjunct in part.conjuncts]
    return Dnf(conjuncts, _first_clash(parts), _spend(count, *parts))


def all_of(parts: Iterable[Dnf]) -> Dnf:
    """The conjunction, multiplied out, without the conjuncts whose limits contradict each other.

    Raises:
        TooLargeError: more than ``MAX_CONJUNCTS`` remain, or it takes more than ``MAX_WORK``.
    """
    parts = list(parts)
    single = [part for part in parts if len(part.conjuncts) == 1]
    limits: dict[int, Limit] = {}
    rows: list[Row] = []
    work = _spend(sum(part.size() for part in single), *single)
    for part in single:
        clash = _tighten(limits, part.conjuncts[0].limits)
        if clash is not None:
            return Dnf([], clash, work)
        rows += part.conjuncts[0].rows
    result = Dnf([Conjunct(limits, tuple(rows))], _first_clash(parts), work)
    for part in parts:
        if len(part.conjuncts) != 1:
            result = _product(result, part)
    return result


def inside(dnf: Dnf, box: Sequence[float]) -> Dnf:
    """``dnf`` without the conjuncts that leave ``box``, a sequence of 2n limits, empty."""
    kept = []
    clash = dnf.clash
    for conjunct in dnf.conjuncts:
        crossed = [key for key, limit in conjunct.limits.items() if limit.value < -box[~key]]
        if crossed:
            key = crossed[0]
            clash = clash or _clash(key, conjunct.limits[key], box[~key])
        else:
            kept.append(conjunct)
    return Dnf(kept, clash, dnf.work)


def _product(left: Dnf, right: Dnf) -> Dnf:
    """All pairs of conjuncts; a pair in which only one has limits shares that mapping."""
    copies = len(left.conjuncts) * right.size() + len(right.conjuncts) * left.size()
    work = _spend(copies, left, right)
    kept: list[Conjunct] = []
    first_clash = left.clash or right.clash
    for a in left.conjuncts:
        for b in right.conjuncts:
            limits = a.limits or b.limits
            if a.limits and b.limits:
                limits = dict(a.limits)
                clash = _tighten(limits, b.limits)
                if clash is not None:
                    first_clash = first_clash or clash
                    continue
            kept.append(Conjunct(limits, a.rows + b.rows))
        if len(kept) > MAX_CONJUNCTS:
            raise TooLargeError(f"more than {MAX_CONJUNCTS} cases")
    return Dnf(kept, first_clash, work)


def _spend(work: int, *parts: Dnf) -> int:
    """The work done in all, if that is allowed."""
    work += sum(part.work for part in parts)
    if work > MAX_WORK:
        raise TooLargeError(f"multiplying out the cases takes more than {MAX_WORK} steps")
    return work


def _tighten(limits: dict[int, Limit], others: Mapping[int, Limit]) -> Clash | None:
    """Intersect ``limits``, in place, with ``others``; return the first contradiction and stop there."""
    for key, limit in others.items():
        if key in limits and limits[key].value <= limit.value:
            continue
        limits[key] = limit
        opposite = limits.get(~key)
        if opposite is not None and limit.value < -opposite.value:
            return _clash(key, limit, opposite.value)
    return None


def _clash(key: int, limit: Limit, opposite: float) -> Clash:
    """The contradiction of ``limit`` under ``key`` with the limit ``opposite`` under ``~key``."""
    if key >= 0:
        return Clash(key, 0.0 - opposite, limit.value, limit.offset)
    return Clash(~key, 0.0 - limit.value, opposite, limit.offset)


def _first_clash(parts: Iterable[Dnf]) -> Clash | None:
    return next((part.clash for part in parts if part.clash is not None), None)
