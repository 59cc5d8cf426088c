"""Evaluating nodes whose operands are all constant; floating arithmetic in float64, whole numbers stay whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from verifier.graph.lower.builder import Call, Variable
from verifier.graph.lower.checks import check_range, check_rounding
from verifier.graph.lower.shape import resolved
from verifier.graph.onnx_file import Array, to_array

CASTS = {
    TensorProto.FLOAT: np.float64,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float64,
    TensorProto.BFLOAT16: np.float64,
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.BOOL: np.bool_,
}

INT_MAX = 2**31 - 1

RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}


def fold(call: Call) -> tuple[Array, ...] | None:
    """Evaluate a node; None where an operand depends on the input, or the result is random."""
    kind = call.proto.op_type
    if kind == "Shape":
        return (shape_of(call),)
    if kind == "Size":
        return (np.array(np.prod(call.operand(0).shape, dtype=np.int64)),)
    if kind in RANDOM or any(isinstance(value, Variable) for value in call.args):
        return None
    if kind in FOLD:
        return (FOLD[kind](call),)
    operands = tuple(
        None if value is None else widened(value) for value in call.args if not isinstance(value, Variable)
    )
    if kind in ("Floor", "Ceil", "Round"):
        check_rounding(call, widened(call.constant(0)))
    return by_reference(call, operands)


def widened(value: Array) -> Array:
    """Return floating constants in float64, others as they are."""
    return value.astype(np.float64, copy=False) if value.dtype.kind == "f" else value


def by_reference(call: Call, operands: tuple[Array | None, ...]) -> tuple[Array, ...]:
    """Evaluate a node by ONNX's reference evaluator on other operands."""
    from onnx.reference import ReferenceEvaluator

    inputs = [
        onnx.ValueInfoProto(name=name)
        for name, value in zip(call.proto.input, operands, strict=True)
        if value is not None
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in call.proto.output if name]
    graph = onnx.helper.make_graph([call.proto], "one", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", call.opset)])
    feed = {name: value for name, value in zip(call.proto.input, operands, strict=True) if value is not None}
    try:
        found = iter(ReferenceEvaluator(model).run(None, feed))
    except NotImplementedError:
        raise call.unsupported("this operator on constants") from None
    return tuple(np.asarray(next(found)) if name else np.zeros(0) for name in call.proto.output)


def shape_of(call: Call) -> Array:
    """Return a shape, which is constant even where the tensor is not."""
    shape = call.operand(0).shape
    return np.array(shape[call.get("start", 0) : call.get("end", len(shape))], dtype=np.int64)


def constant(call: Call) -> Array:
    """Return the value of a Constant node in any of its forms."""
    for name, dtype in (("value_float", np.float64), ("value_floats", np.float64), ("value_int", np.int64)):
        if name in call.attributes:
            return np.array(call.attributes[name], dtype=dtype)
    if "value_ints" in call.attributes:
        return np.array(call.attributes["value_ints"], dtype=np.int64)
    if "value" not in call.attributes:
        raise call.unsupported("a sparse or textual constant; dense numbers are supported")
    return to_array(call.attributes["value"])


def constant_of_shape(call: Call) -> Array:
    """Return one value in a shape."""
    value = to_array(call.attributes["value"]) if "value" in call.attributes else np.zeros(1)
    return np.full(tuple(int(size) for size in call.constant(0)), value.reshape(-1)[0], value.dtype)


def cast(call: Call) -> Array:
    """Convert; every floating type becomes float64."""
    target = CASTS.get(call.get("to"))
    if target is None:
        raise call.unsupported("this target type")
    value = call.constant(0)
    with np.errstate(invalid="ignore", over="ignore"):
        if value.dtype.kind == "f" and np.dtype(target).kind in "iu":
            check_rounding(call, value)
            check_range(call, value, np.iinfo(target))
        return value.astype(target)


def gather(call: Call) -> Array:
    """Pick elements along an axis."""
    return np.take(call.constant(0), call.constant(1).astype(np.int64), call.get("axis", 0))


def unsqueeze(call: Call) -> Array:
    """Add axes of length 1."""
    return np.expand_dims(call.constant(0), tuple(call.ints("axes", 1) or ()))


def squeeze(call: Call) -> Array:
    """Drop axes of length 1."""
    axes = call.ints("axes", 1)
    return np.squeeze(call.constant(0), None if axes is None else tuple(axes))


def slice_of(call: Call) -> Array:
    """Take a slice."""
    x: Array = call.constant(0)
    starts, ends = call.ints("starts", 1) or [], call.ints("ends", 2) or []
    axes, steps = call.ints("axes", 3) or list(range(len(starts))), call.ints("steps", 4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = np.take(x, sliced(call, x.shape[axis], start, end, step), axis)
    return x


def sliced(call: Call, size: int, start: int, end: int, step: int) -> Array:
    """Return which places of an axis a slice takes: negative ends count from behind, and all are cut to the axis."""
    if step == 0:
        raise ValueError("a slice has step 0")
    if step < 0 and end >= INT_MAX:
        reason = "a slice backwards to an end behind the axis, which runtimes read differently"
        raise call.unsupported(f"{reason}; ends before {INT_MAX} are supported")
    start, end = (place + size if place < 0 else place for place in (start, end))
    low, high = (0, size) if step > 0 else (-1, size - 1)
    start = min(max(start, 0), high)
    return np.arange(start, min(max(end, low), high), step)


def elements_at(call: Call, x: Array, indices: Array) -> Array:
    """Pick single elements along an axis."""
    axis = call.get("axis", 0)
    size = x.shape[axis]
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        raise ValueError(f"an index is out of range for an axis of {size}")
    cut = tuple(slice(None) if k == axis % x.ndim else slice(0, length) for k, length in enumerate(indices.shape))
    found: Array = np.take_along_axis(x[cut], indices % size, axis)
    return found


def reshape(call: Call) -> Array:
    """Reshape."""
    x, wanted = call.constant(0), [int(size) for size in call.constant(1).reshape(-1)]
    return x.reshape(resolved(x.shape, wanted, zero_is_zero=bool(call.get("allowzero", 0))))


def transpose(call: Call) -> Array:
    """Permute axes."""
    turned: Array = call.constant(0).transpose(call.get("perm"))
    return turned


def expand(call: Call) -> Array:
    """Broadcast to a shape."""
    x = call.constant(0)
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(size) for size in call.constant(1))))


