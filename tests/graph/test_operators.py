"""ONNX operators that add, reshape, select, reduce, or are piecewise affine, against onnxruntime on small models."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.graph.models import assert_same_function, ints, model, one, scalar, weights
from verifier.graph.onnx_import import load


def test_helper_compares_something() -> None:
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(load(one("Relu", (1, 3)))(torch.ones(1, 3).double()).numpy(), np.zeros((1, 3)))


ARITHMETIC = {
    "Add": one("Add", (1, 3), weights(3)),
    "Add-left": one("Add", (1, 3), before=[weights(1, 3)]),
    "Add-up": one("Add", (1, 3), weights(2, 4, 3)),
    "Add-middle": one("Add", (2, 1, 3), weights(4, 1)),
    "Sub": one("Sub", (1, 3), weights(1)),
    "Sub-numbers": one("Sub", (), scalar(0.7)),
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
    "Gemm-number": one("Gemm", (2, 3), weights(3, 4), scalar(0.7), beta=0.5),
    "Gemm-of-constant-number": one("Gemm", (3, 4), scalar(0.7), before=[weights(2, 3)], beta=0.5),
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


TABLES = (ARITHMETIC, SHAPES, SELECTIONS, REDUCTIONS, PIECEWISE)


@pytest.mark.parametrize("proto", [pytest.param(p, id=name) for table in TABLES for name, p in table.items()])
def test_one_operator(proto: onnx.ModelProto) -> None:
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
