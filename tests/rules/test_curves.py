"""Every curve against a reference of high precision, on thousands of boxes of all widths."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor

from tests.bounds.nets import Net
from verifier.bounds.rounding import Rounding, rounding
from verifier.graph.graph import OUTPUT
from verifier.ops.curves import Curve, Gelu, Sigmoid, Sin, Tanh
from verifier.ops.curves.smooth import Smooth
from verifier.ops.op import OPS
from verifier.sets import Box, Diagonal

BOXES = 10_000
SAMPLES = 16
REACH = 30.0

mpmath.mp.dps = 40


def logistic(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


def softplus(x: Any) -> Any:
    return mpmath.log1p(mpmath.exp(x))


def elu(op: Any, x: Any) -> Any:
    return op.gain * (x if x >= 0 else op.alpha * mpmath.expm1(x / op.width))


def gelu_by_tanh(op: Any, x: Any) -> Any:
    return x * logistic(2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(op.cubic) * x**3))


def power(op: Any, x: Any) -> Any:
    return x ** (int(op.exponent) if op.whole else mpmath.mpf(op.exponent))


REFERENCE: dict[str, Callable[[Any, Any], Any]] = {
    "Acosh": lambda op, x: mpmath.acosh(x),
    "Asin": lambda op, x: mpmath.asin(x),
    "Asinh": lambda op, x: mpmath.asinh(x),
    "Atan": lambda op, x: mpmath.atan(x),
    "Atanh": lambda op, x: mpmath.atanh(x),
    "Cos": lambda op, x: mpmath.cos(x),
    "Cosh": lambda op, x: mpmath.cosh(x),
    "Elu": elu,
    "Erf": lambda op, x: mpmath.erf(x),
    "Exp": lambda op, x: mpmath.exp(x),
    "Gelu": lambda op, x: x * mpmath.ncdf(x),
    "GeluTanh": gelu_by_tanh,
    "HardSwish": lambda op, x: x * min(max(x / 6 + mpmath.mpf(0.5), 0), 1),
    "Log": lambda op, x: mpmath.log(x),
    "Mish": lambda op, x: x * mpmath.tanh(softplus(x)),
    "Power": power,
    "Sigmoid": lambda op, x: logistic(x),
    "Silu": lambda op, x: x * logistic(x),
    "Sin": lambda op, x: mpmath.sin(x),
    "Sinh": lambda op, x: mpmath.sinh(x),
    "Softplus": lambda op, x: softplus(x),
    "Softsign": lambda op, x: x / (1 + abs(x)),
    "Tan": lambda op, x: mpmath.tan(x),
    "Tanh": lambda op, x: mpmath.tanh(x),
}

ALL = [
    pytest.param(op, id=f"{name}-{k}")
    for name, kind in sorted(OPS.items())
    if issubclass(kind, Curve)
    for k, (op, _) in enumerate(kind.samples())
    if dataclasses.fields(op) == () or not isinstance(getattr(op, dataclasses.fields(op)[0].name), Tensor)
]
SMOOTH = [case for case in ALL if isinstance(case.values[0], Smooth)]


def draw_boxes(op: Curve, seed: int, count: int = BOXES, dtype: torch.dtype = torch.float64) -> Box:
    """Draw boxes ``(1, count)`` of widths 1e-9 to 1e3, half of them around, at or beside special places."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.rand(count, generator=generator, dtype=torch.float64)

    width = 10 ** (12 * draw() - 9)
    special = sorted(
        {*getattr(op, "kinks", tuple)(), *getattr(op, "domain", ()), 0.0, math.pi, -math.pi / 2} - INFINITE
    )
    places = torch.tensor(special, dtype=torch.float64)[torch.randint(len(special), (count,), generator=generator)]
    anchor = places + width * (6 * draw() - 3).round() / 2 * torch.where(draw() < 0.3, 1 + 1e-9, 1.0)
    centre = torch.where(draw() < 0.5, anchor, 2 * REACH * draw() - REACH)
    low, high = getattr(op, "domain", (-math.inf, math.inf))
    limit = 200.0 if dtype == torch.float64 else 60.0  # exponentials stay finite
    low, high = max(low, -limit), min(high, limit)
    box = Box((centre - width / 2).clamp(low, high), (centre + width / 2).clamp(low, high)).to(dtype)
    box = Box(box.lower.unsqueeze(0), box.upper.unsqueeze(0))
    outside = op.outside(box)
    return Box(torch.where(outside, 0.25, box.lower), torch.where(outside, 0.5, box.upper))


