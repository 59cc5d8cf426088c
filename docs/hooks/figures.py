"""Figures that are drawn by the bounds themselves: what they show is what is computed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from verifier.ops.curves import Curve, Heaviside, Power, Relu, Sin, Tanh
from verifier.sets import Box

CURVE, BELOW, ABOVE, EDGE = "#222222", "#1f6fb4", "#c4442f", "#999999"
STYLE: Any = {"svg.hashsalt": "nn-verifier", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}

THRESHOLD = -0.95
"""What the figure of branch and bound proves its function to be above."""


def drawn(figure: Figure) -> str:
    """Return a figure as SVG, the same on every run."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    file = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True, bbox_inches="tight")
    return file.getvalue()


def grid(low: float, high: float) -> Tensor:
    """Return many points of an interval."""
    return torch.linspace(low, high, 201, dtype=torch.float64)


def interval(low: float, high: float) -> Box:
    """Return an interval as a box ``(1, 1)``."""
    return Box(*(torch.full((1, 1), end, dtype=torch.float64) for end in (low, high)))


def panel(axes: Any, curve: Curve, low: float, high: float, title: str) -> None:
    """Draw a curve with the interval that it is bounded over."""
    wide = grid(low - 0.7, high + 0.7)
    axes.plot(wide, curve.forward(wide), color=CURVE, lw=2)
    for end in (low, high):
        axes.axvline(end, color=EDGE, lw=0.8, ls=":")
    axes.set_title(title, fontsize=10)


def relaxation() -> str:
    """Draw lines of several slopes below and above a hyperbolic tangent, each with its exact offset."""
    low, high, curve = -2.0, 3.0, Tanh()
    figure = Figure(figsize=(9, 3.2))
    panels, x = figure.subplots(1, 2, sharey=True), grid(low, high)
    choices = (-1, BELOW, (0.05, 0.2, 0.45), "below"), (1, ABOVE, (0.0, 0.15, 0.4), "above")
    for axes, (sign, colour, slopes, where) in zip(panels, choices, strict=True):
        panel(axes, curve, low, high, f"three lines {where} tanh on [{low:g}, {high:g}]")
        for slope, width in zip(slopes, (1.0, 1.5, 2.0), strict=True):
            steep = torch.full((1, 1), slope, dtype=torch.float64)
            offset, place = curve.extreme(interval(low, high), steep, sign)
            axes.plot(x, slope * x + float(offset), color=colour, lw=width, label=f"slope {slope:g}")
            axes.plot(float(place), float(curve.forward(place)), "o", color=colour, ms=5)
        axes.legend(frameon=False, loc="upper left")
    return drawn(figure)


def least(left: float, right: float) -> tuple[float, float]:
    """Return slope and offset of a line below ``sin(x) + x * x / 10``: the sum of one below each of the two terms."""
    slope = offset = 0.0
    for factor, curve in ((1.0, Sin()), (0.1, Power(2.0))):
        (pulled,), constant = curve.relax(interval(left, right)).pullback(torch.full((1, 1, 1), factor).double())
        slope, offset = slope + float(pulled), offset + float(constant)
    return slope, offset


def branching() -> str:
    """Draw a function below which there are lines on parts of an interval: those that are not closed are halved."""
    parts, x = [(-5.0, 5.0)], grid(-5.0, 5.0)
    figure = Figure(figsize=(9, 2.8))
    for axes in figure.subplots(1, 3, sharey=True):
        axes.plot(x, x.sin() + x * x / 10, color=CURVE, lw=1.5)
        axes.axhline(THRESHOLD, color=EDGE, lw=1)
        halves = []
        for left, right in parts:
            slope, offset = least(left, right)
            values = slope * left + offset, slope * right + offset
            closed, middle = min(values) > THRESHOLD, (left + right) / 2
            axes.plot((left, right), values, color=BELOW if closed else ABOVE, lw=2)
            axes.axvline(left, color=EDGE, lw=0.5, ls=":")
            halves += [] if closed else [(left, middle), (middle, right)]
        axes.set_title(f"{len(parts)} part{'s' * (len(parts) > 1)}", fontsize=10)
        axes.set_ylim(-4, 3.8)
        parts = halves
    return drawn(figure)


def slopes() -> str:
    """Draw a rectifier and the set of its slopes, with their bounds over an interval."""
    low, high = -1.0, 2.0
    figure = Figure(figsize=(9, 2.8))
    value, slope = figure.subplots(1, 2)
    panel(value, Relu(), low, high, "a rectifier")
    wide = torch.tensor([low - 0.7, 0.0, 0.0, high + 0.7], dtype=torch.float64)
    slope.plot(wide, torch.tensor([0.0, 0.0, 1.0, 1.0]), color=CURVE, lw=2)
    for left, right, colour, height in ((low, high, ABOVE, 1.2), (0.5, high, BELOW, 1.08)):
        found = Heaviside().interval(interval(left, right))
        ends = float(found.lower), float(found.upper)
        slope.fill_between([left, right], ends[0] - 0.03, ends[1] + 0.03, color=colour, alpha=0.2, lw=0)
        text = f"over [{left:g}, {right:g}]: {ends[0]:g} to {ends[1]:g}"
        slope.text(high, height, text, color=colour, ha="right")
    slope.set_title("its slopes; at 0 all from 0 to 1", fontsize=10)
    slope.set_ylim(-0.15, 1.45)
    return drawn(figure)


FIGURES: dict[str, Callable[[], str]] = {"relaxation": relaxation, "branching": branching, "slopes": slopes}
"""What is drawn, by file name."""
