"""Numbers of about 106 bits: unevaluated sums of two float64, with errors that are bounded as they occur.

Elementwise steps follow Joldes, Muller and Popescu, "Tight and rigorous error bounds for basic building blocks of
double-word arithmetic" (ACM TOMS 44, 2017). Affine maps cut operands and coefficients into pieces of so few bits that
every product and every sum of the pieces is exact in float64 (Ozaki et al., "Error-free transformations of matrix
multiplication by using fast routines of matrix multiplication", Numerical Algorithms 59, 2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from verifier.ops.linear import Linear, Sparse
from verifier.ops.op import Affine, Shape
from verifier.sets import flat

UNIT = 2.0**-53
"""Unit roundoff of float64."""

PIECES = 4
"""Pieces of about 20 bits that are multiplied exactly; the rest of a number is multiplied in plain float64."""

SLACK = 1 + 1e-6
"""Covers the rounding of the error terms themselves, which are sums of fewer than 1e8 positive numbers."""

FEW = 4
"""Points up to which it does not pay to look for elements that are the same at all of them."""

BLOCK = 1 << 17
"""Numbers that a step works on at a time."""

TINY = 1e-290
"""Covers what a step loses by numbers too small for float64."""


@dataclass(frozen=True, slots=True, eq=False)
class DoubleDouble:
    """``high + low``, with ``high`` the float64 nearest to it; both of one shape, axis 0 counts points."""

    high: Tensor
    low: Tensor

    @staticmethod
    def of(values: Tensor) -> DoubleDouble:
        """Convert float64 numbers, exactly."""
        return DoubleDouble(values, torch.zeros_like(values))

    def take(self, index: Tensor | slice) -> DoubleDouble:
        """Select points."""
        return DoubleDouble(self.high[index], self.low[index])

    def reshape(self, *shape: int) -> DoubleDouble:
        """Give the axes behind that of the points another shape."""
        count = len(self.high)
        return DoubleDouble(self.high.reshape(count, *shape), self.low.reshape(count, *shape))

    def moving(self) -> Tensor:
        """Return the flat indices of the elements that are not the same at all points."""
        high, low = flat(self.high), flat(self.low)
        return ((high != high[:1]) | (low != low[:1])).any(0).nonzero().flatten()

    def columns(self, index: Tensor) -> DoubleDouble:
        """Select along axis 1."""
        return DoubleDouble(self.high[:, index], self.low[:, index])

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.high, -self.low)

    def __add__(self, other: DoubleDouble) -> DoubleDouble:
        """Add, with a relative error of at most 4 units squared (Joldes et al., algorithm 6)."""
        high, rest = two_sum(self.high, other.high)
        low, last = two_sum(self.low, other.low)
        high, rest = fast_two_sum(high, rest + low)
        return DoubleDouble(*fast_two_sum(high, rest + last))

    def __mul__(self, other: DoubleDouble) -> DoubleDouble:
        """Multiply, with a relative error of at most 7 units squared (Joldes et al., algorithm 10)."""
        high, rest = two_product(self.high, other.high)
        return DoubleDouble(*fast_two_sum(high, rest + (self.high * other.low + self.low * other.high)))

    def __truediv__(self, other: DoubleDouble) -> DoubleDouble:
        """Divide approximately, to about 100 bits."""
        first = self.high / other.high
        rest = self + -(other * DoubleDouble.of(first))
        return DoubleDouble(*fast_two_sum(first, rest.high / other.high))


def blockwise(
    step: Callable[[list[DoubleDouble]], tuple[DoubleDouble, Tensor]], operands: list[DoubleDouble], width: int
) -> tuple[DoubleDouble, Tensor]:
    """Apply a step to a few points at a time, ``width`` numbers each, so that the processor's cache holds them."""
    length = max(1, BLOCK // max(1, width))
    starts = range(0, len(operands[0].high), length)
    values, errors = zip(*(step([item.take(slice(k, k + length)) for item in operands]) for k in starts), strict=True)
    joined = DoubleDouble(torch.cat([part.high for part in values]), torch.cat([part.low for part in values]))
    return joined, torch.cat(errors)


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rounded sum and its exact error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def fast_two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rounded sum and its exact error, for ``|a| >= |b|`` or a = 0 (Dekker)."""
    total = a + b
    return total, b - (total - a)


def two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rounded product and its exact error, barring overflow and underflow (Dekker, Veltkamp)."""
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def _halves(a: Tensor) -> tuple[Tensor, Tensor]:
    wide = a * (2.0**27 + 1)
    upper = wide - (wide - a)
    return upper, a - upper


def cut(parts: list[Tensor], bits: int, count: int) -> Iterator[list[Tensor]]:
    """Cut numbers into pieces, largest first: whole multiples, at most ``2^bits``, of a power of two for each point.

    Args:
        parts: tensors ``(N, ...)`` that share the powers of two; what is left of them stays in the list.
        bits: at most 52.
        count: pieces at most.
    """
    for _ in range(count):
        if not parts[0].numel():
            return
        size = torch.stack([flat(part).abs().amax(1) for part in parts]).amax(0)
        if not size.isfinite().all() or not size.any():
            return
        exponent = torch.frexp(size).exponent.clamp(min=bits - 960)
        unit = torch.ldexp(torch.ones_like(size), exponent - bits)
        piece = []
        for k, part in enumerate(parts):
            here = unit.reshape(-1, *[1] * (part.dim() - 1))
            piece.append((part / here).round() * here)
            parts[k] = part - piece[k]
        yield piece


class ExactAffine:
    """An affine operator of float64 on double-double numbers."""

    def __init__(self, op: Affine, shapes: list[Shape], out: Shape) -> None:
        """Prepare an operator for operands and a result of given shapes, without the axis of points.

        Raises:
            NotImplementedError: the operator's coefficients cannot be got at.
        """
        if op.weights is None and not op.whole:
            raise NotImplementedError(f"no double-double arithmetic for {type(op).__name__}")
        self.op, self.fan, self.length = op, op.terms(shapes, out), math.prod(shapes[0])
        self.widest = max(math.prod(shape) for shape in [*shapes, out])
        room = 52 - math.ceil(math.log2(max(self.fan, 1)))
        self.bits = room if op.weights is None else room // 2
        self.width = room - self.bits

    @staticmethod
    def of(op: Affine, shapes: list[Shape], out: Shape) -> ExactAffine:
        """Prepare an operator, one of a sparse matrix by its nonzero coefficients where the operand is a vector."""
        if isinstance(op, Linear) and math.prod(shapes[0]) == len(op.weight) and op.matrix.is_sparse:
            size, result = op.weight.shape
            return ExactAffine(Sparse.of(op), [(size,)], (result,))
        return ExactAffine(op, shapes, out)

    @property
    def flat(self) -> bool:
        """Whether the operator is a matrix that multiplies a single vector, whatever the vector's shape."""
        return isinstance(self.op, Sparse) or (isinstance(self.op, Linear) and self.length == len(self.op.weight))

    def rows(self, index: Tensor) -> tuple[ExactAffine, Tensor]:
        """Keep some elements of the operand of a flat operator; return also which elements of the result they reach.

        The part has no constant.
        """
        if isinstance(self.op, Sparse):
            part, reached = self.op.rows(index)
            return ExactAffine(part, [(len(index),)], (len(reached),)), reached
        assert isinstance(self.op, Linear)
        weight = self.op.weight[index]
        reached = (weight != 0).any(0).nonzero().flatten()
        return ExactAffine(Linear(weight[:, reached]), [(len(index),)], (len(reached),)), reached

    @cached_property
    def pieces(self) -> tuple[list[Affine], Affine | None]:
        """The operator with its coefficients cut, and with the absolute values of what is left of them, if any."""
        if self.op.weights is None:
            return [self.op], None
        rest = [getattr(self.op, self.op.weights).flatten().unsqueeze(0)]
        pieces = [self._with(piece[0]) for piece in cut(rest, self.width, 2 * PIECES)]
        return pieces, self._with(rest[0].abs()) if rest[0].any() else None

    @cached_property
    def absolute(self) -> Affine:
        """The operator with the absolute values of its coefficients, where they are a field."""
        return self.op if self.op.weights is None else self._with(getattr(self.op, self.op.weights).abs())

    def _with(self, weights: Tensor) -> Affine:
        assert self.op.weights is not None
        shape = getattr(self.op, self.op.weights).shape
        return replace(self.op, **{self.op.weights: weights.reshape(shape)})

    def spread(self, errors: list[Tensor]) -> Tensor:
        """Bound what errors of the operands, not negative, do to the result; rounding included."""
        if self.op.weights is None and not self.op.monotone:
            return self.op.magnitude(*errors) * SLACK + TINY
        return self.absolute.linear(*errors) * SLACK + TINY

    def __call__(self, operands: list[DoubleDouble]) -> tuple[DoubleDouble, Tensor]:
        """Return the result, and a bound of its error, both ``(N, *out)``."""
        if isinstance(self.op, Linear) and len(operands[0].high) > FEW:
            moving = operands[0].moving()
            if 2 * len(moving) < len(self.op.weight) == operands[0].high[0].numel():
                values, lost = self._apply_moving(operands[0].reshape(-1), moving)
                shape = (*operands[0].high.shape[1:-1], lost.shape[1])
                return values.reshape(*shape), lost.reshape(-1, *shape)
        return blockwise(self._apply, operands, self.widest)

    def _apply_moving(self, operand: DoubleDouble, moving: Tensor) -> tuple[DoubleDouble, Tensor]:
        """Multiply rows ``(N, k)``: what is constant once, and the rest with the part of the matrix that it meets."""
        assert isinstance(self.op, Linear)
        count = len(operand.high)
        still = operand.take(torch.zeros(1, dtype=torch.long, device=moving.device))  # a copy
        still.high[:, moving], still.low[:, moving] = 0, 0
        base, lost = self._apply([still])
        if not len(moving):
            same = torch.zeros(count, dtype=torch.long, device=moving.device)
            return base.take(same), lost[same]
        op = Linear(self.op.weight[moving])
        rest, more = ExactAffine(op, [(len(moving),)], tuple(lost.shape[1:]))([operand.columns(moving)])
        total = base + rest
        return total, (lost + more + 5 * UNIT**2 * total.high.abs()) * SLACK + TINY

    def _apply(self, operands: list[DoubleDouble]) -> tuple[DoubleDouble, Tensor]:
        pieces, rest = self.pieces
        sizes = [operand.high.abs() * SLACK for operand in operands]
        lost = torch.zeros_like(self.op.linear(*sizes)) + TINY
        high, low = torch.zeros_like(lost), torch.zeros_like(lost)
        for term in self._terms(pieces, rest, operands, lost):
            high, error = two_sum(high, term)
            low += error
            lost += UNIT * low.abs()
        return DoubleDouble(*two_sum(high, low)), lost * SLACK

    def _terms(
        self, pieces: list[Affine], rest: Affine | None, operands: list[DoubleDouble], lost: Tensor
    ) -> Iterator[Tensor]:
        """Yield summands of the result ``(N, *out)``; the errors of those that are not exact are added to ``lost``.

        ``rest`` are the absolute coefficients that the pieces leave out.
        """
        parts = [part for operand in operands for part in (operand.high, operand.low)]
        for piece in cut(parts, self.bits - 1, PIECES):
            joined = _pairs(piece)
            for op in pieces:
                yield op.linear(*joined)
        left = _pairs(parts)
        if rest is not None:  # the pieces of an operand make up at most its size and what they leave of it
            whole = [item.high.abs() + 2 * part.abs() for item, part in zip(operands, left, strict=True)]
            lost += rest.linear(*whole) * SLACK
        if any(part.any() for part in left):
            lost += self.spread([part.abs() for part in left]) * (self.fan + 4) * UNIT
            yield self.op.linear(*left)
        constant = self.op.offset([tuple(operand.high.shape[1:]) for operand in operands], lost)
        if constant is not None:
            yield constant


def _pairs(parts: list[Tensor]) -> list[Tensor]:
    """Add up the high and the low part of each operand."""
    return [high + low for high, low in zip(parts[::2], parts[1::2], strict=True)]
