"""Choices by Where that are continuous are rectifiers; those that only look like it stay choices."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from tests.graph.models import assert_same_function, ints, model, scalar
from tests.lipschitz.sdp.spelled import node
from verifier.ops.curves import Abs, LeakyRelu, Relu, Step

CONSTANTS = {
    "zero": scalar(0.0),
    "one": scalar(1.0),
    "slope": scalar(0.1),
    "half": scalar(0.5),
    "w": np.array([[1.0, -2.0, 3.0]], dtype=np.float32),
    "turned": ints(2, 1, 0),
}


def choose(*lines: str) -> ModelProto:
    """A model of x and z, of shape ``(1, 3)``, from lines such as ``Sub x z : d``."""
    nodes = []
    for line in lines:
        (kind, *operands), (result,) = (part.split() for part in line.split(":"))
        options = {"axis": 1} if kind == "Gather" else {"axes": [1], "keepdims": 1} if kind == "ReduceMean" else {}
        nodes.append(node(kind, " ".join(operands), result, **options))
    return model(nodes, {"x": (1, 3), "z": (1, 3)}, CONSTANTS)


CONTINUOUS = {
    "maximum": ["Greater x z : c", "Where c x z : y"],
    "minimum, less": ["Less x z : c", "Where c x z : y"],
    "not strict": ["GreaterOrEqual x z : c", "Where c z x : y"],
    "leaky": ["Greater x zero : c", "Mul x slope : m", "Where c x m : y"],
    "absolute": ["Greater x zero : c", "Neg x : m", "Where c x m : y"],
    "threshold": ["Greater x half : c", "Where c x half : y"],
    "shared part": ["Greater x zero : c", "Mul x w : m", "Add z m : p", "Where c p z : y"],
    "broadcast": ["ReduceMean z : s", "Greater s zero : c", "Mul s w : m", "Sub x m : q", "Where c x q : y"],
}

OTHERS = {
    "jump": ["Greater x zero : c", "Add x one : p", "Where c p x : y"],
    "another value": ["Greater x zero : c", "Mul z w : m", "Where c m zero : y"],
    "another place": ["Greater x zero : c", "Gather x turned : m", "Where c m zero : y"],
    "another threshold": ["Greater x half : c", "Where c x zero : y"],
    "difference of others": ["Sub x z : d", "Greater d half : c", "Where c x z : y"],
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_choices_have_no_step(name: str) -> None:
    graph = assert_same_function(choose(*CONTINUOUS[name]))
    kinds = [type(entry.op) for entry in graph.nodes.values()]
    assert Step not in kinds
    assert sum(kind in (Relu, Abs, LeakyRelu) for kind in kinds) == 1


@pytest.mark.parametrize("name", OTHERS)
def test_others_stay(name: str) -> None:
    graph = assert_same_function(choose(*OTHERS[name]))
    assert Step in [type(entry.op) for entry in graph.nodes.values()]