INFINITE = {math.inf, -math.inf}


def points_of(op: Curve, box: Box, seed: int) -> Tensor:
    """Draw points in boxes, with their ends and the special places inside, ``(count, 1, N)``, in float64."""
    generator = torch.Generator().manual_seed(seed)
    wide = Box(box.lower.double(), box.upper.double())
    places = [torch.full_like(wide.lower, place) for place in getattr(op, "kinks", tuple)()]
    inside = [place.clamp(wide.lower, wide.upper) for place in places]
    return torch.cat([wide.sample(SAMPLES, generator), wide.lower[None], wide.upper[None], *(p[None] for p in inside)])


def margins(op: Curve, box: Box) -> Rounding:
    """Return what the bounder adds for rounding, over boxes of the node."""
    net = Net(box.lower.shape[1])
    net.add(op)
    graph = net.graph().to(box.lower.dtype)
    node = next(node for node in graph.nodes.values() if isinstance(node.op, Curve))
    assert node.name != OUTPUT
    return rounding(graph, node, [box])


@pytest.mark.parametrize("op", SMOOTH)
def test_values_are_as_precise_as_stated(op: Smooth) -> None:
    box = draw_boxes(op, 0)
    x = box.lower[0]
    allowed = (margins(op, Box(box.lower, box.lower)).forward[0]).tolist()
    reference, y = REFERENCE[type(op).__name__], op.forward(x).tolist()
    for k, value in enumerate(x.tolist()):
        assert abs(reference(op, mpmath.mpf(value)) - y[k]) <= allowed[k], value


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("op", ALL)
def test_intervals_and_lines_contain_the_values(op: Curve, dtype: torch.dtype) -> None:
    """Bounds in either precision, widened by their margin, hold for the values in float64."""
    box = draw_boxes(op, 1, dtype=dtype)
    single = op.to(dtype, torch.device("cpu"))
    points = points_of(op, box, 2)
    values, margin = op.forward(points), margins(op, box)
    hull = single.interval(box)
    assert (values >= (hull.lower - margin.forward).double()).all()
    assert (values <= (hull.upper + margin.forward).double()).all()
    generator = torch.Generator().manual_seed(3)
    draws = torch.randn((op.parameters, 1, 1, box.lower.shape[1]), generator=generator, dtype=torch.float64)
    for alpha in (None, draws.to(dtype), (10 * draws).to(dtype)):
        enclosure = single.relax(box, alpha=alpha)
        assert isinstance(enclosure, Diagonal)
        for sign, slope, offset in (
            (1, enclosure.lower_slope, enclosure.lower_offset),
            (-1, enclosure.upper_slope, enclosure.upper_offset),
        ):
            line = slope[:, 0].double() * points
            line = line if offset is None else line + offset[:, 0].double()
            assert (sign * (values - line) >= -margin.backward.double()).all()


@pytest.mark.parametrize("op", SMOOTH)
def test_slopes_contain_difference_quotients(op: Smooth) -> None:
    box = draw_boxes(op, 4)
    wide = (box.upper - box.lower) > 1e-4
    least, most = op.slopes(box)
    points = points_of(op, box, 5).sort(0).values
    values, gaps = op.forward(points), points.diff(dim=0)
    steep = values.diff(dim=0) / torch.where(gaps > 0, gaps, 1)
    noise = 4 * margins(op, box).forward / torch.where(gaps > 0, gaps, 1)
    checked = wide & (gaps > 1e-6)
    assert (~checked | (steep >= least - noise)).all()
    assert (~checked | (steep <= most + noise)).all()


