"""Properties over balls: verdicts against the extremes that dense samples of the ball find."""

import math

import numpy as np
import pytest
import torch

import verifier
from specs import Case, InputSet, Rows, Spec
from specs.builders import neighbourhood
from verifier import Config, Verdict
from verifier.balls import Ball
from verifier.errors import UnsupportedError
from verifier.export import export


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(2, 12), torch.nn.ReLU(), torch.nn.Linear(12, 12), torch.nn.ReLU(), torch.nn.Linear(12, 2)]
    return torch.nn.Sequential(*layers)


def above(inputs: InputSet, level: float) -> Spec:
    """Unsafe iff the first output reaches a level."""
    rows = Rows(np.array([[-1.0, 0.0]]), None, np.array([-level]), np.array([False]))
    return Spec((Case(inputs, rows),), 2, 2)


def sampled(center: np.ndarray, radius: float, p: float) -> torch.Tensor:
    """Points of a ball in two dimensions, up to its surface."""
    angle = np.linspace(0, 2 * math.pi, 2000, endpoint=False)
    unit = np.stack([np.cos(angle), np.sin(angle)], 1)
    unit /= np.linalg.norm(unit, p, axis=1, keepdims=True)
    return torch.from_numpy(center + np.concatenate([scale * radius * unit for scale in np.linspace(0, 1, 40)])).float()


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_verdicts_over_balls(seed: int, p: float) -> None:
    module, center, radius = network(seed), np.array([0.2, -0.1]), 0.7
    model, inputs = export(module, torch.zeros(1, 2)), neighbourhood(center, radius, p=p)
    with torch.no_grad():
        values = module(sampled(center, radius, p))[:, 0].double().numpy()
    spread = values.max() - values.min()
    for room, wanted in ((0.02, Verdict.UNSAT), (-0.02, Verdict.SAT)):
        for attack in (True, False):
            found = verifier.verify(
                model, above(inputs, values.max() + room * spread), Config(timeout=5, attack=attack)
            )
            assert found.verdict is wanted
            if found.counterexample is not None:
                assert inputs.contains(found.counterexample.x, np.float32)


@pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
def test_boxes_that_miss_a_ball(order: float) -> None:
    rng = np.random.default_rng(0)
    middle, lower = torch.from_numpy(rng.normal(size=(500, 3))), torch.from_numpy(rng.normal(size=(500, 3)))
    upper, reach = lower + torch.from_numpy(rng.random((500, 3))), torch.from_numpy(rng.random((500, 1)))
    missed = Ball(lower, upper, middle, reach, order).misses(lower, upper)
    nearest = torch.linalg.vector_norm(middle.clamp(lower, upper) - middle, order, dim=1)
    assert torch.equal(missed, nearest > reach[:, 0])
    touching = Ball(lower, upper, middle, nearest.unsqueeze(1), order)
    assert not touching.misses(lower, upper).any()


def test_a_ball_is_smaller_than_its_box() -> None:
    module, center = network(1), np.zeros(2)
    model = export(module, torch.zeros(1, 2))
    (ball,) = verifier.output_bounds(model, neighbourhood(center, 1.0, p=1.0))
    (box,) = verifier.output_bounds(model, InputSet(center - 1, center + 1))
    assert (ball.upper < box.upper).any()
    with torch.no_grad():
        values = module(sampled(center, 1.0, 1.0)).numpy()
    assert (ball.lower <= values.min(0) + 1e-6).all()
    assert (values.max(0) <= ball.upper + 1e-6).all()


def test_sets_of_different_kinds_are_refused() -> None:
    one, two = above(neighbourhood(np.zeros(2), 0.5, p=2.0), 1.0), above(neighbourhood(np.zeros(2), 0.5), 1.0)
    with pytest.raises(UnsupportedError, match="different kinds"):
        verifier.verify(export(network(0), torch.zeros(1, 2)), Spec((*one.cases, *two.cases), 2, 2))


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_what_a_point_of_a_ball_is_rounded_to_may_lie_outside(p: float) -> None:
    class Rounding(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.round(x) @ torch.ones(2, 1)

    inputs = neighbourhood(np.zeros(2), 0.7, p=p)  # 0.6 is rounded to 1
    spec = Spec((Case(inputs, Rows(np.array([[-1.0]]), None, np.array([-0.5]), np.array([False]))),), 2, 1)
    found = verifier.verify(export(Rounding(), torch.zeros(1, 2)), spec, Config(timeout=5, attack=False))
    assert found.verdict is not Verdict.UNSAT


def test_tiny_and_huge_balls_have_no_more_points() -> None:
    for scale in (1e-200, 1.0, 1e200):
        ball = neighbourhood(np.zeros(4), scale, p=2.0).ball
        assert ball is not None
        assert ball.contains(np.full(4, 0.5 * scale))
        assert not ball.contains(np.full(4, 0.6 * scale))
    far = torch.full((1, 2), 1e160, dtype=torch.float64)
    reach = torch.full((1, 1), 1e170, dtype=torch.float64)
    assert not Ball(-far, 2 * far, torch.zeros_like(far), reach, 2.0).misses(far, 2 * far).any()
