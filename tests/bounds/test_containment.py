"""Boxes of all nodes by every method: they hold the values, and a batch is its domains one by one."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from tests.bounds.nets import Net, bilinear, boxes, dense, drawn, linear, residual
from verifier.bounds import schedule, windows
from verifier.bounds.schedule import BOTH, CROWN, FORWARD, INTERVAL, Bounds, Method, bound_nodes, refine
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.ops.arithmetic import Add, Sub
from verifier.ops.curves import Abs, Clip, LeakyRelu, Relu, Sign
from verifier.ops.reduce import ReduceSum
from verifier.sets import Box, dot

METHODS = {"interval": INTERVAL, "forward": FORWARD, "crown": CROWN, "both": BOTH}
NAMED = {"some named": Method(forward=True, named=4), "all named": Method(forward=True, named=1000)}
NETS: dict[str, Callable[[int], Graph]] = {
    "dense": lambda seed: dense(seed, [3, 5, 5, 2]),
    "residual": residual,
    "bilinear": bilinear,
    "leaky": lambda seed: dense(seed, [3, 5, 5, 2], curve=LeakyRelu(-0.3)),
    "abs": lambda seed: dense(seed, [3, 5, 5, 2], curve=Abs()),
    "clip": lambda seed: dense(seed, [3, 5, 5, 2], curve=Clip(-1.0, 0.5)),
    "sign": lambda seed: dense(seed, [3, 5, 5, 2], curve=Sign()),
}
RADII = (0.0, 1e-3, 0.1, 0.5, 2.0)  # as many as a hidden layer has neurons, or with one less, as an image has rows


@pytest.mark.parametrize("method", [*METHODS.values(), *NAMED.values()], ids=[*METHODS, *NAMED])
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("domains", [4, 5])
def test_every_box_holds_the_values(net: Callable[[int], Graph], method: Method, domains: int) -> None:
    for seed in range(2):
        graph = net(seed)
        box = boxes(graph.n_inputs, RADII[:domains], seed)
        bounds = bound_nodes(graph, box, method)
        values = graph.values(box.sample(100, drawn(seed)).flatten(0, 1))
        for name, value in values.items():
            inside = value.unflatten(0, (100, domains))
            assert bounds.boxes[name].lower.shape == inside.shape[1:]
            slack = 1e-12 * (1 + inside.abs())
            assert (inside >= bounds.boxes[name].lower - slack).all(), name
            assert (inside <= bounds.boxes[name].upper + slack).all(), name


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_a_batch_is_its_domains_one_by_one(net: Callable[[int], Graph], method: Method) -> None:
    graph = net(0)
    box = boxes(graph.n_inputs, (0.4, 0.5, 0.6, 0.7), 0)
    together = bound_nodes(graph, box, method)
    rows = torch.randn(4, 3, graph.n_outputs, generator=drawn(0)).double()
    least = together.rows(rows).minimum(box)
    for k in range(4):
        index = torch.tensor([k])
        alone = bound_nodes(graph, box.take(index), method)
        ends = alone.rows(rows[index]).minimum(box.take(index))
        assert (least[index] >= ends - 1e-9).all()  # shared rows may tighten more than the domain asks for
        if method is not CROWN and method is not BOTH:
            torch.testing.assert_close(least[index], ends)
        for name in graph.nodes:
            assert (together.boxes[name].lower[index] >= alone.boxes[name].lower - 1e-9).all()
            assert (together.boxes[name].upper[index] <= alone.boxes[name].upper + 1e-9).all()


@pytest.mark.parametrize("method", [*METHODS.values(), *NAMED.values()], ids=[*METHODS, *NAMED])
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_bounds_of_a_point_are_its_value(net: Callable[[int], Graph], method: Method) -> None:
    graph = net(0)
    box = boxes(graph.n_inputs, (0.0, 0.0), 0)
    bounds = bound_nodes(graph, box, method)
    for name, value in graph.values(box.lower).items():
        torch.testing.assert_close(bounds.boxes[name].lower, value, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(bounds.boxes[name].upper, value, rtol=1e-9, atol=1e-9)


def test_named_errors_cancel() -> None:
    """The difference of two sums of the same rectified values is small, which only names can know."""
    net, generator = Net(2), drawn(0)
    net.add(linear(generator, 2, 6))
    values = net.add(Relu())
    one, other = net.add(linear(generator, 6, 3), values), net.add(linear(generator, 6, 3), values)
    net.add(Sub(), net.add(Add(), one, other), net.add(Add(), other, one))
    graph, box = net.graph(), boxes(2, (2.0,), 0)
    plain, few, every = (bound_nodes(graph, box, Method(forward=True, named=k)) for k in (0, 1, 6))
    wide = [float(bounds.forms[OUTPUT].box().magnitude.amax()) for bounds in (plain, few, every)]
    assert wide[0] == wide[1] > 0.1
    assert wide[2] < 1e-12
    assert [bounds.forms[OUTPUT].columns for bounds in (plain, few)] == [2, 2]


def test_known_boxes_are_used() -> None:
    graph, box = dense(0, [3, 5, 5, 2]), boxes(3, (1.0,), 0)
    point = graph.values(box.centre)
    near = {name: Box(value - 1e-3, value + 1e-3) for name, value in point.items() if name != INPUT}
    bounds = bound_nodes(graph, box, INTERVAL, known=near)
    for name, part in near.items():
        assert (bounds.boxes[name].lower >= part.lower - 1e-9).all()
    assert (bounds.boxes[OUTPUT].lower <= point[OUTPUT]).all()


def test_scalar_nodes() -> None:
    """A node without axes, as ``ReduceSum`` without ``keepdims`` makes one."""
    net = Net(3)
    net.add(linear(drawn(0), 3, 4))
    net.add(Abs())
    net.add(ReduceSum((0,), keep=False))
    net.add(LeakyRelu(0.5))
    graph, box = net.graph(), boxes(3, (1.0, 0.5), 0)
    for method in (*METHODS.values(), *NAMED.values()):
        bounds = bound_nodes(graph, box, method)
        y = graph(box.sample(100, drawn(0)).flatten(0, 1)).unflatten(0, (100, 2))
        assert (y >= bounds.boxes[OUTPUT].lower).all()
        assert (y <= bounds.boxes[OUTPUT].upper).all()


def refinement(graph: Graph, box: Box, name: str) -> tuple[Bounds, Box]:
    """Interval bounds, and what ``refine`` makes of a node's box."""
    bounds = bound_nodes(graph, box, INTERVAL)
    return bounds, refine(bounds, graph.nodes[name], bounds.boxes[name])


