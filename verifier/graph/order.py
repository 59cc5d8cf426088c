"""Operators that keep the order of elements, which go where nothing but their order is asked for.

That is what readers ask that tell the place of the largest element, and whoever only compares outputs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import onnx

from verifier.ops.op import Shape

KEEP_ORDER = {"Softmax", "LogSoftmax"}
"""Operators that keep the order of elements along their axis, and which of them are equal."""

INCREASING = {"Sigmoid", "Tanh", "Softplus", "Softsign", "Exp", "Erf", "Atan"}
"""Operators that are strictly increasing, element by element, wherever they are defined."""

ASK_PLACE = {"ArgMax", "ArgMin", "Hardmax"}


def ends_in_order(graph: onnx.GraphProto, opset: int, shape: Shape) -> bool:
    """Tell whether the only output, of this shape, is made by a node that keeps the order of all elements."""
    if len(graph.output) != 1:
        return False
    last = next((node for node in reversed(graph.node) if graph.output[0].name in node.output), None)
    if last is None or last.domain not in ("", "ai.onnx"):
        return False
    if last.op_type not in KEEP_ORDER:
        return last.op_type in INCREASING
    sizes = [shape[axis] for axis in together(last, opset, len(shape))]
    return bool(sizes) and math.prod(sizes) == math.prod(shape)


class Readers:
    """Which nodes read each tensor of a file.

    Attributes:
        read: the tensors that anything reads, and the outputs.
    """

    def __init__(self, graph: onnx.GraphProto, opset: int, ordered: Collection[str] = ()) -> None:
        """Index a graph; of the outputs ``ordered`` only the order of all elements counts."""
        self.nodes: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in set(node.input):
                self.nodes[name].append(node)
        self.opset, self.ordered = opset, ordered
        self.outputs = {value.name for value in graph.output}
        self.read = (self.outputs | set(self.nodes)) - {""}
        self.ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                for entry in node.attribute:
                    if entry.name == "value":
                        self.ranks[node.output[0]] = len(entry.t.dims)

    def may_drop(self, node: onnx.NodeProto, rank: int) -> bool:
        """Tell whether a node keeps the order of elements, and only their order is asked for."""
        if node.output[0] in self.ordered:
            return True
        if node.op_type not in KEEP_ORDER:
            return False
        axes = together(node, self.opset, rank)
        return len(axes) == 1 and self._only_order(node.output[0], axes[0], rank)

    def _only_order(self, name: str, axis: int, rank: int) -> bool:
        """Follow a tensor to its readers, through what moves whole lines along the axis."""
        if name in self.outputs:
            return False
        for node in self.nodes[name]:
            given, kind = attributes(node), node.op_type
            if kind in ASK_PLACE:
                default = 0 if kind != "Hardmax" else -1 if self.opset >= 13 else 1
                asked = given.get("axis", default) % rank
                if asked != axis or (kind == "Hardmax" and self.opset < 13 and axis != rank - 1):
                    return False
                continue
            moved, new_rank = axis, rank
            if kind == "Transpose":
                perm = list(given.get("perm", range(rank)[::-1]))
                moved = perm.index(axis)
            elif kind == "Gather" and node.input[0] == name and node.input[1] in self.ranks:
                along, more = given.get("axis", 0) % rank, self.ranks[node.input[1]] - 1
                if along == axis:
                    return False
                moved, new_rank = (axis + more if along < axis else axis), rank + more
            elif kind not in ("Identity", "Dropout"):
                return False
            if not self._only_order(node.output[0], moved, new_rank):
                return False
        return True


def together(node: onnx.NodeProto, opset: int, rank: int) -> range:
    """Return the axes that a softmax counts as one; none where the file's axis does not exist."""
    axis = attributes(node).get("axis", -1 if opset >= 13 else 1)
    axis = axis + rank if axis < 0 else axis
    return range(axis, axis + 1 if opset >= 13 else rank) if 0 <= axis < rank else range(0)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the whole numbers among a node's attributes, and lists of them."""
    values = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    return {name: value for name, value in values.items() if not isinstance(value, (bytes, float))}
