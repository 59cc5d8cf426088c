"""Operators that pick, join, repeat and resize."""

from __future__ import annotations

import math

import numpy as np
import torch

from verifier.graph.lower.builder import Builder, Call, Operand, Variable, double, lowers, positive_axis
from verifier.graph.lower.fold import by_reference, elements_at, sliced
from verifier.graph.lower.scatter import gather_at, slice_at
from verifier.graph.lower.windows import take
from verifier.graph.onnx_file import Array
from verifier.ops.reduce import CumSum, ReduceMean, ReduceSum
from verifier.ops.select import Concat, Gather, Pad


@lowers("Slice")
def slice_of(b: Builder, call: Call) -> Operand:
    """Lower a slice; ends beyond the axis are cut, negative ones count from the end."""
    if any(isinstance(call.arg(k), Variable) for k in (1, 2)):
        return slice_at(b, call)
    x = call.variable()
    starts, ends = call.ints("starts", 1) or [], call.ints("ends", 2) or []
    axes, steps = call.ints("axes", 3) or list(range(len(starts))), call.ints("steps", 4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = positive_axis(axis, x.rank)
        x = take(b, x, axis, sliced(call, x.shape[axis], start, end, step))
    return x


@lowers("Split")
def split(b: Builder, call: Call) -> tuple[Operand, ...]:
    """Lower a split to slices."""
    x = call.variable()
    axis, count = positive_axis(call.get("axis", 0), x.rank), len(call.proto.output)
    size = x.shape[axis]
    piece = -(-size // call.get("num_outputs", count))
    lengths = call.ints("split", 1) or [min(piece, size - k * piece) for k in range(count)]
    if sum(lengths) != size:
        raise ValueError(f"pieces {lengths} do not add up to {size}")
    starts = np.cumsum([0, *lengths])
    return tuple(b.slice(x, axis, int(starts[k]), int(starts[k + 1])) for k in range(count))


@lowers("Gather")
def gather(b: Builder, call: Call) -> Operand:
    """Lower a choice of elements along an axis."""
    if isinstance(call.operand(1), Variable):
        return gather_at(b, call)
    x, indices = call.variable(), call.constant(1)
    axis = positive_axis(call.get("axis", 0), x.rank)
    size = x.shape[axis]
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        raise ValueError(f"an index is out of range for an axis of {size}")
    y = take(b, x, axis, indices.reshape(-1) % size)
    return b.reshape(y, x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


@lowers("GatherElements", "GatherND")
def gather_anywhere(b: Builder, call: Call) -> Operand:
    """Lower a choice of single elements: the operator itself, applied to their numbers, says which."""
    x = call.variable()
    numbers = np.arange(math.prod(x.shape)).reshape(x.shape)
    if call.proto.op_type == "GatherElements":
        chosen = elements_at(call, numbers, call.constant(1))
    else:
        chosen = by_reference(call, (numbers, call.constant(1)))[0]
    y = b.apply(Gather(torch.as_tensor(chosen.reshape(-1)), 0), b.reshape(x, (numbers.size,)))
    return b.reshape(y, chosen.shape)


@lowers("Tile")
def tile(b: Builder, call: Call) -> Operand:
    """Repeat along axes."""
    x = call.variable()
    for axis, repeats in enumerate(call.constant(1)):
        if repeats != 1:
            x = take(b, x, axis, np.tile(np.arange(x.shape[axis]), int(repeats)))
    return x


@lowers("Concat")
def concat(b: Builder, call: Call) -> Operand:
    """Lower a concatenation; constant pieces are zeros, and then a translation."""
    given = [call.operand(k) for k in range(len(call.args))]
    first = call.args[0]
    assert first is not None
    axis = positive_axis(call.get("axis", 1), len(first.shape))
    variables = [value for value in given if isinstance(value, Variable)]
    gaps, pieces = [0], []
    for value in given:
        if isinstance(value, Variable):
            gaps.append(0)
            pieces.append(np.zeros(value.shape))
        else:
            gaps[-1] += value.shape[axis]
            pieces.append(double(value))
    if len(given) == 1:
        return variables[0]
    y = b.apply(Concat(axis, tuple(gaps)), *variables)
    return y if len(variables) == len(given) else b.translate(y, np.concatenate(pieces, axis))


@lowers("Pad")
def pad(b: Builder, call: Call) -> Operand:
    """Lower padding with a constant, or with elements of the tensor."""
    x, pads, mode = call.variable(), call.ints("pads", 1) or [], call.get("mode", "constant")
    axes = call.optional(3)
    where = range(x.rank) if axes is None else [positive_axis(int(axis), x.rank) for axis in axes]
    ends = [(0, 0)] * x.rank
    for k, axis in enumerate(where):
        ends[axis] = (pads[k], pads[k + len(where)])
    if mode != "constant":
        return pad_with_elements(b, x, ends, mode)
    given = call.optional(2)
    value = float(call.get("value", 0.0)) if given is None or not given.size else float(given.reshape(-1)[0])
    if not math.isfinite(value):
        raise call.unsupported("padding with an infinite value; finite ones are supported")
    if all(pair == (0, 0) for pair in ends):
        return x
    y = b.apply(Pad(tuple(ends)), x)
    if value == 0:
        return y
    inside = tuple(slice(max(front, 0), size - max(back, 0)) for (front, back), size in zip(ends, y.shape, strict=True))
    border = np.full(y.shape, value)
    border[inside] = 0
    return b.translate(y, border)


def pad_with_elements(b: Builder, x: Variable, ends: list[tuple[int, int]], mode: str) -> Variable:
    """Pad each axis by picking its elements again; numpy's padding of their numbers says which."""
    for axis, (front, back) in enumerate(ends):
        if (front, back) != (0, 0):
            inside = np.arange(max(-front, 0), x.shape[axis] - max(-back, 0))
            numbers = np.pad(inside, (max(front, 0), max(back, 0)), mode)  # type: ignore[call-overload]
            x = take(b, x, axis, numbers)
    return x


@lowers("ReduceSum", "ReduceMean")
def reduce_linear(b: Builder, call: Call) -> Operand:
    """Lower a sum or mean along axes."""
    x, axes = call.variable(), call.ints("axes", 1)
    if not axes and call.get("noop_with_empty_axes", 0):
        return x
    where = tuple(sorted(positive_axis(axis, x.rank) for axis in (axes or range(x.rank))))
    if x.kind != "f" and call.proto.op_type == "ReduceMean":
        raise call.unsupported("a mean of whole numbers; those of floating types are supported")
    op = ReduceSum if call.proto.op_type == "ReduceSum" else ReduceMean
    return b.apply(op(where, keep=bool(call.get("keepdims", 1))), x)


@lowers("CumSum")
def cum_sum(b: Builder, call: Call) -> Operand:
    """Lower a running sum."""
    x = call.variable()
    axis = positive_axis(int(call.constant(1).reshape(-1)[0]), x.rank)
    return b.apply(CumSum(axis, bool(call.get("exclusive", 0)), bool(call.get("reverse", 0))), x)


@lowers("Trilu")
def trilu(b: Builder, call: Call) -> Operand:
    """Keep one triangle of each matrix."""
    x, given = call.variable(), call.optional(1)
    k = 0 if given is None else int(given.reshape(-1)[0])
    ones: Array = np.ones(x.shape[-2:])
    return b.scale(x, np.triu(ones, k) if call.get("upper", 1) else np.tril(ones, k))
