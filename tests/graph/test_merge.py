"""Affine neighbours become one operator, and stay the same function."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from tests.graph.models import assert_same_function, ints, model, weights
from verifier.graph.graph import OUTPUT
from verifier.graph.onnx_import import load


def chain(names: Sequence[str], shape: tuple[int, ...]) -> onnx.ModelProto:
    """Build a chain of nodes by short names, each with constants of its own."""
    nodes, constants, x = [], {}, "x"
    channel = (shape[1], 1, 1) if len(shape) == 4 else (shape[-1],)
    for k, name in enumerate(names):
        y = "y" if k == len(names) - 1 else f"t{k}"
        c = f"c{k}"
        if name in ("Add", "Sub", "Mul", "Div"):
            constants[c] = weights(*channel) + np.float32(3)
            nodes.append(helper.make_node(name, [x, c], [y]))
        elif name == "MatMul":
            constants[c] = weights(shape[-1], shape[-1])
            nodes.append(helper.make_node(name, [x, c], [y]))
        elif name == "Conv":
            constants[c] = weights(shape[1], shape[1] // 2, 3, 3)
            nodes.append(helper.make_node(name, [x, c], [y], pads=[1] * 4, group=2))
        elif name == "ConvValid":
            constants[c], constants[c + "b"] = weights(shape[1], shape[1] // 2, 1, 1), weights(shape[1])
            nodes.append(helper.make_node("Conv", [x, c, c + "b"], [y], group=2))
        elif name == "ConvTranspose":
            constants[c] = weights(shape[1], shape[1] // 2, 3, 3)
            nodes.append(helper.make_node(name, [x, c], [y], pads=[1] * 4, group=2))
        elif name == "Reshape":
            constants[c] = ints(*shape[:-1], 1, shape[-1])
            constants[c + "r"] = ints(*shape)
            nodes += [helper.make_node(name, [x, c], [y + "r"]), helper.make_node(name, [y + "r", c + "r"], [y])]
        elif name == "Pad":
            constants[c] = ints(0, 0, 1, 1, 0, 0, 1, 1)
            constants[c + "k"] = weights(shape[1], shape[1], 3, 3)
            nodes += [
                helper.make_node(name, [x, c], [y + "p"]),
                helper.make_node("Conv", [y + "p", c + "k"], [y]),
            ]
        else:
            nodes.append(helper.make_node(name, [x], [y]))
        x = y
    return model(nodes, {"x": shape}, constants)


@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.product(["Add", "Sub", "Mul", "Div", "MatMul", "Neg", "Reshape", "Relu"], repeat=2)),
)
@pytest.mark.parametrize("shape", [(1, 4), (3, 4)])
def test_merging_keeps_the_function_of_rows(first: str, second: str, shape: tuple[int, ...]) -> None:
    assert_same_function(chain([first, second], shape))
    assert_same_function(chain([first, second, "MatMul", "Relu"], shape))


IMAGE_OPS = ["Add", "Mul", "Conv", "ConvValid", "ConvTranspose", "Neg", "Pad", "Transpose", "Relu"]


@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.product(IMAGE_OPS, repeat=2)),
)
def test_merging_keeps_the_function_of_images(first: str, second: str) -> None:
    assert_same_function(chain([first, second], (1, 4, 4, 4)))


def test_what_merges() -> None:
    def ops(names: Sequence[str], shape: tuple[int, ...]) -> list[str]:
        return [type(node.op).__name__ for node in load(chain(names, shape)).nodes.values() if node.op][1:-1]

    assert ops(["Sub", "Div", "MatMul", "Add", "Mul", "Relu", "Reshape", "MatMul"], (1, 4)) == [
        "Linear",
        "Relu",
        "Linear",
    ]
    assert ops(["Mul", "Conv", "Add", "Mul", "Add", "Relu"], (1, 4, 4, 4)) == ["Conv", "Relu"]
    assert ops(["Add", "ConvValid"], (1, 4, 4, 4)) == ["Conv"]
    assert ops(["Pad"], (1, 4, 4, 4)) == ["Conv"]
    assert ops(["Mul", "ConvTranspose", "Add", "Mul"], (1, 4, 4, 4)) == ["ConvTranspose"]
    assert ops(["Transpose", "Transpose"], (2, 2, 2)) == []


def test_a_tensor_that_two_nodes_read_is_kept() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["k"]),
        helper.make_node("Add", ["h", "k"], ["y"]),
    ]
    graph = assert_same_function(model(nodes, {"x": (1, 3)}, {"w": weights(3, 3)}))
    assert "h" in graph.nodes


def test_values_bear_the_names_of_the_file() -> None:
    proto = chain(["Sub", "MatMul", "Add", "Relu", "MatMul"], (1, 4))
    raw, graph = load(proto, simplify=False), load(proto)
    x = torch.randn(2, 4, dtype=torch.float64)
    expected, found = raw.values(x), graph.values(x)
    assert {"t2", "t3", "y", OUTPUT} <= set(found)
    for name in set(found) & set(expected):
        torch.testing.assert_close(found[name], expected[name])
