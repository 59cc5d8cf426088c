"""Operators that are lowered to several: normalisation, reductions, powers, and curves, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import assert_same_function, ints, model, one, scalar, weights
from verifier.graph.onnx_import import load

NORMALISED = {
    "Layer": one("LayerNormalization", (2, 3, 4), weights(4), weights(4), opset=17),
    "Layer-axis": one(
        "LayerNormalization", (2, 3, 4), weights(3, 4), axis=1, epsilon=0.1, opset=17, outputs=("y", "mean", "inverse")
    ),
    "Instance": one("InstanceNormalization", (2, 3, 4, 2), weights(3), weights(3), epsilon=0.01),
    "Instance-1": one("InstanceNormalization", (1, 3, 5), weights(3), weights(3)),
    "Group-21": one("GroupNormalization", (2, 6, 3), weights(6), weights(6), num_groups=2, opset=21),
    "MeanVariance": one("MeanVarianceNormalization", (2, 3, 4, 2)),
    "MeanVariance-axes": one("MeanVarianceNormalization", (2, 3, 4, 2), axes=[1, 2]),
    "Lp": one("LpNormalization", (2, 3, 4)),
    "Lp-1": one("LpNormalization", (2, 3, 4), axis=1, p=1),
    "LRN": one("LRN", (1, 7, 2, 3), size=3, alpha=0.5),
    "LRN-powers": one("LRN", (1, 7, 2, 3), size=5, alpha=0.5, beta=0.3, bias=2.0),
}

REDUCED = {
    f"{op}-{k}": one(op, (2, 3, 4), **attributes)
    for op in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd")
    for k, attributes in enumerate([{}, {"axes": [1]}, {"axes": [0, -1], "keepdims": 0}])
} | {
    f"{op}-new": one(op, (2, 3, 4), ints(-1), opset=18)
    for op in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd")
}

POWERS = {
    "Pow-broadcast": one("Pow", (2, 3), np.full((4, 1, 3), 2, dtype=np.float32)),
    "Pow-several": one("Pow", (2, 3), np.float32([1, 2, 3])),
    "Pow-several-up": one("Pow", (3,), np.float32([[0, 2, 3], [1, 1, 4]])),
    "Pow-zero": one("Pow", (2, 3), scalar(0)),
    "Pow-of-constant": one("Pow", (2, 3), before=[np.float32([0.5, 1, 3])]),
}

CURVES = {op: one(op, (2, 3)) for op in ("Sinh", "Cosh", "Asinh")} | {
    "Shrink": one("Shrink", (4, 5)),
    "Shrink-soft": one("Shrink", (4, 5), lambd=0.75, bias=0.75),
}


@pytest.mark.parametrize(
    "proto",
    [pytest.param(p, id=name) for table in (NORMALISED, REDUCED, POWERS, CURVES) for name, p in table.items()],
)
def test_one_operator(proto: onnx.ModelProto) -> None:
    assert_same_function(proto)


def test_groups_have_factors_before_opset_21() -> None:
    proto = one("GroupNormalization", (2, 6, 3), weights(2), weights(2), num_groups=2, opset=18)
    x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    expected = ReferenceEvaluator(proto).run(None, {"x": x})[0].reshape(-1)
    found = load(proto)(torch.from_numpy(x).double().reshape(1, -1))[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_logarithms_of_sums() -> None:
    nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("ReduceLogSum", ["e"], ["y"], axes=[1])]
    assert_same_function(model(nodes, {"x": (2, 3)}))


@pytest.mark.parametrize("op", ["Asin", "Acos", "Atanh", "Acosh"])
def test_curves_on_a_part_of_the_line(op: str) -> None:
    inside = helper.make_node("Cosh" if op == "Acosh" else "Softsign", ["x"], ["s"])
    assert_same_function(model([inside, helper.make_node(op, ["s"], ["y"])], {"x": (2, 3)}))


@pytest.mark.parametrize("second", [(2, 3), (3,)])
def test_powers_of_two_variables(second: tuple[int, ...]) -> None:
    nodes = [helper.make_node("Exp", ["a"], ["e"]), helper.make_node("Pow", ["e", "b"], ["y"])]
    assert_same_function(model(nodes, {"a": (2, 3), "b": second}))
