"""Monotonicity: what is so by construction is proved, what is not is refuted by points that hold up."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import Recipe, perceptron, train, write_onnx
from sklearn.datasets import load_diabetes
from torch import Tensor

import verifier
from specs import InputSet
from tests.bounds.nets import Net, bilinear, boxes, dense, drawn, linear, residual
from verifier import Direction, MonotoneResult, monotone, monotone_inputs
from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.errors import UsageError
from verifier.graph.graph import OUTPUT, Graph
from verifier.graph.jacobian import jacobian
from verifier.lipschitz.signs import Signs
from verifier.ops.curves import Clip, Relu, Tanh
from verifier.ops.linear import Linear
from verifier.ops.op import Op
from verifier.sets import Box

CURVES: dict[str, Op] = {"relu": Relu(), "tanh": Tanh(), "clip": Clip(-0.5, 0.5)}


def rising(curve: Op, widths: tuple[int, ...] = (6, 24, 24, 1), sign: float = 1.0) -> Graph:
    """A network without negative weights but those of the last layer, if the sign is."""
    net, generator = Net(widths[0]), drawn(0)
    for k, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layer = linear(generator, inputs, outputs)
        last = k + 2 == len(widths)
        net.add(Linear(layer.weight.abs() * (sign if last else 1.0), layer.bias))
        if not last:
            net.add(curve)
    return net.graph()


def cube(inputs: int, radius: float = 1.0) -> InputSet:
    return InputSet(np.full(inputs, -radius), np.full(inputs, radius))


def slope(graph: Graph, point: np.ndarray, place: int, output: int = 0) -> float:
    x = torch.from_numpy(point)[None].requires_grad_()
    (found,) = torch.autograd.grad(graph(x)[0, output], x)
    return float(found[0, place])


def assert_consistent(graph: Graph, box: InputSet, result: MonotoneResult, output: int = 0) -> None:
    """Compare a result with derivatives at many points, and its witnesses with automatic differentiation."""
    x = np.random.default_rng(0).uniform(box.lower, box.upper, (2000, box.lower.size))
    points = torch.from_numpy(x).requires_grad_()
    (all_,) = torch.autograd.grad(graph(points)[:, output].sum(), points)
    found = all_[:, result.input]
    assert result.lower - 1e-9 <= float(found.min())
    assert float(found.max()) <= result.upper + 1e-9
    if result.verdict is Direction.INCREASING:
        assert result.lower >= 0
        assert float(found.min()) >= -1e-9
    if result.verdict is Direction.DECREASING:
        assert result.upper <= 0
        assert float(found.max()) <= 1e-9
    if result.verdict is Direction.NEITHER:
        rise, fall = result.witnesses
        assert rise.derivative > 0 > fall.derivative
        for witness in result.witnesses:
            assert box.contains(witness.point)
            assert slope(graph, witness.point, result.input, output) == pytest.approx(witness.derivative, rel=1e-6)


@pytest.mark.parametrize(("curve", "sign"), [("relu", 1), ("relu", -1), ("tanh", 1), ("clip", -1)])
def test_what_is_monotone_by_construction_is_proved(curve: str, sign: int) -> None:
    graph = rising(CURVES[curve], sign=sign)
    found = monotone_inputs(graph, cube(6, 3.0), timeout=20)
    wanted = Direction.INCREASING if sign > 0 else Direction.DECREASING
    assert [result.verdict for result in found] == [wanted] * 6
    assert [result.input for result in found] == list(range(6))
    assert found[-1].seconds < 10
    for result in found:
        assert_consistent(graph, cube(6, 3.0), result)


def test_an_input_that_does_not_count_is_constant() -> None:
    net = Net(3)
    layer = linear(drawn(0), 3, 8)
    layer.weight[1] = 0
    net.add(layer)
    net.add(Relu())
    net.add(linear(drawn(1), 8, 1))
    assert monotone(net.graph(), cube(3), 1).verdict is Direction.CONSTANT


def test_a_hump_is_neither_and_its_sides_are_not() -> None:
    """-|x| + y, by two rectifiers: a branch of width 1e-3 holds the whole rise of an input."""
    net = Net(2)
    net.add(Linear(torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]]).double()))
    net.add(Relu())
    net.add(Linear(torch.tensor([[-1.0], [-1.0], [1.0]]).double()))
    graph = net.graph()
    both = monotone(graph, cube(2), 0)
    assert both.verdict is Direction.NEITHER
    assert both.as_dict()["witnesses"][0]["point"][0] < 0 < both.as_dict()["witnesses"][1]["point"][0]
    left = InputSet(np.array([-1.0, 0]), np.array([-1e-9, 1]))
    right = InputSet(np.array([1e-9, 0]), np.array([1.0, 1]))
    assert monotone(graph, left, 0).verdict is Direction.INCREASING
    assert monotone(graph, right, 0).verdict is Direction.DECREASING
    narrow = monotone(graph, InputSet(np.array([-1.0, 0]), np.array([1e-3, 1])), 0)
    assert narrow.verdict is Direction.NEITHER
    assert monotone(graph, cube(2), 1).verdict is Direction.INCREASING  # never falls, though it is flat below 0


@pytest.mark.parametrize("seed", [0, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, *range(3, 8)))])
def test_random_networks(seed: int) -> None:
    graph = dense(seed, [3, 8, 8, 2])
    for radius in (0.2, 1.0):
        box = cube(3, radius)
        for result in monotone_inputs(graph, box, None, 1, timeout=15):
            assert result.verdict is not Direction.UNKNOWN
            assert_consistent(graph, box, result, 1)


def test_differences_of_outputs() -> None:
    graph = dense(0, [3, 8, 2])
    one = monotone(graph, cube(3), 0, "1-0", timeout=5)
    other = monotone(graph, cube(3), 0, "0-1", timeout=5)
    flip = {Direction.INCREASING: Direction.DECREASING, Direction.DECREASING: Direction.INCREASING}
    assert other.verdict is flip.get(one.verdict, one.verdict)
    assert (one.output, other.output) == ("1-0", "0-1")


def test_what_is_refused() -> None:
    graph, region = dense(0, [3, 4, 2]), InputSet(np.array([0.0, 1, 0]), np.array([1.0, 1, 1]))
    with pytest.raises(UsageError, match="input 1 does not vary: it is 1"):
        monotone(graph, region, 1)
    with pytest.raises(UsageError, match="no input 3"):
        monotone(graph, region, 3)
    with pytest.raises(UsageError, match="no output 2"):
        monotone(graph, region, 0, 2)
    with pytest.raises(UsageError, match="one output"):
        monotone(graph, region, 0, None)  # type: ignore[arg-type]
    assert [result.input for result in monotone_inputs(graph, region)] == [0, 2]


def test_an_interrupt_leaves_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from verifier.lipschitz.supremum import Supremum

    def crown(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Supremum, "crown", crown)
    graph = dense(3, [3, 8, 8, 2])
    found = monotone_inputs(graph, cube(3, 0.3))
    assert len(found) == 3
    assert {result.verdict for result in found} <= {Direction.UNKNOWN, Direction.NEITHER}
    assert all(result.reason == "interrupted" for result in found if result.verdict is Direction.UNKNOWN)
    assert all(math.isfinite(result.upper) for result in found)


@pytest.mark.parametrize("net", [lambda: dense(1, [4, 9, 9, 2]), lambda: residual(0), lambda: bilinear(0)])
def test_signs_hold(net: object) -> None:
    graph = net()  # type: ignore[operator]
    entries = jacobian(graph)
    box = boxes(graph.n_inputs, (0.05, 1.0), 0)
    found = Signs(entries).of(bound_nodes(entries, box, INTERVAL).boxes)
    for x in box.sample(20, drawn(0)):
        for name, value in entries.values(x).items():
            sign = found[name]
            assert (value[sign.positive.expand_as(value)] >= 0).all()
            assert (value[sign.negative.expand_as(value)] <= 0).all()
    assert any(bool(sign.positive.any()) for sign in found.values())


def test_a_coefficient_lost_to_underflow_has_no_sign() -> None:
    weight = torch.tensor([[1.0], [0.0]]).double()
    for layer in (Linear(weight), Linear(weight, roundings=1)):
        net = Net(2)
        net.add(layer)
        graph = net.graph()
        for lower in (0.0, -1.0):
            box = Box(torch.tensor([[0.0, lower]]).double(), torch.ones(1, 2).double())
            found = Signs(graph).of(bound_nodes(graph, box, INTERVAL).boxes)[OUTPUT]
            assert bool(found.positive) is (not layer.roundings)


def diabetes() -> tuple[Tensor, Tensor]:
    inputs, targets = load_diabetes(return_X_y=True)
    scaled = (inputs - inputs.mean(0)) / inputs.std(0)
    return torch.tensor(scaled).float(), torch.tensor((targets - targets.mean()) / targets.std()).float()[:, None]


def test_a_network_trained_on_a_table(tmp_path: Path) -> None:
    """Some inputs of a patient are monotone, some are not; all that is said is checked by differentiation."""
    recipe = Recipe(lambda: perceptron(10, 16, 16, 1), (10,), diabetes, 30)
    torch.set_num_threads(1)
    write_onnx("diabetes", train(recipe, decay=1e-2), recipe.shape, tmp_path / "net.onnx")
    graph = verifier.load(tmp_path / "net.onnx")
    centre = diabetes()[0][0].double().numpy()
    decided: Counter[Direction] = Counter()
    for radius, inputs in ((0.3, None), (2.0, [0, 1, 4])):
        box = InputSet(centre - radius, centre + radius)
        for result in monotone_inputs(tmp_path / "net.onnx", box, inputs, 0, timeout=6):
            assert_consistent(graph, box, result)
            decided[result.verdict] += 1
    assert decided[Direction.INCREASING] + decided[Direction.DECREASING] >= 1
    assert decided[Direction.NEITHER] >= 5
