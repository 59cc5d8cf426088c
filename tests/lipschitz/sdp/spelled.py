"""Activations as exporters spell them: of 6 values in pairs, of constant 1 in the norm 2."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper

from tests.graph.models import ints, model, scalar

VECTOR = np.array([0.6, 0.8], dtype=np.float32)


def node(op: str, inputs: str, output: str, **attributes: object) -> NodeProto:
    return helper.make_node(op, inputs.split(), output.split(), **attributes)


def of_pairs(nodes: list[NodeProto], constants: dict[str, np.ndarray]) -> ModelProto:
    """From p, of shape ``(1, 3, 2)``, to y."""
    first = node("Reshape", "x pairs", "p")
    return model([first, *nodes], {"x": (1, 6)}, {"pairs": ints(1, 3, 2), **constants})


HALVES = {"a0": ints(0), "a1": ints(1), "a2": ints(2), "last": ints(2)}
SLICES = [node("Slice", "p a0 a1 last", "a"), node("Slice", "p a1 a2 last", "b")]
JOIN = node("Concat", "low high", "y", axis=2)
V = {"v": VECTOR.reshape(2, 1), "w": 2 * VECTOR, "two": scalar(2.0), "zero": scalar(0.0), "row": VECTOR.reshape(1, 2)}
ALONG = node("MatMul", "p v", "s")

MAXMIN = {
    "max and min": of_pairs([*SLICES, node("Max", "a b", "high"), node("Min", "a b", "low"), JOIN], HALVES),
    "swapped": of_pairs([*SLICES, node("Max", "a b", "high"), node("Min", "b a", "low"), JOIN], HALVES),
    "where": of_pairs(
        [
            *SLICES,
            node("Greater", "a b", "c"),
            node("Where", "c a b", "high"),
            node("Where", "c b a", "low"),
            JOIN,
        ],
        HALVES,
    ),
    "less": of_pairs(
        [*SLICES, node("Less", "a b", "c"), node("Where", "c a b", "low"), node("Max", "b a", "high"), JOIN], HALVES
    ),
    "reduced": of_pairs(
        [
            node("ReduceMax", "p", "high", axes=[2], keepdims=1),
            node("ReduceMin", "p", "low", axes=[2], keepdims=1),
            JOIN,
        ],
        {},
    ),
    "top": of_pairs([node("TopK", "p two", "y i", axis=2)], {"two": ints(2)}),
    "rectified": of_pairs(
        [
            node("MatMul", "p differences", "d"),
            node("Relu", "d", "r"),
            node("MatMul", "r back", "e"),
            node("MatMul", "p second", "q"),
            node("Add", "q e", "y"),
        ],
        {
            "differences": np.array([[1, -1], [-1, 1]], dtype=np.float32),
            "back": np.array([[1, 0], [0, -1]], dtype=np.float32),
            "second": np.array([[0, 0], [1, 1]], dtype=np.float32),
        },
    ),
}

HOUSEHOLDER = {
    "where": of_pairs(
        [
            ALONG,
            node("Mul", "s w", "m"),
            node("Sub", "p m", "q"),
            node("Greater", "s zero", "c"),
            node("Where", "c p q", "y"),
        ],
        V,
    ),
    "where, twice": of_pairs(
        [
            ALONG,
            node("Mul", "two s", "t"),
            node("MatMul", "t row", "m"),
            node("Sub", "p m", "q"),
            node("Greater", "s zero", "c"),
            node("Where", "c p q", "y"),
        ],
        V,
    ),
    "where, the other way": of_pairs(
        [
            ALONG,
            node("Mul", "s w", "m"),
            node("Sub", "p m", "q"),
            node("LessOrEqual", "s zero", "c"),
            node("Where", "c q p", "y"),
        ],
        V,
    ),
    "rectified": of_pairs(
        [
            ALONG,
            node("Neg", "s", "n"),
            node("Relu", "n", "r"),
            node("Mul", "r w", "m"),
            node("Add", "p m", "y"),
        ],
        V,
    ),
}
