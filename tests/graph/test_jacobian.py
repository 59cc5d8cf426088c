"""The network of a Jacobian: it says what automatic differentiation says, and its bounds hold."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.bounds.nets import Net, bilinear, boxes, dense, drawn, linear, residual
from tests.truth.known import HOME, needs_benchmarks
from verifier import load
from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.errors import UnsupportedError
from verifier.graph.graph import OUTPUT, Graph
from verifier.graph.jacobian import jacobian
from verifier.ops.curves import Abs, Clip, Floor, LeakyRelu, Power, PRelu, Shrink, Sigmoid, ThresholdedRelu
from verifier.ops.op import Op
from verifier.ops.product import Product
from verifier.search.root import Root
from verifier.sets import Box

SLOPES = torch.tensor([0.3, -0.5, 2.0, 0.0, 1.0], dtype=torch.float64)
CURVES: dict[str, Op | None] = {
    "relu": None,
    "leaky": LeakyRelu(-0.3),
    "abs": Abs(),
    "prelu": PRelu(SLOPES),
    "clip": Clip(-0.4, 0.3),
    "above": Clip(low=0.1),
    "below": Clip(high=0.2),
    "unclipped": Clip(),
    "constant": Clip(0.5, -0.5),
}
NETS: dict[str, Callable[[int], Graph]] = {
    "residual": residual,
    "bilinear": bilinear,
    **{name: lambda seed, curve=curve: dense(seed, [3, 5, 5, 2], curve=curve) for name, curve in CURVES.items()},
}


def derivative(graph: Graph, x: Tensor) -> Tensor:
    """Differentiate at points ``(B, n)``; shape ``(B, m, n)``."""
    x = x.clone().requires_grad_()
    rows = graph(x).unbind(1)
    found = [torch.autograd.grad(row.sum(), x, retain_graph=True, allow_unused=True)[0] for row in rows]
    return torch.stack([torch.zeros_like(x) if row is None else row for row in found], 1)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", NETS)
def test_values_are_derivatives_and_bounds_hold_them(name: str, seed: int) -> None:
    graph = NETS[name](seed)
    box = boxes(graph.n_inputs, (0.3,), seed)
    points = torch.cat([box.sample(500, drawn(seed)).flatten(0, 1), box.lower, box.upper])
    expected, slopes = derivative(graph, points).flatten(1), jacobian(graph)
    torch.testing.assert_close(slopes(points), expected)
    bounded = [bound_nodes(slopes, box, INTERVAL).boxes[OUTPUT]]
    root = Root.cheap(slopes, box).crown()
    unit = torch.eye(slopes.n_outputs, dtype=torch.float64).unsqueeze(0)
    bounded.append(Box(root.rows(unit).minimum(box), -root.rows(-unit).minimum(box)))
    for found in bounded:
        assert (found.lower <= expected + 1e-9).all()  # what is compared with is rounded as well
        assert (expected <= found.upper + 1e-9).all()


def test_rows_and_directions_are_combined() -> None:
    graph, generator = dense(0, [3, 5, 4]), drawn(1)
    rows, directions = (torch.randn(shape, generator=generator).double() for shape in ((2, 4), (3, 5)))
    x = torch.randn(20, 3, generator=generator).double()
    expected = rows @ derivative(graph, x) @ directions
    torch.testing.assert_close(jacobian(graph, rows, directions)(x), expected.flatten(1))


def test_a_network_that_is_affine_has_a_constant_one() -> None:
    net = Net(3)
    weights = linear(drawn(0), 3, 2)
    net.add(weights)
    slopes = jacobian(net.graph())
    found = bound_nodes(slopes, boxes(3, (5.0,), 0), INTERVAL).boxes[OUTPUT]
    assert (found.upper - found.lower <= 1e-12).all()
    torch.testing.assert_close(found.centre, weights.weight.T.reshape(1, -1))


def test_what_a_node_reads_twice_counts_twice() -> None:
    net = Net(2)
    first = net.add(linear(drawn(0), 2, 2))
    net.add(Product(), first, first)
    graph, x = net.graph(), torch.randn(5, 2, generator=drawn(1)).double()
    torch.testing.assert_close(jacobian(graph)(x), derivative(graph, x).flatten(1))


def test_splits_at_a_kink_leave_one_slope() -> None:
    """On [0, u] a rectifier has slope 1, on [l, 0] slope 0; only across 0 both count."""
    net = Net(1)
    net.add(CURVES["relu"] or LeakyRelu(0.0))
    slopes = jacobian(net.graph())
    for low, high, expected in ((0.0, 2.0, (1, 1)), (-2.0, 0.0, (0, 0)), (-1.0, 1.0, (0, 1)), (0.0, 0.0, (0, 1))):
        box = Box(torch.tensor([[low]]).double(), torch.tensor([[high]]).double())
        found = bound_nodes(slopes, box, INTERVAL).boxes[OUTPUT]
        assert (found.lower.item(), found.upper.item()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("op", "low", "high", "expected"),
    [
        (Clip(-0.3, 0.7), -0.3, 0.7, (1, 1)),
        (Clip(-0.3, 0.7), 0.7, 2.0, (0, 0)),
        (Clip(-0.3, 0.7), -2.0, -0.3, (0, 0)),
        (Clip(-0.3, 0.7), -2.0, 2.0, (0, 1)),
        (Shrink(0.75, 0.75), -0.75, 0.75, (0, 0)),
        (Shrink(0.75, 0.75), 0.75, 2.0, (1, 1)),
        (Shrink(0.75, 0.75), 0.5, 2.0, (0, 1)),
        (ThresholdedRelu(0.0), 0.0, 1.0, (1, 1)),
    ],
)
def test_splits_at_kinks_elsewhere_leave_one_slope(op: Op, low: float, high: float, expected: tuple[int, int]) -> None:
    net = Net(1)
    net.add(op)
    lower, upper = torch.tensor([[[low]], [[high]]], dtype=torch.float64)
    box = Box(lower, upper)
    found = bound_nodes(jacobian(net.graph()), box, INTERVAL).boxes[OUTPUT]
    assert (found.lower.item(), found.upper.item()) == pytest.approx(expected, abs=1e-12)


def test_powers_whose_slope_has_no_exponent_have_a_derivative() -> None:
    net = Net(1)
    net.add(Power(1 / 3))
    graph, x = net.graph(), torch.tensor([[0.01], [0.5], [3.0]]).double()
    torch.testing.assert_close(jacobian(graph)(x), derivative(graph, x).flatten(1))
    assert bound_nodes(jacobian(graph), Box(x[:1] - x[:1], x[:1]), INTERVAL).boxes[OUTPUT].upper.isinf().all()


def test_second_derivatives_are_stated_of_powers_alone() -> None:
    net, x = Net(1), torch.tensor([[-0.5], [3.0]]).double()
    net.add(Power(4.0))
    slopes = jacobian(net.graph())
    torch.testing.assert_close(jacobian(slopes)(x), 12 * x * x)
    net = Net(1)
    net.add(Sigmoid())
    with pytest.raises(UnsupportedError, match="SigmoidSlope"):
        jacobian(jacobian(net.graph()))


def test_it_has_the_dtype_of_the_network() -> None:
    graph = NETS["clip"](0).to(torch.float32)
    x = torch.randn(5, 3, generator=drawn(0))
    torch.testing.assert_close(jacobian(graph)(x), derivative(graph, x).flatten(1))


def test_a_function_that_jumps_has_none() -> None:
    net = Net(2)
    net.add(Floor())
    with pytest.raises(UnsupportedError, match=r"node 'n1'.*Floor"):
        jacobian(net.graph())


@needs_benchmarks
@pytest.mark.parametrize(
    "path",
    [
        "acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx.gz",
        "mnist_fc/onnx/mnist-net_256x6.onnx.gz",
        "collins_rul_cnn/onnx/NN_rul_full_window_20.onnx.gz",
        "metaroom/onnx/4cnn_tz_70_11_no_custom_OP.onnx.gz",
    ],
)
def test_real_networks(path: str) -> None:
    graph = load(HOME / path)
    rows = torch.eye(graph.n_outputs).double()[:2]
    x = torch.rand(3, graph.n_inputs, generator=drawn(0)).double()
    expected = (rows @ derivative(graph, x)).flatten(1)
    scale = expected.abs().amax() + math.ulp(1.0)
    torch.testing.assert_close(jacobian(graph, rows)(x) / scale, expected / scale, rtol=0, atol=1e-12)
