"""The proofs hold for any multipliers, and eigenvalues are bounded from the safe side."""

from __future__ import annotations

import math

import numpy as np
import torch

from tests.lipschitz.sdp.nets import Constraint, random_net, steepest
from verifier.lipschitz.sdp import GroupSort, Slopes, reproof
from verifier.lipschitz.sdp.guarantee import guarantee
from verifier.lipschitz.sdp.system import Builder, System


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
