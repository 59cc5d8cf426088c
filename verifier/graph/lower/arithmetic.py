"""Sums, products, divisions, matrix products, and batch normalisation."""

from __future__ import annotations

import functools

import numpy as np

from verifier.graph.lower.builder import Builder, Call, Operand, Variable, double, lift, lowers, positive_axis, tensor
from verifier.graph.onnx_file import Array
from verifier.ops.arithmetic import Neg
from verifier.ops.curves import Power
from verifier.ops.linear import Linear, MatMulConstant
from verifier.ops.product import Product
from verifier.ops.reduce import ReduceSum


@lowers("Add")
def add(b: Builder, call: Call) -> Operand:
    """Lower a sum."""
    return b.add(call.operand(0), call.operand(1))


@lowers("Sub")
def sub(b: Builder, call: Call) -> Operand:
    """Lower a difference."""
    return b.subtract(call.operand(0), call.operand(1))


@lowers("Neg")
def neg(b: Builder, call: Call) -> Operand:
    """Lower a negation."""
    return b.apply(Neg(), call.variable())


@lowers("Mul")
def mul(b: Builder, call: Call) -> Operand:
    """Lower a product."""
    return b.multiply(call.operand(0), call.operand(1))


@lowers("Div")
def div(b: Builder, call: Call) -> Operand:
    """Lower a division: a product with the reciprocal, of a constant in float64."""
    dividend, divisor = call.operand(0), call.operand(1)
    if any(isinstance(side, Variable) and side.kind != "f" for side in (dividend, divisor)):
        raise call.unsupported("a division of whole numbers that depend on the input; cast them to a floating type")
    if isinstance(divisor, Variable):
        return b.multiply(dividend, b.apply(Power(-1.0), divisor))
    if not divisor.all():
        raise call.unsupported("divides by zero")
    return b.scale(call.variable(), 1 / double(divisor))


@lowers("Sum")
def sum_of(b: Builder, call: Call) -> Operand:
    """Lower a sum of any number of operands."""
    return functools.reduce(b.add, variables_first(call))


@lowers("Mean")
def mean_of(b: Builder, call: Call) -> Operand:
    """Lower a mean of any number of operands."""
    total = functools.reduce(b.add, variables_first(call))
    assert isinstance(total, Variable)
    return b.scale(total, 1 / len(call.args))


def variables_first(call: Call) -> list[Operand]:
    """Return all operands, those that depend on the input first."""
    given = [call.operand(k) for k in range(len(call.args))]
    return sorted(given, key=lambda value: not isinstance(value, Variable))


def along_axes(call: Call) -> tuple[int, ...]:
    """Return the axes that a reduction is along, in order: an attribute in old opsets, operand 1 in new ones."""
    axes, rank = call.ints("axes", 1), call.variable().rank
    if not axes:
        return () if call.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(positive_axis(axis, rank) for axis in axes))


def total(b: Builder, x: Variable, axes: tuple[int, ...], *, keep: bool = True) -> Variable:
    """Sum along axes."""
    return b.apply(ReduceSum(axes, keep=keep), x)


@lowers("MatMul")
def matmul(b: Builder, call: Call) -> Operand:
    """Lower a matrix product, in numpy's meaning."""
    x, y = call.operand(0), call.operand(1)
    if isinstance(x, Variable) and isinstance(y, Variable):
        return between(b, x, y)
    if isinstance(x, Variable):
        return times(b, x, call.constant(1))
    return left_times(b, call.constant(0), call.variable(1))


def between(b: Builder, x: Variable, y: Variable) -> Variable:
    """Multiply two variable matrices, or stacks of them: every product of two elements, then sums."""
    if x.rank == 1:
        z = between(b, b.reshape(x, (1, *x.shape)), y)
        return b.reshape(z, (*z.shape[:-2], *z.shape[-1:]))
    if y.rank == 1:
        z = between(b, x, b.reshape(y, (*y.shape, 1)))
        return b.reshape(z, z.shape[:-1])
    stack = tuple(np.broadcast_shapes(x.shape[:-2], y.shape[:-2]))
    shape = (*stack, *x.shape[-2:], y.shape[-1])
    left = b.expand(b.reshape(x, (*x.shape, 1)), shape)
    right = b.expand(b.reshape(y, (*y.shape[:-2], 1, *y.shape[-2:])), shape)
    return b.apply(ReduceSum((len(shape) - 2,), keep=False), b.apply(Product(), left, right))


