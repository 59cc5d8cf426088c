"""Common properties without a file."""

import math

import numpy as np
import numpy.typing as npt

from specs.errors import SpecError
from specs.sets import Array, Ball, InputSet, vector
from specs.spec import Case, Rows, Spec

Clip = tuple[npt.ArrayLike, npt.ArrayLike]


def neighbourhood(center: npt.ArrayLike, eps: float, clip: Clip | None = None, p: float = math.inf) -> InputSet:
    """All inputs within ``eps`` of ``center``.

    Args:
        center: shape (n,), the network's input in C order.
        eps: radius of the ball, at least 0.
        clip: lowest and highest valid input, numbers or shape (n,); the ball is cut to them.
        p: norm of the ball: 1, 2 or inf.

    Raises:
        SpecError: a value is outside its range, or no part of the box around the ball is valid.
    """
    ball = Ball(vector(center, "center"), eps, p)
    lower, upper = ball.center - eps, ball.center + eps
    if clip is not None:
        try:
            low, high = (np.asarray(side, dtype=np.float64) for side in clip)
        except (TypeError, ValueError):
            raise SpecError(f"clip must be two numbers or two arrays of shape {lower.shape}") from None
        if any(side.shape not in ((), lower.shape) for side in (low, high)):
            raise SpecError(f"clip must be two numbers or two arrays of shape {lower.shape}")
        lower, upper = np.maximum(lower, low), np.minimum(upper, high)
    return InputSet(lower, upper, None if p == math.inf else ball)


def robustness(
    center: npt.ArrayLike, eps: float, label: int, n_outputs: int, clip: Clip | None = None, p: float = math.inf
) -> Spec:
    """No input within ``eps`` of ``center`` has another output at or above output ``label``.

    Args:
        center: shape (n,), the network's input in C order.
        eps: radius of the ball, at least 0.
        label: the output that must stay the only largest.
        n_outputs: m, at least 2.
        clip: lowest and highest valid input, numbers or shape (n,); the ball is cut to them.
        p: norm of the ball: 1, 2 or inf.

    Returns:
        One case for each other output k, in their order: ``y[k] >= y[label]`` is unsafe. All share the input set.

    Raises:
        SpecError: a value is outside its range, or no part of the box around the ball is valid.
    """
    inputs = neighbourhood(center, eps, clip, p)
    _check_output(label, n_outputs)
    if n_outputs < 2:
        raise SpecError("robustness compares at least 2 outputs")
    others = [k for k in range(n_outputs) if k != label]
    rows = (_row(_unit(label, n_outputs) - _unit(k, n_outputs), 0.0, strict=False) for k in others)
    return Spec(tuple(Case(inputs, row) for row in rows), inputs.lower.size, n_outputs)


def output_range(
    lower: npt.ArrayLike, upper: npt.ArrayLike, out_lower: npt.ArrayLike, out_upper: npt.ArrayLike
) -> Spec:
    """Every input in the box has outputs with ``out_lower <= y <= out_upper``.

    Args:
        lower: shape (n,).
        upper: shape (n,).
        out_lower: shape (m,); -inf demands nothing.
        out_upper: shape (m,), nowhere below ``out_lower``; inf demands nothing.

    Returns:
        For each output in turn up to two cases, ``y[j] < out_lower[j]`` and ``y[j] > out_upper[j]``.

    Raises:
        SpecError: a value is outside its range.
    """
    inputs = InputSet(vector(lower, "lower"), vector(upper, "upper"))
    low, high = np.asarray(out_lower, dtype=np.float64), np.asarray(out_upper, dtype=np.float64)
    if low.ndim != 1 or low.shape != high.shape or not (low <= high).all():
        raise SpecError("out_lower and out_upper must have shape (m,), with out_lower <= out_upper and no NaN")
    rows = [
        _row(sign * _unit(j, low.size), sign * side[j], strict=True)
        for j in range(low.size)
        for sign, side in ((1.0, low), (-1.0, high))
        if np.isfinite(side[j])
    ]
    return Spec(tuple(Case(inputs, row) for row in rows), inputs.lower.size, low.size)


def margin(lower: npt.ArrayLike, upper: npt.ArrayLike, j: int, k: int, n_outputs: int, threshold: float = 0.0) -> Spec:
    """Every input in the box has ``y[j] - y[k] >= threshold``.

    Args:
        lower: shape (n,).
        upper: shape (n,).
        j: the output that must be larger.
        k: another output.
        n_outputs: m.
        threshold: finite.

    Returns:
        One case with one strict row, ``y[j] - y[k] < threshold``.

    Raises:
        SpecError: a value is outside its range.
    """
    inputs = InputSet(vector(lower, "lower"), vector(upper, "upper"))
    for output in (j, k):
        _check_output(output, n_outputs)
    if j == k:
        raise SpecError(f"margin compares two outputs, not output {j} with itself")
    row = _row(_unit(j, n_outputs) - _unit(k, n_outputs), threshold, strict=True)
    return Spec((Case(inputs, row),), inputs.lower.size, n_outputs)


def _check_output(output: int, n_outputs: int) -> None:
    if output not in range(n_outputs):
        raise SpecError(f"there is no output {output} among {n_outputs}")


def _unit(j: int, n_outputs: int) -> Array:
    unit = np.zeros(n_outputs)
    unit[j] = 1.0
    return unit


def _row(y: Array, bound: float, *, strict: bool) -> Rows:
    return Rows(y[None], None, np.array([bound], dtype=np.float64), np.array([strict]))
