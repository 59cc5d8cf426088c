"""Operands that would make another network of the file, or none: they are refused."""

from __future__ import annotations

import numpy as np

from verifier.errors import ModelError
from verifier.graph.lower.builder import Call, Variable
from verifier.graph.onnx_file import Array, all_finite

ARITHMETIC = {"Abs", "Add", "Cast", "CumSum", "Div", "Mul", "Neg", "ReduceMean", "ReduceSum", "Sub", "Sum"}
TRUTH = {"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"}
EXTREMES = {"ArgMax", "ArgMin", "Clip", "Max", "Min", "ReduceMax", "ReduceMin", "Relu", "TopK"}
ROUNDING = {"Ceil", "Floor", "Round", "Sign"}
SHAPES = {"DepthToSpace", "Flatten", "Identity", "Reshape", "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze"}
PIECES = {"Concat", "Expand", "Gather", "GatherElements", "GatherND", "OneHot", "Pad", "ScatterElements", "ScatterND"}
PIECES |= {"Slice", "Split", "Tile", "Trilu", "Where"}

MAY_BE_WHOLE = ARITHMETIC | TRUTH | EXTREMES | ROUNDING | SHAPES | PIECES
"""Operators that give whole numbers for whole numbers, or say themselves what they do; others round their results."""

MAY_BE_INFINITE = {"Clip"}
"""Operators whose constants may be infinite: ends that mean no end."""


def check_whole(call: Call) -> None:
    """Refuse whole numbers where the results of an operator would be rounded to whole numbers."""
    kinds = {value.kind if isinstance(value, Variable) else "f" for value in call.args if value is not None}
    base = call.arg(0)
    if isinstance(base, np.ndarray) and base.dtype.kind in "iu" and call.proto.op_type == "Pow":
        kinds.add("i")
    if kinds & {"i", "b"} and call.proto.op_type not in MAY_BE_WHOLE:
        raise call.unsupported("an operand of whole numbers or truth values; cast it to a floating type first")


def check_finite(call: Call, finite: set[str]) -> None:
    """Refuse NaN and infinite weights."""
    if call.proto.op_type in MAY_BE_INFINITE:
        return
    for name, value in zip(call.proto.input, call.args, strict=True):
        if name not in finite and value is not None and not isinstance(value, Variable):
            if not all_finite(value):
                raise ModelError(f"constant {name!r} holds NaN or infinite values")
            finite.add(name)


def check_rounding(call: Call, value: Array) -> None:
    """Refuse to round a constant to a whole number where single precision gives another one."""
    jump = 0.5 if call.proto.op_type == "Round" else 0.0
    single = value.astype(np.float32).astype(np.float64)
    for rounded in (np.trunc, np.floor, np.ceil):
        if (np.isfinite(value) & (rounded(value - jump) != rounded(single - jump))).any():
            raise call.unsupported("a constant whose precision decides to which whole number it is rounded")


def check_range(call: Call, value: Array, limits: np.iinfo) -> None:
    """Refuse to make whole numbers of constants that do not fit: what becomes of them depends on the processor."""
    if value.size and not (np.trunc(value) >= limits.min).all() & (np.trunc(value) < limits.max + 1.0).all():
        raise call.unsupported(f"a constant that does not fit into {limits.dtype}")
