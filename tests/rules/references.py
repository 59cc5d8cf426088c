"""What every operator computes, said a second time and independently of torch.

Smooth curves are said in mpmath, number by number. All others are rational: they are said in numpy, in a way that holds
for arrays ``(N, *operand)`` of any numbers, exact fractions as well as extended floats.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np

Array = np.ndarray[Any, Any]

mpmath.mp.dps = 50


def logistic(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


def elu(op: Any, x: Any) -> Any:
    return op.gain * (x if x >= 0 else op.alpha * mpmath.expm1(x / op.width))


def gelu_by_tanh(op: Any, x: Any) -> Any:
    return x * logistic(2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(op.cubic) * x**3))


def gated_slope(op: Any, x: Any) -> Any:
    curve = op.curve
    if name_of(curve) == "Gelu":
        return mpmath.ncdf(x) + x * mpmath.npdf(x)
    if name_of(curve) == "Mish":
        gate, sigmoid = mpmath.tanh(mpmath.log1p(mpmath.exp(x))), logistic(x)
        return gate + x * (1 - gate**2) * sigmoid
    inner, tilt = x, 1
    if name_of(curve) == "GeluTanh":
        factor, cubic = 2 * mpmath.sqrt(2 / mpmath.pi), mpmath.mpf(curve.cubic)
        inner, tilt = factor * (x + cubic * x**3), factor * (1 + 3 * cubic * x**2)
    return logistic(inner) + x * logistic(inner) * logistic(-inner) * tilt


def power(op: Any, x: Any) -> Any:
    return x ** (int(op.exponent) if op.whole else mpmath.mpf(op.exponent))


SMOOTH: dict[str, Callable[[Any, Any], Any]] = {
    "Acosh": lambda op, x: mpmath.acosh(x),
    "AcoshSlope": lambda op, x: 1 / mpmath.sqrt(x**2 - 1),
    "Asin": lambda op, x: mpmath.asin(x),
    "AsinSlope": lambda op, x: 1 / mpmath.sqrt(1 - x**2),
    "Asinh": lambda op, x: mpmath.asinh(x),
    "AsinhSlope": lambda op, x: 1 / mpmath.sqrt(1 + x**2),
    "Atan": lambda op, x: mpmath.atan(x),
    "AtanSlope": lambda op, x: 1 / (1 + x**2),
    "Atanh": lambda op, x: mpmath.atanh(x),
    "AtanhSlope": lambda op, x: 1 / (1 - x**2),
    "Cos": lambda op, x: mpmath.cos(x),
    "Cosh": lambda op, x: mpmath.cosh(x),
    "Elu": elu,
    "EluSlope": lambda op, x: op.gain * (1 if x > 0 else mpmath.mpf(op.alpha) / op.width * mpmath.exp(x / op.width)),
    "Erf": lambda op, x: mpmath.erf(x),
    "ErfSlope": lambda op, x: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-(x**2)),
    "Exp": lambda op, x: mpmath.exp(x),
    "GatedSlope": gated_slope,
    "Gelu": lambda op, x: x * mpmath.ncdf(x),
    "GeluTanh": gelu_by_tanh,
    "HardSwish": lambda op, x: x * min(max(x / 6 + mpmath.mpf(0.5), 0), 1),
    "HardSwishSlope": lambda op, x: x / 3 + mpmath.mpf(0.5) if -3 < x <= 3 else mpmath.mpf(x > 0),
    "Log": lambda op, x: mpmath.log(x),
    "Mish": lambda op, x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
    "Power": power,
    "Scaled": lambda op, x: mpmath.mpf(op.factor) * SMOOTH[name_of(op.curve)](op.curve, x),
    "Sigmoid": lambda op, x: logistic(x),
    "SigmoidSlope": lambda op, x: logistic(x) * logistic(-x),
    "Silu": lambda op, x: x * logistic(x),
    "Sin": lambda op, x: mpmath.sin(x),
    "Sinh": lambda op, x: mpmath.sinh(x),
    "Softplus": lambda op, x: mpmath.log1p(mpmath.exp(x)),
    "Softsign": lambda op, x: x / (1 + abs(x)),
    "SoftsignSlope": lambda op, x: 1 / (1 + abs(x)) ** 2,
    "Tan": lambda op, x: mpmath.tan(x),
    "TanSlope": lambda op, x: mpmath.sec(x) ** 2,
    "Tanh": lambda op, x: mpmath.tanh(x),
    "TanhSlope": lambda op, x: mpmath.sech(x) ** 2,
}
"""The value of a smooth curve at one number of mpmath."""


def shrink(op: Any, x: Array) -> Array:
    moved = np.where(x > 0, x - number(op.shift, x), x + number(op.shift, x))
    return np.where(abs(x) > op.threshold, moved, 0 * x)


def clip(op: Any, x: Array) -> Array:
    return np.minimum(np.maximum(x, op.low), op.high)


def levels(op: Any, x: Array) -> Array:
    beyond = sum((np.asarray(x > place, dtype=int) for place in op.jumps), np.zeros(x.shape, dtype=int))
    return 0 * x + number(op.levels, x)[beyond]


def leaky(op: Any, x: Array) -> Array:
    return np.where(x < 0, number(op.slope, x) * x, x)


def nearest(op: Any, x: Array) -> Array:
    below = np.floor(x)
    rest, odd = x - below, below % 2
    return below + ((rest > 0.5) | ((rest == 0.5) & (odd == 1)))


def linear(op: Any, x: Array) -> Array:
    return x @ number(op.weight, x) + (0 if op.bias is None else number(op.bias, x))


def sparse(op: Any, x: Array) -> Array:
    ends, values = op.first.tolist(), number(op.values, x)
    source = op.source.tolist()
    columns = [
        sum((values[k] * x[:, source[k]] for k in range(*pair)), 0 * x[:, 0]) for pair in itertools.pairwise(ends)
    ]
    return np.stack(columns, 1) + (0 if op.bias is None else number(op.bias, x))


def stacked_matrices(op: Any, x: Array) -> Array:
    return number(op.weight, x) @ x if op.left else x @ number(op.weight, x)


def taps(op: Any, kernel: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield the places in a kernel, and how far from its beginning they reach."""
    for tap in itertools.product(*(range(size) for size in kernel)):
        yield tap, tuple(k * gap for k, gap in zip(tap, op.dilation, strict=True))


