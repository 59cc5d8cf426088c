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
from verifier.ops.linear import Linear
from verifier.ops.op import Op, Shape
from verifier.ops.select import Pad
from verifier.ops.shape import Reshape, Transpose, View

MOST_PRODUCTS = 2**32
"""Largest number of products that merging two matrices may cost (about a second)."""


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
    constant = first.constant
    shape = (1,) * len(behind) if constant.numel() == 1 else behind
    moved = constant if constant.numel() == 1 else constant.expand(before)
    return second, type(first)(moved.reshape(shape))


def linear_reshape(first: Linear, second: Reshape, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Reshape first, where the reshape keeps the last axis."""
    if not behind or behind[-1] != first.weight.shape[1] or math.prod(behind[:-1]) != math.prod(before[:-1]):
        return None
    del second
    return Reshape((*behind[:-1], before[-1])), first


def translate_translate(first: Translate, second: Translate, before: Shape, behind: Shape) -> tuple[Op, ...]:
    """Add the constants."""
    del before, behind
    return (Translate(first.constant.double() + second.constant.double()),)


def scale_scale(first: Scale, second: Scale, before: Shape, behind: Shape) -> tuple[Op, ...]:
    """Multiply the constants."""
    del before, behind
    return (Scale(first.constant.double() * second.constant.double()),)


def linear_translate(first: Linear, second: Translate, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Add to the bias."""
    del before
    row = along(second.constant, behind, -1)
    if row is None:
        return None
    return (Linear(first.weight, row if first.bias is None else first.bias.double() + row),)


def linear_scale(first: Linear, second: Scale, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Scale columns and bias."""
    del before
    row = along(second.constant, behind, -1)
    if row is None:
        return None
    return (Linear(first.weight.double() * row, None if first.bias is None else first.bias.double() * row),)


def translate_linear(first: Translate, second: Linear, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Move the constant through the matrix into the bias."""
    del behind
    row = along(first.constant, before, -1)
    if row is None:
        return None
    shift = row @ second.weight.double()
    return (Linear(second.weight, shift if second.bias is None else second.bias.double() + shift),)


def scale_linear(first: Scale, second: Linear, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Scale the rows of the matrix."""
    del behind
    row = along(first.constant, before, -1)
    return None if row is None else (Linear(row[:, None] * second.weight.double(), second.bias),)


def linear_linear(first: Linear, second: Linear, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Multiply the matrices, where the product is no larger than the two."""
    del before, behind
    (k, middle), n = first.weight.shape, second.weight.shape[1]
    if k * n > middle * (k + n) or k * middle * n > MOST_PRODUCTS:
        return None
    weight = second.weight.double()
    bias = second.bias
    if first.bias is not None:
        shift = first.bias.double() @ weight
        bias = shift if bias is None else shift + bias
    return (Linear(first.weight.double() @ weight, bias),)


def convolution_translate(first: Convolution, second: Translate, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Add to the bias, where each channel has one constant."""
    del before
    shift = along(second.constant, behind, 1)
    if shift is None:
        return None
    return (biased(first, first.weight, shift if first.bias is None else first.bias.double() + shift),)


def convolution_scale(first: Convolution, second: Scale, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Scale the weights and the bias of each channel."""
    del before
    factor = along(second.constant, behind, 1)
    if factor is None:
        return None
    weight = scaled(first, factor, outgoing=True)
    return (biased(first, weight, None if first.bias is None else first.bias.double() * factor),)


def scale_convolution(first: Scale, second: Convolution, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Scale the weights of each channel of the operand."""
    del behind
    factor = along(first.constant, before, 1)
    return None if factor is None else (biased(second, scaled(second, factor, outgoing=False), second.bias),)


def translate_conv(first: Translate, second: Conv, before: Shape, behind: Shape) -> tuple[Op, ...] | None:
    """Move the constant of each channel through the weights into the bias, where nothing is padded."""
    del behind
    shift = along(first.constant, before, 1)
    if shift is None or any(second.padding):
        return None
    weight = second.weight.double()
    sums = weight.reshape(second.groups, -1, weight.shape[1], math.prod(weight.shape[2:])).sum(-1)
    moved = torch.einsum("goi,gi->go", sums, shift.reshape(second.groups, -1)).reshape(-1)
    return (biased(second, weight, moved if second.bias is None else second.bias.double() + moved),)


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


def biased(op: Convolution, weight: Tensor, bias: Tensor | None) -> Convolution:
    """Return the convolution with other weights; both get one dtype."""
    if bias is not None and bias.dtype != weight.dtype:
        weight, bias = weight.double(), bias.double()
    return dataclasses.replace(op, weight=weight, bias=bias)


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
