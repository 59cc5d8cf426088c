"""Jacobians of networks as files have them: of every operator that is read, and of small networks of each family."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from tests.bounds.nets import drawn, normal
from tests.graph.models import ints, model, one, scalar, weights
from tests.graph.spelled import Spelled, gelu_torch
from tests.graph.test_composed import CURVES, NORMALISED, POWERS, REDUCED
from tests.graph.test_discrete import MODELS
from tests.graph.test_operators import TABLES
from tests.graph.test_recurrent import GATES, recurrent
from tests.graph.test_windows import CUBIC, POOLS, RESIZES, WINDOWS
from tests.rules.derivatives import POINTS, Trial, check, derivative
from verifier.errors import UnsupportedError
from verifier.graph.graph import Graph
from verifier.graph.jacobian import jacobian
from verifier.graph.lower import LOWER
from verifier.graph.onnx_import import load
from verifier.sets import Box

JUMPS = {"And", "ArgMax", "ArgMin", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Hardmax", "Less"}
JUMPS |= {"LessOrEqual", "Not", "OneHot", "Or", "Round", "Sign", "Xor"}
"""ONNX operators that jump, or make whole numbers and truth values."""

NO_EXAMPLE = {"Loop", "Scatter", "Swish"}
"""An equilibrium, which has only global bounds; what the reference of ONNX cannot compute; and a later opset's."""

