"""Comparisons, logic, casts, and choices by a condition: truth values are the numbers 0 and 1.

Whole numbers are compared by ramps between them, which rounding of either side does not move; other numbers by steps,
which jump.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from verifier.graph.lower.builder import TRUTH, Builder, Call, Operand, Variable, double, kind_of, lowers
from verifier.graph.lower.whole import ANY, LARGEST, Span
from verifier.graph.onnx_file import Array
from verifier.ops.curves import Abs, Ceil, Clip, Floor, Relu, Step, Trunc

FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
INTEGERS = {TensorProto.INT32, TensorProto.INT64}
SMALL: dict[int, Span] = {TensorProto.INT8: (-128, 127), TensorProto.INT16: (-(2**15), 2**15 - 1)}
SMALL |= {TensorProto.UINT8: (0, 255), TensorProto.UINT16: (0, 2**16 - 1)}
SMALL |= {TensorProto.UINT32: (0, 2**32 - 1), TensorProto.UINT64: (0, 2**63)}
"""Types that numbers may not fit into: casts to them are read where the range of the numbers is known."""

RISE = 1.125
"""Slope of the ramp between two whole numbers, a power of two and a bit: it is flat around both of them."""


def truth(x: Variable) -> Variable:
    """Declare a tensor to hold truth values."""
    return replace(x, kind="b", span=TRUTH)


def whole(x: Operand) -> bool:
    """Tell whether all values are known to be whole."""
    return x.span is not None if isinstance(x, Variable) else bool((double(x) == np.round(double(x))).all())


def has_halves(x: Operand) -> bool:
    """Tell whether constants are small enough for ramps between whole numbers to be computed without rounding."""
    return isinstance(x, Variable) or bool((abs(double(x)) <= LARGEST).all())


def rounded(b: Builder, x: Operand, *, up: bool) -> Operand:
    """Return the nearest whole number above, or below."""
    if isinstance(x, Variable):
        return b.apply(Ceil() if up else Floor(), x)
    return np.ceil(double(x)) if up else np.floor(double(x))


def negated(b: Builder, x: Variable) -> Variable:
    """Return ``1 - x``."""
    return replace(b.subtract(np.ones(()), x), kind=x.kind, span=TRUTH)


def at_least(b: Builder, x: Variable, threshold: Array) -> Variable:
    """Tell where whole numbers reach whole thresholds, which broadcast."""
    assert x.span is not None
    low, high = x.span
    x = b.expand(x, np.broadcast_shapes(x.shape, threshold.shape))
    if high - low <= 1:  # the thresholds that decide something are at the upper end
        undecided = (threshold > low) & (threshold <= high)
        shift = np.where(undecided, -low, threshold <= low)
        return truth(b.translate(b.scale(x, undecided.astype(float)), shift.astype(float)))
    ramp = b.translate(b.scale(x, RISE), RISE * (1.0 - threshold) + (1 - RISE) / 2)
    return truth(b.apply(Clip(0.0, 1.0), ramp))


def greater(b: Builder, x: Operand, y: Operand, *, strict: bool) -> Variable:
    """Tell where x > y, or x >= y unless ``strict``."""
    reals = [side for side in (x, y) if isinstance(side, Variable) and not whole(side)]
    fixed = not isinstance(x, Variable) or not isinstance(y, Variable)
    if (reals and fixed) or not (has_halves(x) and has_halves(y)) or not (whole(x) or whole(y)):
        x, y = (side if isinstance(side, Variable) else double(side) for side in (x, y))
        return truth(b.apply(Step(strict=strict), b.subtract(x, y)))
    if not whole(y):
        y = rounded(b, y, up=not strict)
    if not whole(x):
        x = rounded(b, x, up=strict)
    if not isinstance(y, Variable):
        assert isinstance(x, Variable)
        return at_least(b, x, double(y) + strict)
    return at_least(b, b.subtract(x if isinstance(x, Variable) else double(x), y), np.array(float(strict)))


@lowers("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def compare(b: Builder, call: Call) -> Operand:
    """Lower an order."""
    kind = call.proto.op_type
    x, y = call.operand(0), call.operand(1)
    if kind.startswith("Less"):
        x, y = y, x
    return greater(b, x, y, strict=not kind.endswith("Equal"))


@lowers("Equal")
def equal(b: Builder, call: Call) -> Operand:
    """Lower an equality: both x >= y and y >= x; one of them always holds."""
    return equality(b, call.operand(0), call.operand(1))


def equality(b: Builder, x: Operand, y: Operand) -> Variable:
    """Tell where x = y."""
    both = b.add(greater(b, x, y, strict=False), greater(b, y, x, strict=False))
    return truth(b.translate(both, np.array(-1.0)))


@lowers("Not")
def negation(b: Builder, call: Call) -> Operand:
    """Lower a negation."""
    return negated(b, call.variable())


def conjunction(b: Builder, x: Operand, y: Operand) -> Variable:
    """Tell where two truth values hold both."""
    if not isinstance(x, Variable) or not isinstance(y, Variable):
        return truth(b.multiply(x, y))
    return truth(b.apply(Relu(), b.translate(b.add(x, y), np.array(-1.0))))


@lowers("And")
def both(b: Builder, call: Call) -> Operand:
    """Lower a conjunction."""
    return conjunction(b, call.operand(0), call.operand(1))


@lowers("Or")
def either(b: Builder, call: Call) -> Operand:
    """Lower a disjunction: not both are false."""
    false = [
        negated(b, side) if isinstance(side, Variable) else 1 - double(side)
        for side in (call.operand(0), call.operand(1))
    ]
    return negated(b, conjunction(b, false[0], false[1]))


@lowers("Xor")
def one_of_two(b: Builder, call: Call) -> Operand:
    """Lower an exclusive disjunction: the distance of two truth values."""
    x, y = call.operand(0), call.operand(1)
    if isinstance(x, Variable) and isinstance(y, Variable):
        return truth(b.apply(Abs(), b.subtract(x, y)))
    x, y = (x, y) if isinstance(x, Variable) else (y, x)
    assert isinstance(x, Variable)
    fixed = double(call.constant(1) if x is call.operand(0) else call.constant(0))
    return truth(b.translate(b.scale(x, 1 - 2 * fixed), fixed))


@lowers("Cast", "CastLike")
def cast(b: Builder, call: Call) -> Operand:
    """Lower a cast: to whole numbers it cuts towards zero, to truth values it asks whether a number is not zero."""
    x = call.variable()
    target = like(call) if call.proto.op_type == "CastLike" else call.get("to")
    if target in FLOATS:
        return replace(x, kind="f")
    if target == TensorProto.BOOL:
        return replace(x, kind="b") if x.span == TRUTH else negated(b, equality(b, x, np.zeros(())))
    if target not in INTEGERS and target not in SMALL:
        raise call.unsupported("a cast to this type; floating types, whole numbers and truth values are supported")
    y = x if x.span is not None else b.apply(Trunc(), x)
    assert y.span is not None
    low, high = SMALL.get(int(target), ANY)
    if y.span[0] < low or y.span[1] > high:
        raise call.unsupported("a cast to whole numbers that may not fit; int32 and int64 are supported")
    return replace(y, kind="i")


def like(call: Call) -> int:
    """Return the type that CastLike means, of an operand of that kind."""
    example = call.operand(1)
    known = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}
    return int(known[kind_of(example)])


@lowers("Where")
def where(b: Builder, call: Call) -> Operand:
    """Lower a choice between x and y by a condition: ``y + condition * (x - y)``; a constant one splits it in two."""
    condition, x, y = call.operand(0), call.operand(1), call.operand(2)
    if isinstance(condition, Variable):
        return chosen(b, condition, x, y)
    parts: list[Operand] = []
    mask = condition.astype(bool)
    for value, here in ((x, mask), (y, ~mask)):
        parts.append(b.scale(value, double(here)) if isinstance(value, Variable) else np.where(here, double(value), 0))
    picked = b.add(parts[0], parts[1])
    return replace(picked, span=span_of_choice(x, y))


def chosen(b: Builder, condition: Variable, x: Operand, y: Operand) -> Variable:
    """Choose x where a variable condition holds, else y."""
    kind = kind_of(x)
    x, y = (side if isinstance(side, Variable) else double(side) for side in (x, y))
    constant = not isinstance(x, Variable) and not isinstance(y, Variable)
    gap: Operand = x - y if constant else b.subtract(x, y)  # type: ignore[operator]
    span = span_of_choice(x, y)
    return replace(b.add(b.multiply(gap, condition), y), kind=kind, span=span)


def span_of_choice(x: Operand, y: Operand) -> Span | None:
    """Return a range of whole numbers that are taken from one side or the other."""
    ends = []
    for side in (x, y):
        if not whole(side):
            return None
        if isinstance(side, Variable):
            assert side.span is not None
            ends.append(side.span)
        elif side.size:
            ends.append((float(side.min()), float(side.max())))
    return (min(end[0] for end in ends), max(end[1] for end in ends)) if ends else None