def strided(begin: tuple[int, ...], count: tuple[int, ...], stride: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(b, b + (n - 1) * s + 1, s) for b, n, s in zip(begin, count, stride, strict=True))


def with_bias(op: Any, y: Array, like: Array) -> Array:
    return y if op.bias is None else y + number(op.bias, like).reshape(-1, *[1] * len(op.stride))


def convolution(op: Any, x: Array) -> Array:
    weight = number(op.weight, x)
    kernel, per_group = weight.shape[2:], weight.shape[1]
    space = [(0, 0)] * 3 + [(pad, pad) for pad in op.padding]
    padded = np.pad(x, space, constant_values=0)
    sizes = zip(padded.shape[3:], kernel, op.dilation, op.stride, strict=True)
    out = tuple((size - gap * (k - 1) - 1) // step + 1 for size, k, gap, step in sizes)
    y = np.zeros((*x.shape[:2], len(weight), *out), x.dtype)
    for tap, reach in taps(op, kernel):
        seen = padded[(..., *strided(reach, out, op.stride))]
        for channel in range(len(weight)):
            begin = channel // (len(weight) // op.groups) * per_group
            for k in range(per_group):
                y[:, :, channel] = y[:, :, channel] + weight[(channel, k, *tap)] * seen[:, :, begin + k]
    return with_bias(op, y, x)


def spread(op: Any, x: Array) -> Array:
    weight = number(op.weight, x)
    kernel, per_group = weight.shape[2:], weight.shape[1]
    extra = op.output_padding or (0,) * len(kernel)
    axes = list(zip(x.shape[3:], op.stride, op.dilation, kernel, extra, op.padding, strict=True))
    whole = tuple((size - 1) * step + gap * (k - 1) + 1 + more for size, step, gap, k, more, _ in axes)
    y = np.zeros((*x.shape[:2], op.groups * per_group, *whole), x.dtype)
    for tap, reach in taps(op, kernel):
        here = strided(reach, x.shape[3:], op.stride)
        for channel in range(len(weight)):
            begin = channel // (len(weight) // op.groups) * per_group
            for k in range(per_group):
                target = (slice(None), slice(None), begin + k, *here)
                y[target] = y[target] + weight[(channel, k, *tap)] * x[:, :, channel]
    inside = tuple(slice(pad, size - pad) for size, (*_, pad) in zip(whole, axes, strict=True))
    return with_bias(op, y[(..., *inside)], x)


def average(op: Any, x: Array) -> Array:
    out = tuple((size - k) // step + 1 for size, k, step in zip(x.shape[3:], op.kernel, op.stride, strict=True))
    places = itertools.product(*(range(size) for size in op.kernel))
    windows = [x[(..., *strided(place, out, op.stride))] for place in places]
    return sum(windows[1:], windows[0]) / len(windows)


def total(op: Any, x: Array) -> Array:
    return x.sum(tuple(axis + 1 for axis in op.axes), keepdims=op.keep)


def mean(op: Any, x: Array) -> Array:
    count = np.prod([x.shape[axis + 1] for axis in op.axes], dtype=int)
    return total(op, x) / int(count)


def without_one(op: Any, x: Array) -> Array:
    axis = op.axis + 1
    return np.stack([np.delete(x, k, axis).sum(axis) for k in range(x.shape[axis])], axis)


def running(op: Any, x: Array) -> Array:
    axis = op.axis + 1
    ordered = np.flip(x, axis) if op.reverse else x
    sums = np.cumsum(ordered, axis)
    if op.exclusive:
        sums = np.concatenate([0 * np.take(sums, [0], axis), np.delete(sums, -1, axis)], axis)
    return np.flip(sums, axis) if op.reverse else sums


def padded(op: Any, x: Array) -> Array:
    wide = np.pad(x, [(0, 0), *((max(low, 0), max(high, 0)) for low, high in op.pads)], constant_values=0)
    cuts = (
        slice(max(-low, 0), size - max(-high, 0)) for (low, high), size in zip(op.pads, wide.shape[1:], strict=True)
    )
    return wide[(slice(None), *cuts)]


def joined(op: Any, *x: Array) -> Array:
    pieces = []
    for gap, piece in itertools.zip_longest(op.gaps, x):
        shape = list(x[0].shape)
        shape[op.axis + 1] = gap
        pieces += [np.zeros(shape, x[0].dtype), *([] if piece is None else [piece])]
    return np.concatenate(pieces, op.axis + 1)


def pulled_back(op: Any, x: Array) -> Array:
    """Multiply by the matrix, which the operator's values at all unit vectors make up."""
    (shape,) = op.shapes
    inner = RATIONAL[name_of(op.op)]
    unit = number(np.eye(int(np.prod(shape, dtype=int))), x).reshape(-1, *shape)
    columns = inner(op.op, unit) - inner(op.op, 0 * unit[:1])
    return (x.reshape(*x.shape[:2], -1) @ columns.reshape(len(unit), -1).T).reshape(*x.shape[:2], *shape)


def piece(op: Any, x: Array) -> Array:
    size = int(np.prod(op.shape, dtype=int))
    return x[:, op.start : op.start + size].reshape(len(x), *op.shape)


def part(op: Any, *x: Array) -> Array:
    operands = []
    for value, read, shape in zip(x, op.op.reads(op.window, list(op.shapes)), op.shapes, strict=True):
        whole = np.zeros((len(value), *shape), dtype=value.dtype)
        whole[(..., *read)] = value
        operands.append(whole)
    return RATIONAL[type(op.op).__name__](op.op, *operands)[(..., *op.window)]


RATIONAL: dict[str, Callable[..., Array]] = {
    "Adjoint": pulled_back,
    "Abs": lambda op, x: np.where(x < 0, -x, x),
    "Add": lambda op, x, y: x + y,
    "AveragePool": average,
    "Ceil": lambda op, x: np.ceil(x),
    "Clip": clip,
    "Concat": joined,
    "Conv": convolution,
    "ConvTranspose": spread,
    "CumSum": running,
    "Expand": lambda op, x: np.broadcast_to(
        x.reshape(len(x), *[1] * (len(op.shape) + 1 - x.ndim), *x.shape[1:]), (len(x), *op.shape)
    ),
    "Floor": lambda op, x: np.floor(x),
    "Gather": lambda op, x: np.take(x, op.indices.numpy(), op.axis + 1),
    "ConstantGate": lambda op, x, y: x * y,
    "Gate": lambda op, x, y: x * y,
    "Heaviside": lambda op, x: 0 * x + np.where(x > 0, *reversed(op.levels)),
    "LeakyRelu": leaky,
    "Levels": levels,
    "Linear": linear,
    "MatMulConstant": stacked_matrices,
    "Neg": lambda op, x: -x,
    "PRelu": leaky,
    "Pad": padded,
    "Part": part,
    "Product": lambda op, x, y: x * y,
    "ReduceMean": mean,
    "ReduceSum": total,
    "Relu": lambda op, x: np.maximum(x, 0 * x),
    "Reshape": lambda op, x: x.reshape(len(x), *op.shape),
    "Round": nearest,
    "Scale": lambda op, x: x * number(op.constant, x),
    "Shrink": shrink,
    "Sign": lambda op, x: 0 * x + (x > 0) - (x < 0),
    "Slice": lambda op, x: x[(slice(None), *(slice(*ends) for ends in op.ranges))],
    "Sparse": sparse,
    "Step": lambda op, x: 0 * x + ((x > 0) if op.strict else (x >= 0)),
    "Sub": lambda op, x, y: x - y,
    "SumOfOthers": without_one,
    "ThresholdedRelu": lambda op, x: np.where(x > op.threshold, x, 0 * x),
    "Translate": lambda op, x: x + number(op.constant, x),
    "Transpose": lambda op, x: np.transpose(x, (0, *(axis + 1 for axis in op.perm))),
    "Trunc": lambda op, x: np.where(x < 0, np.ceil(x), np.floor(x)),
    "View": piece,
    "Within": lambda op, x: x,
}
"""The values of an operator for arrays of its operands."""


def number(constant: Any, like: Array) -> Any:
    """Return a constant of an operator in the numbers of an array."""
    values = np.asarray(constant, dtype=float)
    return exactly(values) if like.dtype == object else values.astype(like.dtype)


def exactly(values: Array) -> Array:
    """Return floats as fractions."""
    return np.vectorize(Fraction, otypes=[object])(values)


def name_of(op: object) -> str:
    """Return under which name an operator is known here: its own, or that of what it was made of."""
    return next(kind.__name__ for kind in type(op).__mro__ if kind.__name__ in {*SMOOTH, *RATIONAL})
