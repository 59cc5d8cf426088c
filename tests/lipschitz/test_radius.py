"""Robust radii: no larger than the distance to a point with another label, and positive where a label is clear."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import flat_digits
from torch import Tensor

import specs
import verifier
from specs import SpecError
from tests.bounds.nets import Net, dense, drawn, linear
from verifier import Config, Verdict, robust_radius, verify
from verifier.errors import ShapeError, UsageError
from verifier.graph.graph import Graph

EXAMPLES = Path(__file__).resolve().parents[2] / "vnnlib_examples"
ORDERS = {"inf": math.inf, "2": 2.0, "1": 1.0}
DUAL = {"inf": 1.0, "2": 2.0, "1": math.inf}


@pytest.mark.parametrize("ball", ORDERS)
def test_of_an_affine_network_it_is_the_distance_to_the_boundary(ball: str) -> None:
    net, layer = Net(4), linear(drawn(0), 4, 3)
    net.add(layer)
    graph, x = net.graph(), torch.randn(4, generator=drawn(1), dtype=torch.float64)
    y = graph(x[None])[0]
    label = int(y.argmax())
    distance = min(
        float((y[label] - y[k]) / torch.linalg.vector_norm(layer.weight[:, label] - layer.weight[:, k], DUAL[ball]))
        for k in range(3)
        if k != label
    )
    found = robust_radius(graph, x.numpy(), ball=ball)
    assert found.label == label
    assert found.radius <= distance
    assert found.radius == pytest.approx(distance, rel=1e-2)
    assert found.radius == max(step.radius for step in found.steps)


@pytest.mark.parametrize("ball", ["inf", "2"])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_of_a_tiny_network_it_is_at_most_the_least_distance(ball: str, seed: int) -> None:
    graph = dense(seed, [2, 8, 8, 3])
    grid = torch.tensor(list(itertools.product(np.linspace(-1, 1, 401), repeat=2)))
    labels = graph(grid).argmax(1)
    x = grid[7 * len(grid) // 16]
    found = robust_radius(graph, x.numpy(), ball=ball, clip=(-1, 1), timeout=1)
    others = torch.linalg.vector_norm(grid[labels != found.label] - x, ORDERS[ball], dim=1)
    assert 0 < found.radius <= (float(others.min()) if len(others) else math.inf)
    if math.isfinite(found.radius) and ball == "inf":
        ball_of_it = specs.robustness(x.numpy(), found.radius, found.label, 3, clip=(-1, 1))
        assert keeps_its_label(graph, ball_of_it)


def keeps_its_label(graph: Graph, spec: specs.Spec) -> bool:
    """Check a robustness property on a fine grid of its box."""
    box = spec.cases[0].inputs
    sides = [np.linspace(low, high, 201) for low, high in zip(box.lower, box.upper, strict=True)]
    points = torch.tensor(list(itertools.product(*sides)))
    labels = graph(points).argmax(1)
    return bool((labels == labels[0]).all())


def attack(graph: Graph, x: Tensor, label: int, eps: float, order: float) -> float:
    """Return the distance to the nearest point with another label that projected gradients find, or infinity."""
    best, generator = math.inf, drawn(0)
    for target in range(graph.n_outputs):
        if target == label:
            continue
        start = x + eps * (2 * torch.rand(10, len(x), generator=generator, dtype=torch.float64) - 1)
        points = start.clamp(0, 1)
        for _ in range(40):
            points = points.detach().requires_grad_()
            y = graph(points)
            (slope,) = torch.autograd.grad((y[:, target] - y[:, label]).sum(), points)
            step = slope.sign() if math.isinf(order) else slope / slope.norm(dim=1, keepdim=True).clamp(min=1e-12)
            moved = points.detach() + eps / 8 * step - x
            if not math.isinf(order):
                moved = moved * (eps / moved.norm(dim=1, keepdim=True).clamp(min=eps))
            points = (x + moved.clamp(-eps, eps)).clamp(0, 1)
            wrong = graph(points).argmax(1) != label
            if wrong.any():
                best = min(best, float(torch.linalg.vector_norm(points[wrong] - x, order, dim=1).min()))
    return best


@pytest.mark.parametrize(
    "image", [3, pytest.param(24, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("ball", ["inf", "2"])
def test_digits(ball: str, image: int) -> None:
    graph = verifier.load(EXAMPLES / "nets" / "digits_fc.onnx")
    images, labels = flat_digits()
    x = images[image].double()
    found = robust_radius(graph, x.numpy(), int(labels[image]), ball, (0, 1), timeout=1.5)
    assert found.radius > 0.01
    assert found.seconds < 6
    reached = [
        attack(graph, x, found.label, found.radius * factor, ORDERS[ball]) for factor in (1.0, 1.5, 2.0, 4.0, 8.0)
    ]
    assert reached[0] == math.inf
    assert found.radius < min(reached) < math.inf
    if ball == "inf":
        spec = specs.robustness(x.numpy(), found.radius, found.label, 10, clip=(0, 1))
        assert verify(EXAMPLES / "nets" / "digits_fc.onnx", spec, Config(timeout=30)).verdict is Verdict.UNSAT


def test_another_label_has_none_and_all_data_is_infinity() -> None:
    graph = dense(0, [2, 6, 3])
    label = int(graph(torch.zeros(1, 2, dtype=torch.float64)).argmax())
    found = robust_radius(graph, np.zeros(2), (label + 1) % 3)
    assert (found.radius, found.steps) == (0, ())
    assert "not the only largest" in found.reason
    assert robust_radius(graph, np.zeros(2), clip=(-1e-3, 1e-3)).radius == math.inf
    assert robust_radius(graph, np.zeros(2), clip=(0, 0)).radius == math.inf


def test_time_and_interrupts_end_it_with_what_is_proved() -> None:
    graph = verifier.load(EXAMPLES / "nets" / "digits_fc.onnx")
    x = flat_digits()[0][3].numpy()
    assert robust_radius(graph, x, timeout=1e-9).reason == "timeout"
    seen: list[float] = []

    def stop(trial: object) -> None:
        seen.append(trial.radius)  # type: ignore[attr-defined]
        if seen[-1] > 0:
            raise KeyboardInterrupt

    found = robust_radius(graph, x, watch=stop)
    assert found.reason == "interrupted"
    assert found.radius == seen[-1] > 0


def test_what_is_refused() -> None:
    graph = dense(0, [2, 6, 3])
    for error, words, arguments in (
        (ShapeError, "3 numbers", (np.zeros(3),)),
        (SpecError, "finite", (np.array([0, np.nan]),)),
        (UsageError, "no output 3", (np.zeros(2), 3)),
        (UsageError, "norm", (np.zeros(2), None, "3")),
        (UsageError, "input 0 is 0", (np.zeros(2), None, "inf", (0.5, 1))),
        (ShapeError, "clip", (np.zeros(2), None, "inf", (np.zeros(3), 1))),
    ):
        with pytest.raises(error, match=words):
            robust_radius(graph, *arguments)
