"""The k largest elements of an axis, in order, and where they are.

Values come from a network of maxima and minima of pairs; indices from ranks: the rank of an element is the number of
elements that are ahead of it, a sum of truth values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations, count

import numpy as np

from verifier.graph.lower.builder import Builder, Call, Operand, Variable, lowers, positive_axis, tensor
from verifier.graph.lower.choice import one_hot, place_of_largest, signed
from verifier.graph.lower.piecewise import halve, maximum, minimum
from verifier.graph.lower.truth import greater
from verifier.graph.lower.windows import take
from verifier.ops.curves import Relu
from verifier.ops.linear import Linear
from verifier.ops.reduce import ReduceSum
from verifier.ops.select import Concat
from verifier.ops.sort import Sort

COMPARISONS = 1 << 14
"""Pairs of elements that are compared at most, in all lines along the axis together."""

LONG = 5
"""Elements of a sort that may be one operator: of fewer, comparisons are as few."""


@lowers("TopK")
def top_k(b: Builder, call: Call) -> tuple[Operand, ...]:
    """Lower the k largest (or smallest) elements in order, and their indices, the first of equal ones first."""
    x = call.variable()
    k = int(call.get("k", 0)) if "k" in call.attributes else int(call.constant(1).reshape(-1)[0])
    axis, largest = positive_axis(call.get("axis", -1), x.rank), bool(call.get("largest", 1))
    size = x.shape[axis]
    if k > size:
        raise ValueError(f"k = {k} of {size} elements")
    if k < 1:
        raise call.unsupported(f"k = {k}; at least one element is supported")
    if k == 1:
        return halve(b, x, axis, maximum if largest else minimum), place_of_largest(
            b, signed(b, x, largest=largest), axis
        )
    if not call.get("sorted", 1):
        raise call.unsupported("sorted = 0 with k > 1, which leaves the order open; sorted = 1 is supported")
    if b.sorts and k == size >= LONG and not call.gives(1):
        return b.apply(Sort(axis, descending=largest), x), x
    last = [*(other for other in range(x.rank) if other != axis), axis]
    lines = b.transpose(signed(b, x, largest=largest), last)
    values: Operand = x  # stands for what nothing reads
    places: Operand = x
    if call.gives(0):
        values = b.transpose(signed(b, sorted_values(b, call, lines, k), largest=largest), np.argsort(last).tolist())
    if call.gives(1):
        places = b.transpose(sorted_places(b, call, lines, k), np.argsort(last).tolist())
    return values, places


def check_comparisons(call: Call, x: Variable, k: int, pairs: int) -> None:
    """Refuse more comparisons of each line than are supported."""
    total = pairs * math.prod(x.shape[:-1])
    if total > COMPARISONS:
        raise call.unsupported(f"k = {k} of {x.shape[-1]} elements, {total} comparisons; {COMPARISONS} are supported")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two elements by their numbers, and the numbers that the larger and the smaller of them get."""

    one: int
    other: int
    larger: int
    smaller: int


def odd_even_merges(size: int) -> Iterator[list[list[tuple[int, int]]]]:
    """Yield Batcher's merges of sorted blocks of 1, 2, 4, ... elements to twice that, each as stages of pairs.

    In a pair, the larger element goes to the first place. ``size`` is a power of two.
    Source: Knuth, "The Art of Computer Programming", volume 3, 5.3.4.
    """
    block = 1
    while block < size:
        stages, gap = [], block
        while gap:
            starts = range(gap % block, size - gap, 2 * gap)
            pairs = [(k, k + gap) for start in starts for k in range(start, min(start + gap, size - gap))]
            stages.append([(k, other) for k, other in pairs if k // (2 * block) == other // (2 * block)])
            gap //= 2
        yield stages
        block *= 2


def selection(size: int, k: int) -> tuple[list[list[Comparison]], list[int]]:
    """Return the comparisons, in stages, that bring the k largest of numbered elements in order, and their numbers.

    Of a sorted block only the first k go on to the next merge; comparisons that no result depends on are left out.
    """
    full = 1 << (size - 1).bit_length()
    at: list[int | None] = [place if place < size else None for place in range(full)]
    stages: list[list[Comparison]] = []
    fresh, block = count(size), 1
    for merge in odd_even_merges(full):
        block *= 2
        for pairs in merge:
            made = []
            for place, behind in pairs:
                one, other = at[place], at[behind]
                if one is None:
                    at[place], at[behind] = other, None
                elif other is not None:
                    made.append(Comparison(one, other, next(fresh), next(fresh)))
                    at[place], at[behind] = made[-1].larger, made[-1].smaller
            stages.append(made)
        at = [element if place % block < k else None for place, element in enumerate(at)]
    results = [element for element in at[:k] if element is not None]
    wanted, kept = set(results), []
    for stage in reversed(stages):
        useful = [entry for entry in stage if wanted & {entry.larger, entry.smaller}]
        for entry in useful:
            wanted |= {entry.one, entry.other}
        kept.append(useful)
    return [stage for stage in reversed(kept) if stage], results


def sorted_values(b: Builder, call: Call, x: Variable, k: int) -> Variable:
    """Return the k largest elements of the last axis, the largest first."""
    axis, span, kind = x.rank - 1, x.span, x.kind
    check_comparisons(call, x, k, x.shape[axis] - 1)  # at least
    stages, results = selection(x.shape[axis], k)
    check_comparisons(call, x, k, sum(map(len, stages)))
    numbers = list(range(x.shape[axis]))

    def pick(wanted: list[int]) -> Variable:
        return take(b, x, axis, np.array([numbers.index(number) for number in wanted]))

    for step, stage in enumerate(stages):
        one, other = pick([entry.one for entry in stage]), pick([entry.other for entry in stage])
        excess = b.apply(Relu(), b.subtract(one, other))
        x = b.apply(Concat(axis, (0, 0, 0, 0)), b.add(excess, other), b.subtract(one, excess), x)
        numbers = [entry.larger for entry in stage] + [entry.smaller for entry in stage] + numbers
        later = {number for entry in chain(*stages[step + 1 :]) for number in (entry.one, entry.other)}
        wanted = [number for number in numbers if number in later.union(results)]
        x, numbers = pick(wanted), wanted
    return replace(pick(results), span=span, kind=kind)


def sorted_places(b: Builder, call: Call, x: Variable, k: int) -> Variable:
    """Return where the k largest elements of the last axis are, the largest first, and of equal ones the first."""
    axis, size = x.rank - 1, x.shape[-1]
    pairs = list(combinations(range(size), 2))
    check_comparisons(call, x, k, len(pairs))
    one, other = (np.array(side) for side in zip(*pairs, strict=True))
    ahead = greater(b, take(b, x, axis, one), take(b, x, axis, other), strict=False)
    counts = np.zeros((len(pairs), size))  # of the elements ahead of each one: the other one, or this one
    counts[np.arange(len(pairs)), other], counts[np.arange(len(pairs)), one] = 1, -1
    rank = b.apply(Linear(tensor(counts), tensor(size - 1.0 - np.arange(size))), ahead)
    code = one_hot(b, replace(rank, kind="i", span=(0.0, size - 1.0)), k, wrap=False)
    numbered = b.scale(replace(code, kind="f"), np.arange(float(size))[:, None])
    found = b.apply(ReduceSum((axis,), keep=False), numbered)
    return replace(found, kind="i", span=(0.0, size - 1.0))
