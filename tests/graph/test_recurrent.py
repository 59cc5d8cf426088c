"""Recurrent layers, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import assert_same_function, model, weights
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
