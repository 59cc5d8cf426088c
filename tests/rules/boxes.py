"""Boxes that look for mistakes: of all widths, at, beside and across the places where functions bend, jump or end."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from verifier.ops.curves import Cosh, Exp, Sinh
from verifier.ops.elementwise import Elementwise
from verifier.ops.op import Op, Shape
from verifier.sets import Box

REACH = 2000.0
"""How far from 0 boxes lie."""

EXPONENTIALS = (Exp, Sinh, Cosh)
LARGEST = {torch.float32: 80.0, torch.float64: 700.0}
"""Operands up to which exponentials stay within the range of the dtype."""

ELSEWHERE = (0.0, 1.0, -0.5, 7.0, -math.pi, math.pi / 2)
"""Places that are special for some functions, or for none."""

REDRAWS = 12


def kinks(op: Op) -> list[float]:
    """Return where a function bends or jumps."""
    found = getattr(op, "kinks", ())
    return [*(found() if callable(found) else found)]


def limits(op: Op, dtype: torch.dtype) -> tuple[float, float]:
    """Return the range that boxes are in: the domain, as far as the dtype goes."""
    low, high = getattr(op, "domain", (-math.inf, math.inf))
    reach = LARGEST[dtype] if isinstance(op, EXPONENTIALS) else REACH
    return max(low, -reach), min(high, reach)


def draw_box(op: Op, shape: Shape, count: int, dtype: torch.dtype, generator: torch.Generator) -> Box:
    """Draw boxes ``(count, *shape)`` of widths 1e-9 to 1e3, most with an end at or beside a special place.

    Those that leave the domain are drawn again; what still does in the end becomes an easy one.
    """
    box = _draw(op, (count, *shape), dtype, generator)
    for left in reversed(range(REDRAWS)):
        bad = op.outside(box) if isinstance(op, Elementwise) else torch.zeros_like(box.lower, dtype=torch.bool)
        if not bad.any():
            break
        easy = Box(torch.full_like(box.lower, 0.25), torch.full_like(box.lower, 0.5))
        fresh = _draw(op, (count, *shape), dtype, generator) if left else easy
        box = Box(torch.where(bad, fresh.lower, box.lower), torch.where(bad, fresh.upper, box.upper))
    return box


def _draw(op: Op, size: Shape, dtype: torch.dtype, generator: torch.Generator) -> Box:
    draw = partial(torch.rand, size, dtype=torch.float64, generator=generator)
    low, high = limits(op, dtype)
    ends = [end for end in getattr(op, "domain", ()) if math.isfinite(end)]
    special = torch.tensor([*kinks(op), *ends, *ELSEWHERE], dtype=torch.float64).to(dtype)
    width, place = 10 ** (12 * draw() - 9), special[(draw() * len(special)).long()]
    side = torch.where(draw() < 0.5, -1.0, 1.0)
    next_to = torch.nextafter(place, (side * math.inf).to(dtype))
    beside = torch.where(draw() < 0.5, next_to, place + (side * width * 1e-6).to(dtype))
    end = torch.where(draw() < 0.5, place, beside)
    anywhere = torch.where(draw() < 0.5, 40 * draw() - 20, (2 * draw() - 1) * REACH)
    within = torch.where(draw() < 0.6, place - width * draw(), anywhere).to(dtype)
    kind = (4 * draw()).long()  # which begin at an end, which stop at one, and others
    lower = torch.where(kind == 0, end, torch.where(kind == 1, (end - width).to(dtype), within))
    upper = torch.where(kind == 1, end, (lower + width).to(dtype))
    return Box(lower.clamp(low, high), torch.maximum(lower, upper).clamp(low, high))


def draw_points(op: Op, box: Box, count: int, generator: torch.Generator) -> Tensor:
    """Draw points ``(P, B, *node)`` in float64: inside, many of them near ends, at ends, and at and beside kinks."""
    lower, upper = box.lower.double(), box.upper.double()
    draws = torch.rand((count, *lower.shape), dtype=torch.float64, generator=generator)
    near = 10 ** (-12 * torch.rand(draws.shape, dtype=torch.float64, generator=generator))
    weight = torch.where(draws < 0.5, draws * 2, torch.where(draws < 0.75, near, 1 - near))
    points = [torch.lerp(lower, upper, weight), lower[None], upper[None]]
    for kink in kinks(op):
        place = torch.full_like(lower, kink)
        points += [torch.nextafter(place, torch.full_like(place, end))[None] for end in (-math.inf, kink, math.inf)]
    return torch.maximum(torch.minimum(torch.cat(points), upper), lower)
