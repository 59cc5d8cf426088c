"""Operators that keep the order of elements, and are read by nothing but the question which of them is the largest."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import onnx

from verifier.graph.onnx_file import to_array

KEEP_ORDER = {"Softmax", "LogSoftmax"}
"""Operators that keep the order of elements along their axis, and which of them are equal."""

ASK_PLACE = {"ArgMax", "ArgMin", "Hardmax"}


class Readers:
    """Which nodes read each tensor of a file."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        """Index a graph."""
        self.nodes: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in set(node.input):
                self.nodes[name].append(node)
        self.opset = opset
        self.outputs = {value.name for value in graph.output}
        self.ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                for entry in node.attribute:
                    if entry.name == "value":
                        self.ranks[node.output[0]] = to_array(entry.t).ndim

    def may_drop(self, node: onnx.NodeProto, rank: int) -> bool:
        """Tell whether a node keeps the order of elements along an axis, and only their order is asked for."""
        if node.op_type not in KEEP_ORDER:
            return False
        axis = attributes(node).get("axis", -1 if self.opset >= 13 else 1)
        axis = axis % rank if rank else 0
        if self.opset < 13 and axis != rank - 1:
            return False  # all axes from this one on count as one
        return self._only_order(node.output[0], axis, rank)

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


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the whole numbers among a node's attributes, and lists of them."""
    values = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    return {name: value for name, value in values.items() if not isinstance(value, (bytes, float))}
