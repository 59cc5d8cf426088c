"""Cutting off the parts of input boxes in which linear bounds leave no room for a counterexample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from verifier.bounds.backward import LinearBound
from verifier.sets import Box

SLACK = 1 + 4 * torch.finfo(torch.float64).eps
"""Covers the rounding of a few operations in float64."""


def contracted(found: LinearBound, least: Tensor, box: Box) -> Box:
    """Return boxes of all points at which no row is known to be positive, coordinate by coordinate.

    A row of least value ``least`` <= 0 at one end of a coordinate rises with the distance from there by the size of its
    coefficient, at least. It is positive beyond ``-least / |coefficient|``.

    Args:
        found: linear functions that bound rows from below, up to the error.
        least: their least values ``(B, S)`` over the boxes, less the error.
        box: ``(B, n)``.

    Returns:
        Boxes inside the given ones, up to rounding, in float64; where a row is positive everywhere, as they were.

    Property: sound in floating point.
    Source: interval constraint propagation of linear inequalities; Cleary, "Logical arithmetic", 1987.
    """
    slopes, depth = found.coefficients.double(), -least.double().clamp(max=0).unsqueeze(-1)
    room = torch.where(slopes == 0, math.inf, depth / slopes.abs()) * SLACK  # (B, S, n)
    rising = torch.where(slopes > 0, room, math.inf).amin(1)
    falling = torch.where(slopes < 0, room, math.inf).amin(1)
    lower, upper = box.lower.double(), box.upper.double()
    infinity = torch.full_like(lower, math.inf)
    return Box(
        torch.fmax(lower, torch.nextafter(upper - falling, -infinity)),
        torch.fmin(upper, torch.nextafter(lower + rising, infinity)),
    )
