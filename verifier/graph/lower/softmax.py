"""Softmax and its logarithm, spelled out in pieces that can be bounded and split."""

from __future__ import annotations

import math

import numpy as np
import torch

from verifier.graph.lower.builder import Builder, Call, Operand, Variable, lowers, positive_axis
from verifier.ops.curves import Exp, Log, Power, Sigmoid, Softplus
from verifier.ops.reduce import ReduceMean, ReduceSum
from verifier.ops.select import Gather

PAIRS = 1 << 12
"""Differences of two operands up to which a softmax is written in them."""


@lowers("Softmax", "LogSoftmax")
def softmax(b: Builder, call: Call) -> Operand:
    """Lower to one of two forms: in differences of the operands while these are few, else with one sum for all.

    ``1 / (1 + sum_{j != i} exp(x_j - x_i))`` keeps what each result owes to common changes of the operands, and has no
    product of variables, but as many exponentials as there are pairs; ``exp(x_i) / sum_j exp(x_j)`` has few.
    """
    x, logarithm = call.variable(), call.proto.op_type == "LogSoftmax"
    axis = positive_axis(call.get("axis", 1 if call.opset < 13 else -1), x.rank)
    if call.opset < 13:  # all axes from this one on are one
        rows = b.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
        return b.reshape(along_last(b, rows, logarithm), x.shape)
    order = [*(k for k in range(x.rank) if k != axis), axis]
    back = [order.index(k) for k in range(x.rank)]
    return b.transpose(along_last(b, b.transpose(x, order), logarithm), back)


def along_last(b: Builder, x: Variable, logarithm: bool) -> Variable:
    """Lower a softmax, or its logarithm, over the last axis."""
    count = x.shape[-1]
    if count == 1:
        return b.translate(b.scale(x, 0.0), np.array(0.0 if logarithm else 1.0))
    if count == 2:
        behind = b.subtract(x, swapped(b, x))
        return b.scale(b.apply(Softplus(), b.scale(behind, -1.0)), -1.0) if logarithm else b.apply(Sigmoid(), behind)
    if math.prod(x.shape) * (count - 1) <= PAIRS:
        total = b.translate(rivals(b, x), np.array(1.0))
        return b.scale(b.apply(Log(), total), -1.0) if logarithm else b.apply(Power(-1.0), total)
    centred = b.subtract(x, b.expand(b.apply(ReduceMean((x.rank - 1,), keep=True), x), x.shape))
    powers = b.apply(Exp(), centred)
    total = b.apply(ReduceSum((x.rank - 1,), keep=True), powers)
    if logarithm:
        return b.subtract(centred, b.apply(Log(), total))
    return b.multiply(powers, b.apply(Power(-1.0), total))


def swapped(b: Builder, x: Variable) -> Variable:
    """Swap the two elements of the last axis."""
    return b.apply(Gather(torch.tensor([1, 0]), x.rank - 1), x)


def rivals(b: Builder, x: Variable) -> Variable:
    """Return ``sum_{j != i} exp(x_j - x_i)`` for each element i of the last axis."""
    count, axis = x.shape[-1], x.rank - 1
    shape = (*x.shape, count - 1)
    others = torch.tensor([j for i in range(count) for j in range(count) if j != i])
    theirs = b.reshape(b.apply(Gather(others, axis), x), shape)
    own = b.expand(b.reshape(x, (*x.shape, 1)), shape)
    return b.apply(ReduceSum((axis + 1,), keep=False), b.apply(Exp(), b.subtract(theirs, own)))
