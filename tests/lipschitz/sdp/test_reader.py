"""Systems read from networks: differences of true values satisfy them, and known constants come out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import Tensor

from tests.graph.models import assert_same_function, ints, model, one, weights
from tests.lipschitz.sdp.spelled import HOUSEHOLDER, MAXMIN, node
from tests.truth.known import HOME, dense_model, needs_benchmarks
from verifier.bounds.schedule import CROWN, bound_nodes
from verifier.errors import ShapeError, UnsupportedError
from verifier.graph.fuse import fuse
from verifier.graph.graph import OUTPUT, Graph
from verifier.graph.onnx_import import load
from verifier.lipschitz.sdp import reference
from verifier.lipschitz.sdp.reader import Reader, read
from verifier.lipschitz.sdp.system import Signal, System
from verifier.ops.equilibrium import Equilibrium
from verifier.ops.sort import Sort
from verifier.sets import Box


def assert_satisfied(graph: Graph, low: float = -1.0, high: float = 1.0, boxes: dict[str, Box] | None = None) -> System:
    """Check all equations and slopes of a system at differences of random points."""
    source = graph if boxes else fuse(graph.sorts().exact())
    reader = Reader(source, boxes)
    system = reader.builder.finish(reader.run())
    draw = torch.Generator().manual_seed(0)
    x = low + (high - low) * torch.rand(8, graph.n_inputs, dtype=torch.float64, generator=draw)
    x[4:] = x[:4] + 1e-3 * torch.randn(4, graph.n_inputs, dtype=torch.float64, generator=draw)
    x = x.clamp(low, high)
    values = source.values(x)

    def difference(name: str) -> Tensor:
        flat = values[name].flatten(1)
        return (flat[:4, None] - flat[None, 4:]).flatten(0, 1)

    variables = [difference("<input>")]
    variables += [picked(difference(name), rows) for name, rows in reader.origins]

    def assert_equal(signal: Signal, expected: Tensor) -> None:
        parts = [variables[group] @ block.centre.mT for group, block in signal.blocks.items()]
        found = torch.stack(parts).sum(0) if parts else torch.zeros_like(expected)
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9 * (1 + float(expected.abs().max())))

    assert len(system.layers) == len(reader.origins)
    for layer, (name, rows), after in zip(system.layers, reader.origins, variables[1:], strict=True):
        made = source.nodes[name]
        before = picked(difference(made.parents[0]), rows)
        if isinstance(made.op, Equilibrium):
            before = before + after @ made.op.weight
        assert_equal(layer.before, before)
        spare = (after - layer.lower * before) * (layer.upper * before - after)
        groups = torch.zeros(len(spare), len(layer.ties), dtype=torch.float64).index_add(1, layer.ties, spare)
        assert (groups >= -1e-9 * (1 + before.square().sum(1, keepdim=True))).all()
    assert_equal(system.output, difference(OUTPUT))
    return system


def picked(values: Tensor, rows: Tensor) -> Tensor:
    """Some elements, or a matrix times all."""
    return values @ rows.mT if rows.dim() == 2 else values[:, rows]


@pytest.mark.parametrize("name", MAXMIN)
def test_maxmin_is_one_variable_a_pair(name: str) -> None:
    system = assert_satisfied(assert_same_function(MAXMIN[name]))
    assert sum(layer.before.rows for layer in system.layers) == 3
    assert reference.system(system) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", HOUSEHOLDER)
def test_householder_is_one_variable_a_pair(name: str) -> None:
    system = assert_satisfied(assert_same_function(HOUSEHOLDER[name]))
    assert sum(layer.before.rows for layer in system.layers) == 3
    assert reference.system(system) == pytest.approx(1, abs=1e-4)


def test_sorting_has_constant_one() -> None:
    proto = model([node("TopK", "x k", "y i", axis=1)], {"x": (1, 4)}, {"k": ints(4)})
    assert reference.system(assert_satisfied(assert_same_function(proto))) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("largest", [0, 1])
def test_a_long_sort_is_one_group(largest: int) -> None:
    nodes = [node("Mul", "x w", "z"), node("TopK", "z k", "y i", axis=1, largest=largest)]
    constants = {"w": np.arange(1, 13, dtype=np.float32).reshape(1, 6, 2), "k": ints(6)}
    graph = assert_same_function(model(nodes, {"x": (1, 6, 2)}, constants))
    (layer,) = assert_satisfied(graph).layers
    assert layer.before.rows == 10
    assert layer.ties.unique().numel() == 2
    assert reference.system(read(graph)) == pytest.approx(12, rel=1e-4)
    assert not any(isinstance(entry.op, Sort) for entry in graph.nodes.values())


def test_an_offset_makes_two_variables() -> None:
    """relu(x) and relu(-x - 1) have kinks at different places: to share a variable would be wrong."""
    weight, bias = np.array([[1.0], [-1.0], [2.0]]), np.array([0.0, -1.0, 0.0])
    proto = dense_model([(weight, bias), (np.array([[1.0, 1.0, 0.0]]), np.zeros(1))])
    assert [layer.before.rows for layer in assert_satisfied(load(proto), -3, 3).layers] == [3]
    proto = dense_model([(weight, 0 * bias), (np.array([[1.0, 1.0, 0.0]]), np.zeros(1))])
    assert [layer.before.rows for layer in assert_satisfied(load(proto), -3, 3).layers] == [2]


@pytest.mark.parametrize("kind", ["Relu", "LeakyRelu", "Abs", "PRelu"])
def test_twins_of_other_slopes(kind: str) -> None:
    """All functions of two slopes of x and -x share a variable; (relu(x), relu(-x)) has constant 1."""
    constants = {"slope": np.array([[0.3, -0.2, 2.0]], dtype=np.float32)}
    nodes = [
        node("Neg", "x", "n"),
        node("Relu", "x", "p"),
        node(kind, "n slope" if kind == "PRelu" else "n", "q"),
        node("Concat", "p q", "y", axis=1),
    ]
    system = assert_satisfied(load(model(nodes, {"x": (1, 3)}, constants)))
    assert [layer.before.rows for layer in system.layers] == [3]
    if kind == "Relu":
        assert reference.system(system) == pytest.approx(1, abs=1e-4)


def curve(kind: str) -> ModelProto:
    nodes = [node("Gemm", "x w b", "z"), node(kind, "z", "a"), node("Gemm", "a v c", "y")]
    constants = {"w": weights(3, 5), "b": weights(5), "v": weights(5, 2), "c": weights(2)}
    return model(nodes, {"x": (1, 3)}, constants, opset=20)


@pytest.mark.parametrize(
    "kind", ["Sigmoid", "Tanh", "Elu", "Softplus", "Gelu", "HardSwish", "Sin", "HardSigmoid", "Atan"]
)
def test_curves(kind: str) -> None:
    (layer,) = assert_satisfied(load(curve(kind)), -3, 3).layers
    assert layer.before.rows == 5


def test_a_box_narrows_slopes() -> None:
    graph = load(curve("Sigmoid"))
    box = Box(*(torch.full((1, 3), end, dtype=torch.float64) for end in (0.4, 0.6)))
    boxes = bound_nodes(graph, box, CROWN).boxes
    (layer,) = assert_satisfied(graph, 0.4, 0.6, boxes).layers
    (everywhere,) = read(graph).layers
    assert (layer.upper - layer.lower < 0.5 * (everywhere.upper - everywhere.lower)).all()


def test_residual_and_pooling() -> None:
    constants = {"k": weights(4, 2, 3, 3), "m": weights(4, 4, 3, 3), "w": weights(16, 3)}
    nodes = [
        node("Conv", "x k", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("Conv", "r m", "d", pads=[1, 1, 1, 1]),
        node("Add", "r d", "s"),
        node("MaxPool", "s", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", "p", "q", kernel_shape=[2, 2], strides=[1, 1]),
        node("Flatten", "q", "f"),
        node("MatMul", "f v", "y"),
    ]
    constants["v"] = weights(4, 3)
    del constants["w"]
    assert_satisfied(load(model(nodes, {"x": (1, 2, 4, 4)}, constants)))


REAL = [
    ("acasxu", "ACASXU_run2a_1_1_batch_2000"),
    ("collins_rul_cnn", "NN_rul_small_window_20"),
    ("eran_2021", "ffnnSIGMOID__Point_6x200"),
    ("tllverifybench", "tllBench_n=2_N=M=16_m=1_instance_1_1"),
]


@needs_benchmarks
@pytest.mark.parametrize(("folder", "name"), REAL, ids=lambda value: value)
def test_networks_of_the_competition(folder: str, name: str) -> None:
    files = sorted((HOME / folder).rglob(f"{name}.onnx*"))
    if not files:
        pytest.skip("this network is not here")
    assert_satisfied(load(Path(files[0])))


def test_a_matrix_is_within_its_radius() -> None:
    """Against products of rational numbers, for entries that cancel."""
    shapes = [(7, 9), (8, 7), (3, 8)]
    layers = [(weights(*shape), np.zeros(shape[0])) for shape in shapes]
    proto = dense_model(layers)
    for entry in proto.graph.node:
        if entry.op_type == "Relu":
            entry.op_type = "Identity"
    output = read(load(proto)).output.blocks[0]
    exact = np.eye(9, dtype=object)
    for weight, _ in layers:
        exact = np.array([[Fraction(float(v)) for v in row] for row in weight], dtype=object) @ exact
    error = np.array(
        [
            [abs(float(Fraction(c) - e)) for c, e in zip(*rows, strict=True)]
            for rows in zip(output.centre.tolist(), exact, strict=True)
        ]
    )
    assert (error <= output.radius.numpy()).all()
    assert error.max() > 0
    assert float(output.radius.max()) < 1e-12


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (one("Softmax", (1, 3)), "bounded slope"),
        (one("Sqrt", (1, 3)), "no bound"),
        (one("Sign", (1, 3)), "jumps"),
        (model([node("Mul", "x z", "y")], {"x": (1, 3), "z": (1, 3)}), "multiplies values"),
    ],
)
def test_what_has_no_constant_is_named(proto: ModelProto, words: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"node '[^']+' \(\w+\): .*{words}"):
        read(load(proto))


def test_rows() -> None:
    graph = load(curve("Tanh"))
    row = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    found, whole = read(graph, row).output.blocks[1].centre, read(graph).output.blocks[1].centre
    assert torch.allclose(found, row @ whole)
    with pytest.raises(ShapeError):
        read(graph, row[:, :1])
