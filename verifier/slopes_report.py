"""What ``lipschitz`` and ``monotone`` say, as text and as plain data. Nothing here prints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifier.report import aligned, rounded, versions

if TYPE_CHECKING:
    from verifier.lipschitz.monotone import MonotoneResult
    from verifier.lipschitz.radius import RadiusResult, Trial
    from verifier.lipschitz.result import LipschitzResult, Step


def lipschitz(result: LipschitzResult) -> str:
    """Return a table of the stages, if there were any, and the bracket."""
    return "\n".join([*([stages(result)] if result.steps else []), bracket(result)])


def stages(result: LipschitzResult) -> str:
    """Return a table of the stages that improved the upper bound, each as it was when it last improved anything."""
    by_method: dict[str, Step] = {}
    before = None
    for step in result.steps:
        better = before is None or (step.upper, -step.lower) != (before.upper, -before.lower)
        if better or step.method not in by_method:
            by_method[step.method] = step
        before = step
    rows = [("method", "lower", "upper", "gap", "seconds")]
    rows += [
        (
            name,
            rounded(step.lower, up=False),
            rounded(step.upper, up=True),
            gap(step.lower, step.upper),
            f"{step.seconds:.2f}",
        )
        for name, step in by_method.items()
    ]
    return aligned(rows)


def gap(lower: float | None, upper: float) -> str:
    """Return the relative width of a bracket, rounded up."""
    return rounded(upper / lower - 1, up=True, digits=3) if lower else "-"


def bracket(result: LipschitzResult) -> str:
    """Return the bracket in one line: its lower end rounded down, its upper end rounded up."""
    low = "" if result.lower is None else f"{rounded(result.lower, up=False)} <= "
    what = f"norm {result.norm}, output {result.output}, {result.method}, {result.seconds:.2f} s"
    return f"{low}Lipschitz constant <= {rounded(result.upper, up=True)} ({what}): {result.reason}"


def progress(step: Step) -> str:
    """Return what a run has reached."""
    ends = f"{rounded(step.lower, up=False)} <= Lipschitz constant <= {rounded(step.upper, up=True)}"
    return f"{ends}, gap {gap(step.lower, step.upper)}, {step.method}"


def trials(result: RadiusResult) -> str:
    """Return a table of the balls that were looked at."""
    rows = [("eps", "bound", "radius", "seconds")]
    rows += [
        (rounded(one.eps, up=False), rounded(one.bound, up=True), rounded(one.radius, up=False), f"{one.seconds:.2f}")
        for one in result.steps
    ]
    return aligned(rows)


def radius(result: RadiusResult) -> str:
    """Return a radius in one line, rounded down."""
    what = f"norm {result.ball}, label {result.label}, {result.seconds:.2f} s"
    return f"radius {rounded(result.radius, up=False)} ({what}): {result.reason}"


def trial(one: Trial) -> str:
    """Return what a search for a radius has reached."""
    return f"radius {rounded(one.radius, up=False)}, tried {one.eps:.4g}"


def direction(result: MonotoneResult) -> str:
    """Return a verdict in one line."""
    output = " - ".join(f"Y_{place}" for place in result.output.split("-"))
    slope = f"{rounded(result.lower, up=False)} <= slope <= {rounded(result.upper, up=True)}"
    if result.verdict.value == "neither":
        rise, fall = (one.derivative for one in result.witnesses)
        slope = f"slope {rise:.4g} at one point, {fall:.4g} at another"
    why = f" ({result.reason})" if result.reason else ""
    return f"X_{result.input} -> {output}  {result.verdict.value:10}  {slope}{why}"


def record(parts: Sequence[dict[str, Any]], name: str, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Return what ``--json`` writes: of one result its fields, of several a list under a name; and the run's own."""
    named = {key: getattr(options, key, None) for key in ("model", "spec", "center", "eps", "ball", "clip", "seed")}
    return {
        **({name: list(parts)} if len(parts) != 1 else parts[0]),
        **{key: str(value) if isinstance(value, Path) else value for key, value in named.items() if value is not None},
        "total_seconds": seconds,
        "versions": versions(),
    }
