"""Sums of powers, logarithms of sums, and products along axes."""

from __future__ import annotations

from verifier.graph.lower.arithmetic import along_axes, total
from verifier.graph.lower.builder import Builder, Call, Operand, Variable, lowers
from verifier.graph.lower.piecewise import halve
from verifier.ops.curves import Abs, Exp, Log, Power
from verifier.ops.op import Op

AROUND_A_SUM: dict[str, tuple[Op | None, Op | None]] = {
    "ReduceL1": (Abs(), None),
    "ReduceL2": (Power(2.0), Power(0.5)),
    "ReduceSumSquare": (Power(2.0), None),
    "ReduceLogSum": (None, Log()),
    "ReduceLogSumExp": (Exp(), Log()),
}
"""What is done before summing, and what behind."""


@lowers(*AROUND_A_SUM)
def reduce_curved(b: Builder, call: Call) -> Operand:
    """Lower a sum between two curves."""
    x, axes = call.variable(), along_axes(call)
    before, behind = AROUND_A_SUM[call.proto.op_type]
    if not axes and x.rank:
        raise call.unsupported("no axes (noop_with_empty_axes); reductions along some are supported")
    y = x if before is None else b.apply(before, x)
    y = total(b, y, axes, keep=bool(call.get("keepdims", 1)))
    return y if behind is None else b.apply(behind, y)


@lowers("ReduceProd")
def reduce_product(b: Builder, call: Call) -> Operand:
    """Lower a product along axes, by halving each."""
    x, axes = call.variable(), along_axes(call)

    def product(b: Builder, x: Operand, y: Operand) -> Variable:
        return b.multiply(x, y)

    for axis in axes:
        x = halve(b, x, axis, product)
    if call.get("keepdims", 1):
        return x
    return b.reshape(x, [size for axis, size in enumerate(x.shape) if axis not in axes])
