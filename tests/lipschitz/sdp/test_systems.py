"""Semidefinite bounds of systems: above every Jacobian, below the product of gains, equal where the truth is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.lipschitz.sdp.walks import FAMILIES, KINDS, random_model, steepest, system
from verifier.errors import ShapeError, UsageError
from verifier.lipschitz.sdp import GroupSort, Householder, Slopes, bound, feedforward, implicit, residual
from verifier.lipschitz.sdp.constraints.parts import Activation
from verifier.lipschitz.sdp.system import Block, Builder, Signal

NORMS = ("2", "inf")
CASES = [(kind, family, norm) for kind in KINDS for family in FAMILIES for norm in NORMS]


def check(case: int) -> None:
    kind, family, norm = CASES[case * 37 % len(CASES)]
    rng = np.random.default_rng(case)
    inputs, model = random_model(kind, family, rng)
    found = bound(system(inputs, model), norm)
    assert found.certified, (kind, family, norm)
    assert found.upper >= steepest(inputs, model, norm, rng) * (1 - 1e-12), (kind, family, norm)
    assert found.upper <= found.product
    assert found.closed, found.reason
    if norm == "2":
        assert found.method == "sdp" or found.product <= found.upper * (1 + 1e-7)


@pytest.mark.parametrize("case", range(0, 200, 6))
def test_bounds_lie_between_jacobians_and_the_product(case: int) -> None:
    check(case)


@pytest.mark.slow
def test_200_bounds_lie_between_jacobians_and_the_product() -> None:
    for case in range(200):
        check(case)


@pytest.mark.parametrize("kind", KINDS)
def test_less_known_slopes_are_never_tighter(kind: str) -> None:
    rng = np.random.default_rng(3)
    inputs, model = random_model(kind, "relu", rng)
    found = []
    for lower, upper in ((0.2, 0.8), (0.0, 0.8), (0.0, 1.0), (-0.3, 1.0), (-1.0, 1.0)):
        original = FAMILIES["relu"]
        FAMILIES["relu"] = lambda _, a=lower, b=upper: Slopes(a, b)
        inputs, model = random_model(kind, "relu", np.random.default_rng(3))
        FAMILIES["relu"] = original
        found.append(bound(system(inputs, model)).upper)
    assert all(a <= b * (1 + 1e-7) for a, b in pairwise(found))
    assert found[0] < found[-1]


@pytest.mark.parametrize("activation", [GroupSort(2), GroupSort(4), GroupSort(4, sums=False), Householder()])
def test_a_layer_that_turns_or_sorts_has_constant_1(activation: Activation) -> None:
    builder = Builder(4)
    found = bound(builder.finish(activation.apply(builder, builder.input)))
    assert 1 <= found.upper <= 1 + 1e-7
    assert 1 <= feedforward([np.eye(4), np.eye(4)], activation).upper <= 1 + 1e-7


def test_maxmin_by_two_relus_is_looser() -> None:
    """``(min, max) = H z + G relu(W z)``: that the two sums are one number is lost."""
    mixed = torch.tensor([[-1.0, 1.0], [1.0, -1.0]]).double()
    builder = Builder(2)
    relus = Slopes(0, 1).apply(builder, builder.input.after(mixed))
    kept = builder.input.after(torch.tensor([[0.0, 1.0], [0.0, 1.0]]).double())
    found = bound(builder.finish(kept + relus.after(torch.tensor([[-1.0, 0.0], [0.0, 1.0]]).double())))
    assert found.upper == pytest.approx(np.sqrt(2), rel=1e-6)


@pytest.mark.parametrize("family", ["maxmin", "householder", "relu"])
def test_one_multiplier_a_layer_is_never_tighter(family: str) -> None:
    rng = np.random.default_rng(5)
    activation, first, last = FAMILIES[family](4), rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    inner = [rng.normal(size=(4, 4)) / 3 for _ in range(2)]
    one, other = (residual(first, inner, last, activation, variant=v) for v in ("neuron", "layer"))
    assert one.upper <= other.upper * (1 + 1e-7)
    assert len(other.multipliers[0]) == 1 + len(inner) < len(one.multipliers[0])
    with pytest.raises(UsageError, match="network"):
        residual(first, inner, last, activation, variant="network")


def test_sums_help_residual_networks() -> None:
    rng = np.random.default_rng(6)
    first, last = rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    inner = [rng.normal(size=(4, 4)) / 2 for _ in range(3)]
    known, unknown = (residual(first, inner, last, GroupSort(2, sums=sums)) for sums in (True, False))
    assert known.upper <= unknown.upper * (1 + 1e-7)
    assert (
        known.upper
        < known.product
        == pytest.approx(
            np.linalg.norm(first, 2) * np.linalg.norm(last, 2) * np.prod([1 + np.linalg.norm(w, 2) for w in inner])
        )
    )


def test_a_step_may_have_any_matrices() -> None:
    rng = np.random.default_rng(7)
    first, last = rng.normal(size=(4, 3)), rng.normal(size=(2, 5))
    keep, give, read = rng.normal(size=(5, 4)), rng.normal(size=(5, 6)), rng.normal(size=(6, 4))
    plain = residual(first, [(keep, give, read)], last, Slopes(0, 1))
    nothing = residual(first, [(0 * keep, give, read)], last, Slopes(0, 1))
    assert nothing.upper == pytest.approx(feedforward([read @ first, last @ give], Slopes(0, 1)).upper, rel=1e-6)
    straight = residual(first, [(keep, 0 * give, read)], last, Slopes(0, 1))
    assert straight.upper == pytest.approx(np.linalg.norm(last @ keep @ first, 2), rel=1e-6)
    assert plain.upper <= nothing.upper + straight.upper


def test_implicit_networks_that_unroll_are_feedforward() -> None:
    """With W strictly below the diagonal in blocks, ``z = phi(W z + U x)`` is a network of two layers."""
    rng = np.random.default_rng(8)
    one, two, last = rng.normal(size=(4, 3)), rng.normal(size=(4, 4)), rng.normal(size=(2, 4))
    inner = np.zeros((8, 8))
    inner[4:, :4] = two
    for activation in (Slopes(0, 1), GroupSort(2), Householder()):
        builder = Builder(3)
        signal = activation.apply(builder, builder.input.after(torch.from_numpy(one)))
        signal = activation.apply(builder, signal.after(torch.from_numpy(two)))
        expected = bound(builder.finish(signal.after(torch.from_numpy(last))))
        found = implicit(inner, np.vstack([one, np.zeros((4, 3))]), np.hstack([np.zeros((2, 4)), last]), activation)
        assert found.upper == pytest.approx(expected.upper, rel=1e-6)


def test_what_is_not_well_posed_has_no_bound() -> None:
    one = np.eye(2)
    for scale in (1.0, 1.5, 3.0):  # z = relu(scale z + x) has none or many solutions
        found = implicit(scale * one, one, one, Slopes(0, 1))
        assert (found.upper, found.certified, found.reason) == (np.inf, False, "not well-posed")
    found = implicit(-3 * one, one, one, Slopes(0, 1))  # z = x / 4 for x > 0, and 0 else
    assert found.certified
    assert found.upper >= 0.25
    with pytest.raises(UsageError, match="not well-posed"):
        implicit(one, one, one, GroupSort(2))


def test_a_contraction_has_at_least_the_bound_of_its_norm() -> None:
    rng = np.random.default_rng(9)
    inner, entry, last = rng.normal(size=(4, 4)), rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    inner *= 0.7 / np.linalg.norm(inner, 2)
    for activation in (Slopes(-1, 1), GroupSort(2), GroupSort(4), Householder()):
        found = implicit(inner, entry, last, activation)
        assert found.upper < found.product
        assert found.product == pytest.approx(np.linalg.norm(entry, 2) * np.linalg.norm(last, 2) / 0.3)


@pytest.mark.parametrize("norm", NORMS)
def test_an_input_that_nothing_reads_does_not_matter(norm: str) -> None:
    one, none = np.eye(2), np.zeros((2, 3))
    assert implicit(0.5 * one, none, one, Slopes(0, 1), norm).upper == 0
    assert implicit(-5 * one, none, one, Slopes(0, 1), norm).certified
    assert implicit(3 * one, none, one, Slopes(0, 1), norm).upper == np.inf


@pytest.mark.parametrize("norm", [*NORMS, "inf,1"])
@pytest.mark.parametrize("solver", ["barrier", "first-order"])
def test_what_may_be_rounding_alone_is_bounded(norm: str, solver: str) -> None:
    builder = Builder(3)
    eye = torch.eye(3, dtype=torch.float64)
    rounding = Signal(3, {0: Block(1e-17 * eye, 1e-16 * eye)})
    found = bound(
        builder.finish(builder.slopes(rounding, torch.zeros(3).double(), torch.ones(3).double())), norm, solver=solver
    )
    assert 1.1e-16 <= found.upper < 1e-12


def test_linear_networks_have_their_norms() -> None:
    weight = np.array([[1.0, -2.0], [3.0, 4.0]])
    builder = Builder(2)
    linear = builder.finish(builder.input.after(torch.from_numpy(weight)))
    assert bound(linear).upper == pytest.approx(np.linalg.norm(weight, 2), rel=1e-7)
    assert bound(linear, "inf").upper == pytest.approx(7, rel=1e-7)
    assert bound(linear, "inf,1").upper >= 8  # |1 - 2| + |3 + 4|, |1 + 2| + |3 - 4| at the corners
    for solver in ("barrier", "first-order", "cvxpy:SCS"):
        assert bound(linear, solver=solver).upper == pytest.approx(np.linalg.norm(weight, 2), rel=1e-3)
        assert bound(linear, "inf", solver=solver).upper >= 7
    nothing = Builder(2)
    assert bound(nothing.finish(nothing.input.after(torch.zeros(3, 2).double()))).upper == 0


def test_the_sum_of_outputs_is_between_one_and_all() -> None:
    rng = np.random.default_rng(10)
    for family in ("relu", "maxmin"):
        inputs, model = random_model("feed-forward", family, rng)
        whole, parts = system(inputs, model), bound(system(inputs, model), "inf")
        found = bound(whole, "inf,1")
        assert steepest(inputs, model, "inf,1", rng) <= found.upper
        assert parts.upper <= found.upper * (1 + 1e-6)
        assert found.upper <= parts.upper * whole.output.rows


def test_mistakes_are_named() -> None:
    builder = Builder(2)
    with pytest.raises(UsageError, match="norm '1'"):
        bound(builder.finish(builder.input), "1")
    with pytest.raises(ShapeError, match="whole groups of 3"):
        residual(np.eye(2), [np.eye(2)], np.eye(2), GroupSort(3))
    with pytest.raises(ShapeError, match="loop of 2 values"):
        implicit(np.eye(3), np.eye(2), np.eye(2), Slopes())
    with pytest.raises(UsageError, match="not all weights are finite"):
        implicit(np.eye(2) * np.nan, np.eye(2), np.eye(2), Slopes())
    with pytest.raises(ShapeError, match="3 values does not fit 1 vectors of 2"):
        residual(np.ones((3, 2)), [np.eye(3)], np.eye(3), Householder())
    with pytest.raises(UsageError, match="not zero"):
        Householder(((0.0, 0.0),))
    with pytest.raises(UsageError, match="one length"):
        Householder(((1.0, 0.0), (1.0,)))
