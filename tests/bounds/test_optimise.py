"""Multipliers of splits and optimised slopes: never above the truth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.bounds.nets import Net, boxes, dense, drawn, exact_minimum, normal, outputs_at, residual
from verifier.bounds.backward import Multiplier, backward
from verifier.bounds.optimise import JointAscent, steered
from verifier.bounds.schedule import CROWN, INTERVAL, bound_nodes, relax_all
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.ops.arithmetic import Translate
from verifier.ops.conv import Conv
from verifier.ops.curves import Curve
from verifier.ops.shape import Reshape, View
from verifier.search.root import Root
from verifier.sets import Box

ALWAYS = math.inf


def price(graph: Graph, box: Box, name: str, part: Box, values: Tensor, rows: Tensor) -> Tensor:
    """Bound rows ``(B, S, m)`` over the part of a box where one node lies in ``part``."""
    bounds = bound_nodes(graph, box, INTERVAL)
    inner = {**bounds.boxes, name: part}
    enclosures = relax_all(graph, inner, {}, bounds.enclosures)
    multipliers = {name: Multiplier.of(values, part)}
    found = backward(graph, OUTPUT, rows, enclosures, multipliers, scales=bounds.scales)
    return found.minimum(box)


@pytest.mark.parametrize(("sign", "best", "exact"), [(1.0, 0.0, -1.0), (-1.0, -1.0, 0.0)])
def test_the_example_of_one_neuron(sign: float, best: float, exact: float) -> None:
    """f = z or -z with z in [-1, 1], on the part z <= 0: without a multiplier -1; the right one gives the minimum."""
    net = Net(1)
    node = net.add(Translate(torch.zeros(1, dtype=torch.float64)))
    graph = net.graph()
    one = torch.ones(1, 1, dtype=torch.float64)
    box, part, rows = Box(-one, one), Box(-one, 0 * one), sign * one.unsqueeze(1)
    plain = price(graph, box, node, part, 0 * rows, rows)
    assert plain == pytest.approx(-1, abs=1e-9)
    assert price(graph, box, node, part, best * one.unsqueeze(1), rows) == pytest.approx(exact, abs=1e-9)
    for value in torch.linspace(-3, 3, 25).tolist():
        assert float(price(graph, box, node, part, value * one.unsqueeze(1), rows)) <= exact + 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(5))
def test_any_multiplier_keeps_a_lower_bound(seed: int, dtype: torch.dtype) -> None:
    """Random prices on a part of the box that is cut out by the signs of some neurons."""
    graph, generator = dense(seed, [3, 6, 6, 2]), drawn(seed)
    box = boxes(3, (1.0,), seed)
    name = list(graph.nodes)[3]
    plain = bound_nodes(graph, box, INTERVAL).boxes[name]
    points = box.sample(4000, generator).flatten(0, 1)
    values = graph.values(points)
    z, y = values[name], values[OUTPUT]
    cut, side = torch.rand(6, generator=generator) < 0.4, z[0] > 0
    part = Box(
        torch.where(cut & side, plain.lower.clamp(min=0), plain.lower),
        torch.where(cut & ~side, plain.upper.clamp(max=0), plain.upper),
    )
    inside = ((z >= part.lower) & (z <= part.upper)).all(1)
    assert inside[0]
    single = graph.to(dtype)
    for scale in (0.0, 0.1, 1.0, 100.0):
        rows = normal(generator, 1, 8, 2)
        beta = normal(generator, 1, 1, 6, scale=scale)
        least = price(single, box.to(dtype), name, part.to(dtype), beta.to(dtype), rows.to(dtype))
        truth = torch.einsum("sm,km->ks", rows[0], y[inside])
        assert (least.double() <= truth.amin(0) + 1e-12).all()


def test_a_multiplier_answers_for_its_own_rounding() -> None:
    """The offset of a wide layer sums many products, though one element of the layer sums only two."""
    size = 64 * 64
    net = Net(size)
    net.add(View(0, (1, 1, 64, 64)))
    node = net.add(Conv(torch.ones(1, 1, 1, 1, dtype=torch.float64), None, (1, 1), (0, 0), (1, 1)))
    net.add(Reshape((size,)))
    graph = net.graph()
    x = 1 + torch.rand(1, size, generator=drawn(0)).double().float().double()
    part = Box(x.reshape(1, 1, 1, 64, 64), x.reshape(1, 1, 1, 64, 64))
    values = torch.ones(1, 1, 1, 1, 64, 64)
    priced = Multiplier.of(values, part.to(torch.float32))
    assert float((priced.offset.double() - x.sum()).abs()) <= float(priced.error())
    rows = torch.zeros(1, 1, size)
    least = price(graph.to(torch.float32), Box(x, x).to(torch.float32), node, part.to(torch.float32), values, rows)
    assert float(least) <= 0


def joint(graph: Graph, box: Box, rows: Tensor, iterations: int = 20) -> tuple[Root, Root]:
    root = Root.cheap(graph, box).crown()
    most = -root.rows(-rows).minimum(box)[0]
    return root, root.improve(rows, most, iterations, ALWAYS)


@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_between_crown_and_the_truth(seed: int) -> None:
    graph, box = dense(seed, [2, 4, 4, 1]), boxes(2, (1.0,), seed)
    rows = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
    root, better = joint(graph, box, rows)
    truth = [exact_minimum(graph, box, row) for row in rows[0]]
    y = outputs_at(graph, box.sample(2000, drawn(seed)))
    plain, least = root.rows(rows).minimum(box)[0], better.rows(rows).minimum(box)[0]
    for k in range(2):
        sampled = float((rows[0, k] * y).sum(-1).min())
        assert plain[k] - 1e-5 <= least[k] <= truth[k] + 1e-9 <= sampled + 1e-7


@pytest.mark.parametrize("seed", range(3))
def test_on_the_same_boxes_alpha_is_no_worse(seed: int) -> None:
    """With one hidden layer the intermediate boxes are exact, so only the slopes of the rows move."""
    graph, box = dense(seed, [3, 10, 2]), boxes(3, (1.0,), seed)
    rows = normal(drawn(seed), 1, 5, 2)
    root, better = joint(graph, box, rows)
    plain, least = root.rows(rows).minimum(box), better.rows(rows).minimum(box)
    assert (least >= plain - 1e-5 * (1 + plain.abs())).all()
    assert (least > plain + 1e-3).any()


@pytest.mark.parametrize("seed", range(2))
def test_improved_roots_hold_the_values(seed: int) -> None:
    graph, box = residual(seed), boxes(32, (0.2,), seed)
    rows = torch.cat([torch.eye(3), -torch.eye(3)]).double().unsqueeze(0)
    root, better = joint(graph, box, rows)
    values = graph.values(box.sample(500, drawn(seed)).flatten(0, 1))
    for bounds in (root.exact, root.fast, better.exact, better.fast):
        for name, value in values.items():
            part, slack = bounds.boxes[name], 1e-12 * (1 + value.abs())
            assert (value >= part.lower.double() - slack).all(), name
            assert (value <= part.upper.double() + slack).all(), name
    least = better.rows(rows).minimum(box)[0]
    assert (least <= (values[OUTPUT] @ rows[0].T).amin(0)).all()
    assert (least >= root.rows(rows).minimum(box)[0] - 1e-4).all()


@pytest.mark.parametrize("seed", range(3))
def test_any_slopes_are_certified_soundly(seed: int) -> None:
    """The ascent is a heuristic: whatever slopes it hands over, the certified pass is sound."""
    graph, box, generator = dense(seed, [3, 6, 6, 6, 2]), boxes(3, (1.0,), seed), drawn(seed)
    rows = normal(generator, 1, 4, 2)
    bounds = bound_nodes(graph.to(torch.float32), box.to(torch.float32), CROWN)
    ascent = JointAscent(bounds, rows.float())
    parts = [part for inner in ascent.best_inner.values() for part in inner]
    for values in [ascent.alpha, *parts]:
        for value in values.values():
            value.data = 3 * torch.randn(value.shape, generator=generator)
    exact = bound_nodes(graph, box, CROWN, slopes=ascent.slopes())
    alpha = {name: value.detach().double() for name, value in ascent.alpha.items()}
    enclosures = relax_all(graph, exact.boxes, alpha, exact.enclosures)
    least = backward(graph, OUTPUT, rows, enclosures, scales=exact.scales).minimum(exact.boxes[INPUT])
    values = graph.values(box.sample(1000, generator).flatten(0, 1))
    for name, node in graph.nodes.items():
        if any(isinstance(graph.nodes[reader].op, Curve) for reader in graph.consumers[name]):
            assert (values[name] >= exact.boxes[name].lower - 1e-12).all(), node
            assert (values[name] <= exact.boxes[name].upper + 1e-12).all(), node
    assert (least[0] <= (values[OUTPUT] @ rows[0].T).amin(0)).all()


def test_thresholds_end_the_ascent() -> None:
    graph, box = dense(0, [3, 6, 6, 2]), boxes(3, (0.5,), 0)
    rows = torch.eye(2, dtype=torch.float64).unsqueeze(0)
    bounds = bound_nodes(graph.to(torch.float32), box.to(torch.float32), CROWN)
    ascent = JointAscent(bounds, rows.float())
    ascent.run(torch.full((2,), -1e6), 100, ALWAYS)
    assert ascent.adam.steps == 0
    assert (ascent.best > -1e6).all()


def test_nothing_to_optimise() -> None:
    """A network that is affine on its box has no slopes; its bounds are exact, even if a threshold is out of reach."""
    graph, box = dense(0, [3, 2]), boxes(3, (1.0,), 0)
    rows = torch.eye(2, dtype=torch.float64).unsqueeze(0)
    better = Root.cheap(graph, box).crown().improve(rows, torch.full((2,), math.inf), 3, ALWAYS)
    exact = [exact_minimum(graph, box, row) for row in rows[0]]
    torch.testing.assert_close(better.rows(rows).minimum(box)[0], torch.tensor(exact, dtype=torch.float64))


def test_slopes_learn_where_their_bounds_are_not_the_best_known() -> None:
    low, high = torch.tensor([-2.0, -1.0, -math.inf], requires_grad=True), torch.tensor([3.0, 2.0, math.inf])
    known = Box(torch.tensor([-1.5, -1.5, -1.5]), torch.tensor([2.5, 2.5, 2.5]))
    ends = steered(known, Box(low, high.requires_grad_()))
    assert ends.lower.tolist() == [-1.5, -1.0, -1.5]
    assert ends.upper.tolist() == [2.5, 2.0, 2.5]
    assert [part.tolist() for part in torch.autograd.grad((ends.lower - ends.upper).sum(), [low, high])] == [
        [1] * 3,
        [-1] * 3,
    ]