@pytest.mark.parametrize("radii", [(0.5, 0.6, 0.7), (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)], ids=["shared", "ragged"])
@pytest.mark.parametrize("chunk", [1 << 22, 40])
def test_refine_agrees_with_bounding_each_domain(
    radii: tuple[float, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "CHUNK", {"cpu": chunk})
    graph, taken = dense(1, [3, 12, 12, 12, 2]), []
    take = Bounds.take
    monkeypatch.setattr(Bounds, "take", lambda self, index: taken.append(index) or take(self, index))
    box = boxes(3, radii, 1)
    third = list(graph.nodes)[5]
    bounds, refined = refinement(graph, box, third)
    assert bool(taken) == (len(radii) == 6)
    mask = schedule.undecided(graph, graph.nodes[third], bounds.boxes, {})
    assert mask is not None
    assert mask.any()
    for k in range(len(radii)):
        index = torch.tensor([k])
        _, alone = refinement(graph, box.take(index), third)
        for one, other in ((refined.lower, alone.lower), (refined.upper, alone.upper)):
            torch.testing.assert_close(one[index][mask[index]], other[mask[index]])
    tighter = mask & ((refined.upper - refined.lower) < (bounds.boxes[third].upper - bounds.boxes[third].lower) - 1e-6)
    assert tighter.any()


@pytest.mark.parametrize("most", [0, 3, math.inf])
def test_refine_leaves_wide_layers(most: float) -> None:
    graph, box = dense(1, [3, 12, 12, 2]), boxes(3, (1.0,), 1)
    bounds = bound_nodes(graph, box, INTERVAL)
    name = list(graph.nodes)[3]
    before = bounds.boxes[name]
    after = refine(bounds, graph.nodes[name], before, Method(backward=True, most=most))
    assert (after is before) == (most < 12)


@pytest.mark.parametrize("length", [1, 63, 64, 256, 320, 640])
@pytest.mark.parametrize(("rows", "other"), [((2, 3), (2, 3)), ((2, 3), (2, 1)), ((2, 3), (1, 1)), ((2, 3), (1, 3))])
def test_dot_in_blocks_is_plain(length: int, rows: tuple[int, int], other: tuple[int, int]) -> None:
    generator = drawn(length)
    a = torch.randn(*rows, length, generator=generator).double()
    b = torch.randn(*other, length, generator=generator).double()
    torch.testing.assert_close(dot(a, b), (a * b).sum(-1))
    if length % 64 == 0:
        shaped = dot(a.unflatten(2, (8, -1)), b.unflatten(2, (8, -1)))
        torch.testing.assert_close(shaped, (a * b).sum(-1))
