"""Where the largest element is, and one-hot codes.

An index is a sum of truth values: the first largest element is at k or behind it iff the maximum from k on is larger
than the maximum before k.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from verifier.graph.lower.builder import Builder, Call, Operand, Variable, double, kind_of, lowers, positive_axis
from verifier.graph.lower.piecewise import maximum
from verifier.graph.lower.truth import at_least, greater, truth
from verifier.ops.arithmetic import Neg
from verifier.ops.curves import Within
from verifier.ops.reduce import ReduceSum
from verifier.ops.select import Concat, Pad


def running_maximum(b: Builder, x: Variable, axis: int, *, reverse: bool) -> Variable:
    """Return the maxima from the start of an axis to each element, or from each element to the end."""
    size, shift = x.shape[axis], 1
    while shift < size:
        near, far = b.slice(x, axis, 0, size - shift), b.slice(x, axis, shift, size)
        best = maximum(b, near, far)
        rest = b.slice(x, axis, size - shift, size) if reverse else b.slice(x, axis, 0, shift)
        x = b.apply(Concat(axis, (0, 0, 0)), *((best, rest) if reverse else (rest, best)))
        shift *= 2
    return x


def reaches(b: Builder, x: Variable, axis: int, *, last: bool = False) -> Variable:
    """Tell for k = 1, 2, ... whether the first (or last) largest element of an axis is at k or behind it."""
    size = x.shape[axis]
    before = running_maximum(b, b.slice(x, axis, 0, size - 1), axis, reverse=False)
    behind = running_maximum(b, b.slice(x, axis, 1, size), axis, reverse=True)
    return greater(b, behind, before, strict=not last)


def place_of_largest(b: Builder, x: Variable, axis: int, *, last: bool = False) -> Variable:
    """Return the index of the first (or last) largest element of an axis, which becomes 1 long."""
    size = x.shape[axis]
    if size == 1:
        return replace(b.scale(x, 0.0), kind="i", span=(0.0, 0.0))
    index = b.apply(ReduceSum((axis,), keep=True), reaches(b, x, axis, last=last))
    return replace(index, kind="i", span=(0.0, size - 1.0))


def signed(b: Builder, x: Variable, *, largest: bool) -> Variable:
    """Return what is largest where x is largest, or smallest."""
    return x if largest else b.apply(Neg(), x)


@lowers("ArgMax", "ArgMin")
def arg_extreme(b: Builder, call: Call) -> Operand:
    """Lower the index of the largest or smallest element; of several, the first or the last."""
    x, axis = call.variable(), positive_axis(call.get("axis", 0), call.variable().rank)
    x = signed(b, x, largest=call.proto.op_type == "ArgMax")
    index = place_of_largest(b, x, axis, last=bool(call.get("select_last_index", 0)))
    return index if call.get("keepdims", 1) else b.reshape(index, index.shape[:axis] + index.shape[axis + 1 :])


@lowers("Hardmax")
def hardmax(b: Builder, call: Call) -> Operand:
    """Lower 1 at the first largest element and 0 elsewhere; of all axes from ``axis`` on before opset 13."""
    x = call.variable()
    axis = positive_axis(call.get("axis", -1 if call.opset >= 13 else 1), x.rank)
    shape = x.shape
    if call.opset < 13:
        x, axis = b.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:]))), 1
    if x.shape[axis] == 1:
        return replace(b.reshape(b.translate(b.scale(x, 0.0), np.ones(())), shape), span=(1.0, 1.0))
    found = differences(b, reaches(b, x, axis), axis, begin=True, end=True)
    return replace(b.reshape(found, shape), kind="f")


def differences(b: Builder, levels: Variable, axis: int, *, begin: bool, end: bool) -> Variable:
    """Return how much falling truth values fall by, along an axis, where 1 may come before them, and 0 behind."""
    first = levels if not begin else front(b, levels, axis)
    if not begin:
        first = b.slice(levels, axis, 0, levels.shape[axis] - (0 if end else 1))
    elif not end:
        first = b.slice(first, axis, 0, first.shape[axis] - 1)
    second = levels if begin else b.slice(levels, axis, 1, levels.shape[axis])
    if end:
        second = b.apply(Pad(padding(levels.rank, axis, 0, 1)), second)
    return truth(b.subtract(first, second))


def front(b: Builder, levels: Variable, axis: int) -> Variable:
    """Put 1 in front of truth values."""
    padded = b.apply(Pad(padding(levels.rank, axis, 1, 0)), levels)
    one = np.zeros(padded.shape)
    one[(slice(None),) * axis + (0,)] = 1
    return b.translate(padded, one)


def padding(rank: int, axis: int, begin: int, end: int) -> tuple[tuple[int, int], ...]:
    """Return ends of all axes that are 0 but for one axis."""
    return tuple((begin, end) if k == axis else (0, 0) for k in range(rank))


def one_hot(b: Builder, index: Variable, size: int, *, wrap: bool) -> Variable:
    """Code whole numbers by truth values on a new last axis: 1 at the number, if it is among 0 ... size - 1.

    With ``wrap``, negative numbers from ``-size`` on count from the end.
    """
    assert index.span is not None
    least = index.span[0]
    index = b.reshape(index, (*index.shape, 1))
    axis = index.rank - 1
    code = differences(b, at_least(b, index, np.arange(size + 1.0)), axis, begin=False, end=False)
    if wrap and least < 0:
        negative = at_least(b, index, np.arange(-size, 1.0))
        code = truth(b.add(code, differences(b, negative, axis, begin=False, end=False)))
    return code


def guarded(b: Builder, call: Call, index: Variable, size: int) -> Variable:
    """Take an index of an axis: a whole number from ``-size`` to ``size - 1``; others have no meaning."""
    if index.span is None:
        raise call.unsupported("indices that are not known to be whole numbers; cast them first")
    low, high = -float(size), size - 1.0
    if index.span[0] >= low and index.span[1] <= high:
        return index
    span = (max(index.span[0], low), min(index.span[1], high))
    return replace(b.apply(Within(low - 0.5, high + 0.5), index), span=span)


@lowers("OneHot")
def one_hot_of(b: Builder, call: Call) -> Operand:
    """Lower a one-hot code: ``off + (on - off) * code``."""
    index, size, values = call.operand(0), int(call.constant(1).reshape(-1)[0]), call.operand(2)
    if not isinstance(index, Variable):
        raise call.unsupported("values that depend on the input; indices that do are supported")
    if isinstance(values, Variable):
        raise call.unsupported("values that depend on the input; constant ones are supported")
    if index.span is None:
        raise call.unsupported("indices that are not known to be whole numbers; cast them first")
    code = one_hot(b, index, size, wrap=True)
    axis = positive_axis(call.get("axis", -1), code.rank)
    order = list(range(code.rank - 1))
    order.insert(axis, code.rank - 1)
    off, on = (double(values).reshape(-1)[k] for k in range(2))
    scaled = b.translate(b.scale(b.transpose(code, order), np.array(on - off)), np.array(off))
    return replace(scaled, kind=kind_of(values))
