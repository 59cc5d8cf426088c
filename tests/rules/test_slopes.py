"""The derivatives that smooth curves state, against automatic differentiation of the curves; and how tight both are."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from torch import Tensor

from tests.rules.boxes import kinks
from tests.rules.instances import INSTANCES, concrete
from verifier.ops.curves import (
    Cos,
    Curve,
    Elu,
    Gelu,
    HardSwish,
    Levels,
    Power,
    Scaled,
    Sigmoid,
    Sin,
    Smooth,
    Tan,
    TanSlope,
)
from verifier.ops.curves.setvalued import SetValued
from verifier.sets import Box, Diagonal

POINTS = 10_000
BOXES, EACH = 200, 50
REACH = 20.0
PRECISION = 1e-8
"""The relative error of automatic differentiation next to a pole."""

LOOSE = 1e-3
"""By which part of the range of values an interval may be wider than what points show."""


def states(op: Curve) -> bool:
    try:
        return isinstance(op.slope_curve(), Curve)
    except NotImplementedError:
        return False


def has_slope(op: Curve) -> bool:
    return isinstance(op, Smooth) and states(op)


STATING = [op for op, _ in INSTANCES if isinstance(op, Curve) and states(op)]
CURVES = [op for op, _ in INSTANCES if isinstance(op, Smooth)]
STATED = [op for op in CURVES if has_slope(op)]
INEXACT = {1 / 3, -0.1}
"""Powers whose exponent less 1 is no float64 number."""


def label(op: Curve) -> str:
    return type(op).__name__


def range_of(op: Curve) -> tuple[float, float]:
    """Return where a function and the derivative that it states are bounded, as far as the tests go."""
    domains = [
        getattr(curve, "domain", (-math.inf, math.inf))
        for curve in ((op, op.slope_curve()) if has_slope(op) else (op,))
    ]
    low, high = max(low for low, _ in domains), min(high for _, high in domains)
    if type(op) in (Tan, TanSlope):
        return -1.5, 1.5
    while isinstance(op, Scaled):
        op = op.curve
    pole = isinstance(op, Power) and op.exponent < 0
    return 1e-3 if pole else max(low, -REACH), min(high, REACH)


def drawn(op: Curve, *size: int) -> Tensor:
    """Draw points, half of them within 3 of 0 or of the beginning of the range, and none beside a kink."""
    low, high = range_of(op)
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand(size, dtype=torch.float64, generator=generator)
    near = torch.rand(size, dtype=torch.float64, generator=generator) < 0.5
    x = torch.where(near, max(low, -3.0) + draw * (min(high, 3.0) - max(low, -3.0)), low + draw * (high - low))
    for kink in kinks(op):
        x = torch.where((x - kink).abs() < 1e-6, kink + (1e-6 if kink < high else -1e-6), x)
    return x.clamp(low, high)


def gradient(op: Curve, x: Tensor) -> Tensor:
    """Return the derivative at points by automatic differentiation."""
    x = x.clone().requires_grad_()
    found: Tensor = torch.autograd.grad(op.forward(x).sum(), x)[0]
    return found


def test_every_smooth_curve_states_its_slope() -> None:
    """All do but those that are slopes of others alone, and powers whose slope has no float64 exponent."""
    silent = {type(op) for op in CURVES if not has_slope(op)} - {Power}
    assert silent <= {type(op.slope_curve()) for op in STATING}
    assert {op.exponent for op in CURVES if isinstance(op, Power) and not has_slope(op)} == INEXACT
    assert {kind for kind in concrete() if issubclass(kind, Smooth)} == {type(op) for op in CURVES}


def test_a_curve_that_states_none_is_named() -> None:
    with pytest.raises(NotImplementedError, match="SigmoidSlope"):
        Sigmoid().slope_curve().slope_curve()  # type: ignore[attr-defined]


@pytest.mark.parametrize("op", STATED, ids=label)
def test_slopes_are_what_differentiation_gives(op: Smooth) -> None:
    x = drawn(op, POINTS)
    torch.testing.assert_close(op.slope_curve().forward(x), gradient(op, x), rtol=PRECISION, atol=1e-12)


@pytest.mark.parametrize("op", STATED, ids=label)
def test_bounds_of_slopes_hold_what_differentiation_gives(op: Smooth) -> None:
    """So do the interval and the lines of least area."""
    slope, ends = op.slope_curve(), drawn(op, 2, 1, BOXES)
    box = Box(ends.amin(0), ends.amax(0))
    x = torch.lerp(box.lower, box.upper, torch.linspace(0, 1, EACH, dtype=torch.float64)[:, None, None])
    x = torch.maximum(torch.minimum(x, box.upper), box.lower)
    y, hull, lines = gradient(op, x), slope.interval(box), slope.relax(box)
    assert isinstance(lines, Diagonal) and lines.lower_offset is not None and lines.upper_offset is not None
    slack = PRECISION * slope.absolute_terms(box) + 1e-12
    assert ((y >= hull.lower - slack) & (y <= hull.upper + slack)).all()
    assert (y >= lines.lower_slope[:, 0] * x + lines.lower_offset[:, 0] - slack).all()
    assert (y <= lines.upper_slope[:, 0] * x + lines.upper_offset[:, 0] + slack).all()


@pytest.mark.parametrize("op", [*CURVES, *(op.slope_curve() for op in STATED)], ids=label)
def test_bounds_are_tight(op: Curve) -> None:
    """Intervals and lines of least area nearly touch what 4000 points show, the limits at jumps being among them."""
    ends = drawn(op, 2, 1, 50)
    box = Box(ends.amin(0), ends.amax(0))
    x = torch.lerp(box.lower, box.upper, torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None, None])
    beside = [torch.full_like(x[:1], kink + side) for kink in kinks(op) for side in (-1e-9, 1e-9)]
    x = torch.maximum(torch.minimum(torch.cat([x, *beside]), box.upper), box.lower)
    y, hull, lines = op.forward(x), op.interval(box), op.relax(box)
    spread = y.amax(0) - y.amin(0)
    slack = LOOSE * spread + 1e-8 * (1 + y.abs().amax(0))
    assert (hull.upper - hull.lower <= spread + slack).all()
    assert isinstance(lines, Diagonal) and lines.lower_offset is not None and lines.upper_offset is not None
    below = y - lines.lower_slope[:, 0] * x - lines.lower_offset[:, 0]
    above = lines.upper_slope[:, 0] * x + lines.upper_offset[:, 0] - y
    assert (below.amin(0) <= slack).all()
    assert (above.amin(0) <= slack).all()


@pytest.mark.parametrize("op", [op.slope_curve() for op in STATED if isinstance(op.slope_curve(), Smooth)], ids=label)
def test_slopes_describe_themselves_rightly(op: Smooth) -> None:
    """Their derivative is that of their values, and grows or falls on each piece as the curvature says."""
    for piece, curvature in enumerate(op.curvature if op.bends else ()):
        low, high = op.ends(piece)
        x = torch.linspace(max(low, -REACH), min(high, REACH), 4001, dtype=torch.float64)
        steepness = op.derivative(x, piece)
        inner = x[1:-1]
        torch.testing.assert_close(steepness[1:-1], gradient(op, inner), rtol=1e-10, atol=1e-14)
        change = steepness.diff()
        assert (curvature * change >= -1e-15).all() if curvature else (change == 0).all()
        assert curvature == 0 or change.abs().max() > 1e-6


def test_the_slope_of_the_tangent_is_its_own() -> None:
    """It is convex in each branch, and grows without bound towards the poles."""
    ends = [(-1.0, 0.5), (0.2, 1.5), (-1.5, 1.5), (3.0, 4.5), (100.0, 101.5)]
    lower, upper = torch.tensor(ends, dtype=torch.float64).T.unsqueeze(1)
    slope, box = Tan().slope_curve(), Box(lower, upper)
    hull, lines = slope.interval(box), slope.relax(box)
    assert isinstance(lines, Diagonal) and lines.lower_offset is not None and lines.upper_offset is not None
    for k, (low, high) in enumerate(ends):
        values = []
        for step in range(101):
            x = min(max(low + (high - low) * step / 100, low), high)
            y = mpmath.sec(x) ** 2
            values.append(float(y))
            assert (lines.lower_slope[0, 0, k] * x + lines.lower_offset[0, 0, k]).item() <= y * (1 + 1e-12)
            assert (lines.upper_slope[0, 0, k] * x + lines.upper_offset[0, 0, k]).item() >= y * (1 - 1e-12)
        assert hull.upper[0, k].item() == pytest.approx(max(values), rel=1e-12)
        assert min(values) - 1e-2 <= hull.lower[0, k].item() <= min(values) * (1 + 1e-12)
    assert slope.outside(Box(torch.ones(1, 1).double(), torch.full((1, 1), 2.0).double())).all()


def test_the_slope_of_gelu_is_its_own() -> None:
    """It leaves [0, 1] on both sides, where Gelu bends, and bends at -2, 0 and 2 itself."""
    slope, edge = Gelu().slope_curve(), math.sqrt(2)
    assert slope.bends == (-2.0, 0.0, 2.0)  # type: ignore[attr-defined]
    most = float(mpmath.ncdf(edge) + edge * mpmath.npdf(edge))
    ends = torch.tensor([(-3.0, 3.0), (0.0, 9.0), (-9.0, 0.0), (-9.0, -2.0), (2.0, 9.0)]).double()
    hull = slope.interval(Box(ends[:, 0], ends[:, 1]))
    tail = float(mpmath.ncdf(-2) - 2 * mpmath.npdf(2))
    torch.testing.assert_close(hull.lower, torch.tensor([1 - most, 0.5, 1 - most, tail, 1.0]).double())
    torch.testing.assert_close(hull.upper, torch.tensor([most, most, 0.5, 0.0, 1 - tail]).double())


JUMPS = [
    (Elu(alpha=2.0), (0.0, 0.0), (1.0, 2.0)),
    (Elu(alpha=2.0), (0.0, 1.0), (1.0, 1.0)),
    (Elu(alpha=2.0), (-math.log(2), 0.0), (1.0, 2.0)),
    (Elu(alpha=0.5), (-math.log(2), 0.0), (0.25, 0.5)),
    (Elu(alpha=0.5), (-math.log(2), 1.0), (0.25, 1.0)),
    (HardSwish(), (-3.0, -3.0), (-0.5, 0.0)),
    (HardSwish(), (-4.0, -3.0), (0.0, 0.0)),
    (HardSwish(), (-3.0, 3.0), (-0.5, 1.5)),
    (HardSwish(), (-4.0, -1.5), (-0.5, 0.0)),
    (HardSwish(), (3.0, 4.0), (1.0, 1.0)),
    (HardSwish(), (3.0, 3.0), (1.0, 1.5)),
    (HardSwish(), (2.0, math.nextafter(3.0, 4.0)), (1.0, 1.5)),
]


@pytest.mark.parametrize(("op", "ends", "values"), JUMPS)
def test_boxes_have_the_limits_from_within(op: Smooth, ends: tuple[float, float], values: tuple[float, float]) -> None:
    """A box that ends at a jump has one limit, and the jump alone has both; a split there leaves nothing across."""
    slope = op.slope_curve()
    assert isinstance(slope, SetValued)
    lower, upper = torch.tensor(ends, dtype=torch.float64).reshape(2, 1, 1)
    box = Box(lower, upper)
    hull = slope.interval(box)
    assert hull.lower.item() == pytest.approx(values[0], abs=1e-14)
    assert hull.upper.item() == pytest.approx(values[1], abs=1e-14)
    lines = slope.relax(box)
    assert isinstance(lines, Diagonal) and lines.lower_offset is not None and lines.upper_offset is not None
    for x in ends if ends[0] == ends[1] else ():
        assert lines.lower_slope.item() * x + lines.lower_offset.item() <= values[0] + 1e-12
        assert lines.upper_slope.item() * x + lines.upper_offset.item() >= values[1] - 1e-12


def test_the_slope_of_the_cosine_is_the_sine_turned_over() -> None:
    x = torch.linspace(-9, 9, 101, dtype=torch.float64)
    assert torch.equal(Cos().slope_curve().forward(x), -Sin().forward(x))


def test_jumps_at_places_that_single_precision_does_not_have() -> None:
    """The float32 number next to 0.1 is larger, so a box that ends there has the jump inside."""
    lower, upper = torch.tensor([[0.0, 0.1, 0.2]]), torch.tensor([[0.1, 0.3, 0.3]])
    slope = Levels((0.1,), (2.0, 3.0))
    box = Box(lower, upper)
    hull, lines = slope.interval(box), slope.relax(box)
    assert hull.lower.tolist() == [[2, 3, 3]] and hull.upper.tolist() == [[3, 3, 3]]
    assert isinstance(lines, Diagonal) and lines.lower_offset is not None and lines.upper_offset is not None
    assert (lines.upper_slope[:, 0] * upper + lines.upper_offset[:, 0] >= 3 - 1e-5).all()