PLAIN = ("Acos", "Acosh", "Asin", "Atan", "Atanh", "Celu", "Cos", "Elu", "Erf", "Exp", "HardSwish", "Log", "LogSoftmax")
PLAIN += ("Mish", "Reciprocal", "ReduceLogSum", "Selu", "Sigmoid", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt")
PLAIN += ("Tan", "Tanh", "Ceil", "Floor", "Round")

RANGES = {"Acos": (-0.9, 0.9), "Acosh": (1.1, 3.0), "Asin": (-0.9, 0.9), "Atanh": (-0.9, 0.9), "Tan": (-1.5, 1.5)}
RANGES |= dict.fromkeys(("Log", "Reciprocal", "ReduceLogSum", "Sqrt"), (0.1, 3.0))
"""Where operators are differentiated that have no values, or poles, elsewhere."""

EXAMPLES: dict[str, onnx.ModelProto] = {
    **{name: proto for table in (*TABLES, NORMALISED, REDUCED, POWERS, CURVES) for name, proto in table.items()},
    **{name: proto for table in (WINDOWS, POOLS, RESIZES, CUBIC) for name, proto in table.items()},
    **{f"{name}-discrete": proto for name, proto in MODELS.items() if name != "ArgMax-one"},  # of one it is constant
    **{op: one(op, (2, 3), opset=18) for op in PLAIN},
    **{kind: recurrent(kind) for kind in GATES},
    "Gelu": one("Gelu", (2, 3), opset=20),
    "Gelu-tanh": one("Gelu", (2, 3), opset=20, approximate="tanh"),
    "CastLike": one("CastLike", (2, 3), scalar(0), opset=15),
    "Einsum": model(
        [helper.make_node("Einsum", ["x", "y"], ["z"], equation="ij,jk->ik")],
        {"x": (2, 3), "y": (3, 2)},
        outputs=("z",),
    ),
    "ThresholdedRelu": one("ThresholdedRelu", (2, 3), alpha=0.0),
}


def operators_of(proto: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in proto.graph.node}


def test_every_operator_that_is_read_is_differentiated_or_jumps() -> None:
    """Whatever else a new operator is, it needs an example in the tables."""
    smooth, jumping = set(), set()
    for proto in EXAMPLES.values():
        graph = load(proto)
        try:
            jacobian(graph, torch.ones(1, graph.n_outputs))
            smooth |= operators_of(proto)
        except UnsupportedError as error:
            jumping |= operators_of(proto)
            assert "node '" in str(error) and " has no derivative: " in str(error)
    assert set(LOWER) - smooth - NO_EXAMPLE == JUMPS
    assert jumping >= JUMPS


SMOOTH = [
    name for name, proto in EXAMPLES.items() if not operators_of(proto) & JUMPS and not name.endswith("-discrete")
]


@pytest.mark.parametrize("name", [name for name in SMOOTH if name not in ("Shrink", "Cast")])
def test_values_are_what_differentiation_gives(name: str) -> None:
    graph = load(EXAMPLES[name])
    low, high = RANGES.get(name, (-3.0, 3.0))
    x = low + (high - low) * torch.rand(7, graph.n_inputs, dtype=torch.float64, generator=drawn(0))
    rows = normal(drawn(1), 2, graph.n_outputs)
    expected = rows @ derivative(graph, x.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(jacobian(graph, rows)(x), expected.flatten(1), rtol=1e-9, atol=1e-9)


Writer = Callable[[Spelled], str]


def layer(n: Spelled, x: str, inputs: int, outputs: int) -> str:
    """Add an affine layer on the last axis."""
    return n("Add", n("MatMul", x, weights(inputs, outputs) / np.sqrt(inputs)), weights(outputs))


def curve(op: str, *operands: np.ndarray | float, **attributes: object) -> Writer:
    """Put a curve between affine layers, twice."""

    def write(n: Spelled) -> str:
        x = n(op, layer(n, "x", 4, 5), *operands, **attributes)
        return layer(n, n(op, layer(n, x, 5, 5), *operands, **attributes), 5, 2)

    return write


def pooling(n: Spelled) -> str:
    x = n("Conv", n("Reshape", "x", ints(1, 1, 4, 4)), weights(2, 1, 2, 2), pads=[1, 1, 0, 0])
    x = n("MaxPool", n("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    x = n("AveragePool", n("Conv", x, weights(2, 2, 2, 2), strides=[1, 1], pads=[0, 0, 1, 1]), kernel_shape=[2, 1])
    return layer(n, n("Flatten", x), 4, 2)


def attention(n: Spelled) -> str:
    x = n("Reshape", "x", ints(1, 3, 2))
    query, key, value = (layer(n, x, 2, 2) for _ in range(3))
    scores = n("Softmax", n("Div", n("MatMul", query, n("Transpose", key, perm=[0, 2, 1])), np.sqrt(2)), axis=-1)
    return layer(n, n("Reshape", n("Add", x, n("MatMul", scores, value)), ints(1, 6)), 6, 2)


def normalised(n: Spelled) -> str:
    x = n("LayerNormalization", layer(n, "x", 4, 4), weights(4), weights(4), epsilon=0.1)
    return layer(n, n("Relu", x), 4, 2)


def cell(n: Spelled) -> str:
    x = n("Reshape", "x", ints(2, 1, 2))
    n.nodes.append(
        helper.make_node("LSTM", [x, *constants(n, (1, 8, 2), (1, 8, 2), (1, 16))], ["all", "last"], hidden_size=2)
    )
    return layer(n, n("Reshape", "last", ints(1, 2)), 2, 2)


def constants(n: Spelled, *shapes: tuple[int, ...]) -> list[str]:
    return [n("Identity", weights(*shape)) for shape in shapes]


def product(n: Spelled) -> str:
    first, second = n("Tanh", layer(n, "x", 4, 3)), n("Relu", layer(n, "x", 4, 3))
    return layer(n, n("Mul", n("Mul", first, second), first), 3, 2)


def quotient(n: Spelled) -> str:
    below = n("Add", n("Exp", layer(n, "x", 4, 3)), 0.5)
    return layer(n, n("Div", n("Sigmoid", layer(n, "x", 4, 3)), below), 3, 2)


def norm(n: Spelled) -> str:
    x = n("Add", n("Tanh", layer(n, "x", 4, 6)), np.full(6, 1.5))
    return layer(n, n("ReduceL2", n("Reshape", x, ints(1, 2, 3)), ints(-1), keepdims=0), 2, 2)


def extremes(n: Spelled) -> str:
    x, y = layer(n, "x", 4, 3), layer(n, "x", 4, 3)
    return layer(n, n("Concat", n("Max", x, y, n("Neg", x)), n("Min", x, 0.3), axis=-1), 6, 2)


FAMILIES: dict[str, tuple[Writer, int]] = {
    "max pooling": (pooling, 16),
    "attention": (attention, 6),
    "layer normalisation": (normalised, 4),
    "LSTM": (cell, 4),
    "product": (product, 4),
    "quotient": (quotient, 4),
    "norm": (norm, 4),
    "extremes": (extremes, 4),
    "sin": (curve("Sin"), 4),
    "tan": (lambda n: layer(n, n("Tan", n("Mul", n("Tanh", layer(n, "x", 4, 5)), 1.3)), 5, 2), 4),
    "gelu": (curve("Gelu"), 4),
    "gelu by tanh": (curve("Gelu", approximate="tanh"), 4),
    "gelu spelled out": (lambda n: layer(n, gelu_torch(n, layer(n, "x", 4, 5)), 5, 2), 4),
    "prelu": (curve("PRelu", np.float32([0.1, -0.5, 2.0, 0.0, 1.0])), 4),
    "hard swish": (curve("HardSwish"), 4),
    "clip": (curve("Clip", np.float32(-0.5), np.float32(0.7)), 4),
    "soft shrink": (curve("Shrink", lambd=0.25, bias=0.25), 4),
}


def written(name: str) -> onnx.ModelProto:
    write, inputs = FAMILIES[name]
    net = Spelled()
    last = write(net)
    return model(net.nodes, {"x": (1, inputs)}, net.constants, [last], opset=20)


def on_boxes(graph: Graph, dtype: torch.dtype, count: int) -> Trial:
    """Draw boxes of widths from 1e-4 to 1, and points, many of them at ends."""
    centre, width = (torch.rand(count, k, dtype=torch.float64, generator=drawn(5)) for k in (graph.n_inputs, 1))
    lower, upper = torch.stack([2 * centre - 1 + side * 10 ** (4 * width - 4) / 2 for side in (-1, 1)]).to(dtype)
    x = Box(lower.double(), upper.double()).sample(POINTS, drawn(6))
    return Trial(graph, Box(lower, upper), x, torch.ones_like(x, dtype=torch.bool))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("name", FAMILIES)
def test_bounds_of_small_networks_hold_their_derivatives(name: str, dtype: torch.dtype) -> None:
    trial = on_boxes(load(written(name)), dtype, 20)
    if dtype == torch.float64:
        x = trial.points.flatten(0, 1)
        torch.testing.assert_close(jacobian(trial.graph)(x), derivative(trial.graph, x.unsqueeze(1)).flatten(1))
    check(trial)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_bounds_of_small_networks_hold_their_derivatives_on_many_boxes(name: str) -> None:
    check(on_boxes(load(written(name)), torch.float64, 200))
