"""What curves do at the ends of their domains, and what the checks make of mistakes in a description."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from tests.rules.containment import check
from tests.rules.instances import INSTANCES
from verifier.ops.curves import Curve, Power, Sigmoid, Tan, TanSlope, Within
from verifier.ops.curves.scaled import Scaled
from verifier.sets import Box

FLAT = [(1, 7)]
DOMAINS = 300


def beyond(op: Curve) -> list[tuple[float, float]]:
    """Return boxes that leave the domain of a function, or hold a pole."""
    if isinstance(op, Scaled):
        return beyond(op.curve)
    if isinstance(op, (Tan, TanSlope)):
        return [(1.5, 1.6), (-20.0, 20.0), (math.pi / 2, math.pi / 2)]
    if isinstance(op, Power) and op.whole:
        return [(-1.0, 1.0), (0.0, 0.0), (0.0, 1.0), (-2.0, 0.0)] if op.exponent < 0 else []
    low, high = getattr(op, "domain", (-math.inf, math.inf))
    below = [(low - 1, low + 0.1), (low - 2, low - 1), (math.nextafter(low, -math.inf), low)]
    above = [(high - 0.1, high + 1), (high + 1, high + 2), (high, math.nextafter(high, math.inf))]
    return [*(below if math.isfinite(low) else []), *(above if math.isfinite(high) else [])]


BOUNDED = [op for op, _ in INSTANCES if isinstance(op, Curve) and beyond(op)]


@pytest.mark.parametrize("op", BOUNDED, ids=lambda op: type(op).__name__)
def test_boxes_that_leave_the_domain_have_no_bounds(op: Curve) -> None:
    ends = torch.tensor(beyond(op), dtype=torch.float64)
    box = Box(ends[:, :1], ends[:, 1:])
    hull = op.interval(box)
    assert op.outside(box).all()
    assert (hull.lower == -math.inf).all()
    assert (hull.upper == math.inf).all()
    for sign in (1.0, -1.0):
        (rows,), offset = op.relax(box).pullback(torch.full((len(ends), 1, 1), sign).double())
        assert not (rows.isfinite().all(2) & offset.isfinite()).any()


def test_a_guard_that_lets_everything_through_is_caught() -> None:
    class Open(Within, register=False):
        def outside(self, *x: Box) -> Tensor:
            return torch.zeros_like(x[0].lower, dtype=torch.bool)

    with pytest.raises(AssertionError):
        test_boxes_that_leave_the_domain_have_no_bounds(Open(-0.5, 4.5))


@dataclasses.dataclass(frozen=True, eq=False)
class Mutant(Sigmoid, register=False):
    """A logistic function with a mistake in its description."""

    mistake: str = ""

    @property
    def bends(self) -> tuple[float, ...]:  # type: ignore[override]
        return (0.3,) if self.mistake == "bend" else (0.0,)

    @property
    def curvature(self) -> tuple[int, ...]:  # type: ignore[override]
        return (1, 0) if self.mistake == "flat" else (-1, 1) if self.mistake == "upside down" else (1, -1)

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        return super().derivative(x, piece) * (0.5 if self.mistake == "slope" else 1)


@pytest.mark.parametrize("mistake", ["bend", "flat", "upside down", "slope"])
def test_mistakes_in_a_description_are_caught(mistake: str) -> None:
    with pytest.raises(AssertionError):
        check(Mutant(mistake), FLAT, torch.float64, DOMAINS)


def test_a_rough_root_costs_tightness_only() -> None:
    class Rough(Sigmoid, register=False):
        def distance(self, slope: Tensor) -> Tensor:
            return super().distance(slope) * 1.2 + 0.1

    check(Rough(), FLAT, torch.float64, DOMAINS)
