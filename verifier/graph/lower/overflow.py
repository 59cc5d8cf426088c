"""Guards where whole numbers may not fit into their ONNX type, and would wrap around: beyond, there are no bounds.

The graph computes with real numbers. Where the range of a result is known to fit, nothing is added; elsewhere the guard
of a wide type leaves room, so that adding a little to what came through it needs no other one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import onnx
from onnx import TensorProto

from verifier.graph.lower.builder import Builder, Call, Operand, Variable
from verifier.graph.lower.whole import ANY, LARGEST, Span
from verifier.ops.curves import Clip, Within
from verifier.ops.curves.stairs import Stairs
from verifier.ops.op import Affine

Types = Mapping[str, int]
"""The ONNX types of a file's tensors by name."""

OVERFLOWS = {"Abs", "Add", "Cast", "CastLike", "CumSum", "Mul", "Neg", "ReduceSum", "Sub", "Sum"}
"""Operators whose results may be larger than what they are made of; others pick values that there are already."""

CASTS = {"Cast", "CastLike"}

FITS_ALL: Span = (0.0, 127.0)
"""What every type of whole numbers has."""

NARROW: dict[int, Span] = {TensorProto.INT8: (-128, 127), TensorProto.INT16: (-(2**15), 2**15 - 1)}
NARROW |= {TensorProto.UINT8: (0, 255), TensorProto.UINT16: (0, 2**16 - 1)}
"""The numbers that narrow types have, all of which are let through."""

WIDE: dict[int, tuple[Span, Span]] = {
    TensorProto.INT32: ((-(2.0**31), 2.0**31 - 128), (-(2.0**30), 2.0**30)),
    TensorProto.UINT32: ((0, 2.0**32 - 256), (0, 2.0**31)),
    TensorProto.INT64: ((-LARGEST, LARGEST), (-(2.0**32), 2.0**32)),
    TensorProto.UINT64: ((0, LARGEST), (0, 2.0**32)),
}
"""Numbers that wide types have, as far as float32 and the ranges told reach, and what casts let through of them."""


def kept_inside(b: Builder, call: Call, found: Operand) -> Operand:
    """Guard a node's result, where it is of whole numbers that may not fit into its type."""
    if not isinstance(found, Variable) or found.kind != "i" or call.proto.op_type not in OVERFLOWS:
        return found
    if fits(found.span, FITS_ALL):
        return found
    kind = b.types().get(call.proto.output[0], TensorProto.UNDEFINED)
    if kind in NARROW:
        limits = span = NARROW[kind]
        ends = limits[0] - 0.5, limits[1] + 0.5
    elif kind in WIDE:
        limits, room = WIDE[kind]
        ends = span = room if call.proto.op_type in CASTS else limits
    else:
        raise call.unsupported("whole numbers of a type that cannot be told; int8 to uint64 are supported")
    if fits(found.span, limits) or fits(clipped(b, found), limits):
        return found
    return replace(b.apply(Within(*ends), found), span=span)


def clipped(b: Builder, x: Variable) -> Span:
    """Return the range that a clip before rounding leaves, if there is one."""
    nodes = {node.name: node for node in b.nodes}
    node = nodes[x.name]
    while isinstance(node.op, Stairs) or (isinstance(node.op, Affine) and node.op.copies):
        node = nodes[node.parents[0]]
    if not isinstance(node.op, Clip) or not math.isfinite(node.op.low + node.op.high):
        return ANY
    ends = sorted((node.op.low, node.op.high))
    return math.floor(ends[0]), math.ceil(ends[1])


def fits(span: Span | None, limits: Span) -> bool:
    """Tell whether a range lies in another one."""
    return span is not None and limits[0] <= span[0] and span[1] <= limits[1]


def element_types(graph: onnx.GraphProto, opset: int) -> Types:
    """Tell the types of all tensors, as far as the operators' signatures and attributes say."""
    types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        try:
            schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
        except onnx.defs.SchemaError:
            continue
        last = len(schema.inputs) - 1
        slots = {name: schema.inputs[min(k, last)].type_str for k, name in enumerate(node.input)}
        known = {slot: types[name] for name, slot in slots.items() if name in types}
        for rule in schema.type_constraints:
            if len(rule.allowed_type_strs) == 1:
                known[rule.type_param_str] = SIGNATURES.get(rule.allowed_type_strs[0], TensorProto.UNDEFINED)
        for name, made in zip(node.output, schema.outputs, strict=False):
            kind = known.get(made.type_str) or SIGNATURES.get(made.type_str) or stated(node)
            if name and kind:
                types[name] = kind
    return types


SIGNATURES = {f"tensor({name.lower()})": number for name, number in TensorProto.DataType.items()}
"""Types by their names in signatures."""


def stated(node: onnx.NodeProto) -> int | None:
    """Return the type of a result that an attribute says."""
    for entry in node.attribute:
        if entry.name == "to":
            return int(entry.i)
        if entry.name == "value":
            return int(entry.t.data_type)
        if entry.name in ("value_int", "value_ints"):
            return int(TensorProto.INT64)
    return None
