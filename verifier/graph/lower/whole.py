"""Which tensors hold whole numbers only, and in what range: comparisons of such ones can be decided at halves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from verifier.ops.arithmetic import Add, Neg, Scale, Sub, Translate
from verifier.ops.curves import Abs, Power, Relu, Sign, Step, Within
from verifier.ops.curves.stairs import Stairs
from verifier.ops.op import Affine, Op, Shape
from verifier.ops.product import Product
from verifier.ops.reduce import CumSum, ReduceMean, ReduceSum
from verifier.ops.select import Concat, Pad

Span = tuple[float, float]
"""Least and greatest value; either may be infinite."""

ANY: Span = (-math.inf, math.inf)
LARGEST = 2.0**40
"""Constants up to this have quarters and eighths between them in float64, with room for sums of them."""


def common_kind(kinds: Iterable[str]) -> str:
    """Return the kind of a result computed from operands of these kinds."""
    found = set(kinds)
    return next((kind for kind in "fib" if kind in found), "f")


def span_of(op: Op, spans: Sequence[Span | None], shapes: Sequence[Shape], out: Shape) -> Span | None:
    """Return a range of the whole numbers that an operator makes of operands; None where they need not be whole."""
    if isinstance(op, Stairs):
        return ANY
    if isinstance(op, Sign):
        return (-1.0, 1.0)
    if isinstance(op, Step):
        return (0.0, 1.0)
    known = [span for span in spans if span is not None]
    if not known or len(known) < len(spans):
        return None
    return _checked(_combined(op, known, shapes, out))


def _combined(op: Op, spans: list[Span], shapes: Sequence[Shape], out: Shape) -> Span | None:
    """Return the range of the result for operands that are all whole."""
    low, high = spans[0]
    found: Span | None = None
    if isinstance(op, Affine) and op.copies:
        found = spans[0]
    elif isinstance(op, (Concat, Pad)):
        found = (min(0.0, *(span[0] for span in spans)), max(0.0, *(span[1] for span in spans)))
        if isinstance(op, Concat) and not any(op.gaps):
            found = (min(span[0] for span in spans), max(span[1] for span in spans))
    elif isinstance(op, Add):
        found = (low + spans[1][0], high + spans[1][1])
    elif isinstance(op, Sub):
        found = (low - spans[1][1], high - spans[1][0])
    elif isinstance(op, Neg):
        found = (-high, -low)
    elif isinstance(op, Translate):
        found = _if_whole(op.constant, lambda least, most: (low + least, high + most))
    elif isinstance(op, Scale):
        found = _if_whole(op.constant, lambda least, most: _products((low, high), (least, most)))
    elif isinstance(op, Product):
        found = _products(*spans)
    elif isinstance(op, Abs) or (isinstance(op, Power) and op.exponent == 2):
        size = max(abs(low), abs(high))
        found = (0.0, size if isinstance(op, Abs) else size * size)
    elif isinstance(op, CumSum):
        count = shapes[0][op.axis]
        found = (min(count * low, 0.0), max(count * high, 0.0)) if count else (0.0, 0.0)
    elif isinstance(op, Relu):
        found = (max(low, 0.0), max(high, 0.0))
    elif isinstance(op, Within):
        found = (max(low, op.low), min(high, op.high))
    elif isinstance(op, ReduceSum) and not isinstance(op, ReduceMean):
        count = math.prod(shapes[0]) // max(math.prod(out), 1)
        found = (count * low, count * high) if count else (0.0, 0.0)
    return found


def _if_whole(constant: Tensor, combine: object) -> Span | None:
    if not constant.numel():
        return (0.0, 0.0)
    if not bool((constant == torch.round(constant)).all()):
        return None
    assert callable(combine)
    found: Span = combine(float(constant.min()), float(constant.max()))
    return found


def _products(one: Span, other: Span) -> Span:
    corners = [0.0 if a == 0 or b == 0 else a * b for a in one for b in other]
    return min(corners), max(corners)


def _checked(span: Span | None) -> Span | None:
    """Drop ranges that make no sense; finite ends beyond the largest number count as infinite."""
    if span is None or math.isnan(span[0]) or math.isnan(span[1]):
        return None
    low, high = span
    return (low if abs(low) <= LARGEST else -math.inf, high if abs(high) <= LARGEST else math.inf)
