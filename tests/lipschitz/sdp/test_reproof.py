"""The proofs hold for any multipliers, and eigenvalues are bounded from the safe side."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.lipschitz.sdp.nets import Constraint, random_net, steepest
from tests.lipschitz.sdp.walks import KINDS, random_model, system
from tests.lipschitz.sdp.walks import steepest as steepest_of
from verifier.lipschitz.sdp import GroupSort, Slopes, bound, reproof
from verifier.lipschitz.sdp.guarantee import _matrix, guarantee
from verifier.lipschitz.sdp.stacked import Stacked
from verifier.lipschitz.sdp.system import Block, Builder, Layer, Signal, System

RADIUS = 0.02


def linear(weights: list[torch.Tensor], constraint: Constraint) -> System:
    """A feed-forward network."""
    builder = Builder(weights[0].shape[1])
    signal = builder.input.after(weights[0])
    for weight in weights[1:]:
        signal = constraint.apply(builder, signal).after(weight)
    return builder.finish(signal)


def test_least_eigenvalues_are_bounded_from_below() -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (1, 2, 5, 20):
        for decades in (0, 3, 6):
            whole = torch.randint(-50, 50, (size, size), generator=generator).double()
            matrix = whole @ whole.mT * 10.0**decades - 3 * torch.eye(size).double()  # exact: whole numbers
            found = reproof.least_eigenvalue(matrix, 0.0)
            scale = float(matrix.abs().sum(1).max())
            truth = float(torch.linalg.eigvalsh(matrix)[0])
            assert truth - 1e-11 * scale - 2e-6 * abs(truth) <= found <= truth + 1e-15 * size * scale
    assert reproof.least_eigenvalue(torch.eye(3).double(), 0.25) <= 0.75


def test_a_singular_matrix_is_not_proved_positive() -> None:
    matrix = torch.ones(4, 4, dtype=torch.float64)
    assert -1e-12 < reproof.least_eigenvalue(matrix, 0.0) <= 0


def test_what_is_not_a_number_proves_nothing() -> None:
    matrix = torch.eye(2, dtype=torch.float64)
    assert reproof.least_eigenvalue(matrix * math.nan, 0.0) == -math.inf
    assert reproof.least_eigenvalue(matrix, math.inf) == -math.inf


def test_any_multipliers_give_a_bound_that_holds() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        net = random_net(rng, GroupSort(2))
        weights = [torch.from_numpy(weight) for weight in net]
        numbers = [torch.from_numpy(rng.uniform(0.1, 2, size=len(weight))) for weight in net[:-1]]
        found = reproof.chain(weights, GroupSort(2), [torch.ones(1).double(), *numbers], infinite=False)
        assert found.upper >= steepest(net, GroupSort(2), "2", rng)
        weights[-1] = weights[-1][:1]
        sigma = torch.from_numpy(rng.uniform(0.1, 2, size=net[0].shape[1]))
        found = reproof.chain(weights, GroupSort(2), [sigma, *numbers], infinite=True)
        assert found.upper >= steepest([*net[:-1], net[-1][:1]], GroupSort(2), "inf", rng)

        slopes = Slopes(*sorted(rng.uniform(-1, 1.5, size=2)))
        weights = [torch.from_numpy(weight) for weight in net]
        y = torch.from_numpy(rng.uniform(0, 2, size=1 + sum(len(weight) for weight in net[:-1])))
        assert guarantee(linear(weights, slopes), y, False).upper >= steepest(net, slopes, "2", rng)


def test_negative_multipliers_prove_nothing() -> None:
    weights = [torch.ones(2, 2).double(), torch.ones(1, 2).double()]
    assert guarantee(linear(weights, Slopes()), torch.tensor([9.0, 1.0, -1.0]).double(), False).upper == math.inf
    for numbers in ([1.0, -1.0], [-1.0, 1.0], [math.nan, 1.0]):
        chained = [torch.ones(2).double(), torch.tensor(numbers).double()]
        assert reproof.chain(weights, GroupSort(2), chained, infinite=False).upper == math.inf
        assert reproof.chain(weights, GroupSort(2), chained, infinite=True).upper == math.inf


@pytest.mark.parametrize("kind", KINDS)
def test_any_multipliers_of_a_system_give_a_bound_that_holds(kind: str) -> None:
    rng = np.random.default_rng(2)
    proved = 0
    for family in ("relu", "odd", "maxmin", "sort3", "householder3"):
        inputs, model = random_model(kind, family, rng)
        whole = system(inputs, model)
        count = Stacked.of(whole).multipliers
        for infinite, norm in ((False, "2"), (True, "inf,1")):
            head = whole.inputs + whole.output.rows if infinite else 1
            for size in (0.5, 3.0):
                y = torch.from_numpy(rng.uniform(0, 1, size=head + count) * size)
                y[:head] *= 10
                found = guarantee(whole, y, infinite)
                assert found.upper >= steepest_of(inputs, model, norm, rng, rounds=4)
                proved += found.upper < math.inf
    assert proved >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_for_all_matrices_within_the_radii(kind: str) -> None:
    rng = np.random.default_rng(4)
    for family in ("relu", "odd", "maxmin"):
        inputs, model = random_model(kind, family, rng)
        whole = system(inputs, model)
        wide = bound(moved(whole, lambda block: Block(block.centre, block.radius + RADIUS * block.centre.abs())))
        assert wide.upper > bound(whole).upper
        if wide.upper == math.inf:
            continue
        for _ in range(5):
            other = moved(whole, lambda b: Block.exact(b.centre * torch.from_numpy(signs(rng, RADIUS, b.centre.shape))))
            assert wide.upper >= jacobian(other, rng) * (1 - 1e-12)


def signs(rng: np.random.Generator, radius: float, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that are so far from 1."""
    return 1 + radius * rng.choice([-1.0, 1.0], size=shape)


