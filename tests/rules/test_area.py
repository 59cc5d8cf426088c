"""The lines of least area against those of the classical rules, which are written out here.

The rules: the chord; the tangent at the middle; and the tangent through the far end, which touches where the line from
an end to the curve is steepest, or at the end itself. Of those that hold, the one of least area is the rival. The area
between a line and the curve is an integral, which Gauss's rule of 64 places gives to all but rounding for functions as
smooth as these.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from verifier.ops.curves import Gelu, Sigmoid, Sin, Tanh
from verifier.ops.curves.gelu import density, phi
from verifier.ops.curves.smooth import Smooth
from verifier.sets import Box, Diagonal

BOXES = 10_000
WORSE = 1e-6
"""How much larger our area may be, relatively."""

CELLS = 64
"""Parts of a box that a tangent is first looked for in."""

GOLDEN = 0.6180339887498949

NEAREST = 1e-3
"""The part of a box next to its ends in which no tangent is looked for: rounding would make slopes up."""

MISSED = WORSE / 10
"""By how much of its mean height a classical line may miss the curve and still count as one that holds."""

Line = tuple[Tensor, Tensor]

CURVES = [Sigmoid(), Tanh(), Sin(), Gelu()]


def boxes() -> Box:
    generator = torch.Generator().manual_seed(0)
    centre = 10 * torch.rand(BOXES, generator=generator, dtype=torch.float64) - 5
    width = 10 ** (3 * torch.rand(BOXES, generator=generator, dtype=torch.float64) - 2)
    return Box(centre - width / 2, centre + width / 2)


def area(op: Smooth, box: Box, line: Line, sign: int) -> Tensor:
    """Return the area by which a line lies above (``sign`` = 1) or below (-1) the curve."""
    nodes, weights = (torch.tensor(part)[:, None] for part in np.polynomial.legendre.leggauss(64))
    x = box.centre + nodes * box.radius
    return (sign * (line[0] * x + line[1] - op.forward(x)) * weights).sum(0) * box.radius


def through(op: Smooth, place: Tensor, slope: Tensor) -> Line:
    return slope, op.forward(place) - slope * place


def from_end(op: Smooth, box: Box, end: Tensor, sign: int) -> Line:
    """Return the line through an end that bounds the curve: to where it is steepest from there, by golden section."""
    upward = sign * torch.where(end == box.lower, 1.0, -1.0)

    def steepness(place: Tensor) -> Tensor:
        rise = upward * (op.forward(place) - op.forward(end)) / (place - end)
        return rise.nan_to_num(-torch.inf)

    parts = torch.linspace(0, 1, CELLS + 1, dtype=torch.float64)
    parts[0], parts[-1] = NEAREST, 1 - NEAREST
    places = torch.lerp(box.lower, box.upper, parts[:, None])
    best = steepness(places).argmax(0)
    low, high = (places.gather(0, (best + step).clamp(0, CELLS)[None])[0] for step in (-1, 1))
    for _ in range(60):
        first, second = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        beyond = steepness(first) < steepness(second)
        low, high = torch.where(beyond, first, low), torch.where(beyond, high, second)
    ends = torch.stack([steepness(low), steepness(high), steepness(places).amax(0)])
    return through(op, end, upward * ends.amax(0))


def held(op: Smooth, box: Box, line: Line, sign: int) -> Tensor:
    """Return the area of a line; infinite where it does not hold, by more than a small part of its mean height."""
    found = area(op, box, line, sign)
    room = sign * (line[1] - op.extreme(box, line[0], sign)[0])
    return torch.where(room >= -MISSED * found / (box.upper - box.lower), found, torch.inf)


def classical(op: Smooth, box: Box, sign: int) -> Tensor:
    """Return the least area of the classical lines that hold."""
    chord = (op.forward(box.upper) - op.forward(box.lower)) / (box.upper - box.lower)
    lines = [through(op, box.lower, chord), through(op, box.centre, op.derivative(box.centre, 0))]
    for end in (box.lower, box.upper):
        lines += [from_end(op, box, end, sign), through(op, end, op.derivative(end, 0))]
    return torch.stack([held(op, box, line, sign) for line in lines]).amin(0)


def ratios(op: Smooth) -> Tensor:
    """Return our areas as parts of the classical ones, above and below, where some classical line holds."""
    box, found = boxes(), []
    ours = op.relax(Box(box.lower[None], box.upper[None]))
    assert isinstance(ours, Diagonal)
    assert ours.lower_offset is not None
    assert ours.upper_offset is not None
    for sign, slope, offset in ((-1, ours.lower_slope, ours.lower_offset), (1, ours.upper_slope, ours.upper_offset)):
        rival, own = classical(op, box, sign), area(op, box, (slope[0, 0], offset[0, 0]), sign)
        assert rival.isfinite().double().mean() > 0.99
        found.append(torch.where(rival.isfinite(), own / rival, torch.nan))
    return torch.stack(found)


@pytest.mark.parametrize("op", CURVES, ids=lambda op: type(op).__name__)
def test_no_classical_line_has_a_smaller_area(op: Smooth) -> None:
    found = ratios(op)
    assert not (found > 1 + WORSE).any()
    assert found.nanmean() <= 1 + WORSE / 10


PRIMITIVES = {
    "Sigmoid": lambda x: torch.nn.functional.softplus(x),
    "Tanh": lambda x: torch.cosh(x).log(),
    "Sin": lambda x: -x.cos(),
    "Gelu": lambda x: ((x * x - 1) * phi(x) + x * density(x)) / 2,
}


@pytest.mark.parametrize("op", CURVES, ids=lambda op: type(op).__name__)
def test_areas_are_those_of_the_primitive(op: Smooth) -> None:
    box = boxes()
    primitive = PRIMITIVES[type(op).__name__]
    integral = primitive(box.upper) - primitive(box.lower)
    flat = torch.zeros_like(integral)
    torch.testing.assert_close(area(op, box, (flat, flat), -1), integral, rtol=1e-12, atol=1e-13)


def test_areas_see_a_line_that_is_a_little_too_high() -> None:
    op, box = CURVES[0], boxes()
    slope, offset = through(op, box.lower, op.derivative(box.lower, 0))
    gain = area(op, box, (slope, offset + 1e-9), 1) - area(op, box, (slope, offset), 1)
    torch.testing.assert_close(gain, 1e-9 * (box.upper - box.lower), rtol=1e-4, atol=0)


def test_a_slope_that_is_a_little_off_is_caught() -> None:
    """Lines of the chord's slope alone, tight as they are, lose to the tangents."""

    class Chords(Sigmoid, register=False):
        def _least_area(self, box: Box) -> Tensor:
            return super()._least_area(box) * (1 + 1e-3)

    assert (ratios(Chords()) > 1 + WORSE).any()
