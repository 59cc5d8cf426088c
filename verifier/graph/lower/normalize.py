"""Normalisation by statistics of the input itself: a product with a negative power of a variance or a norm."""

from __future__ import annotations

import math

import numpy as np

from verifier.graph.lower.arithmetic import total
from verifier.graph.lower.builder import Builder, Call, Operand, Variable, double, lowers, positive_axis, tensor
from verifier.ops.curves import Abs, Power
from verifier.ops.linear import Linear
from verifier.ops.reduce import ReduceMean

EPSILON = np.float32(1e-5)
TINY = float(np.float32(1e-9))
"""What MeanVarianceNormalization adds to the deviation."""


def centred(b: Builder, x: Variable, axes: tuple[int, ...]) -> tuple[Variable, Variable, Variable]:
    """Return the mean along axes, the distance from it, and the variance; mean and variance keep the axes."""
    mean = b.apply(ReduceMean(axes), x)
    distance = b.subtract(x, mean)
    return mean, distance, b.apply(ReduceMean(axes), b.apply(Power(2.0), distance))


def inverse_deviation(b: Builder, variance: Variable, epsilon: float) -> Variable:
    """Return ``(variance + epsilon) ** -0.5``: one curve, where a root and a reciprocal would be two."""
    return b.apply(Power(-0.5), b.translate(variance, np.array(float(epsilon))))


@lowers("LayerNormalization")
def layer_normalization(b: Builder, call: Call) -> tuple[Operand, ...]:
    """Lower a normalisation over all axes from one on; mean and inverse deviation are outputs too."""
    x = call.variable()
    axes = tuple(range(positive_axis(call.get("axis", -1), x.rank), x.rank))
    mean, distance, variance = centred(b, x, axes)
    inverse = inverse_deviation(b, variance, call.get("epsilon", EPSILON))
    y = b.multiply(b.multiply(distance, inverse), call.operand(1))
    return (y if call.arg(2) is None else b.add(y, call.operand(2))), mean, inverse


@lowers("InstanceNormalization")
def instance_normalization(b: Builder, call: Call) -> Operand:
    """Lower a normalisation of each channel over its positions."""
    x = call.variable()
    _, distance, variance = centred(b, x, tuple(range(2, x.rank)))
    y = b.multiply(distance, inverse_deviation(b, variance, call.get("epsilon", EPSILON)))
    return channels(b, y, call)


@lowers("GroupNormalization")
def group_normalization(b: Builder, call: Call) -> Operand:
    """Lower a normalisation of groups of channels; factors are those of groups before opset 21, of channels since."""
    x, groups = call.variable(), call.get("num_groups")
    grouped = b.reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))
    _, distance, variance = centred(b, grouped, (2,))
    y = b.multiply(distance, inverse_deviation(b, variance, call.get("epsilon", EPSILON)))
    if call.opset < 21:
        return b.reshape(channels(b, y, call), x.shape)
    return channels(b, b.reshape(y, x.shape), call)


def channels(b: Builder, x: Variable, call: Call) -> Variable:
    """Multiply by operand 1 and add operand 2, which have an entry for each place of axis 1."""
    for k, combine in ((1, b.multiply), (2, b.add)):
        value = call.operand(k)
        shape = (-1,) + (1,) * (x.rank - 2)
        if isinstance(value, Variable):
            x = combine(x, b.reshape(value, (value.shape[0], *shape[1:])))
        else:
            x = combine(x, double(value).reshape(shape))
    return x


@lowers("MeanVarianceNormalization")
def mean_variance_normalization(b: Builder, call: Call) -> Operand:
    """Lower ``(x - mean) / (deviation + 1e-9)``."""
    x = call.variable()
    axes = tuple(sorted(positive_axis(axis, x.rank) for axis in call.get("axes") or (0, 2, 3)))
    _, distance, variance = centred(b, x, axes)
    deviation = b.translate(b.apply(Power(0.5), variance), np.array(TINY))
    return b.multiply(distance, b.apply(Power(-1.0), deviation))


@lowers("LpNormalization")
def lp_normalization(b: Builder, call: Call) -> Operand:
    """Lower a division by the norm along an axis; over boxes where that may be 0 there are no bounds."""
    x, p = call.variable(), call.get("p", 2)
    if p not in (1, 2):
        raise call.unsupported(f"p = {p}; 1 and 2 are supported")
    axes = (positive_axis(call.get("axis", -1), x.rank),)
    size = total(b, b.apply(Abs() if p == 1 else Power(2.0), x), axes)
    return b.multiply(x, b.apply(Power(-1.0 if p == 1 else -0.5), size))


@lowers("LRN")
def local_response_normalization(b: Builder, call: Call) -> Operand:
    """Lower a division by a power of the squares of neighbouring channels, summed by a banded matrix."""
    x, size = call.variable(), call.get("size")
    alpha, beta = float(call.get("alpha", np.float32(1e-4))), float(call.get("beta", np.float32(0.75)))
    count = x.shape[1]
    ahead = np.arange(count) - np.arange(count)[:, None]  # from the row's channel to the column's
    band = (ahead <= (size - 1) // 2) & (ahead >= -(size // 2))
    last = (0, *range(2, x.rank), 1)
    squares = b.transpose(b.apply(Power(2.0), x), last)
    sums = b.apply(Linear(tensor(band * (alpha / size)), roundings=1), squares)
    sums = b.translate(b.transpose(sums, np.argsort(last).tolist()), np.array(float(call.get("bias", 1.0))))
    return b.multiply(x, b.apply(Power(-beta), sums)) if beta else x
