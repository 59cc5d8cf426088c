"""Every ONNX operator that is lowered, against onnxruntime on small models, and constant folding and ports."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from verifier.check.replay import Replay
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.graph.onnx_import import load

IR_VERSION = 8
DRAW = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def scalar(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple],
    constants: dict[str, np.ndarray] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 13,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def assert_same_function(proto: onnx.ModelProto, points: int = 4, **options: Any) -> Graph:
    """Compare with onnxruntime, with and without simplification."""
    replay = Replay(proto)
    for simplify in (True, False):
        graph = load(proto, simplify=simplify, **options)
        x = torch.from_numpy(np.random.default_rng(1).uniform(-3, 3, (points, graph.n_inputs))).float().double()
        expected = np.stack([replay.run(point.numpy()) for point in x])
        y = graph(x.to(graph.dtype)).double().numpy()
        assert y.shape == expected.shape == (points, graph.n_outputs)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * (1 + np.abs(expected).max()))
    return load(proto, **options)


def one(
    op: str,
    shape: tuple,
    *constants: np.ndarray | None,
    opset: int = 13,
    before: Sequence[np.ndarray] = (),
    **attributes: Any,
) -> onnx.ModelProto:
    """Build a model of one node: constants ``before``, then the input, then more constants (None leaves one out)."""
    names, given = [], {}
    for k, value in enumerate([*before, "x", *constants]):
        names.append("x" if isinstance(value, str) else "" if value is None else f"c{k}")
        if isinstance(value, np.ndarray):
            given[f"c{k}"] = value
    outputs = attributes.pop("outputs", ("y",))
    node = helper.make_node(op, names, outputs, name="n", **attributes)
    return model([node], {"x": shape}, given, outputs, opset)


def test_helper_compares_something() -> None:
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(load(one("Relu", (1, 3)))(torch.ones(1, 3).double()).numpy(), np.zeros((1, 3)))


ARITHMETIC = {
    "Add": one("Add", (1, 3), weights(3)),
    "Add-left": one("Add", (1, 3), before=[weights(1, 3)]),
    "Add-up": one("Add", (1, 3), weights(2, 4, 3)),
    "Add-middle": one("Add", (2, 1, 3), weights(4, 1)),
    "Sub": one("Sub", (1, 3), weights(1)),
    "Sub-left": one("Sub", (2, 3), before=[weights(2, 3)]),
    "Mul": one("Mul", (3, 3), weights(3, 1)),
    "Mul-up": one("Mul", (3,), before=[weights(2, 1)]),
    "Div": one("Div", (1, 3), weights(3)),
    "Neg": one("Neg", (1, 3)),
    "Sum": one("Sum", (1, 3), weights(3), weights(2, 3)),
    "Mean": one("Mean", (1, 3), weights(3), weights(2, 3)),
    "MatMul": one("MatMul", (1, 3), weights(3, 4)),
    "MatMul-vector": one("MatMul", (3,), weights(3, 4)),
    "MatMul-by-vector": one("MatMul", (2, 3), weights(3)),
    "MatMul-vectors": one("MatMul", (3,), weights(3)),
    "MatMul-stack": one("MatMul", (2, 4, 3), weights(3, 5)),
    "MatMul-stacks": one("MatMul", (2, 4, 3), weights(2, 3, 5)),
    "MatMul-broadcast": one("MatMul", (4, 3), weights(2, 3, 5)),
    "MatMul-ones": one("MatMul", (4, 3), weights(1, 1, 3, 5)),
    "MatMul-vector-stack": one("MatMul", (3,), weights(2, 3, 5)),
    "MatMul-left": one("MatMul", (3, 4), before=[weights(5, 3)]),
    "MatMul-left-vector": one("MatMul", (3,), before=[weights(5, 3)]),
    "MatMul-left-by-vector": one("MatMul", (2, 3, 4), before=[weights(3)]),
    "MatMul-left-stack": one("MatMul", (2, 3, 4), before=[weights(5, 3)]),
    "MatMul-left-stacks": one("MatMul", (3, 4), before=[weights(2, 5, 3)]),
    "MatMul-left-stack-vector": one("MatMul", (3,), before=[weights(2, 5, 3)]),
    "Gemm": one("Gemm", (1, 3), weights(3, 4), weights(4)),
    "Gemm-no-bias": one("Gemm", (2, 3), weights(3, 4)),
    "Gemm-scaled": one("Gemm", (2, 3), weights(4, 3), weights(1, 4), alpha=0.5, beta=2.0, transB=1),
    "Gemm-transA": one("Gemm", (3, 2), weights(3, 4), weights(1), transA=1),
    "Gemm-matrix-bias": one("Gemm", (2, 3), weights(3, 4), weights(2, 4), beta=0.5),
    "Gemm-column-bias": one("Gemm", (2, 3), weights(3, 4), weights(2, 1)),
    "Gemm-left": one("Gemm", (3, 4), weights(4), before=[weights(5, 3)], alpha=2.0),
    "Gemm-left-trans": one("Gemm", (4, 3), weights(5, 4), before=[weights(3, 5)], transA=1, transB=1),
    "BatchNormalization": one("BatchNormalization", (2, 3, 4), *(weights(3) for _ in range(3)), np.abs(weights(3))),
    "BatchNormalization-rank-2": one(
        "BatchNormalization", (1, 3), *(weights(3) for _ in range(3)), np.abs(weights(3)), opset=9, epsilon=0.1
    ),
}

WINDOWS = {
    "Conv": one("Conv", (1, 2, 5, 6), weights(3, 2, 3, 3), weights(3)),
    "Conv-strided": one("Conv", (2, 2, 7, 6), weights(3, 2, 3, 2), strides=[2, 3], pads=[1, 0, 1, 0]),
    "Conv-uneven": one("Conv", (1, 2, 5, 5), weights(3, 2, 3, 3), weights(3), pads=[0, 1, 2, 0]),
    "Conv-dilated": one("Conv", (1, 1, 7, 7), weights(2, 1, 2, 3), dilations=[2, 3]),
    "Conv-groups": one("Conv", (1, 4, 5, 5), weights(6, 2, 2, 2), weights(6), group=2),
    "Conv-1": one("Conv", (2, 2, 7), weights(3, 2, 3), strides=[2]),
    "Conv-3": one("Conv", (1, 1, 4, 3, 4), weights(2, 1, 2, 2, 2), pads=[1] * 6),
    **{
        f"Conv-{mode}": one("Conv", (1, 1, 6, 7), weights(1, 1, 3, 2), auto_pad=mode, strides=[2, 2])
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
    },
    "ConvTranspose": one("ConvTranspose", (1, 2, 3, 4), weights(2, 3, 3, 3), weights(3), strides=[2, 2]),
    "ConvTranspose-pads": one(
        "ConvTranspose", (1, 2, 3, 4), weights(2, 3, 3, 3), weights(3), strides=[2, 2], pads=[1, 1, 1, 1]
    ),
    "ConvTranspose-uneven": one(
        "ConvTranspose", (1, 2, 3, 4), weights(2, 3, 3, 3), weights(3), strides=[2, 2], pads=[1, 0, 0, 2]
    ),
    "ConvTranspose-extra": one(
        "ConvTranspose", (2, 2, 3, 4), weights(2, 1, 3, 3), weights(2), strides=[2, 3], output_padding=[1, 2], group=2
    ),
    "ConvTranspose-dilated": one("ConvTranspose", (1, 1, 3, 4), weights(1, 2, 2, 2), dilations=[2, 3]),
    "ConvTranspose-shape": one(
        "ConvTranspose", (1, 1, 3, 4), weights(1, 2, 3, 3), weights(2), strides=[2, 2], output_shape=[6, 7]
    ),
    "ConvTranspose-same": one(
        "ConvTranspose", (1, 1, 3, 4), weights(1, 2, 3, 3), weights(2), strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "ConvTranspose-1": one("ConvTranspose", (1, 1, 3), weights(1, 2, 4), strides=[3]),
    "GlobalAveragePool": one("GlobalAveragePool", (2, 3, 4, 5)),
    "GlobalMaxPool": one("GlobalMaxPool", (2, 3, 4, 5)),
}

POOLS = {
    f"{op}-{k}": one(op, shape, **attributes)
    for op in ("MaxPool", "AveragePool")
    for k, (shape, attributes) in enumerate(
        [
            ((1, 2, 4, 6), {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ((2, 1, 5, 5), {"kernel_shape": [3, 2]}),
            ((1, 1, 7, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
            ((1, 1, 6, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]}),
            ((1, 1, 6, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "opset": 11}),
            ((1, 1, 6), {"kernel_shape": [3], "strides": [2], "auto_pad": "SAME_UPPER"}),
            ((1, 1, 6), {"kernel_shape": [4], "strides": [3], "auto_pad": "SAME_LOWER"}),
            ((1, 1, 4, 4, 4), {"kernel_shape": [2, 2, 2], "strides": [2, 1, 2]}),
            ((1, 1, 5, 5), {"kernel_shape": [1, 1]}),
        ]
    )
} | {
    "MaxPool-dilated": one("MaxPool", (1, 1, 7, 7), kernel_shape=[2, 3], dilations=[2, 2]),
    "AveragePool-counted": one(
        "AveragePool", (1, 1, 6, 6), kernel_shape=[3, 3], pads=[1, 0, 1, 1], strides=[2, 2], count_include_pad=1
    ),
    "AveragePool-dilated": one(
        "AveragePool", (1, 2, 7, 7), kernel_shape=[2, 2], dilations=[2, 3], pads=[1, 1, 1, 1], opset=19
    ),
    "AveragePool-ceil-pads": one(
        "AveragePool", (1, 1, 7, 6), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1, opset=11
    ),
}

SHAPES = {
    "Reshape": one("Reshape", (2, 3, 4), ints(0, -1)),
    "Reshape-allowzero": one("Reshape", (2, 6), ints(3, 4), allowzero=1, opset=14),
    "Flatten": one("Flatten", (2, 3, 4)),
    "Flatten-0": one("Flatten", (2, 3, 4), axis=0),
    "Flatten-negative": one("Flatten", (2, 3, 4), axis=-1),
    "Squeeze": one("Squeeze", (1, 3, 1)),
    "Squeeze-axes": one("Squeeze", (1, 3, 1), ints(-1)),
    "Squeeze-old": one("Squeeze", (1, 3, 1), axes=[0], opset=11),
    "Unsqueeze": one("Unsqueeze", (2, 3), ints(0, -1)),
    "Unsqueeze-old": one("Unsqueeze", (2, 3), axes=[1, 3], opset=11),
    "Transpose": one("Transpose", (2, 3, 4)),
    "Transpose-perm": one("Transpose", (2, 3, 4), perm=[1, 0, 2]),
    "Identity": one("Identity", (2, 3)),
    "Dropout": one("Dropout", (2, 3), opset=10, ratio=0.5),
    "Dropout-inputs": one("Dropout", (2, 3), scalar(0.5), np.array(False)),
    "Cast": model(
        [
            helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
            helper.make_node("Cast", ["d"], ["y"], to=TensorProto.FLOAT),
        ],
        {"x": (2, 3)},
    ),
    "Expand": one("Expand", (3, 1), ints(2, 1, 4)),
    "DepthToSpace": one("DepthToSpace", (1, 8, 2, 3), blocksize=2),
    "DepthToSpace-CRD": one("DepthToSpace", (1, 8, 2, 3), blocksize=2, mode="CRD"),
    "SpaceToDepth": one("SpaceToDepth", (1, 2, 4, 6), blocksize=2),
}

SELECTIONS = {
    "Slice": one("Slice", (4, 5), ints(1), ints(3)),
    "Slice-axes": one("Slice", (4, 5), ints(-3), ints(2**62), ints(1)),
    "Slice-steps": one("Slice", (4, 7), ints(0, 1), ints(4, -1), ints(0, 1), ints(2, 3)),
    "Slice-back": one("Slice", (4, 5), ints(-1), ints(-(2**62)), ints(1), ints(-1)),
    "Slice-back-2": one("Slice", (7,), ints(5), ints(0), ints(0), ints(-2)),
    "Slice-back-9": one("Slice", (1, 7), ints(9), ints(-20), ints(1), ints(-2)),
    "Slice-old": one("Slice", (4, 5), starts=[1, 0], ends=[3, 100], axes=[1, 0], opset=9),
    "Split": one("Split", (2, 6), axis=1, outputs=("y", "z")),
    "Split-lengths": one("Split", (2, 6), ints(1, 2, 3), axis=-1, outputs=("y", "z", "w")),
    "Split-old": one("Split", (6,), split=[4, 2], opset=11, outputs=("y", "z")),
    "Split-count": one("Split", (7,), num_outputs=3, opset=18, outputs=("y", "z", "w")),
    "Gather": one("Gather", (4, 3), ints(2, 0, 2)),
    "Gather-scalar": one("Gather", (4, 3), np.array(-1, dtype=np.int64), axis=1),
    "Gather-matrix": one("Gather", (4, 3), ints(0, 1, 2, 0).reshape(2, 2), axis=1),
    "GatherElements": one("GatherElements", (3, 3), ints(0, 2, 1, 1, 0, 0).reshape(2, 3), axis=0),
    "GatherND": one("GatherND", (3, 4), ints(0, 2, 1, 1).reshape(2, 2)),
    "Tile": one("Tile", (2, 3), ints(2, 3)),
    "Concat-constants": one("Concat", (2, 3), weights(2, 1), before=[weights(2, 2)], axis=1),
    "Concat-negative": one("Concat", (2, 3), weights(2, 1), axis=-1),
    "Pad": one("Pad", (2, 3), ints(0, 1, 2, 0)),
    "Pad-value": one("Pad", (2, 3), ints(0, 1, 2, -1), scalar(1.5)),
    "Pad-axes": one("Pad", (2, 3), ints(1, 2), None, ints(-1), opset=18),
    "Pad-old": one("Pad", (2, 3), pads=[0, 1, 2, 0], value=0.5, opset=10),
    "Pad-edge": one("Pad", (2, 3), ints(2, 1, 0, 3), mode="edge"),
    "Pad-reflect": one("Pad", (3, 4), ints(2, 1, 0, 3), mode="reflect"),
    "Where": one("Where", (2, 3), weights(1, 3), before=[np.array([[True], [False]])]),
    "Trilu": one("Trilu", (3, 4), opset=14),
    "Trilu-lower": one("Trilu", (3, 4), np.array(1, dtype=np.int64), upper=0, opset=14),
}

REDUCTIONS = {
    f"{op}-{k}": one(op, (2, 3, 4), **attributes)
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
    for k, attributes in enumerate(
        [{}, {"axes": [1]}, {"axes": [0, -1], "keepdims": 0}, {"keepdims": 0}] if op != "ReduceSum" else [{}]
    )
} | {
    "ReduceSum-axes": one("ReduceSum", (2, 3, 4), ints(-1, 0), keepdims=0),
    "ReduceSum-noop": one("ReduceSum", (2, 3, 4), noop_with_empty_axes=1),
    "ReduceSum-old": one("ReduceSum", (2, 3, 4), axes=[2], opset=11),
    "ReduceMean-new": one("ReduceMean", (2, 3, 4), ints(1), opset=18),
    "ReduceMax-new": one("ReduceMax", (2, 5, 4), ints(1), opset=18),
    "CumSum": one("CumSum", (2, 4), np.array(1, dtype=np.int64)),
    "CumSum-back": one("CumSum", (2, 4), np.array(-1, dtype=np.int64), reverse=1, exclusive=1),
}

PIECEWISE = {
    "Relu": one("Relu", (2, 3)),
    "LeakyRelu": one("LeakyRelu", (2, 3), alpha=0.3),
    "LeakyRelu-default": one("LeakyRelu", (2, 3)),
    "PRelu": one("PRelu", (2, 3, 4), weights(3, 1)),
    "Abs": one("Abs", (2, 3)),
    "Sign": one("Sign", (2, 3)),
    "Clip": one("Clip", (2, 3), scalar(-1), scalar(0.5)),
    "Clip-low": one("Clip", (2, 3), scalar(0)),
    "Clip-high": one("Clip", (2, 3), None, scalar(6)),
    "Clip-neither": one("Clip", (2, 3)),
    "Clip-crossed": one("Clip", (2, 3), scalar(2), scalar(0.5)),
    "Clip-old": one("Clip", (2, 3), min=0.0, max=6.0, opset=6 + 1),
    "HardSigmoid": one("HardSigmoid", (2, 3), alpha=0.3, beta=0.4),
    "Max-constant": one("Max", (2, 3), weights(3)),
    "Min-constants": one("Min", (2, 3), weights(3), weights(2, 1)),
}

RESIZES = {
    **{
        f"Resize-{mode}-{rounding}-{k}": one(
            "Resize",
            (1, 1, 4, 5),
            None,
            np.array([1, 1, *factor], dtype=np.float32),
            mode="nearest",
            coordinate_transformation_mode=mode,
            nearest_mode=rounding,
        )
        for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        for k, factor in enumerate([(2, 3), (0.5, 0.6), (2.5, 1)])
    },
    **{
        f"Resize-linear-{mode}-{k}": one(
            "Resize",
            (1, 1, 4, 5),
            None,
            np.array([1, 1, *factor], dtype=np.float32),
            mode="linear",
            coordinate_transformation_mode=mode,
        )
        for mode in ("half_pixel", "asymmetric", "align_corners")
        for k, factor in enumerate([(2, 3), (0.5, 0.6)])
    },
    "Resize-sizes": one("Resize", (1, 1, 4, 5), None, None, ints(1, 1, 8, 7)),
    "Resize-10": one("Resize", (1, 1, 4, 5), np.array([1, 1, 2, 3], dtype=np.float32), opset=10),
    "Resize-10-down": one("Resize", (1, 1, 4, 6), np.array([1, 1, 0.5, 0.5], dtype=np.float32), opset=10),
    "Upsample": one("Upsample", (1, 1, 4, 5), np.array([1, 1, 2, 3], dtype=np.float32), opset=9),
    "Upsample-7": one("Upsample", (1, 1, 4, 5), scales=[1.0, 1.0, 2.0, 2.0], opset=7),
}

TABLES = (ARITHMETIC, WINDOWS, POOLS, SHAPES, SELECTIONS, REDUCTIONS, PIECEWISE, RESIZES)


@pytest.mark.parametrize("proto", [pytest.param(p, id=name) for table in TABLES for name, p in table.items()])
def test_one_operator(proto: onnx.ModelProto) -> None:
    assert_same_function(proto)


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


@pytest.mark.parametrize("op", ["Add", "Sub", "Max", "Min"])
@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (4, 1, 3))])
def test_two_variables(op: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    assert_same_function(model([helper.make_node(op, ["a", "b"], ["y"])], {"a": shapes[0], "b": shapes[1]}))


@pytest.mark.parametrize("op", ["Max", "Min", "Sum", "Mean", "Concat"])
def test_many_operands(op: str) -> None:
    attributes = {"axis": 0} if op == "Concat" else {}
    node = helper.make_node(op, ["a", "c", "b", "d", "e"], ["y"], **attributes)
    inputs = {"a": (2, 3), "b": (2, 3), "e": (1, 3)}
    assert_same_function(model([node], inputs, {"c": weights(2, 3), "d": weights(2, 3)}))


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


@pytest.mark.parametrize("dynamic", [False, True])
def test_shape_computations_fold(dynamic: bool) -> None:
    """What exporters write for ``x.view(x.shape[0], -1)`` and ``x + ones_like(x)``."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array(0, dtype=np.int64))),
        helper.make_node("Gather", ["shape", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n"], ["n1"], axes=[0]),
        helper.make_node("Constant", [], ["rest"], value=numpy_helper.from_array(ints(-1))),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=numpy_helper.from_array(np.float32([2]))),
        helper.make_node("Cast", ["n1"], ["nf"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["nf", "nf"], ["ratio"]),
        helper.make_node("Mul", ["ones", "ratio"], ["shift"]),
        helper.make_node("Add", ["x", "shift"], ["moved"]),
        helper.make_node("Reshape", ["moved", "target"], ["y"]),
    ]
    proto = model(nodes, {"x": ("N" if dynamic else 1, 2, 3)}, opset=11)
    graph = assert_same_function(proto)
    assert graph.outputs[0].shape == (1, 6)
    assert len(graph.nodes) <= 5


FOLDED = {
    "Range": ([ints(0).reshape(()), ints(6).reshape(()), ints(2).reshape(())], {}),
    "Equal": ([ints(1, 2, 3), ints(1, 5, 3)], {}),
    "Where": ([np.array([True, False, True]), weights(3), weights(3)], {}),
    "Expand": ([weights(1, 3), ints(2, 3)], {}),
    "Slice": ([weights(4, 3), ints(-1), ints(-9), ints(0), ints(-1)], {}),
    "Squeeze": ([weights(1, 3), ints(0)], {}),
    "Transpose": ([weights(3, 2)], {}),
    "Div": ([ints(-7, 7, 9), ints(2, -2, 3)], {}),
    "Sqrt": ([np.abs(weights(3))], {}),
    "Floor": ([weights(3)], {}),
    "Softmax": ([weights(2, 3)], {}),
    "ReduceProd": ([ints(2, 3, 4)], {}),
    "Pow": ([weights(3), scalar(2)], {}),
    "Not": ([np.array([True, False, True])], {}),
    "OneHot": ([ints(0, 2, 1), ints(3).reshape(()), np.float32([0, 1])], {}),
}


@pytest.mark.parametrize("op", FOLDED)
def test_constant_operators_fold(op: str) -> None:
    operands, attributes = FOLDED[op]
    names = [f"c{k}" for k in range(len(operands))]
    nodes = [
        helper.make_node(op, names, ["k"], **attributes),
        helper.make_node("Cast", ["k"], ["kf"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "kf"], ["y"]),
    ]
    assert_same_function(model(nodes, {"x": (3,)}, dict(zip(names, operands, strict=True))))


CONSTANTS = {"value_float": 2.5, "value_floats": [1.0, 2.0, 3.0], "value_int": 3, "value_ints": [1, 2, 3]}


@pytest.mark.parametrize("form", CONSTANTS)
def test_forms_of_constants(form: str) -> None:
    nodes = [
        helper.make_node("Constant", [], ["k"], **{form: CONSTANTS[form]}),
        helper.make_node("Cast", ["k"], ["kf"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "kf"], ["y"]),
    ]
    assert_same_function(model(nodes, {"x": (3,)}))


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_computed_weights(op: str) -> None:
    nodes = [helper.make_node("Mul", ["w", "s"], ["v"]), helper.make_node(op, ["x", "v", "b"], ["y"])]
    constants = {"w": weights(2, 2, 3, 3), "s": scalar(0.5), "b": weights(2)}
    assert_same_function(model(nodes, {"x": (1, 2, 4, 4)}, constants))


def test_dead_nodes_are_dropped_even_where_unsupported() -> None:
    nodes = [helper.make_node("Det", ["x"], ["d"]), helper.make_node("Relu", ["x"], ["y"])]
    assert "d" not in load(model(nodes, {"x": (3, 3)})).nodes


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


def test_single_precision_needs_no_copy_of_weights() -> None:
    graph = load(one("MatMul", (1, 3), weights(3, 4)), dtype=torch.float32)
    assert graph.dtype == torch.float32
    assert_same_function(one("Gemm", (1, 3), weights(3, 4), weights(4), alpha=2.0), dtype=torch.float32)
