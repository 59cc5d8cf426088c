"""Recurrent layers, normalisation, reductions, powers and Einstein sums, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tests.graph.test_import import assert_same_function, ints, model, one, scalar, weights
from verifier.errors import UnsupportedError
from verifier.graph.onnx_import import load

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
LENGTH, BATCH, WIDTH, HIDDEN = 3, 2, 4, 2


def recurrent(
    kind: str, *, start: bool = False, lengths: int | None = None, peep: bool = False, **attributes: Any
) -> onnx.ModelProto:
    """Build a layer with biases; perhaps with initial states, lengths, peepholes."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[kind] * HIDDEN
    first = attributes.get("layout", 0)
    states = (BATCH, directions, HIDDEN) if first else (directions, BATCH, HIDDEN)
    constants = {
        "w": weights(directions, rows, WIDTH),
        "r": weights(directions, rows, HIDDEN),
        "b": weights(directions, 2 * rows),
        "lengths": np.full(BATCH, lengths or LENGTH, dtype=np.int32),
        "h": weights(*states),
        "c": weights(*states),
        "p": weights(directions, 3 * HIDDEN),
    }
    names = ["x", "w", "r", "b", "lengths" if lengths else "", "h" if start else ""]
    outputs = ["y", "yh"]
    if kind == "LSTM":
        names += ["c" if start else "", "p" if peep else ""]
        outputs.append("yc")
    while not names[-1]:
        names.pop()
    node = helper.make_node(kind, names, outputs, hidden_size=HIDDEN, **attributes)
    given = {name: value for name, value in constants.items() if name in names}
    shape = (BATCH, LENGTH, WIDTH) if first else (LENGTH, BATCH, WIDTH)
    return model([node], {"x": shape}, given, outputs, opset=14)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reverse": {"direction": "reverse"},
    "both": {"direction": "bidirectional"},
    "start": {"start": True},
    "both-start": {"start": True, "direction": "bidirectional"},
    "lengths": {"lengths": LENGTH},
    "shorter": {"lengths": LENGTH - 1, "start": True},
    "shorter-both": {"lengths": LENGTH - 1, "direction": "bidirectional"},
    "clip": {"clip": 0.5, "start": True},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("kind", GATES)
def test_recurrent_layers(kind: str, variant: dict[str, Any]) -> None:
    assert_same_function(recurrent(kind, **variant))


FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "RNN-Relu": ("RNN", {"activations": ["Relu"]}),
    "RNN-Affine": ("RNN", {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.25]}),
    "RNN-LeakyRelu": ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.3]}),
    "RNN-LeakyRelu-default": ("RNN", {"activations": ["LeakyRelu"]}),
    "RNN-ThresholdedRelu": ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.3]}),
    "RNN-ScaledTanh": ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [1.5], "activation_beta": [0.5]}),
    "RNN-HardSigmoid": ("RNN", {"activations": ["HardSigmoid"], "activation_alpha": [0.3], "activation_beta": [0.4]}),
    "RNN-Elu": ("RNN", {"activations": ["Elu"], "activation_alpha": [0.7]}),
    "RNN-Softsign": ("RNN", {"activations": ["Softsign"]}),
    "RNN-Softplus": ("RNN", {"activations": ["Softplus"]}),
    "RNN-two": (
        "RNN",
        {"activations": ["Tanh", "LeakyRelu"], "activation_alpha": [0.3], "direction": "bidirectional"},
    ),
    "GRU-two": (
        "GRU",
        {
            "activations": ["HardSigmoid", "Relu", "Sigmoid", "LeakyRelu"],
            "activation_alpha": [0.3, 0.2],
            "activation_beta": [0.4],
            "direction": "bidirectional",
        },
    ),
    "LSTM-three": (
        "LSTM",
        {"activations": ["HardSigmoid", "Relu", "Softsign"], "activation_alpha": [0.3], "activation_beta": [0.4]},
    ),
    "GRU-before": ("GRU", {"linear_before_reset": 1, "start": True}),
    "GRU-before-zero": ("GRU", {"linear_before_reset": 1}),
    "GRU-before-both": ("GRU", {"linear_before_reset": 1, "direction": "bidirectional"}),
    "LSTM-peep": ("LSTM", {"peep": True, "start": True}),
    "LSTM-peep-both": ("LSTM", {"peep": True, "direction": "bidirectional"}),
    "LSTM-coupled": ("LSTM", {"input_forget": 1, "start": True}),
}


