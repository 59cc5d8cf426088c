"""Input sets: a box, or the part of a norm ball inside a box."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from specs.errors import SpecError

Array = npt.NDArray[np.float64]
Float = type[np.float32] | type[np.float64]


def vector(values: npt.ArrayLike, name: str) -> Array:
    """``values`` as a finite float64 vector of shape (n,).

    Raises:
        SpecError: not numbers, not one axis, or not finite.
    """
    try:
        result = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{name} is not an array of numbers: {error}") from None
    if result.ndim != 1:
        raise SpecError(f"{name} must have shape (n,), not {result.shape}")
    bad = np.flatnonzero(~np.isfinite(result))
    if bad.size:
        raise SpecError(f"{name}[{bad[0]}] is {result[bad[0]]}, not a finite number")
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Ball:
    """All x with ``norm(x - center, p) <= radius``.

    Args:
        center: shape (n,), finite.
        radius: finite, at least 0.
        p: 1, 2 or inf.

    Raises:
        SpecError: a field is outside its range.
    """

    center: Array
    radius: float
    p: float

    def __post_init__(self) -> None:
        """Validate."""
        object.__setattr__(self, "center", vector(self.center, "center"))
        if not isinstance(self.radius, (int, float, np.number)) or not 0 <= self.radius < np.inf:
            raise SpecError(f"radius must be finite and at least 0, not {self.radius}")
        if self.p not in (1, 2, np.inf):
            raise SpecError(f"p must be 1, 2 or inf, not {self.p}")

    def contains(self, x: Array) -> bool:
        """Whether x, shape (n,), is in the ball; the norm is computed in float64, without tolerance.

        No square is too large or too small for it.
        """
        away = np.abs(x - self.center)
        size = math.fsum(away) if self.p == 1 else math.hypot(*away) if self.p == 2 else away.max(initial=0)
        return bool(size <= self.radius)


@dataclass(frozen=True, slots=True, eq=False)
class InputSet:
    """All x with ``lower <= x <= upper`` that are also in ``ball``, if there is one.

    The box is then the range of valid data and may be smaller than the ball. A dimension may be a point.

    Args:
        lower: shape (n,), finite: the network's inputs in C order.
        upper: shape (n,), finite, nowhere below ``lower``.
        ball: optional ball of the same n.

    Raises:
        SpecError: shapes differ, a number is not finite, or a lower bound exceeds its upper bound.
    """

    lower: Array
    upper: Array
    ball: Ball | None = None

    def __post_init__(self) -> None:
        """Validate."""
        object.__setattr__(self, "lower", vector(self.lower, "lower"))
        object.__setattr__(self, "upper", vector(self.upper, "upper"))
        if self.lower.shape != self.upper.shape:
            raise SpecError(f"lower has shape {self.lower.shape}, upper {self.upper.shape}")
        if self.ball is not None and self.ball.center.shape != self.lower.shape:
            raise SpecError(f"the ball has shape {self.ball.center.shape}, the box {self.lower.shape}")
        crossed = np.flatnonzero(self.lower > self.upper)
        if crossed.size:
            i = crossed[0]
            raise SpecError(f"empty box: lower[{i}] = {self.lower[i]} > upper[{i}] = {self.upper[i]}")

    def contains(self, x: npt.ArrayLike, dtype: Float = np.float64) -> bool:
        """Whether x is in the set, once x and the bounds are rounded to ``dtype``.

        With float64, the default, the comparison is exact. With float32 it is that of a checker that works in
        float32: a point dimension at 0.3 then holds float32(0.3), although that is not the float64 number 0.3.

        Args:
            x: n numbers, of any shape, in C order.
            dtype: ``np.float64`` or ``np.float32``.

        Raises:
            SpecError: x does not have n numbers.
        """
        point = np.asarray(x).reshape(-1)
        if point.shape != self.lower.shape:
            raise SpecError(f"x has {point.size} numbers, the set has {self.lower.size} dimensions")
        with np.errstate(over="ignore"):
            rounded, lower, upper = (
                values.astype(dtype).astype(np.float64) for values in (point, self.lower, self.upper)
            )
        inside = bool(((lower <= rounded) & (rounded <= upper)).all())
        return inside and (self.ball is None or self.ball.contains(rounded))