def span(call: Call) -> Array:
    """Count from a start to a limit."""
    start, limit, step = (call.constant(k).reshape(-1)[0] for k in range(3))
    return np.arange(start, limit, step)


def concat(call: Call) -> Array:
    """Join along an axis."""
    return np.concatenate([call.constant(k) for k in range(len(call.args))], call.get("axis", 1))


def divide(call: Call) -> Array:
    """Divide; whole numbers towards zero."""
    x, y = call.constant(0), call.constant(1)
    with np.errstate(all="ignore"):
        if x.dtype.kind != "f":
            if not y.all():
                raise call.unsupported("a division of whole numbers by zero")
            quotient: Array = np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y))
            return quotient.astype(x.dtype)
        return widened(x) / widened(y)


def elementwise(function: Callable[..., Array]) -> Callable[[Call], Array]:
    """Evaluate all operands by a numpy function."""

    def evaluate(call: Call) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(function(*(widened(call.constant(k)) for k in range(len(call.args)))))

    return evaluate


FOLD: dict[str, Callable[[Call], Array]] = {
    "Add": elementwise(np.add),
    "Cast": cast,
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Div": divide,
    "Equal": elementwise(np.equal),
    "Expand": expand,
    "Gather": gather,
    "GatherElements": lambda call: elements_at(call, call.constant(0), call.constant(1)),
    "Identity": lambda call: call.constant(0),
    "Mul": elementwise(np.multiply),
    "Neg": elementwise(np.negative),
    "Range": span,
    "Reshape": reshape,
    "Slice": slice_of,
    "Sqrt": elementwise(np.sqrt),
    "Squeeze": squeeze,
    "Sub": elementwise(np.subtract),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": lambda call: np.where(call.constant(0), call.constant(1), call.constant(2)),
}
"""Operators that shape computations are made of; the others go to the reference evaluator, which starts slowly."""
