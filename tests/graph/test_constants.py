"""Constants, and what is computed of them when a file is read."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graph.models import assert_same_function, ints, model, scalar, weights


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
