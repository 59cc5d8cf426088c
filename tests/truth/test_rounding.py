"""Rounding, underflow and overflow of constants must not make a proof."""

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


def chain(steps: list[tuple[str, object]], inputs: int = 1, kind: int = TensorProto.DOUBLE) -> onnx.ModelProto:
    """Apply operators with a constant each, or without, one after the other, to a row of inputs."""
    dtype = {TensorProto.DOUBLE: np.float64, TensorProto.FLOAT: np.float32}[kind]
    nodes, constants, name, size = [], [], "x", inputs
    for k, (op, value) in enumerate(steps):
        operands = [name]
        if value is not None:
            array = np.asarray(value, dtype)
            constants.append(numpy_helper.from_array(array, f"c{k}"))
            operands.append(f"c{k}")
            size = array.shape[1] if op == "MatMul" else size
        nodes.append(helper.make_node(op, operands, [f"t{k}"]))
        name = f"t{k}"
    ports = [helper.make_tensor_value_info(port, kind, [1, n]) for port, n in (("x", inputs), (name, size))]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def box_spec(upper: list[float], y: float, bound: float) -> Spec:
    """State that ``y * Y_0 <= bound`` is unsafe for inputs from 0 to the given ends."""
    rows = Rows(np.array([[y]]), None, np.array([bound]), np.array([False]))
    return Spec((Case(InputSet(np.zeros(len(upper)), np.array(upper)), rows),), len(upper), 1)


@pytest.mark.parametrize("attack", [False, True])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_weights_that_cancel_do_not_vanish(kind: int, attack: bool) -> None:
    """y = x, by sums of 1e18 and -1e18 that float64 loses the 1 beside."""
    config = Config(timeout=2, attack=attack)
    last = [[1e9], [1.0], [-1e9]]
    one = chain([("MatMul", [[1e9, 1, 1e9]]), ("MatMul", last)], 1, kind)
    assert verify(one, box_spec([1.0], -1.0, -0.5), config).verdict is not Verdict.UNSAT
    two = chain([("MatMul", [[1e9, 1, 1e9], [0, 1, 0]]), ("MatMul", last), ("Relu", None)], 2, kind)
    assert verify(two, box_spec([1.0, 0.1], -1.0, -0.5), config).verdict is not Verdict.UNSAT


@pytest.mark.parametrize("attack", [False, True])
@pytest.mark.parametrize("inputs", [1, 2])
def test_shifts_that_cancel_do_not_vanish(inputs: int, attack: bool) -> None:
    """At 0 the sum 0.1 + 0.2 - 0.3 of these numbers is 2.8e-17, and 5.6e-17 as float64 rounds it."""
    ones = np.eye(inputs)[:, :1]
    model = chain([("MatMul", ones), ("Add", [[0.1]]), ("Add", [[0.2]]), ("Relu", None), ("Add", [[-0.3]])], inputs)
    result = verify(model, box_spec([1.0] * inputs, 1.0, 4e-17), Config(timeout=2, attack=attack))
    assert result.verdict is not Verdict.UNSAT
    model = chain([("Add", [[1e16] * inputs]), ("MatMul", ones), ("Add", [[-1e16]])], inputs)
    result = verify(model, box_spec([0.5] * inputs, -1.0, -0.25), Config(timeout=2, attack=attack))
    assert result.verdict is not Verdict.UNSAT


def test_numbers_that_overflow_do_not_vanish() -> None:
    """y = 1e-290 * relu(1e302 * x) + relu(x) is large at 1."""
    nodes = [
        helper.make_node("MatMul", ["x", "big"], ["a"]),
        helper.make_node("MatMul", ["x", "one"], ["b"]),
        helper.make_node("Relu", ["b"], ["rb"]),
        helper.make_node("Relu", ["a"], ["ra"]),
        helper.make_node("MatMul", ["ra", "small"], ["c"]),
        helper.make_node("Add", ["c", "rb"], ["y"]),
    ]
    values = {"big": 1e302, "one": 1.0, "small": 1e-290}
    constants = [numpy_helper.from_array(np.array([[value]]), name) for name, value in values.items()]
    ports = [helper.make_tensor_value_info(port, TensorProto.DOUBLE, [1, 1]) for port in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for low in (-1.0, 0.0):
        assert (
            verify(model, unsafe(low, 1.0, -1.0, -100.0), Config(timeout=2, attack=False)).verdict is not Verdict.UNSAT
        )


def test_a_line_along_which_nothing_moves() -> None:
    draw = np.random.default_rng(0)
    steps = [("MatMul", np.ones((1, 6))), ("Add", -np.linspace(0.1, 0.9, 6)[None]), ("Relu", None)]
    steps += [("MatMul", -draw.uniform(0, 1, (6, 4))), ("Add", -np.ones((1, 4))), ("Relu", None)]
    steps += [("MatMul", draw.normal(size=(4, 1))), ("Add", [[0.1]])]
    assert verify(chain(steps), unsafe(0.0, 1.0, 1.0, 0.05), Config(timeout=5)).verdict is Verdict.UNSAT