def times(b: Builder, x: Variable, weight: Array) -> Variable:
    """Multiply from the right."""
    if weight.ndim == 1:
        y = times(b, x, weight[:, None])
        return b.reshape(y, y.shape[:-1])
    if weight.ndim == 2:
        return b.apply(Linear(tensor(weight)), x)
    if x.rank == 1:
        y = times(b, b.reshape(x, (1, *x.shape)), weight)
        return b.reshape(y, (*y.shape[:-2], y.shape[-1]))
    rank = max(x.rank, weight.ndim)
    x = b.reshape(x, (1,) * (rank - x.rank) + x.shape)
    if weight.size == weight.shape[-1] * weight.shape[-2]:
        return b.apply(Linear(tensor(weight.reshape(weight.shape[-2:]))), x)
    return b.apply(MatMulConstant(tensor(lift(weight, rank))), x)


def left_times(b: Builder, weight: Array, x: Variable) -> Variable:
    """Multiply from the left."""
    if weight.ndim == 1:
        y = left_times(b, weight[None], x)
        return b.reshape(y, (*y.shape[:-2], y.shape[-1]) if x.rank > 1 else y.shape[:-1])
    if x.rank == 1:
        if weight.ndim == 2:
            return b.apply(Linear(tensor(weight.T)), x)
        y = left_times(b, weight, b.reshape(x, (*x.shape, 1)))
        return b.reshape(y, y.shape[:-1])
    if weight.ndim == 2:
        swap = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
        return b.transpose(b.apply(Linear(tensor(weight.T)), b.transpose(x, swap)), swap)
    rank = max(x.rank, weight.ndim)
    x = b.reshape(x, (1,) * (rank - x.rank) + x.shape)
    return b.apply(MatMulConstant(tensor(lift(weight, rank)), left=True), x)


@lowers("Gemm")
def gemm(b: Builder, call: Call) -> Operand:
    """Lower ``alpha * A' @ B' + beta * C``."""
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    first, second, third = call.operand(0), call.operand(1), call.arg(2)
    if isinstance(first, Variable) and isinstance(second, Variable):
        left = b.transpose(first, (1, 0)) if call.get("transA", 0) else first
        right = b.transpose(second, (1, 0)) if call.get("transB", 0) else second
        y = b.scale(between(b, left, right), alpha)
    elif isinstance(first, Variable):
        weight = oriented(call.constant(1), call.get("transB", 0), alpha)
        x = b.transpose(first, (1, 0)) if call.get("transA", 0) else first
        if third is not None and not isinstance(third, Variable) and third.size in (1, *third.shape[-1:]):
            bias = np.broadcast_to(third.reshape(-1), weight.shape[1:])
            return b.apply(Linear(tensor(weight), tensor(bias if beta == 1 else beta * double(bias))), x)
        y = times(b, x, weight)
    else:
        weight = oriented(call.constant(0), call.get("transA", 0), alpha)
        x = call.variable(1)
        y = left_times(b, weight, b.transpose(x, (1, 0)) if call.get("transB", 0) else x)
    if third is None:
        return y
    if isinstance(third, Variable):
        return b.add(y, b.scale(third, beta))
    return b.translate(y, third if beta == 1 else beta * double(third))


def oriented(weight: Array, transposed: int, factor: float) -> Array:
    """Return a matrix, transposed and scaled where asked, without a copy where there is nothing to compute."""
    weight = weight.T if transposed else weight
    return weight if factor == 1 else factor * double(weight)


@lowers("BatchNormalization")
def batch_normalization(b: Builder, call: Call) -> Operand:
    """Lower batch normalisation, at inference, to a scale and a translation of each channel."""
    if call.get("training_mode", 0):
        raise call.unsupported("training mode; inference is supported")
    if call.get("spatial", 1) != 1:
        raise call.unsupported("statistics for each position (spatial = 0); one for each channel is supported")
    scale, shift, mean, variance = (double(call.constant(k)) for k in range(1, 5))
    factor = scale / np.sqrt(variance + float(call.get("epsilon", np.float32(1e-5))))
    x = call.variable()
    channel = (-1,) + (1,) * (x.rank - 2)
    return b.translate(b.scale(x, factor.reshape(channel)), (shift - mean * factor).reshape(channel))
