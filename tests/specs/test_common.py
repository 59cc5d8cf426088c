"""What all cases share: boxes tightened by conditions on inputs, and inputs that become one as they are equated."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from specs.common import Common, equated
from specs.dnf import Conjunct, Dnf, Limit
from specs.linear import Row, Variable
from specs.propagate import tighten


def row(coefficients: dict[int, float], bound: float, *, strict: bool = False) -> Row:
    return Row(tuple((Variable("X", k), c) for k, c in sorted(coefficients.items())), bound, strict)


def holds(one: Row, x: list[float]) -> bool:
    value = sum(Fraction(c) * Fraction(x[variable.number]) for variable, c in one.terms)
    return value < Fraction(one.bound) if one.strict else value <= Fraction(one.bound)


def inside(limits: list[float], x: list[float]) -> bool:
    return all(x[k] <= limits[k] and -x[k] <= limits[~k] for k in range(len(x)))


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1.0, 1e8, 1e200])
def test_tightening_loses_no_point(scale: float) -> None:
    draw, tighter = random.Random(0), 0
    for _ in range(300):
        n = draw.randint(1, 4)
        points = [[draw.gauss(0, 1) for _ in range(n)] for _ in range(10)]
        box = [0.0] * (2 * n)
        for k in range(n):
            column = [point[k] for point in points]
            box[k], box[~k] = max(column), -min(column)
        box = [limit if draw.random() < 0.8 else float("inf") for limit in box]
        rows = []
        for _ in range(draw.randint(1, 3)):
            chosen = draw.sample(range(n), draw.randint(1, n))
            coefficients = {k: scale * draw.gauss(0, 1) for k in chosen}
            exact = sum(Fraction(c) * Fraction(points[0][k]) for k, c in coefficients.items())
            rows.append(row(coefficients, float(exact)))  # the first point is at the border, up to rounding
        limits = tighten(box, rows)
        tighter += limits != box
        assert all(new <= old for new, old in zip(limits, box, strict=True))
        for point in points:
            if all(holds(one, point) for one in rows):
                assert inside(limits, point)
    assert tighter > 100


def test_rows_that_read_outputs_tighten_nothing() -> None:
    mixed = Row(((Variable("X", 0), 1.0), (Variable("Y", 0), 1.0)), -5.0, False)
    assert tighten([1.0, 1.0], [mixed]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([], [0, 1, 2]),
        ([row({0: 1.0, 2: -1.0}, 0.0), row({0: -1.0, 2: 1.0}, 0.0)], [0, 1, 0]),
        ([row({0: 2.0, 2: -2.0}, 0.0), row({0: -0.5, 2: 0.5}, 0.0)], [0, 1, 0]),
        ([row({0: 1.0, 2: -1.0}, 0.0)], [0, 1, 2]),
        ([row({0: 1.0, 2: -1.0}, 0.0, strict=True), row({0: -1.0, 2: 1.0}, 0.0)], [0, 1, 2]),
        ([row({0: 1.0, 2: -1.0}, 1.0), row({0: -1.0, 2: 1.0}, 0.0)], [0, 1, 2]),
        ([row({0: 1.0, 2: -2.0}, 0.0), row({0: -1.0, 2: 2.0}, 0.0)], [0, 1, 2]),
        ([row({0: 1.0, 2: 1.0}, 0.0), row({0: -1.0, 2: -1.0}, 0.0)], [0, 1, 2]),
    ],
)
def test_only_what_is_equal_both_ways_is_equated(rows: list[Row], wanted: list[int]) -> None:
    assert equated(rows, 3) == wanted


def test_equations_join_up() -> None:
    pairs = [(0, 3), (4, 2), (3, 4)]
    rows = [row({a: 1.0, b: -1.0}, 0.0) for a, b in pairs] + [row({b: 1.0, a: -1.0}, 0.0) for a, b in pairs]
    assert equated(rows, 6) == [0, 1, 0, 0, 0, 2]


def test_renaming_keeps_the_meaning() -> None:
    draw = random.Random(1)
    for _ in range(200):
        n, used = 4, 2
        index = [0, 1, *(draw.randrange(used) for _ in range(n - used))]
        common = Common()
        for _ in range(draw.randint(1, 3)):
            chosen = draw.sample(range(n), draw.randint(2, 3))
            common.rows.append(row({k: draw.choice([-1.0, 1.0, 0.5]) for k in chosen}, draw.randint(-4, 4) / 4,
                                   strict=draw.random() < 0.5))  # fmt: skip
        for k in range(n):
            common.keys += [k, ~k]
            common.limits += [Limit(draw.randint(0, 4) / 4, 0), Limit(draw.randint(0, 4) / 4, 0)]
        common.alternatives.append(Dnf([Conjunct({draw.randrange(n): Limit(0.5, 0)}, tuple(common.rows[:1]))
                                        for _ in range(2)]))  # fmt: skip
        renamed = common.renamed(index)
        for _ in range(30):
            x = [draw.randint(-4, 4) / 4 for _ in range(used)]
            assert satisfied(renamed, x) == satisfied(common, [x[k] for k in index])


def satisfied(common: Common, x: list[float]) -> bool:
    def below(key: int, limit: Limit) -> bool:
        return (x[key] if key >= 0 else -x[~key]) <= limit.value

    def met(conjunct: Conjunct) -> bool:
        return all(below(key, limit) for key, limit in conjunct.limits.items()) and all(
            holds(one, x) for one in conjunct.rows
        )

    shared = all(map(below, common.keys, common.limits)) and all(holds(one, x) for one in common.rows)
    return shared and all(any(map(met, dnf.conjuncts)) for dnf in common.alternatives)
