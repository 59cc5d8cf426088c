"""Semidefinite bounds of random networks: above every gradient, below the product, equal to a generic solver's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.lipschitz.sdp.nets import Constraint, random_net, steepest
from verifier.errors import ShapeError, UsageError
from verifier.lipschitz.sdp import GroupSort, Slopes, feedforward, reference

FAMILIES: list[tuple[Constraint, str]] = [
    (GroupSort(2), "2"),
    (GroupSort(2), "inf"),
    (GroupSort(3), "2"),
    (GroupSort(1), "inf"),
    (Slopes(0, 1), "2"),
    (Slopes(-0.4, 0.9), "2"),
    (Slopes(0.2, 1.5), "2"),
    (Slopes(-1, 1), "2"),
]


@pytest.mark.parametrize(("constraint", "norm"), FAMILIES)
def test_bounds_lie_between_gradients_and_the_product(constraint: Constraint, norm: str) -> None:
    rng = np.random.default_rng(7)
    tighter = 0
    for k in range(30):
        net = random_net(rng, constraint, scale=10.0 ** rng.integers(-3, 4))
        found = feedforward(net, constraint, norm)
        assert found.certified, k
        assert found.upper >= steepest(net, constraint, norm, rng) * (1 - 1e-12), k
        assert found.upper <= found.product, k
        tighter += found.method == "sdp"
    assert tighter >= 15


@pytest.mark.parametrize("constraint", [Slopes(0, 1), Slopes(-0.4, 0.9), Slopes(0.2, 1.5)])
def test_slopes_agree_with_a_generic_solver(constraint: Slopes) -> None:
    rng = np.random.default_rng(3)
    for widths in ((3, 5, 2), (4, 6, 5, 1), (2, 4, 3, 4, 2)):
        net = [rng.normal(size=(m, n)) / np.sqrt(n) for n, m in pairwise(widths)]
        found = feedforward(net, constraint)
        assert found.closed
        assert found.upper == pytest.approx(min(reference.slopes(net, constraint), found.product), rel=1e-5)


@pytest.mark.parametrize(("size", "norm"), [(2, "2"), (2, "inf"), (3, "2")])
def test_groupsort_agrees_with_a_generic_solver(size: int, norm: str) -> None:
    rng = np.random.default_rng(4)
    for widths in ((3, size, 1), (5, 2 * size, 3 * size, 1), (2, 2 * size, size, 2 * size, 1)):
        net = [rng.normal(size=(m, n)) / np.sqrt(n) for n, m in pairwise(widths)]
        found = feedforward(net, GroupSort(size), norm)
        assert found.closed
        expected = reference.groupsort(net, GroupSort(size), norm)
        assert found.upper == pytest.approx(min(expected, found.product), rel=1e-5)


def test_identity_layers_of_maxmin_have_constant_1() -> None:
    for count in (2, 3, 5):
        found = feedforward([np.eye(4)] * count, GroupSort(2))
        assert 1 <= found.upper <= 1 + 1e-7


def test_in_the_norm_inf_the_product_may_win() -> None:
    found = feedforward([np.eye(2), np.array([[0.0, 1.0]])], GroupSort(2), "inf")
    assert found.method == "product"
    assert 1 <= found.upper <= 1 + 1e-7


def test_norm_inf_of_all_outputs_is_the_greatest_of_each() -> None:
    net = random_net(np.random.default_rng(5), GroupSort(2))
    each = [feedforward(net, GroupSort(2), "inf", output=k).upper for k in range(len(net[-1]))]
    assert feedforward(net, GroupSort(2), "inf").upper == pytest.approx(max(each), rel=1e-6)


@pytest.mark.parametrize(("constraint", "norm"), FAMILIES)
def test_no_time_gives_a_looser_bound_that_holds(constraint: Constraint, norm: str) -> None:
    rng = np.random.default_rng(8)
    net = [rng.normal(size=(m, n)) for n, m in ((4, 6), (6, 6), (6, 2))]
    hasty, full = (feedforward(net, constraint, norm, timeout=t) for t in (0.0, None))
    assert (hasty.reason, hasty.closed, full.reason) == ("timeout", False, "converged")
    assert full.upper * (1 - 1e-7) <= hasty.upper <= hasty.product
    assert hasty.upper >= steepest(net, constraint, norm, rng)


def test_degenerate_weights_have_bounds() -> None:
    zero, one = np.zeros((4, 3)), np.ones((2, 4))
    for constraint in (Slopes(0, 1), GroupSort(2)):
        assert feedforward([zero, one], constraint).upper == 0
        assert feedforward([np.ones((4, 3)), one], constraint).upper < np.inf
        dead = np.vstack([np.ones((2, 3)), np.zeros((2, 3))])
        assert feedforward([dead, one], constraint).upper == pytest.approx(np.sqrt(24), rel=1e-6)
        assert feedforward([dead, np.eye(4)[2:]], constraint).upper <= np.sqrt(6) + 1e-9
        assert feedforward([one], constraint).upper == pytest.approx(np.sqrt(8))


def test_weights_out_of_range_have_bounds_that_hold() -> None:
    rng = np.random.default_rng(9)
    net = [rng.normal(size=(m, n)) for n, m in ((3, 4), (4, 4), (4, 2))]
    for constraint in (Slopes(0, 1), GroupSort(2)):
        plain = feedforward(net, constraint)
        for scales in ((1e-200, 1e-200, 1e300), (1e200, 1e200, 1e-300), (1e-200, 1e-200, 1.0), (1e200, 1e200, 1.0)):
            scaled = [scale * weight for scale, weight in zip(scales, net, strict=True)]
            found = feedforward(scaled, constraint)
            whole = sum(np.log10(scales))
            if abs(whole) < 300:
                assert found.upper == pytest.approx(plain.upper * 10.0**whole, rel=1e-6)
            else:
                assert found.upper == np.inf if whole > 0 else 0 < found.upper < 1e-300
        assert feedforward([np.full((4, 3), 1.7e308), np.ones((2, 4))], constraint, "inf").upper == np.inf


@pytest.mark.parametrize(
    "constraint", [Slopes(1 - 1e-12, 1), Slopes(1e-9, 1e9), Slopes(-1e-200, 1e-200), Slopes(0, 1e-3)]
)
def test_odd_slopes_have_bounds_that_hold(constraint: Slopes) -> None:
    rng = np.random.default_rng(10)
    net = [rng.normal(size=(m, n)) for n, m in ((3, 4), (4, 4), (4, 2))]
    found = feedforward(net, constraint)
    assert steepest(net, constraint, "2", rng) * (1 - 1e-12) <= found.upper <= found.product


def test_deep_networks_have_bounds() -> None:
    rng = np.random.default_rng(11)
    net = [rng.normal(size=(6, 6)) / 4 for _ in range(12)]
    for constraint in (Slopes(0, 1), GroupSort(2)):
        found = feedforward(net, constraint)
        assert steepest(net, constraint, "2", rng) <= found.upper < found.product
        found = feedforward(4 * net, constraint, timeout=2.0)
        assert steepest(4 * net, constraint, "2", rng) <= found.upper <= found.product


def test_mistakes_are_named() -> None:
    net = [np.ones((4, 3)), np.ones((2, 4))]
    with pytest.raises(UsageError, match="norm '1'"):
        feedforward(net, Slopes(), "1")
    with pytest.raises(UsageError, match="output 2"):
        feedforward(net, Slopes(), output=2)
    with pytest.raises(ShapeError, match="whole groups of 3"):
        feedforward(net, GroupSort(3))
    with pytest.raises(ShapeError, match="layer 2 reads 3"):
        feedforward([np.ones((4, 3)), np.ones((2, 3))], Slopes())
    with pytest.raises(UsageError, match="not all finite"):
        feedforward([np.full((2, 2), np.nan), np.ones((1, 2))], Slopes())
    with pytest.raises(UsageError, match="finite ends"):
        Slopes(1, 1)
    with pytest.raises(UsageError, match="positive size"):
        GroupSort(0)
