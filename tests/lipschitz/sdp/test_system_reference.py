"""The program of any system, by a generic solver: against those of chains, and where the constant is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.lipschitz.sdp.nets import random_net
from verifier.lipschitz.sdp import Slopes, reference
from verifier.lipschitz.sdp.system import Builder, System


def chain(weights: list[np.ndarray], lower: float, upper: float) -> System:
    """A feed-forward network with slopes in an interval."""
    builder = Builder(weights[0].shape[1])
    signal = builder.input
    for weight in weights[:-1]:
        ends = (torch.full((len(weight),), end, dtype=torch.float64) for end in (lower, upper))
        signal = builder.slopes(signal.after(torch.from_numpy(weight)), *ends)
    return builder.finish(signal.after(torch.from_numpy(weights[-1])))


@pytest.mark.parametrize("seed", range(3))
def test_chains_agree(seed: int) -> None:
    constraint = Slopes(-0.2, 0.9)
    weights = random_net(np.random.default_rng(seed), constraint)
    found = reference.system(chain(weights, constraint.lower, constraint.upper))
    assert found == pytest.approx(reference.slopes(weights, constraint), rel=1e-5)


@pytest.mark.parametrize("norm", ["2", "inf", "inf,1"])
def test_linear(norm: str) -> None:
    weight = np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]])
    expected = {"2": np.linalg.norm(weight, 2), "inf": 4.0, "inf,1": 6.0}[norm]
    found = reference.system(chain([weight], 0.0, 1.0), norm)
    assert found >= expected * (1 - 1e-6)
    assert found == pytest.approx(expected, rel=1e-5) or norm == "inf,1"


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_a_cancelled_layer_costs_nothing(norm: str) -> None:
    """x - relu(x) = -relu(-x) has constant 1, which no chain of two norms sees."""
    builder = Builder(2)
    ends = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    relu = builder.slopes(builder.input, *ends)
    system = builder.finish(builder.input + relu.after(-torch.eye(2, dtype=torch.float64)))
    assert reference.system(system, norm) == pytest.approx(1.0, rel=1e-5)
