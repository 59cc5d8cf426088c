"""Two affine operators in a row as one, or in the other order; see ``merge``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from verifier.ops.arithmetic import Neg, Scale, Translate
from verifier.ops.conv import Conv, Convolution, ConvTranspose
from verifier.ops.double_double import UNIT, DoubleDouble, ExactAffine
from verifier.ops.linear import Linear
from verifier.ops.op import Op, Shape
from verifier.ops.select import Pad
from verifier.ops.shape import Reshape, Transpose, View

MOST_PRODUCTS = 2**28
"""Largest number of products that merging two matrices may cost, each a dozen times (about a second)."""

NOTHING = 1e-280
"""What an entry may be wrong by besides."""


def merge(first: Op, second: Op, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Merge two operators in a row.

    Args:
        first: the operator that is applied first.
        second: the operator that is applied to its result.
        before: shape of the operand of ``first``.
        behind: shape of the result of ``second``.

    Returns:
        One operator that does the same, or two in an order that brings reshapes to the front, or None.
    """
    if isinstance(first, Neg):
        first = Scale(torch.full((1,) * len(before), -1.0, dtype=torch.float64))
    if isinstance(second, Neg):
        second = Scale(torch.full((1,) * len(behind), -1.0, dtype=torch.float64))
    rule = RULES.get((type(first), type(second)))
    return None if rule is None else rule(first, second, before, behind)