@pytest.mark.parametrize(("kind", "variant"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_activations_and_attributes_of_cells(kind: str, variant: dict[str, Any]) -> None:
    assert_same_function(recurrent(kind, **variant))


@pytest.mark.parametrize("kind", GATES)
def test_batches_may_come_first(kind: str) -> None:
    """Which onnxruntime does not do; ONNX's own evaluator does."""
    proto = recurrent(kind, layout=1, start=True)
    graph = load(proto)
    x = np.random.default_rng(0).standard_normal((BATCH, LENGTH, WIDTH)).astype(np.float32)
    expected = np.concatenate([value.reshape(-1) for value in ReferenceEvaluator(proto).run(None, {"x": x})])
    found = graph(torch.from_numpy(x).double().reshape(1, -1))[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_initial_states_may_be_inputs() -> None:
    nodes = [helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "", "yc"], hidden_size=HIDDEN)]
    inputs = {"x": (LENGTH, BATCH, WIDTH), "h": (1, BATCH, HIDDEN), "c": (1, BATCH, HIDDEN)}
    constants = {"w": weights(1, 4 * HIDDEN, WIDTH), "r": weights(1, 4 * HIDDEN, HIDDEN)}
    assert_same_function(model(nodes, inputs, constants, ["y", "yc"]))


@pytest.mark.parametrize("lengths", [[1, 3], [3, 2], [1, 2]])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("kind", GATES)
def test_sequences_of_several_lengths(kind: str, start: bool, direction: str, lengths: list[int]) -> None:
    proto = recurrent(kind, lengths=LENGTH, direction=direction, start=start)
    tensor = next(entry for entry in proto.graph.initializer if entry.name == "lengths")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(lengths, dtype=np.int32), "lengths"))
    assert_same_function(proto)


@pytest.mark.parametrize("length", [LENGTH + 1, -1])
def test_lengths_beyond_the_sequence_are_refused(length: int) -> None:
    with pytest.raises(UnsupportedError, match="lengths"):
        load(recurrent("GRU", lengths=length))


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

RESIZED = {
    f"Resize-cubic-{mode}-{outside}-{k}": one(
        "Resize",
        (1, 1, 4, 5),
        None,
        np.array([1, 1, *factor], dtype=np.float32),
        mode="cubic",
        coordinate_transformation_mode=mode,
        exclude_outside=outside,
        cubic_coeff_a=-0.5 if k else -0.75,
    )
    for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    for outside in (0, 1)
    for k, factor in enumerate([(2, 3), (0.5, 0.6)])
}


@pytest.mark.parametrize(
    "proto",
    [pytest.param(p, id=name) for table in (NORMALISED, REDUCED, POWERS, CURVES, RESIZED) for name, p in table.items()],
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


EINSUMS = [
    "ij->ji",
    "ii->i",
    "ii->",
    "ij->",
    "ij->i",
    "ij,jk->ik",
    "ij,jk",
    "ij,jk->ki",
    "ij,kj->ik",
    "bij,bjk->bik",
    "bhid,bhjd->bhij",
    "...ij,...jk->...ik",
    "...ij,jk->...ik",
    "ij,ij->ij",
    "ij,ij->",
    "ij,ij->i",
    "i,j->ij",
    "ij,k->ikj",
    "ij,kl->jk",
    "ij,jk,kl->il",
    "ij,jk,ik->i",
    "iij,jk->ik",
    "bi,oij,bj->bo",
    "...i,...i->...",
    "...,...j->...j",
]
SIZES = {"i": 3, "j": 2, "k": 4, "l": 2, "b": 2, "h": 3, "d": 2, "o": 3}


def shapes_of(equation: str) -> list[tuple[int, ...]]:
    """Return shapes that fit an equation; the first operand's ellipsis stands for (2, 1), the others' for (1, 3)."""
    found = []
    for k, part in enumerate(equation.split("->")[0].split(",")):
        front = () if "..." not in part else (2, 1) if k == 0 else (1, 3)
        found.append((*front, *(SIZES[label] for label in part.replace("...", ""))))
    return found


@pytest.mark.parametrize("constant", [(), (0,), (1,), (2,), (0, 1), (0, 2)])
@pytest.mark.parametrize("equation", EINSUMS)
def test_einstein_sums(equation: str, constant: tuple[int, ...]) -> None:
    shapes = shapes_of(equation)
    if len(constant) >= len(shapes) or any(k >= len(shapes) for k in constant):
        return
    names = [f"o{k}" for k in range(len(shapes))]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    constants = {names[k]: weights(*shapes[k]) for k in constant}
    inputs = {name: shape for name, shape in zip(names, shapes, strict=True) if name not in constants}
    assert_same_function(model([node], inputs, constants))


def test_an_einstein_sum_of_one_tensor_with_itself_squares_it() -> None:
    proto = model([helper.make_node("Einsum", ["x", "x"], ["y"], equation="ij,ij->i")], {"x": (2, 3)})
    graph = assert_same_function(proto)
    assert [type(node.op).__name__ for node in graph.nodes.values()].count("Power") == 1
