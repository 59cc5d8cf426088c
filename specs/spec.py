"""What is to be verified: a union of cases, each an input set and linear rows that are unsafe together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from specs.errors import SpecError
from specs.sets import Array, Float, InputSet

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """R linear conditions: row r holds iff ``x[r] @ x + y[r] @ y <= bound[r]``, or ``<`` where ``strict[r]``.

    Args:
        y: output coefficients, shape (R, m).
        x: input coefficients, shape (R, n), or None where no row has any, which is usual.
        bound: right-hand sides, shape (R,).
        strict: shape (R,).

    Raises:
        SpecError: shapes do not agree, or a number is not finite.
    """

    y: Array
    x: Array | None
    bound: Array
    strict: Mask

    def __post_init__(self) -> None:
        """Validate."""
        parts = [self.y, self.bound] if self.x is None else [self.y, self.bound, self.x]
        count = len(self.bound)
        if self.y.ndim != 2 or self.strict.shape != (count,) or any(len(part) != count for part in parts):
            shapes = (self.y.shape, self.bound.shape, self.strict.shape)
            raise SpecError(f"y, bound and strict have shapes {shapes}, not (R, m), (R,), (R,), or x has another R")
        if not all(np.isfinite(part).all() for part in parts):
            raise SpecError("a coefficient or bound of a row is not finite")

    def __len__(self) -> int:
        """R, which may be 0."""
        return len(self.bound)

    def residual(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Array:
        """``x[r] @ x + y[r] @ y - bound[r]`` in float64: at most 0 (below 0 if strict) iff row r holds.

        Args:
            x: shape (..., n); not looked at where ``self.x`` is None.
            y: shape (..., m).

        Returns:
            Shape (..., R). NaN where the arithmetic is undefined, as for an infinite y.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            result = np.asarray(y, dtype=np.float64) @ self.y.T
            if self.x is not None:
                result = result + np.asarray(x, dtype=np.float64) @ self.x.T
            return np.asarray(result - self.bound)

    def hold(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Mask:
        """Which rows hold, shape (..., R); a NaN residual never holds."""
        residual = self.residual(x, y)
        return np.where(self.strict, residual < 0, residual <= 0)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Unsafe iff x is in ``inputs`` and every row holds; without rows any x in the set is unsafe."""

    inputs: InputSet
    rows: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """A property: it holds iff no case can be satisfied; without cases it holds.

    Args:
        cases: the ways to be unsafe. Those with the same box share one ``InputSet``.
        n_inputs: n of every case.
        n_outputs: m of every case.

    Raises:
        SpecError: a case has another n or m.
    """

    cases: tuple[Case, ...]
    n_inputs: int
    n_outputs: int

    def __post_init__(self) -> None:
        """Validate."""
        wanted = (self.n_inputs, self.n_outputs, self.n_inputs)
        for k, case in enumerate(self.cases):
            x = case.rows.x
            found = (case.inputs.lower.size, case.rows.y.shape[1], self.n_inputs if x is None else x.shape[1])
            if found != wanted:
                raise SpecError(f"case {k} has (n, m, n of rows) {found} instead of {wanted}")

    def violated_by(
        self, x: npt.ArrayLike, y: npt.ArrayLike, dtypes: Sequence[Float] = (np.float64, np.float32)
    ) -> int | None:
        """The first case that (x, y) satisfies: such a pair is a counterexample.

        Args:
            x: n numbers of any shape, float32 or float64.
            y: the network's m outputs at x, of any shape.
            dtypes: x must be in the set as each of these, see ``InputSet.contains``. The default is the safe rule.
                ``(np.float32,)`` alone accepts what a float32 checker accepts, such as float32(0.3) for X = 0.3.

        Returns:
            Index into ``cases``, or None. Rows are evaluated in float64, without tolerance.

        Raises:
            SpecError: x does not have n numbers, or y not m.
        """
        point, output = np.asarray(x).reshape(-1), np.asarray(y).reshape(-1)
        if (point.size, output.size) != (self.n_inputs, self.n_outputs):
            raise SpecError(f"x and y have {point.size}, {output.size} numbers, not {self.n_inputs}, {self.n_outputs}")
        for k, case in enumerate(self.cases):
            if case.rows.hold(point, output).all() and all(case.inputs.contains(point, dtype) for dtype in dtypes):
                return k
        return None
