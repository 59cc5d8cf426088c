"""Certified bounds in float32 against the network in float64, on boxes small enough for rounding to matter."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

import verifier.ops.curves  # noqa: F401  enters the curves into the registry
from tests.bounds.nets import Net, around, bilinear, boxes, dense, drawn, outputs_at, residual
from verifier.bounds.backward import LinearBound
from verifier.bounds.schedule import BOTH, CROWN, INTERVAL, Bounds, Method, bound_nodes
from verifier.graph.graph import INPUT, Graph
from verifier.ops.arithmetic import Translate
from verifier.ops.curves import Curve, Relu
from verifier.ops.linear import Linear
from verifier.ops.op import OPS, Op, Shape
from verifier.sets import Box, Diagonal

RADII = (0.0, 1e-7, 1e-5, 1e-2, 1.0)

REGISTRY = [
    pytest.param(op, shapes, id=f"{name}-{k}")
    for name, kind in sorted(OPS.items())
    for k, (op, shapes) in enumerate(kind.samples())
    if not hasattr(op, "domain")
]


def bounded(graph: Graph, box: Box, rows: Tensor, method: Method) -> tuple[Bounds, LinearBound]:
    """Bound in float32 rows ``(B, S, m)``."""
    bounds = bound_nodes(graph.to(torch.float32), box.to(torch.float32), method)
    return bounds, bounds.rows(rows.float())


def overshoot(graph: Graph, box: Box, rows: Tensor, least: Tensor, seed: int = 0) -> float:
    """By how much bounds ``(B, S)`` exceed some sampled value, relative to the size of the terms."""
    y = outputs_at(graph, box.sample(64, drawn(seed)))
    values, terms = torch.einsum("bsm,kbm->kbs", rows, y), torch.einsum("bsm,kbm->kbs", rows.abs(), y.abs())
    return float(((least.double() - values) / (terms + 1e-30)).max())


def assert_certified(graph: Graph, seed: int, method: Method = CROWN, scale: float = 1.0) -> None:
    box = boxes(graph.n_inputs, RADII, seed)
    box = Box(scale * box.lower, scale * box.upper)
    rows = torch.randn(len(RADII), 4, graph.n_outputs, generator=drawn(seed)).double()
    bounds, found = bounded(graph, box, rows, method)
    assert overshoot(graph, box, rows, found.minimum(box.to(torch.float32))) <= 1e-13
    values = graph.values(box.sample(64, drawn(seed)).flatten(0, 1))
    for name, node in graph.nodes.items():
        value = values[name].unflatten(0, (-1, len(RADII)))
        slack = 1e-13 * (1 + value.abs())
        assert (value >= bounds.boxes[name].lower.double() - slack).all(), node
        assert (value <= bounds.boxes[name].upper.double() + slack).all(), node


@pytest.mark.parametrize("method", [INTERVAL, CROWN, BOTH], ids=["interval", "crown", "both"])
@pytest.mark.parametrize("seed", range(3))
def test_dense_nets(seed: int, method: Method) -> None:
    assert_certified(dense(seed, [3, 8, 8, 2]), seed, method)


@pytest.mark.parametrize("scale", [1e4, 1e-4])
def test_huge_and_tiny_weights(scale: float) -> None:
    for seed in range(3):
        assert_certified(dense(seed, [3, 8, 8, 2], scale), seed, BOTH)
        assert_certified(residual(seed, scale), seed, CROWN)


def test_deep_nets() -> None:
    for seed in range(2):
        assert_certified(dense(seed, [3, *[6] * 30, 2], 1.6), seed, CROWN)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e-3])
def test_products(scale: float) -> None:
    for seed in range(3):
        for method in (INTERVAL, CROWN, BOTH):
            assert_certified(bilinear(seed, scale), seed, method)


def test_inputs_far_from_zero() -> None:
    for seed in range(3):
        assert_certified(dense(seed, [3, 8, 8, 2]), seed, BOTH, scale=1e5)


@pytest.mark.parametrize(("op", "shapes"), REGISTRY)
def test_every_operator(op: Op, shapes: list[Shape]) -> None:
    assert_certified(around(op, shapes, 0), 0, CROWN)
    assert_certified(around(op, shapes, 1, 1e4), 1, BOTH)


def test_without_the_margin_they_would_fail() -> None:
    """The mutant that drops the error of a backward pass is caught by the same check."""
    failed = 0
    for seed in range(10):
        graph, box = dense(seed, [3, 8, 8, 2]), boxes(3, RADII, seed)
        rows = torch.randn(len(RADII), 4, 2, generator=drawn(seed)).double()
        _, found = bounded(graph, box, rows, CROWN)
        bare = dataclasses.replace(found, error=None)
        failed += overshoot(graph, box, rows, bare.minimum(box.to(torch.float32))) > 1e-13
    assert failed >= 5


def lost_steps(layers: int, step: float) -> Graph:
    """Many small steps before one large constant, below whose last digit a single step falls."""
    net = Net(1)
    for _ in range(layers):
        net.add(Translate(torch.tensor([-step], dtype=torch.float64)))
        net.add(Relu())
    net.add(Linear(torch.ones(1, 1, dtype=torch.float64), torch.tensor([2.0**20], dtype=torch.float64)))
    return net.graph()


def test_a_long_sum_of_offsets() -> None:
    """Each step vanishes in the sum, which starts with the large constant; all together they do not."""
    graph, point = lost_steps(100, 0.03), torch.tensor([[100.0]], dtype=torch.float64)
    rows = torch.ones(1, 1, 1, dtype=torch.float64)
    _, found = bounded(graph, Box(point, point), rows, CROWN)
    assert float(found.minimum(Box(point, point).to(torch.float32))) <= float(graph(point))


def test_margins_are_small() -> None:
    """The margin of a small net is a few hundred units in the last place, not more."""
    graph, box = dense(0, [3, 8, 8, 2]), boxes(3, RADII, 0)
    rows = torch.ones(len(RADII), 1, 2, dtype=torch.float64)
    bounds, found = bounded(graph, box, rows, CROWN)
    assert found.error is not None
    size = float(bounds.boxes[INPUT].magnitude.max()) + 5
    assert float(found.error.max()) < 300 * torch.finfo(torch.float32).eps * size


def test_overflow_is_no_bound() -> None:
    graph, box = dense(0, [3, 8, 8, 2], 1e30), boxes(3, (1.0,), 0)
    bounds, found = bounded(graph, box, torch.ones(1, 1, 2), CROWN)
    assert not (found.minimum(box.to(torch.float32)) > -math.inf).any()
    assert all(not part.lower.isnan().any() and not part.upper.isnan().any() for part in bounds.boxes.values())


@pytest.mark.parametrize("name", sorted(name for name, kind in OPS.items() if issubclass(kind, Curve)))
def test_absolute_terms_hold_for_any_alpha(name: str) -> None:
    """No line that ``relax`` may use has terms larger than those the margin is made of."""
    for op, shapes in OPS[name].samples():
        if hasattr(op, "domain"):
            continue
        line = torch.linspace(-2, 2, 41, dtype=torch.float64)
        centre = line.reshape(-1, *[1] * len(shapes[0])).expand(-1, *shapes[0])
        for radius in (0.0, 1e-6, 1e-2, 1.0):
            box = Box(centre - radius, centre + radius)
            alpha = 1e9 * torch.randn(op.parameters, 41, 2, *shapes[0], generator=drawn(0)).double()
            lines = op.relax(box, alpha=alpha)
            assert isinstance(lines, Diagonal)
            limit = op.absolute_terms(box).unsqueeze(1) * (1 + 1e-9)
            for slope, offset in ((lines.lower_slope, lines.lower_offset), (lines.upper_slope, lines.upper_offset)):
                terms = slope.abs() * box.magnitude.unsqueeze(1) + (0.0 if offset is None else offset.abs())
                assert (terms <= limit).all()
