"""Functions of two slopes that meet at 0: each is a sum of multiples of the argument and of any other one of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from verifier.ops.curves import Abs, Curve, LeakyRelu, PRelu, Relu
from verifier.ops.op import Shape

ONE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Kink:
    """The function of u that is ``left * x`` for negative and ``right * x`` for positive ``x = multiple * u``."""

    multiple: float
    left: float
    right: float

    def by(self, other: Kink) -> tuple[Fraction, Fraction]:
        """Return p and q such that this is ``p x + q v``, v the value of another function of the same u.

        With m and h the mean and half the difference of the slopes, this is ``m x + h |x|``, and the other one
        ``v = m' x' + h' |x'|`` with ``x = c x'``. So ``p = m - sign(c) h m' / h'`` and ``q = |c| h / h'``.
        """
        left, right, far_left, far_right = map(Fraction, (self.left, self.right, other.left, other.right))
        ratio = (right - left) / (far_right - far_left)
        sign = 1 if (self.multiple > 0) == (other.multiple > 0) else -1
        passed = (left + right) / 2 - sign * ratio * (far_left + far_right) / 2
        return passed, ratio * abs(Fraction(self.multiple) / Fraction(other.multiple))


def two_slopes(op: Curve, shape: Shape) -> tuple[Tensor, Tensor] | None:
    """Return the slopes left and right of 0 of all elements, flat, or None for other functions."""
    if isinstance(op, PRelu):
        left = op.slope.expand(shape).reshape(-1)
    elif isinstance(op, (Relu, Abs, LeakyRelu)):
        value = 0.0 if isinstance(op, Relu) else -1.0 if isinstance(op, Abs) else op.slope
        left = torch.full((math.prod(shape),), value, dtype=torch.float64)
    else:
        return None
    return left, torch.ones_like(left)


def rounded(value: Fraction) -> tuple[float, float]:
    """Return the nearest float64, and a bound of what it is wrong by; infinity for what is out of range."""
    try:
        near = float(value)
    except OverflowError:
        return math.inf, 0.0
    return near, math.nextafter(abs(float(value - Fraction(near))), math.inf) if Fraction(near) != value else 0.0
