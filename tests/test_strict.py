"""Conditions that only equality keeps apart: strict ones, and `!=`, over one network or one at two inputs."""

from __future__ import annotations

import time

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from specs.vnnlib2 import parse
from tests.attack.small import relu_model
from verifier import Config, verify
from verifier.result import Verdict

RECTIFIED = [[[1, 0.5], [-1, 1]], [[1, -1], [0, 0]], [[1, 0], [0, 1]]]
FALLING = [[[1, 0.5], [1, -0.5], [-1, 0.25]], [[-1, -0.5, 0.25]]]  # where x_0 > |x_1|: -1.5 x_0 - 0.25 x_1
BOX = "".join(f"(assert (>= {t}[0,{k}] {low})) (assert (<= {t}[0,{k}] 1.0))\n" for t in "XU"
              for k, low in enumerate((0.5, -0.4)))  # fmt: skip
ONE = "(vnnlib-version <2.0>)\n(declare-network f (declare-input X real [1,2]) (declare-output Y real [1,{}]))\n"
TWO = ONE.format(1) + "(declare-network g (equal-to f) (declare-input U real [1,2]) (declare-output V real [1,1]))\n"


def verdict(text: str, weights: list[list[list[float]]], attack: bool = True) -> Verdict:
    begun = time.monotonic()
    found = verify(relu_model(weights), parse(text), Config(timeout=20, attack=attack)).verdict
    assert time.monotonic() - begun < 15
    return found


@pytest.mark.parametrize(
    ("formula", "wanted"),
    [
        ("(< (+ Y[0,0] Y[0,1]) 0.0)", Verdict.UNSAT),
        ("(< (- Y[0,0] Y[0,1]) 0.0)", Verdict.UNSAT),  # the second output is 0
        ("(<= Y[0,1] 0.0)", Verdict.SAT),
        ("(!= Y[0,0] 0.0)", Verdict.SAT),
    ],
)
def test_outputs_that_are_never_negative(formula: str, wanted: Verdict) -> None:
    assert verdict(ONE.format(2) + BOX[: len(BOX) // 2] + f"(assert {formula})", RECTIFIED) is wanted


@pytest.mark.parametrize(
    ("formulas", "wanted"),
    [
        (("(>= X[0,0] U[0,0])", "(== X[0,1] U[0,1])", "(> Y[0,0] V[0,0])"), Verdict.UNSAT),
        (("(<= X[0,0] U[0,0])", "(== X[0,1] U[0,1])", "(< Y[0,0] V[0,0])"), Verdict.UNSAT),
        (("(== X[0,0] U[0,0])", "(== X[0,1] U[0,1])", "(!= Y[0,0] V[0,0])"), Verdict.UNSAT),
        (("(>= X[0,0] U[0,0])", "(== X[0,1] U[0,1])", "(>= Y[0,0] V[0,0])"), Verdict.SAT),  # the same point
        (("(>= X[0,0] U[0,0])", "(== X[0,1] U[0,1])", "(< Y[0,0] V[0,0])"), Verdict.SAT),
        (("(>= X[0,0] U[0,0])", "(> Y[0,0] V[0,0])"), Verdict.SAT),  # the other input differs
    ],
)
def test_one_network_at_two_inputs(formulas: tuple[str, ...], wanted: Verdict) -> None:
    text = TWO + BOX + "".join(f"(assert {formula})\n" for formula in formulas)
    assert verdict(text, FALLING) is wanted


STEPS = {
    "Floor": [helper.make_node("Floor", ["x"], ["y"])],
    "Sign": [helper.make_node("Sign", ["x"], ["y"])],
    "Where": [
        helper.make_node("Greater", ["x", "zero"], ["m"]),
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Where", ["m", "one", "n"], ["y"]),
    ],
    "Hardmax": [helper.make_node("Hardmax", ["x"], ["y"], axis=1)],
}


@pytest.mark.parametrize("name", STEPS)
def test_derivatives_prove_nothing_of_networks_with_steps(name: str) -> None:
    ports = [helper.make_tensor_value_info(port, TensorProto.FLOAT, [1, 2]) for port in "xy"]
    weights = [
        numpy_helper.from_array(np.array(value, np.float32), key) for key, value in (("zero", 0.0), ("one", 1.0))
    ]
    graph = helper.make_graph(STEPS[name], "steps", ports[:1], ports[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    text = TWO.replace("[1,1]", "[1,2]") + BOX.replace("0.5", "-0.5").replace("0.4", "0.5")
    text += "(assert (== X[0,1] U[0,1])) (assert (>= (- X[0,0] U[0,0]) -0.01)) (assert (<= X[0,0] U[0,0]))"
    for formula in ("(!= Y[0,0] V[0,0])", "(>= (- V[0,0] Y[0,0]) 0.75)"):
        query = parse(f"{text} (assert {formula})")
        assert verify(model, query, Config(timeout=0.5, attack=False)).verdict is not Verdict.UNSAT


@pytest.mark.parametrize(
    ("formula", "wanted"),
    [
        ("(< X[0,0] 0.5)", Verdict.UNSAT),
        ("(> X[0,1] 1.0)", Verdict.UNSAT),
        ("(<= X[0,0] 0.5)", Verdict.SAT),
        ("(< X[0,0] 0.75)", Verdict.SAT),
    ],
)
def test_inputs_beside_their_box(formula: str, wanted: Verdict) -> None:
    assert verdict(ONE.format(2) + BOX[: len(BOX) // 2] + f"(assert {formula})", RECTIFIED) is wanted
