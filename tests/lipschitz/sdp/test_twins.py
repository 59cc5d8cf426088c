"""Values that are seen as multiples of each other are, and those that should be are seen."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto

from tests.graph.models import ints, model, scalar
from tests.lipschitz.sdp.spelled import node
from tests.lipschitz.sdp.test_reader import assert_satisfied
from verifier import lipschitz
from verifier.errors import UnsupportedError
from verifier.graph.fuse import fuse
from verifier.graph.onnx_import import load
from verifier.lipschitz.sdp.twins import Twins, like_rows

CONSTANTS = {
    "two": scalar(2.0),
    "half": scalar(-0.5),
    "third": scalar(0.3),
    "one": scalar(1.0),
    "less": scalar(-1.0),
    "each": np.array([[1.0, -2.0, 0.7]], dtype=np.float32),
    "weight": np.array([[1, -1, 0], [0, 0, 1], [-1, 1, 0.5]], dtype=np.float32),
    "bias": np.array([0.1, -0.1, 0], dtype=np.float32),
    "slope": np.array([[0.2, -1, 1]], dtype=np.float32),
    "turned": ints(2, 0, 1),
}

LAST = np.array([[1], [-1]], dtype=np.float32)

STEPS = [
    *("Relu a", "Relu a", "Abs a", "Neg a", "LeakyRelu a", "PRelu a slope", "Clip a less one", "Gather a turned"),
    *("Add a b", "Sub a b", "Sub a b", "Max a b", "Min a b", "Add a one", "Sub one a"),
    *("Mul a two", "Mul a half", "Mul a third", "Mul a each", "Gemm a weight bias"),
]


def drawn(seed: int) -> ModelProto:
    """A random network, rich in multiples of the same values."""
    draw, names = random.Random(seed), ["x"]
    nodes = []
    for k in range(draw.randint(4, 14)):
        kind, *words = draw.choice(STEPS).split()
        operands = [draw.choice(names) if word in ("a", "b") else word for word in words]
        options = {"axis": 1} if kind == "Gather" else {"alpha": draw.choice([0.1, -0.5, 2.0])}
        given = options if kind in ("Gather", "LeakyRelu") else {}
        nodes.append(node(kind, " ".join(operands), f"n{k}", **given))
        names.append(f"n{k}")
    nodes.append(node("Concat", " ".join(names[-3:]), "y", axis=1))
    return model(nodes, {"x": (1, 3)}, CONSTANTS)


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed: int) -> None:
    graph = load(drawn(seed))
    assert_satisfied(graph, -2, 2)
    source = fuse(graph.exact())
    twins, values = Twins(source), source.values(torch.randn(5, 3, dtype=torch.float64))
    units: dict[float, torch.Tensor] = {}
    for name, value in values.items():
        for factor, number, column in zip(*twins[name], value.flatten(1).T, strict=True):
            unit = units.setdefault(float(number), column / factor)
            assert torch.allclose(factor * unit, column, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "factor"),
    [
        (["Sub x z : p"], ["Sub z x : q"], -1.0),
        (["Add x z : p"], ["Neg x : m", "Sub m z : q"], -1.0),
        (["Mul x two : p"], ["Neg x : q"], -0.5),
        (["Add x one : p"], ["Neg x : m", "Sub m one : q"], -1.0),
        (["Mul x third : p"], ["Neg x : q"], None),
        (["Add x one : p"], ["Sub x one : q"], None),
        (["Sub x z : p"], ["Add x z : q"], None),
    ],
)
def test_what_is_seen(first: list[str], second: list[str], factor: float | None) -> None:
    nodes = []
    for line in [*first, *second, "Relu p : r", "Relu q : s", "Sub r s : y"]:
        kind, *operands, _, result = line.split()
        nodes.append(node(kind, " ".join(operands), result))
    graph = load(model(nodes, {"x": (1, 3), "z": (1, 3)}, CONSTANTS), simplify=False)
    twins = Twins(graph)
    (one, number), (other, second_number) = twins["p"], twins["q"]
    assert torch.equal(number, second_number) == (factor is not None)
    if factor is not None:
        assert torch.equal(other, factor * one)


def test_rows_alike() -> None:
    matrix = torch.tensor(
        [[0.0, 1.0], [0.0, -1.0], [1.0, 2.0], [0.0, 0.0], [-1.0, -2.0], [0.0, 1.0 + 2**-50]], dtype=torch.float64
    )
    first, sign = like_rows(matrix)
    assert first.tolist() == [0, 0, 2, 3, 2, 5]
    assert sign.tolist() == [1, -1, 1, 1, -1, 1]


def test_groups_of_a_convolution_read_different_channels() -> None:
    matrix = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [1.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
    first, sign = like_rows(matrix, 2)
    assert (first.tolist(), sign.tolist()) == ([0, 0, 2, 2], [1, -1, 1, 1])
    weight = np.ones((2, 1, 1, 1), dtype=np.float32)  # relu(a) - relu(b), of constant sqrt 2
    lines = [node("Conv", "x weight", "z", group=2), node("Relu", "z", "r"), node("Flatten", "r", "f")]
    proto = model([*lines, node("MatMul", "f last", "y")], {"x": (1, 2, 1, 1)}, {"weight": weight, "last": LAST})
    assert lipschitz(proto, norm="2", method="sdp").upper == pytest.approx(2**0.5)


def test_shifts_that_underflow_are_told_apart() -> None:
    constants = {"huge": np.array(2.0**300), "less": np.array(1e-300), "more": np.array(3e-300)}
    lines = [node("Mul", "x huge", "a"), node("Add", "a less", "p"), node("Add", "a more", "q")]
    lines += [node("Relu", "p", "r"), node("Relu", "q", "s"), node("Sub", "r s", "y")]
    proto = model(lines, {"x": (1, 1)}, constants, kind=TensorProto.DOUBLE)
    assert lipschitz(proto, norm="2", method="sdp").upper >= 2.0**300


@pytest.mark.parametrize("kind", ["Relu", "Abs", "LeakyRelu"])
def test_padding_is_no_variable(kind: str) -> None:
    lines = [node("Pad", "x ends", "p"), node(kind, "p", "r"), node("Relu", "p", "q"), node("Add", "r q", "y")]
    system = assert_satisfied(load(model(lines, {"x": (1, 3)}, {"ends": ints(0, 2, 0, 1)})))
    assert sum(layer.before.rows for layer in system.layers) == 3


def test_multiples_beyond_the_range_are_refused() -> None:
    """One function of two slopes is a multiple of another that no float64 holds."""
    constants = {"near": np.full((1, 3), 1 - 2.0**-53), "steep": np.full((1, 3), -1.7e308)}
    lines = [node("PRelu", "x near", "p"), node("PRelu", "x steep", "q"), node("Add", "p q", "y")]
    proto = model(lines, {"x": (1, 3)}, constants, kind=TensorProto.DOUBLE)
    with pytest.raises(UnsupportedError, match="too large for float64"):
        lipschitz(proto, norm="2", method="sdp")


def test_scales_beyond_the_range_are_left_as_they_are() -> None:
    lines = [node("Mul", "x huge", "a"), node("Mul", "a huge", "b"), node("Relu", "b", "r"), node("Add", "r x", "y")]
    proto = model(lines, {"x": (1, 1)}, {"huge": np.array(2.0**600)}, kind=TensorProto.DOUBLE)
    with pytest.raises(UnsupportedError, match="too large for float64"):
        lipschitz(proto, norm="2", method="sdp")