def moved(whole: System, change: Callable[[Block], Block]) -> System:
    """A system with other blocks."""

    def signal(old: Signal) -> Signal:
        return Signal(old.rows, {group: change(block) for group, block in old.blocks.items()})

    layers = tuple(Layer(signal(k.before), k.lower, k.upper, k.ties) for k in whole.layers)
    return System(whole.inputs, layers, signal(whole.output))


def jacobian(whole: System, rng: np.random.Generator) -> float:
    """The largest norm of the system with random slopes at the ends of their intervals."""
    form = Stacked.of(whole)
    a = form.rows(torch.eye(form.size, dtype=torch.float64)).numpy()
    best = 0.0
    for _ in range(300):
        slopes = np.where(rng.random(len(a)) < 0.5, form.lower, form.upper)[:, None] * a
        inner = np.eye(len(a)) - slopes[:, form.inputs :]
        gain = np.linalg.solve(inner, slopes[:, : form.inputs])
        best = max(best, np.linalg.norm(form.output.numpy() @ np.vstack([np.eye(form.inputs), gain]), 2))
    return best


def test_the_error_of_forming_the_matrix_is_bounded() -> None:
    rng = np.random.default_rng(5)
    for kind in KINDS:
        whole = system(*random_model(kind, "odd", rng))
        wide = Stacked.of(moved(whole, lambda b: Block(b.centre, 0.1 * b.centre.abs())))
        for infinite in (False, True):
            head = torch.rand(wide.inputs + len(wide.output) if infinite else 1).double()
            t = torch.rand(wide.multipliers).double()
            z, error = _matrix(wide, head, t, infinite)
            most = 0.0
            for _ in range(20):
                other = moved(
                    whole,
                    lambda b: Block.exact(b.centre * torch.from_numpy(signs(rng, 0.1, b.centre.shape))),
                )
                true, _ = _matrix(Stacked.of(other), head, t, infinite)
                most = max(most, float(torch.linalg.matrix_norm(true - z, 2)))
            assert error / 20 < most <= error