def merge_exactly(first: Op, second: Op, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Merge two operators in a row as ``merge`` does, but only where no constant is rounded."""
    rule = RULES.get((type(first), type(second)))
    if rule in EXACT or (
        rule in EXACT_WITHOUT_BIAS and isinstance(first, (Linear, Convolution)) and first.bias is None
    ):
        return merge(first, second, before, behind)
    return None


def reshape_reshape(first: Reshape, second: Reshape, before: Shape, behind: Shape) -> tuple[Op, ...]:
    """The second shape counts."""
    del first, before, behind
    return (second,)


def view_reshape(first: View, second: Reshape, before: Shape, behind: Shape) -> tuple[Op, ...]:
    """View in the second shape."""
    del before, behind
    return (View(first.start, second.shape),)


def transpose_transpose(first: Transpose, second: Transpose, before: Shape, behind: Shape) -> tuple[Op, ...]:
    """Compose the permutations."""
    del before
    perm = tuple(first.perm[axis] for axis in second.perm)
    return (Reshape(behind),) if perm == tuple(range(len(perm))) else (Transpose(perm),)


def constant_reshape(first: Scale | Translate, second: Reshape, before: Shape, behind: Shape) -> tuple[Op, ...]:
    """Reshape first, and the constant too."""

    def moved(constant: Tensor) -> Tensor:
        if constant.numel() == 1:
            return constant.reshape((1,) * len(behind))
        return constant.expand(before).reshape(behind)

    op = dataclasses.replace(first, constant=moved(first.constant))
    if isinstance(op, Translate) and op.constant_terms is not None:
        op = dataclasses.replace(op, constant_terms=moved(op.constant_terms))
    return second, op


def linear_reshape(first: Linear, second: Reshape, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Reshape first, where the reshape keeps the last axis."""
    if not behind or behind[-1] != first.weight.shape[1] or math.prod(behind[:-1]) != math.prod(before[:-1]):
        return None
    del second
    return Reshape((*behind[:-1], before[-1])), first


def translate_translate(first: Translate, second: Translate, before: Shape, behind: Shape) -> tuple[Op, ...]:
    """Add the constants."""
    del before, behind
    terms = constant_terms(first) + constant_terms(second)
    return (Translate(first.constant.double() + second.constant.double(), terms, rounded(first, second)),)


def scale_scale(first: Scale, second: Scale, before: Shape, behind: Shape) -> tuple[Op, ...]:
    """Multiply the constants."""
    del before, behind
    return (Scale(first.constant.double() * second.constant.double(), rounded(first, second)),)


def linear_translate(first: Linear, second: Translate, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Add to the bias."""
    del before
    row, terms = along(second.constant, behind, -1), along(constant_terms(second), behind, -1)
    return (
        None
        if row is None or terms is None
        else (
            with_bias(first, first.weight, added(first, row, terms), rounded(first, second, exact=first.bias is None)),
        )
    )


def linear_scale(first: Linear, second: Scale, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Scale columns and bias."""
    del before
    row = along(second.constant, behind, -1)
    return (
        None
        if row is None
        else (with_bias(first, first.weight.double() * row, times(first, row), rounded(first, second)),)
    )


def translate_linear(first: Translate, second: Linear, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Move the constant through the matrix into the bias."""
    del behind
    row, terms = along(first.constant, before, -1), along(constant_terms(first), before, -1)
    if row is None or terms is None:
        return None
    weight = second.weight.double()
    return (
        with_bias(second, second.weight, added(second, row @ weight, terms @ weight.abs()), rounded(first, second)),
    )


def scale_linear(first: Scale, second: Linear, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Scale the rows of the matrix."""
    del behind
    row = along(first.constant, before, -1)
    return (
        None
        if row is None
        else (
            dataclasses.replace(second, weight=row[:, None] * second.weight.double(), roundings=rounded(first, second)),
        )
    )


def linear_linear(first: Linear, second: Linear, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Multiply the matrices, where the product is no larger than the two, and every entry comes out well.

    An entry is a sum, which may cancel: it has to be known to one rounding of its own size, from exact factors.
    """
    del before, behind
    (k, middle), n = first.weight.shape, second.weight.shape[1]
    if k * n > middle * (k + n) or k * middle * n > MOST_PRODUCTS or first.roundings or second.roundings:
        return None
    rows = first.weight.double() if first.bias is None else torch.cat([first.weight, first.bias[None]]).double()
    other = second.weight.double()
    product, lost = ExactAffine.of(Linear(other), [(middle,)], (n,))([DoubleDouble.of(rows)])
    if (product.low.abs() + lost > UNIT * product.high.abs() + NOTHING)[:k].any():
        return None
    bias: Bias = (second.bias, second.bias_terms)
    if first.bias is not None:
        bias = added(second, product.high[k], bias_terms(first, first.bias) @ other.abs())
    exact = not product.low.any() and bool((lost <= NOTHING).all()) and None in (first.bias, second.bias)
    return (with_bias(second, product.high[:k], bias, rounded(first, second, exact=exact)),)


def convolution_translate(first: Convolution, second: Translate, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Add to the bias, where each channel has one constant."""
    del before
    shift, terms = along(second.constant, behind, 1), along(constant_terms(second), behind, 1)
    return (
        None
        if shift is None or terms is None
        else (
            with_bias(
                first, first.weight, added(first, shift, terms), rounded(first, second, exact=first.bias is None)
            ),
        )
    )


def convolution_scale(first: Convolution, second: Scale, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Scale the weights and the bias of each channel."""
    del before
    factor = along(second.constant, behind, 1)
    if factor is None:
        return None
    return (with_bias(first, scaled(first, factor, outgoing=True), times(first, factor), rounded(first, second)),)


def scale_convolution(first: Scale, second: Convolution, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Scale the weights of each channel of the operand."""
    del behind
    factor = along(first.constant, before, 1)
    return (
        None
        if factor is None
        else (
            dataclasses.replace(
                second, weight=scaled(second, factor, outgoing=False), roundings=rounded(first, second)
            ),
        )
    )


def translate_conv(first: Translate, second: Conv, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Move the constant of each channel through the weights into the bias, where nothing is padded."""
    del behind
    shift, terms = along(first.constant, before, 1), along(constant_terms(first), before, 1)
    if shift is None or terms is None or any(second.padding):
        return None
    weight = second.weight.double().reshape(second.groups, -1, *second.weight.shape[1:]).flatten(3)

    def through(weight: Tensor, row: Tensor) -> Tensor:
        return torch.einsum("goik,gi->go", weight, row.reshape(second.groups, -1)).reshape(-1)

    moved = added(second, through(weight, shift), through(weight.abs(), terms))
    return (with_bias(second, second.weight, moved, rounded(first, second)),)


def pad_conv(first: Pad, second: Conv, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Let the convolution pad, where both sides get the same."""
    del before, behind
    (front, back), channels, *space = first.pads
    if (front, back) != (0, 0) or channels != (0, 0) or any(pad != (pad[0], pad[0]) or pad[0] < 0 for pad in space):
        return None
    padding = tuple(own + pad[0] for own, pad in zip(second.padding, space, strict=True))
    return (dataclasses.replace(second, padding=padding),)


def along(constant: Tensor, shape: Shape, axis: int) -> Tensor | None:
    """Return a constant that varies along one axis alone, one entry for each of its places; None if it varies more."""
    size = shape[axis]
    if constant.numel() == 1:
        return constant.double().reshape(1).expand(size).contiguous()
    return constant.double().reshape(-1) if constant.numel() == constant.shape[axis] == size else None


Bias = tuple[Tensor | None, Tensor | None]
"""A bias, and the absolute terms that it was summed from."""


def constant_terms(op: Translate) -> Tensor:
    """Return the absolute terms of a translation's constant."""
    return op.constant.double().abs() if op.constant_terms is None else op.constant_terms


def bias_terms(op: Linear | Convolution, bias: Tensor) -> Tensor:
    """Return the absolute terms of an operator's bias."""
    return bias.double().abs() if op.bias_terms is None else op.bias_terms


def added(op: Linear | Convolution, shift: Tensor, terms: Tensor) -> Bias:
    """Add to an operator's bias."""
    return (shift, terms) if op.bias is None else (op.bias.double() + shift, bias_terms(op, op.bias) + terms)


def times(op: Linear | Convolution, factor: Tensor) -> Bias:
    """Multiply an operator's bias."""
    return (None, None) if op.bias is None else (op.bias.double() * factor, bias_terms(op, op.bias) * factor.abs())


def rounded(first: Any, second: Any, *, exact: bool = False) -> int:
    """Count the roundings of merged constants: those of both, and one or two more unless this merge is exact."""
    count: int = first.roundings + second.roundings
    return count if exact else count + 2


def with_bias(op: Linear | Convolution, weight: Tensor, bias: Bias, roundings: int) -> Op:
    """Return the operator with other constants; all get one dtype."""
    if bias[0] is not None and bias[0].dtype != weight.dtype:
        weight = weight.double()
    return dataclasses.replace(op, weight=weight, bias=bias[0], bias_terms=bias[1], roundings=roundings)


def scaled(op: Convolution, factor: Tensor, *, outgoing: bool) -> Tensor:
    """Return the weights with each outgoing or incoming channel scaled."""
    weight, groups = op.weight.double(), op.groups
    ones = [1] * len(op.stride)
    if outgoing is not isinstance(op, ConvTranspose):
        return weight * factor.reshape(-1, 1, *ones)
    grouped = weight.reshape(groups, -1, *weight.shape[1:]) * factor.reshape(groups, 1, -1, *ones)
    return grouped.reshape(weight.shape)


RULES: dict[tuple[type[Op], type[Op]], Callable[[Any, Any, Shape, Shape], tuple[Op, ...] | None]] = {
    (Reshape, Reshape): reshape_reshape,
    (View, Reshape): view_reshape,
    (Transpose, Transpose): transpose_transpose,
    (Scale, Reshape): constant_reshape,
    (Translate, Reshape): constant_reshape,
    (Linear, Reshape): linear_reshape,
    (Translate, Translate): translate_translate,
    (Scale, Scale): scale_scale,
    (Linear, Translate): linear_translate,
    (Linear, Scale): linear_scale,
    (Translate, Linear): translate_linear,
    (Scale, Linear): scale_linear,
    (Linear, Linear): linear_linear,
    (Conv, Translate): convolution_translate,
    (Conv, Scale): convolution_scale,
    (ConvTranspose, Translate): convolution_translate,
    (ConvTranspose, Scale): convolution_scale,
    (Scale, Conv): scale_convolution,
    (Scale, ConvTranspose): scale_convolution,
    (Translate, Conv): translate_conv,
    (Pad, Conv): pad_conv,
}
"""How two neighbours merge, by their types."""

EXACT = {reshape_reshape, view_reshape, transpose_transpose, constant_reshape, linear_reshape, pad_conv}
EXACT_WITHOUT_BIAS = {linear_translate, convolution_translate}
"""Rules that round no constant."""
