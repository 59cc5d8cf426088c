"""Networks about a point: the same values, and boxes that hold them."""

from __future__ import annotations

import math

import pytest
import torch

from tests.bounds.nets import boxes, drawn, residual
from verifier.bounds.centred import Centred
from verifier.bounds.schedule import BOTH, CROWN, INTERVAL, bound_nodes
from verifier.graph.graph import INPUT
from verifier.ops.curves import Relu
from verifier.ops.curves.shifted import Shifted
from verifier.sets import Box


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("radius", [1e-6, 0.01, 0.5])
def test_boxes_hold_all_values(seed: int, radius: float) -> None:
    graph, box = residual(seed), boxes(32, (radius,), seed)
    with torch.no_grad():
        start = bound_nodes(graph, box, INTERVAL).boxes
        found = Centred.about(graph, box.centre).bound(start, BOTH)
        values = graph.values(box.sample(500, drawn(seed)).flatten(0, 1))
    for name in graph.nodes:
        assert (values[name] >= found[name].lower - 1e-13).all(), name
        assert (values[name] <= found[name].upper + 1e-13).all(), name


def test_what_does_not_vary_stays_a_point() -> None:
    graph, box = residual(0), boxes(32, (0.1,), 0)
    box = Box(box.lower, torch.where(torch.arange(32) < 4, box.upper, box.lower))
    start = bound_nodes(graph, box, INTERVAL).boxes
    shifted = Centred.about(graph, box.centre)._shift(INPUT, start[INPUT])
    assert int((shifted.lower < shifted.upper).sum()) == 4


def test_float32_about_a_point_is_nearly_as_tight_as_float64() -> None:
    """Far from zero and on a narrow box, float32 itself knows nothing, but differences do."""
    graph, box = residual(1), boxes(32, (1e-6,), 1)
    with torch.no_grad():
        start = bound_nodes(graph, box, INTERVAL).boxes
        found = Centred.about(graph, box.centre).bound(start, BOTH)
        exact = bound_nodes(graph, box, CROWN).boxes
        plain = bound_nodes(graph.to(torch.float32), box.to(torch.float32), CROWN).boxes
    name = list(graph.nodes)[-1]
    width = [float((boxes_[name].upper - boxes_[name].lower).mean()) for boxes_ in (found, exact, plain)]
    assert width[0] < 1.1 * width[1]
    assert width[2] > 2 * width[1]


def test_lines_of_a_shifted_curve_enclose_it() -> None:
    generator = drawn(0)
    middle = torch.randn(1, 200, generator=generator, dtype=torch.float64)
    value = middle.clamp(min=0) + 1e-3
    curve = Shifted(Relu(), middle - 1e-4, middle + 1e-4, value)
    ends = torch.randn(2, 1, 200, generator=generator)
    box = Box(ends.amin(0), ends.amax(0))
    for alpha in (None, torch.rand(1, 1, 1, 200, generator=generator)):
        lines = curve.relax(box, alpha=alpha)
        slope, low, high = curve.parallel(box)
        for x in box.sample(100, generator):
            for v in (middle - 1e-4, middle, middle + 1e-4):
                y, point = (x.double() + v).clamp(min=0) - value, x.double()
                slack = 1e-6 * (1 + point.abs())  # the conversion of the slopes is for the rounding margin
                assert (lines.lower_slope[:, 0] * point + lines.lower_offset[:, 0] <= y + slack).all()
                assert (lines.upper_slope[:, 0] * point + lines.upper_offset[:, 0] >= y - slack).all()
                assert (slope * point + low <= y + slack).all()
                assert (slope * point + high >= y - slack).all()
                assert (curve.interval(box).lower <= y).all()
                assert (curve.interval(box).upper >= y).all()
    assert math.isfinite(float(curve.absolute_terms(box).sum()))