@pytest.mark.parametrize("op", SMOOTH)
def test_boxes_that_leave_the_domain_have_no_bounds(op: Smooth) -> None:
    low, high = op.domain
    if (low, high) == (-math.inf, math.inf):
        return
    box = Box(torch.tensor([[low - 1, low - 2]]).double(), torch.tensor([[low + 1, low - 1]]).double())
    hull = op.interval(box)
    assert (hull.lower == -math.inf).all() and (hull.upper == math.inf).all()
    (rows,), offset = op.relax(box).pullback(torch.ones(1, 1, 2).double())
    assert not (rows.isfinite().all() and offset.isfinite().all())


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

    def forward(self, *x: Tensor) -> Tensor:
        return x[0].sigmoid()


@pytest.mark.parametrize("mistake", ["bend", "flat", "upside down", "slope"])
def test_mistakes_in_a_description_are_caught(mistake: str) -> None:
    with pytest.raises(AssertionError):
        test_intervals_and_lines_contain_the_values(Mutant(mistake), torch.float64)


def test_a_rough_root_costs_tightness_only() -> None:
    class Rough(Sigmoid, register=False):
        def distance(self, slope: Tensor) -> Tensor:
            return super().distance(slope) * 1.2 + 0.1

    test_intervals_and_lines_contain_the_values(Rough(), torch.float64)


def classical(op: Smooth, x: Box) -> list[tuple[Tensor, Tensor]]:
    """Return upper lines by the classical rules: the chord, tangents at the middle and through the ends' images."""
    chord = (op.forward(x.upper) - op.forward(x.lower)) / (x.upper - x.lower)
    lines = [(chord, op.forward(x.lower) - chord * x.lower)]
    for place in (x.centre, x.lower, x.upper):
        slope = op.derivative(place, 0)
        lines.append((slope, op.forward(place) - slope * place))
    for end in (x.lower, x.upper):  # the tangent through the image of an end: by bisection on the place it touches
        low, high = x.lower.clone(), x.upper.clone()
        for _ in range(60):
            middle = (low + high) / 2
            above = op.forward(middle) + op.derivative(middle, 0) * (end - middle) > op.forward(end)
            toward = above if bool((end == x.upper).all()) else ~above
            low, high = torch.where(toward, low, middle), torch.where(toward, middle, high)
        slope = op.derivative(low, 0)
        lines.append((slope, op.forward(low) - slope * low))
    return lines


@pytest.mark.parametrize("op", [Sigmoid(), Tanh(), Sin(), Gelu()])
def test_lines_of_least_area_are_no_worse_than_the_classical_ones(op: Smooth) -> None:
    """Among the classical lines that hold, none has a smaller area; a line's area depends on its middle height."""
    generator = torch.Generator().manual_seed(0)
    centre = 8 * torch.rand(1, BOXES, generator=generator, dtype=torch.float64) - 4
    width = 10 ** (2.5 * torch.rand(1, BOXES, generator=generator, dtype=torch.float64) - 2)
    box = Box(centre - width / 2, centre + width / 2)
    grid = torch.linspace(0, 1, 200, dtype=torch.float64).reshape(-1, 1, 1)
    points = box.lower + grid * (box.upper - box.lower)
    values, middle = op.forward(points), box.centre
    ours = op.relax(box)
    assert isinstance(ours, Diagonal)
    assert ours.upper_offset is not None
    height = (ours.upper_slope * middle.unsqueeze(1) + ours.upper_offset)[:, 0]
    mean = values.mean(0)
    ratios = []
    for slope, offset in classical(op, box):
        holds = offset >= op.extreme(box, slope, 1)[0] - 1e-12  # which is tested above
        other = slope * middle + offset
        assert (~holds | (height - other <= 1e-6 * (other - mean).abs() + 1e-9)).all()
        ratios.append((((height - mean) / (other - mean).clamp(min=1e-12))[holds]).clamp(max=1.01))
    assert torch.cat(ratios).mean() <= 1
