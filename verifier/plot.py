"""Pictures of how bounds came about. matplotlib is imported when one is asked for."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifier.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from verifier.lipschitz.radius import RadiusResult
    from verifier.lipschitz.result import LipschitzResult

MUCH = 20.0
"""Ratio of values from which on their logarithms are drawn."""


def check(path: Path) -> None:
    """Refuse a picture that cannot be made, before anything slow happens.

    Raises:
        UsageError: matplotlib is missing, or the name's ending is no format.
    """
    known = sorted(_empty().canvas.get_supported_filetypes())
    if path.suffix[1:].lower() not in known:
        raise UsageError(f"{path}: the name must end in the format, one of .{', .'.join(known)}")


def brackets(results: Sequence[LipschitzResult], path: Path) -> bytes:
    """Draw both ends of brackets against time."""
    figure, axes = _axes("seconds", "Lipschitz constant")
    for k, result in enumerate(results):
        times, name = [step.seconds for step in result.steps], "" if len(results) == 1 else f", box {k + 1}"
        (line,) = axes.step(times, [step.upper for step in result.steps], where="post", label=f"upper{name}")
        lower = [step.lower for step in result.steps]
        axes.step(times, lower, where="post", linestyle="--", color=line.get_color(), label=f"lower{name}")
    _scale(axes.set_yscale, [each for result in results for step in result.steps for each in (step.lower, step.upper)])
    return _drawn(figure, axes, path)


def radius(result: RadiusResult, path: Path) -> bytes:
    """Draw the bounds over balls against their radius, and what they must not exceed."""
    figure, axes = _axes("eps", "greatest constant of a margin / margin")
    steps = sorted(result.steps, key=lambda step: step.eps)
    eps = [step.eps for step in steps]
    axes.plot(eps, [step.bound for step in steps], "o-", markersize=3, label="bound over the ball")
    axes.plot(eps, [1 / each for each in eps], "--", label="1 / eps")
    if 0 < result.radius < float("inf"):
        axes.axvline(result.radius, color="black", linewidth=0.8, label=f"radius {result.radius:.4g}")
    _scale(axes.set_xscale, eps)
    _scale(axes.set_yscale, [step.bound for step in steps])
    return _drawn(figure, axes, path)


def _empty() -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("--plot needs matplotlib: pip install 'nn-verifier[plot]' (or matplotlib itself)") from None
    return Figure(figsize=(6.4, 4.0), layout="constrained")


def _axes(across: str, up: str) -> tuple[Figure, Any]:
    figure = _empty()
    axes = figure.add_subplot()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _scale(set_scale: Callable[[str], None], values: Sequence[float]) -> None:
    """Use logarithms where values are positive and differ by much."""
    if values and 0 < min(values) * MUCH < max(values):
        set_scale("log")


def _drawn(figure: Figure, axes: Any, path: Path) -> bytes:
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=150)
    return picture.getvalue()
