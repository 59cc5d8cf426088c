"""The benchmark of Lipschitz bounds: rows are in order, and what is out of order is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lipschitz import Row, measure, summary
from lipschitz_nets import instances


@pytest.fixture(scope="module")
def row() -> Row:
    (instance,) = [one for one in instances() if one.net == "tiny_6_8_8_3" and one.eps == 0.17]
    return measure(instance, 20)


def test_each_bound_improves_on_the_one_before(row: Row) -> None:
    assert row.ordered
    assert row.exact is not None
    assert row.exact * (1 - 1e-9) <= row.branching <= row.exact * (1 + 2e-4)
    assert row.branching < row.ours < row.recurjac < row.interval < row.product


@pytest.mark.parametrize("name", ["sampled", "branching", "ours", "recurjac"])
def test_bounds_out_of_order_are_seen(row: Row, name: str) -> None:
    assert not replace(row, **{name: 2 * row.interval}).ordered


def test_a_bound_below_the_exact_constant_is_seen(row: Row) -> None:
    assert not replace(row, sampled=0.0, branching=row.exact * 0.999).ordered  # type: ignore[operator]


def test_means_are_stated(row: Row) -> None:
    text = summary([row])
    assert f"tighter than RecurJac by {100 * (1 - row.ours / row.recurjac):.1f} %" in text
    assert "exact constants known: 1; branching ends within 2e-4 of 1" in text
