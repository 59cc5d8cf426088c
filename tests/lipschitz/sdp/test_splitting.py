"""Bounds in pieces lie between that of the whole and the product of norms, and methods are chosen by their cost."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tests.lipschitz.sdp.composed import network
from verifier.errors import UsageError
from verifier.lipschitz.sdp import GroupSort, Slopes
from verifier.lipschitz.sdp import choice as choices
from verifier.lipschitz.sdp.bound import bound
from verifier.lipschitz.sdp.splitting import cuts, part, parts, split, times

RELU = Slopes(0, 1)
CHAIN = (5, 8, 7, 6, 9, 4)


def test_chains_can_be_cut_at_every_layer_and_streams_that_pass_by_nowhere() -> None:
    assert cuts(network(CHAIN, RELU)) == [1, 2, 3, 4]
    assert cuts(network((5, 8, 8, 8, 4), RELU, skip=True)) == [1]
    assert cuts(network((4, 8, 8, 4), GroupSort(2))) == []


def test_pieces_follow_each_other_and_are_no_larger_than_asked_for() -> None:
    system = network(CHAIN, RELU)
    for largest in (1, 16, 25, 100):
        pieces = parts(system, largest)
        assert pieces[0].inputs == system.inputs and pieces[-1].output.rows == system.output.rows
        assert sum(len(piece.layers) for piece in pieces) == len(system.layers)
        assert all(one.output.rows == other.inputs for one, other in pairwise(pieces))
        assert all(piece.size <= max(largest, 16) for piece in pieces)
    assert len(parts(system, 100)) == 1
    assert len(part(system, 1, 3).layers) == 2


@pytest.mark.parametrize("norm", ["2", "inf", "inf,1"])
def test_bounds_of_pieces_lie_between_the_whole_and_the_product(norm: str) -> None:
    system = network(CHAIN, RELU)
    whole = bound(system, norm)
    found = [split(system, norm, largest=largest).upper for largest in (100, 25, 1)]
    assert found[0] == pytest.approx(whole.upper, rel=1e-6)
    assert whole.upper * (1 - 1e-6) <= found[1] <= whole.product
    assert whole.upper * (1 - 1e-6) <= found[2] <= whole.product
    if norm == "2":
        assert found[1] < 0.95 * whole.product


def test_without_time_there_is_a_bound() -> None:
    found = split(network(CHAIN, RELU), largest=20, timeout=0.0)
    assert found.certified and not found.closed and found.upper <= found.product
    with pytest.raises(UsageError, match="norm '1'"):
        split(network(CHAIN, RELU), "1", largest=20)


def test_products_are_rounded_upward() -> None:
    assert times([0.1, 0.1]) >= 0.01
    assert times([1e-200, 1e-200]) > 0
    assert times([0.0, 1e300]) == 0
    assert times([1e200, 1e200]) == times([math.inf, 1.0]) == math.inf
    assert times([1e200, 1e200, 1e-300]) == pytest.approx(1e100)


def test_the_less_time_the_cheaper_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "rate", lambda: 1e9)
    system = network((20, 200, 200, 200, 10), RELU)
    order = ["product", "split", "first-order", "barrier"]
    found = [choices.choose(system, "2", seconds) for seconds in (0.0, 1e-3, 20.0, 60.0, 1e4, None)]
    assert found == sorted(found, key=order.index)
    assert found[0] == found[1] == "product"
    assert "first-order" in found
    assert found[-1] == "barrier"


def test_costs_grow_as_sizes_and_outputs_do() -> None:
    small, large = network((10, 50, 50, 5), RELU), network((10, 100, 100, 5), RELU)
    assert 4 < choices.barrier(large, "2") / choices.barrier(small, "2") < 9
    assert 4 < choices.first_order(large, "2") / choices.first_order(small, "2") < 9
    assert choices.first_order(network((10, 60, 60, 60, 5), RELU, skip=True), "2") > choices.first_order(
        network((10, 60, 60, 60, 5), RELU), "2"
    )
