"""Numbers of about 106 bits: unevaluated sums of two float64, with errors that are bounded as they occur.

Elementwise steps follow Joldes, Muller and Popescu, "Tight and rigorous error bounds for basic building blocks of
double-word arithmetic" (ACM TOMS 44, 2017). Affine maps cut operands and coefficients into pieces of so few bits that
every product and every sum of the pieces is exact in float64 (Ozaki et al., "Error-free transformations of matrix
multiplication by using fast routines of matrix multiplication", Numerical Algorithms 59, 2012).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from verifier.ops.op import Affine
from verifier.sets import flat

UNIT = 2.0**-53
"""Unit roundoff of float64."""

PIECES = 12
"""Pieces that a number is cut into at most; what is left of it then is counted as an error."""

SLACK = 1 + 1e-6
"""Covers the rounding of the error terms themselves, which are sums of fewer than 1e8 positive numbers."""

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

    def take(self, index: Tensor) -> DoubleDouble:
        """Select points."""
        return DoubleDouble(self.high[index], self.low[index])

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


def cut(parts: list[Tensor], bits: int) -> Iterator[list[Tensor]]:
    """Cut numbers into pieces, largest first: whole multiples, below ``2^bits``, of a power of two for each point.

    Args:
        parts: tensors ``(N, ...)`` that share the powers of two; what is left of them stays in the list.
        bits: at most 52.
    """
    for _ in range(PIECES):
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

    def __init__(self, op: Affine, fan: int) -> None:
        """Prepare an operator that sums at most ``fan`` products into an element.

        Raises:
            NotImplementedError: the operator's coefficients cannot be got at.
        """
        if op.weights is None and not op.whole:
            raise NotImplementedError(f"no double-double arithmetic for {type(op).__name__}")
        room = 52 - math.ceil(math.log2(max(fan, 1)))
        self.op = op
        self.bits = room if op.weights is None else room // 2
        self.width = room - self.bits

    @cached_property
    def pieces(self) -> tuple[list[Affine], Affine | None]:
        """The operator with its coefficients cut, and with the absolute values of what is left of them, if any."""
        if self.op.weights is None:
            return [self.op], None
        rest = [getattr(self.op, self.op.weights).flatten().unsqueeze(0)]
        pieces = [self._with(piece[0]) for piece in cut(rest, self.width)]
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
        pieces, rest = self.pieces
        parts = [part for operand in operands for part in (operand.high, operand.low)]
        sizes = [operand.high.abs() * SLACK for operand in operands]
        zero = self.op.linear(*(torch.zeros_like(size) for size in sizes))
        high, low, lost = zero, torch.zeros_like(zero), torch.zeros_like(zero)
        terms = (
            op.linear(*(above + below for above, below in zip(piece[::2], piece[1::2], strict=True)))
            for piece in cut(parts, self.bits - 1)
            for op in pieces
        )
        for term in terms:
            high, error = two_sum(high, term)
            low = low + error
            lost = lost + UNIT * low.abs()
        constant = self.op.offset([tuple(size.shape[1:]) for size in sizes], high)
        if constant is not None:
            high, error = two_sum(high, constant)
            low = low + error
            lost = lost + UNIT * low.abs()
        left = [above.abs() + below.abs() for above, below in zip(parts[::2], parts[1::2], strict=True)]
        lost = lost * SLACK + self.spread(left)
        if rest is not None:
            lost = lost + rest.linear(*sizes).abs() * SLACK
        return DoubleDouble(*two_sum(high, low)), lost
