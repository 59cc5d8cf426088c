"""Constants too small for float32 must not vanish from a proof."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from specs import Case, InputSet, Rows, Spec
from verifier import Config, Verdict, verify


def scaled(*factors: float) -> onnx.ModelProto:
    """Make y = x * factor * factor ..., on one number."""
    nodes, name = [], "x"
    for k, _ in enumerate(factors):
        out = "y" if k == len(factors) - 1 else f"t{k}"
        nodes.append(helper.make_node("Mul", [name, f"c{k}"], [out]))
        name = out
    constants = [numpy_helper.from_array(np.array([[c]], np.float32), f"c{k}") for k, c in enumerate(factors)]
    ports = [helper.make_tensor_value_info(port, TensorProto.FLOAT, [1, 1]) for port in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def unsafe(low: float, high: float, y: float, bound: float, x: float | None = None) -> Spec:
    """State that ``y * Y_0 + x * X_0 <= bound`` is unsafe for X_0 in [low, high]."""
    rows = Rows(np.array([[y]]), None if x is None else np.array([[x]]), np.array([bound]), np.array([False]))
    return Spec((Case(InputSet(np.array([low]), np.array([high])), rows),), 1, 1)


VIOLATED = {
    "merged factors": (scaled(1e-30, 1e-30), unsafe(1e38, 2e38, -1.0, -1e-23)),
    "row": (scaled(1.0), unsafe(-2e38, -1e38, 1e-46, -1e-9)),
    "row and bound": (scaled(1.0), unsafe(-2e10, -1e10, 1e-46, -1e-37)),
    "input row": (scaled(1.0), unsafe(-2e10, -1e10, 0.0, -1e-37, 1e-46)),
}


@pytest.mark.parametrize("attack", [False, True])
@pytest.mark.parametrize("name", VIOLATED)
def test_a_violated_property_of_tiny_numbers_is_never_proved(name: str, attack: bool) -> None:
    model, spec = VIOLATED[name]
    assert verify(model, spec, Config(timeout=2, attack=attack)).verdict is not Verdict.UNSAT


def test_a_true_property_of_tiny_numbers_is_proved() -> None:
    result = verify(scaled(1e-25, 1e-25), unsafe(1e10, 2e10, -1.0, -1e-37), Config(timeout=5))
    assert result.verdict is Verdict.UNSAT


def test_an_open_box_without_unstable_neurons_is_unknown() -> None:
    """Sixty inputs, no neuron to split: a strict bound exactly at the maximum stays open, and is no defect."""
    weight = numpy_helper.from_array(np.ones((60, 1), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", 60), ("y", 1))]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    rows = Rows(np.array([[-1.0]]), None, np.array([-60.0]), np.array([True]))
    spec = Spec((Case(InputSet(np.zeros(60), np.ones(60)), rows),), 60, 1)
    result = verify(model, spec, Config(timeout=5))
    assert result.verdict in (Verdict.UNKNOWN, Verdict.UNSAT)
