"""One-dimensional nonlinearities, and maxima and minima, which become ``max(a, b) = b + relu(a - b)``."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from verifier.graph.lower.builder import (
    Builder,
    Call,
    Operand,
    Variable,
    double,
    lift,
    lowers,
    positive_axis,
    tensor,
)
from verifier.graph.onnx_file import Array
from verifier.ops.curves import (
    Abs,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Clip,
    Cos,
    Cosh,
    Elu,
    Erf,
    Exp,
    Floor,
    Gelu,
    GeluTanh,
    HardSwish,
    LeakyRelu,
    Log,
    Mish,
    Power,
    PRelu,
    Relu,
    Round,
    Shrink,
    Sigmoid,
    Sign,
    Silu,
    Sin,
    Sinh,
    Softplus,
    Softsign,
    Tan,
    Tanh,
    ThresholdedRelu,
)
from verifier.ops.op import Op
from verifier.ops.select import Concat

FLOAT32_LARGEST = float(np.finfo(np.float32).max)

PLAIN: dict[str, Op] = {
    **{kind.__name__: kind() for kind in (Relu, Abs, Sign, Sigmoid, Tanh, Atan, Erf, Softsign, Sin, Cos, Tan)},
    **{kind.__name__: kind() for kind in (Sinh, Cosh, Asin, Asinh, Acosh, Atanh)},
    **{kind.__name__: kind() for kind in (Exp, Log, Softplus, Mish, HardSwish, Floor, Ceil, Round)},
    "Sqrt": Power(0.5),
    "Reciprocal": Power(-1.0),
    "Swish": Silu(),
}
"""ONNX operators without attributes, as curves."""


@lowers(*PLAIN)
def plain(b: Builder, call: Call) -> Operand:
    """Lower a curve without attributes."""
    return b.apply(PLAIN[call.proto.op_type], call.variable())


@lowers("Acos")
def acos(b: Builder, call: Call) -> Operand:
    """Lower the arc cosine: a quarter turn less the arc sine."""
    return b.subtract(np.array(math.pi / 2), b.apply(Asin(), call.variable()))


@lowers("Shrink")
def shrink(b: Builder, call: Call) -> Operand:
    """Lower shrinking; a negative threshold is not supported."""
    threshold = float(call.get("lambd", 0.5))
    if threshold < 0:
        raise call.unsupported(f"lambd = {threshold:g}; a non-negative one is supported")
    return b.apply(Shrink(threshold, float(call.get("bias", 0.0))), call.variable())


@lowers("Elu", "Celu", "Selu")
def elu(b: Builder, call: Call) -> Operand:
    """Lower an exponential linear unit; a negative alpha is not supported."""
    kind = call.proto.op_type
    alpha = float(call.get("alpha", np.float32(1.67326319217681884765625) if kind == "Selu" else 1.0))
    gain = float(call.get("gamma", np.float32(1.05070102214813232421875))) if kind == "Selu" else 1.0
    if alpha <= 0 or gain <= 0:
        raise call.unsupported(f"alpha = {alpha:g}, gamma = {gain:g}; positive ones are supported")
    return b.apply(Elu(alpha, gain, alpha if kind == "Celu" else 1.0), call.variable())


@lowers("Gelu")
def gelu(b: Builder, call: Call) -> Operand:
    """Lower Gelu, exact or by tanh."""
    approximate = call.get("approximate", "none")
    return b.apply(GeluTanh() if approximate in ("tanh", b"tanh") else Gelu(), call.variable())


@lowers("ThresholdedRelu")
def thresholded_relu(b: Builder, call: Call) -> Operand:
    """Lower a rectifier with a threshold."""
    return b.apply(ThresholdedRelu(float(call.get("alpha", 1.0))), call.variable())


@lowers("LeakyRelu")
def leaky_relu(b: Builder, call: Call) -> Operand:
    """Lower a leaky ReLU."""
    return b.apply(LeakyRelu(float(call.get("alpha", np.float32(0.01)))), call.variable())


@lowers("PRelu")
def prelu(b: Builder, call: Call) -> Operand:
    """Lower a ReLU with a constant slope for each element."""
    x, slope = call.variable(), call.constant(1)
    return b.apply(PRelu(tensor(lift(slope, x.rank))), x)


@lowers("Clip")
def clip(b: Builder, call: Call) -> Operand:
    """Lower clipping; the largest numbers of the type mean no bound."""
    ends = []
    for k, (name, free) in enumerate((("min", -math.inf), ("max", math.inf)), start=1):
        given = call.optional(k)
        value = float(given.reshape(-1)[0]) if given is not None and given.size else float(call.get(name, free))
        if math.isnan(value):
            raise ValueError(f"{name} is NaN")
        ends.append(free if abs(value) >= FLOAT32_LARGEST and (value > 0) == (free > 0) else value)
    low, high = ends
    x = call.variable()
    if (low, high) == (-math.inf, math.inf):
        return x
    if (low, high) == (0, math.inf):
        return b.apply(Relu(), x)
    return b.apply(Clip(min(low, high), high), x)


@lowers("HardSigmoid")
def hard_sigmoid(b: Builder, call: Call) -> Operand:
    """Lower ``max(0, min(1, alpha * x + beta))``."""
    scaled = b.scale(call.variable(), float(call.get("alpha", np.float32(0.2))))
    return b.apply(Clip(0.0, 1.0), b.translate(scaled, np.array(float(call.get("beta", 0.5)))))


def maximum(b: Builder, x: Operand, y: Operand) -> Variable:
    """Return the larger of two."""
    if not isinstance(y, Variable):
        x, y = y, x
    if isinstance(x, Variable):
        return b.add(b.apply(Relu(), b.subtract(x, y)), y)
    return b.add(b.apply(Relu(), b.subtract(y, double(x))), double(x))


def minimum(b: Builder, x: Operand, y: Operand) -> Variable:
    """Return the smaller of two."""
    if not isinstance(y, Variable):
        x, y = y, x
    other = x if isinstance(x, Variable) else double(x)
    return b.subtract(other, b.apply(Relu(), b.subtract(other, y)))


def maximum_of(b: Builder, values: list[Variable]) -> Variable:
    """Return the largest, by a balanced tree of pairs."""
    while len(values) > 1:
        paired = [maximum(b, *values[k : k + 2]) for k in range(0, len(values) - 1, 2)]
        values = paired + values[2 * len(paired) :]
    return values[0]


@lowers("Max", "Min")
def extreme(b: Builder, call: Call) -> Operand:
    """Lower the largest or smallest of any number of operands."""
    largest = call.proto.op_type == "Max"
    given = [call.operand(k) for k in range(len(call.args))]
    constants: list[Array] = [double(value) for value in given if not isinstance(value, Variable)]
    values: list[Operand] = [value for value in given if isinstance(value, Variable)]
    if constants:
        fixed = constants[0]
        for other in constants[1:]:
            fixed = np.maximum(fixed, other) if largest else np.minimum(fixed, other)
        values.append(fixed)
    pick = maximum if largest else minimum
    while len(values) > 1:
        paired = [pick(b, *values[k : k + 2]) for k in range(0, len(values) - 1, 2)]
        values = [*paired, *values[2 * len(paired) :]]
    return values[0]


@lowers("ReduceMax", "ReduceMin")
def reduce_extreme(b: Builder, call: Call) -> Operand:
    """Lower the largest or smallest along axes by halving each."""
    x, axes = call.variable(), call.ints("axes", 1)
    if not axes and call.get("noop_with_empty_axes", 0):
        return x
    where = sorted(positive_axis(axis, x.rank) for axis in (axes or range(x.rank)))
    for axis in where:
        x = halve(b, x, axis, maximum if call.proto.op_type == "ReduceMax" else minimum)
    if call.get("keepdims", 1):
        return x
    return b.reshape(x, [size for axis, size in enumerate(x.shape) if axis not in where])


@lowers("GlobalMaxPool")
def global_max_pool(b: Builder, call: Call) -> Operand:
    """Lower the largest over all positions."""
    x = call.variable()
    for axis in range(2, x.rank):
        x = halve(b, x, axis, maximum)
    return x


def halve(b: Builder, x: Variable, axis: int, pick: Callable[[Builder, Operand, Operand], Variable]) -> Variable:
    """Reduce an axis to length 1: the front half with the back half, until one is left."""
    while (size := x.shape[axis]) > 1:
        half = size // 2
        best = pick(b, b.slice(x, axis, 0, half), b.slice(x, axis, half, 2 * half))
        x = b.apply(Concat(axis, (0, 0, 0)), best, b.slice(x, axis, 2 * half, size)) if size % 2 else best
    return x
