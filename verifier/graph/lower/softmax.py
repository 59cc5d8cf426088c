"""Softmax and its logarithm, spelled out in pieces that can be bounded and split.

    exp(x_i) / sum_j exp(x_j) = sigmoid(x_i - log(sum_{j != i} exp(x_j)))

has three curves for each element, no product of variables, and each operand once, so that intervals are exact.
For heads of 4, 8, 16 and 64 elements whose operands depend on six inputs, backward bounds of random sums of the results
are so many times as wide as what these attain, where the operands vary by about 0.3 and by about 1:

    form                                          0.3                       1
    this one                                      1.5  1.5  1.6  1.7        2.1  2.1  2.6  3.7
    1 / (1 + sum_{j != i} exp(x_j - x_i))         1.7  2.0  2.1  3.0        2.3  3.0  4.0  6.7
    exp(x_i) * (1 / sum_j exp(x_j))               1.8  1.7  1.8  2.0        5.6  3.5  3.6  4.7
    one rule for all, by planes (LSE)             1.8  2.0  2.2  3.1        2.5  3.2  4.4  7.7

Where they vary by 3, the second form is up to a fifth tighter with few elements, and the third one useless. Planes for
all of it, with its operands' boxes alone, cannot use what is known of the differences.
Source of the planes: Wei et al., "Convex bounds on the softmax function", AISTATS 2023 (arXiv:2303.01713).
"""

from __future__ import annotations

import math

import numpy as np
import torch

from verifier.graph.lower.builder import Builder, Call, Operand, Variable, lowers, positive_axis
from verifier.ops.curves import Exp, Log, Relu, Sigmoid, Softplus
from verifier.ops.reduce import ReduceMean, SumOfOthers
from verifier.ops.select import Gather

FAR = 32.0
"""Means of the operands beyond this are brought to it, lest exponentials overflow (in float32 at 88).

Subtracting the mean itself would do, too, but widens the bounds of operands that do not vary together.
"""


@lowers("Softmax", "LogSoftmax")
def softmax(b: Builder, call: Call) -> Operand:
    """Lower to exponentials, a logarithm for each element, and a sigmoid (or its logarithm)."""
    x, logarithm = call.variable(), call.proto.op_type == "LogSoftmax"
    axis = positive_axis(call.get("axis", 1 if call.opset < 13 else -1), x.rank)
    if call.opset < 13:  # all axes from this one on are one
        rows = b.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
        return b.reshape(along_last(b, rows, logarithm), x.shape)
    order = [*(k for k in range(x.rank) if k != axis), axis]
    back = [order.index(k) for k in range(x.rank)]
    return b.transpose(along_last(b, b.transpose(x, order), logarithm), back)


def along_last(b: Builder, x: Variable, logarithm: bool) -> Variable:
    """Lower a softmax, or its logarithm, over the last axis, by how far each element is ahead of the others."""
    count, axis = x.shape[-1], x.rank - 1
    if count == 1:
        return b.translate(b.scale(x, 0.0), np.array(0.0 if logarithm else 1.0))
    if count == 2:
        ahead = b.subtract(x, b.apply(Gather(torch.tensor([1, 0]), axis), x))
    else:
        x = b.subtract(x, b.expand(excess(b, b.apply(ReduceMean((axis,), keep=True), x)), x.shape))
        ahead = b.subtract(x, b.apply(Log(), b.apply(SumOfOthers(axis), b.apply(Exp(), x))))
    if logarithm:
        return b.scale(b.apply(Softplus(), b.scale(ahead, -1.0)), -1.0)
    return b.apply(Sigmoid(), ahead)


def excess(b: Builder, x: Variable) -> Variable:
    """Return how far values lie beyond ``FAR`` on either side, and 0 between."""
    above = b.apply(Relu(), b.translate(x, np.array(-FAR)))
    below = b.apply(Relu(), b.translate(b.scale(x, -1.0), np.array(-FAR)))
    return b.subtract(above, below)
