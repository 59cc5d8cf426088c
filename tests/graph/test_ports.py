"""What a file declares: inputs and outputs, their types, and the version of its operators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import NodeProto, TensorProto, helper

from tests.graph.models import assert_same_function, model, one, weights
from verifier.errors import ModelError
from verifier.graph.graph import INPUT, OUTPUT
from verifier.graph.onnx_import import load


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 17, 18, 19, 20, 21])
def test_opsets(opset: int) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Add", ["f", "b"], ["y"]),
    ]
    proto = model(nodes, {"x": (1, 3)}, {"w": weights(3, 4), "b": weights(4)}, opset=opset)
    proto.ir_version = 10
    assert_same_function(proto)


def test_several_inputs_and_outputs_are_pieces_of_flat_vectors() -> None:
    nodes = [
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Add", ["r", "b"], ["s"]),
        helper.make_node("Neg", ["b"], ["t"]),
    ]
    graph = assert_same_function(model(nodes, {"a": (1, 3), "b": (2, 3)}, outputs=["s", "t", "r"]))
    assert [port.name for port in graph.inputs] == ["a", "b"]
    assert [port.shape for port in graph.outputs] == [(2, 3), (2, 3), (1, 3)]
    assert next(iter(graph.nodes)) == INPUT
    assert list(graph.nodes)[-1] == OUTPUT
    assert {"a", "b", "r", "s", "t"} <= set(graph.nodes)


def test_an_input_can_be_an_output_and_another_unused() -> None:
    proto = model([helper.make_node("Relu", ["a"], ["y"])], {"unused": (2,), "a": (1, 3)}, outputs=["y", "a"])
    assert load(proto).n_inputs == 5
    assert_same_function(proto)


def test_initialisers_among_the_inputs_are_constants() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    proto = model(nodes, {"w": (3, 4), "x": (1, 3)}, {"w": weights(3, 4)}, opset=8)
    assert load(proto).n_inputs == 3
    assert [port.name for port in load(proto).inputs] == ["x"]


@pytest.mark.parametrize("batch", ["N", 0, -1, None])
def test_free_batch_is_one(batch: str | int | None) -> None:
    proto = one("Relu", (1, 3))
    dim = proto.graph.input[0].type.tensor_type.shape.dim[0]
    dim.Clear()
    if isinstance(batch, str):
        dim.dim_param = batch
    elif batch is not None:
        dim.dim_value = batch
    assert load(proto).inputs[0].shape == (1, 3)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(TensorProto.DOUBLE, "float64"), (TensorProto.FLOAT16, "float16"), (TensorProto.BFLOAT16, "bfloat16")],
)
def test_other_floating_types(kind: int, name: str) -> None:
    weight = helper.make_tensor("w", kind, (2, 2), [1.5, -2.0, 0.25, 3.0])
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (1, 2)}, kind=kind)
    proto.graph.initializer.append(weight)
    graph = load(proto)
    assert graph.inputs[0].dtype == name
    y = graph(torch.tensor([[1.0, 2.0]], dtype=torch.float64))
    torch.testing.assert_close(y, torch.tensor([[2.0, 4.0]], dtype=torch.float64))
    assert load(proto, dtype=torch.float32)(torch.ones(1, 2)).dtype == torch.float32


def test_float64_constants_keep_all_digits() -> None:
    value = np.array([1 / 3, 2 / 3])
    proto = model([helper.make_node("Add", ["x", "c"], ["y"])], {"x": (2,)}, {"c": value}, kind=TensorProto.DOUBLE)
    assert np.array_equal(load(proto)(torch.zeros(1, 2).double())[0].numpy(), value)


def test_dead_nodes_are_dropped_even_where_unsupported() -> None:
    nodes = [helper.make_node("Det", ["x"], ["d"]), helper.make_node("Relu", ["x"], ["y"])]
    assert "d" not in load(model(nodes, {"x": (3, 3)})).nodes


def test_single_precision_needs_no_copy_of_weights() -> None:
    graph = load(one("MatMul", (1, 3), weights(3, 4)), dtype=torch.float32)
    assert graph.dtype == torch.float32
    assert_same_function(one("Gemm", (1, 3), weights(3, 4), weights(4), alpha=2.0), dtype=torch.float32)


def chained(names: list[str]) -> list[NodeProto]:
    """Rectifiers whose outputs bear the given names, around a choice of one column and a product that is moved."""
    half, nodes = len(names) // 2, []
    for name, before in zip(names[:half], ["x", *names], strict=False):
        nodes.append(helper.make_node("Relu", [before], [name]))
    nodes.append(helper.make_node("Gather", [names[half - 1], "i"], ["g"], axis=1))
    nodes.append(helper.make_node("Mul", ["g", "w"], ["h"]))
    nodes.append(helper.make_node("Add", ["h", "w"], ["k"]))
    for name, before in zip(names[half:], ["k", *names[half:]], strict=False):
        nodes.append(helper.make_node("Relu", [before], [name]))
    return [*nodes, helper.make_node("Flatten", [names[-1]], ["y"])]


def test_names_of_the_file_are_not_taken_for_new_ones() -> None:
    """Tensors may bear the very names that nodes between them would get."""
    names = [f"{stem}~{k}" for k in range(5, 25) for stem in "gk"] + ["h~", "k~"]
    constants = {"i": np.array(1), "w": np.float32([-2, 3])}
    plain = assert_same_function(model(chained([f"t{k}" for k in range(len(names))]), {"x": (1, 3, 2)}, constants))
    odd = assert_same_function(model(chained(names), {"x": (1, 3, 2)}, constants))
    assert len(odd.nodes) == len(plain.nodes)


@pytest.mark.parametrize("name", [INPUT, OUTPUT])
def test_a_name_that_would_stand_for_two_tensors(name: str) -> None:
    proto = model(chained(["a", name]), {"x": (1, 3, 2)}, {"i": np.array(1), "w": np.float32([-2, 3])})
    with pytest.raises(ModelError, match=f"the name '{name}' would stand for two tensors"):
        load(proto)
