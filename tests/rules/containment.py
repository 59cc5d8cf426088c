"""Whether all that an operator says of boxes holds at points of them, up to its stated rounding margins and no more."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

from tests.bounds.nets import Net
from tests.rules.boxes import draw_box, draw_points, kinks
from tests.rules.references import RATIONAL, SMOOTH, Array, name_of
from verifier.bounds.forward import Form, forward_step, input_form
from verifier.bounds.interval import interval_step
from verifier.bounds.rounding import Rounding, rounding
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node
from verifier.ops.curves import Curve, Heaviside
from verifier.ops.curves.setvalued import Levels, SetValued
from verifier.ops.curves.shifted import Shifted
from verifier.ops.curves.smooth import Smooth
from verifier.ops.curves.stairs import Stairs
from verifier.ops.elementwise import Elementwise
from verifier.ops.op import Op, Shape
from verifier.ops.shape import View
from verifier.sets import Box, Diagonal, Enclosure, Planes

ULPS = 2
"""How many units in its last place the value of a smooth curve may be off by, in float64."""

ROUNDED_WITHIN = {"EluSlope", "ErfSlope", "GatedSlope", "Gelu", "GeluTanh", "HardSwishSlope"}
"""Curves that round their operand before a function of it falls steeply: these are units of ``|f(x)| + |x f'(x)|``."""

ROUGH = {"EluSlope": 3, "GatedSlope": 6}
"""Curves made in many steps, or of terms that cancel, with how many units they may be off by."""

EPSILON = mpmath.mpf(10) ** -40
"""How near to a jump the limit is taken."""

UNIT, TINY = 2.0**-52, torch.finfo(torch.float64).tiny

SLACK = 256
"""How many units in the last place of the steepest slope a range of slopes may miss; lines are sound by any slope."""

STEEP = 1e-11
"""How near to the end of a domain a large number may stand for an infinite slope."""

NOISE = 1e-4
"""The largest error of a quotient of differences that still says something."""

FINITE = 0.9
"""The least part of boxes that have to have bounds."""

ROWS = 3
LARGE = 1 << 21
"""Coefficients of one instance that are looked at together."""


@dataclass(frozen=True)
class Trial:
    """An operator on boxes, in some dtype, with points inside and what it makes of them: ``least`` to ``most``."""

    op: Op
    single: Op
    graph: Graph
    node: Node
    boxes: list[Box]
    scale: Rounding
    points: list[Array]
    least: Array
    most: Array


def extended(values: Tensor) -> Array:
    """Return numbers as extended floats, in which sums and products of float64 numbers are all but exact."""
    return values.double().numpy().astype(np.longdouble)


def units_of(op: Op) -> int:
    """Return how many units in its last place a curve's value may be off by."""
    return ROUGH.get(name_of(op), ULPS)


def error_of(op: Curve, x: Tensor, y: Tensor) -> Tensor:
    """Bound the error of the values ``y`` of a smooth curve at x."""
    moved = x.abs() * op.steepest(Box(x, x)) if name_of(op) in ROUNDED_WITHIN else 0
    return units_of(op) * UNIT * (y.abs() + moved) + TINY


def values_of(op: Op, points: list[Tensor]) -> tuple[Array, Array]:
    """Return the least and the greatest that the exact value may be at points ``(P, B, *operand)``."""
    count, domains = points[0].shape[:2]
    flat = [point.flatten(0, 1) for point in points]
    if isinstance(op, Shifted):
        return shifted_values(op, points[0])
    if name_of(op) in RATIONAL:
        y = RATIONAL[name_of(op)](op, *(extended(point) for point in flat))
        return (y.reshape(count, domains, *y.shape[1:]),) * 2
    assert isinstance(op, Curve)
    y, (x,) = op.forward(*flat), flat
    middle, error = (extended(part).reshape(points[0].shape) for part in (y, error_of(op, x, y)))
    return middle - error, middle + error


def shifted_values(op: Shifted, x: Tensor) -> tuple[Array, Array]:
    """Return the values at points ``(P, B, *node)`` for the least v, the middle one and the largest in turn."""
    turn = torch.arange(len(x)).reshape(-1, 1, 1, 1) % 3
    v = torch.where(turn == 0, op.lower, torch.where(turn == 1, op.upper, Box(op.lower, op.upper).centre))
    exact = extended(x) + extended(v)
    if name_of(op.curve) in RATIONAL:
        y = RATIONAL[name_of(op.curve)](op.curve, exact) - extended(op.value)
        return y, y
    place = x + v
    least, most = values_of(op.curve, [place])
    slack = abs(exact - extended(place)) * extended(op.curve.steepest(Box(place, place)))
    return least - slack - extended(op.value), most + slack - extended(op.value)


def with_jumps(op: SetValued | Heaviside, box: Box, x: Tensor, least: Array, most: Array) -> tuple[Array, Array]:
    """Put in, at points where a function jumps, all values between its limits from inside of the boxes."""
    point = (box.lower == box.upper).numpy()
    for jump in op.kinks():
        here = (x == jump).numpy()
        before, behind = sides(op, jump)
        left, right = (box.lower < jump).numpy() | point, (box.upper > jump).numpy() | point
        low, high = min(before, behind), max(before, behind)
        least = np.where(here, np.where(left & right, low, np.where(left, before, behind)), least)
        most = np.where(here, np.where(left & right, high, np.where(left, before, behind)), most)
    return least, most


def sides(op: SetValued | Heaviside, jump: float) -> tuple[float, float]:
    """Return the limits of a function at a jump, from the left and from the right."""
    if isinstance(op, Heaviside):
        return op.levels
    if isinstance(op, Levels):
        place = op.jumps.index(jump)
        return op.levels[place], op.levels[place + 1]
    before, behind = (float(SMOOTH[name_of(op)](op, jump + side * EPSILON)) for side in (-1, 1))
    return before, behind


def made(op: Op, shapes: list[Shape], dtype: torch.dtype) -> tuple[Graph, Node]:
    """Build the network of one operator, whose operands are pieces of the input."""
    net = Net(sum(math.prod(shape) for shape in shapes))
    begins = itertools.accumulate((math.prod(shape) for shape in shapes), initial=0)
    pieces = [net.add(View(begin, shape), INPUT) for begin, shape in zip(begins, shapes, strict=False)]
    name = net.add(op, *pieces)
    graph = net.graph().to(dtype)
    assert name != OUTPUT
    return graph, graph.nodes[name]


def trial(op: Op, shapes: list[Shape], dtype: torch.dtype, count: int, seed: int = 0) -> Trial:
    """Draw boxes and points: ``count`` domains, or fewer where the operator is large."""
    generator = torch.Generator().manual_seed(seed)
    graph, node = made(op, shapes, dtype)
    size = max(graph.n_inputs * graph.n_outputs, 1)
    count = min(count, max(LARGE // size, 3))
    boxes = [draw_box(op, shape, count, dtype, generator) for shape in shapes]
    points = [draw_points(op, box, 8, generator) for box in boxes]
    least, most = values_of(op, points)
    if isinstance(op, (SetValued, Heaviside)):
        least, most = with_jumps(op, boxes[0], points[0], least, most)
    assert node.op is not None
    scale = rounding(graph, node, boxes)
    return Trial(op, node.op, graph, node, boxes, scale, [extended(point) for point in points], least, most)


def check_interval(case: Trial) -> None:
    hull = interval_step(case.node, case.boxes, case.scale.forward)
    assert (hull.lower.isfinite() & hull.upper.isfinite()).double().mean() > FINITE, "hardly any bounds"
    assert (case.least >= extended(hull.lower)).all(), "below the interval"
    assert (case.most <= extended(hull.upper)).all(), "above the interval"


def parameters(case: Trial) -> Iterator[Tensor | None]:
    """Yield the parameters of least area, and some drawn ones: anywhere, and often at their ends."""
    yield None
    assert isinstance(case.single, Elementwise)
    generator = torch.Generator().manual_seed(1)
    size = (case.single.parameters, len(case.boxes[0].lower), 1, *case.node.shape)
    draws = torch.rand(size, generator=generator, dtype=torch.float64).to(case.boxes[0].lower)
    yield draws
    yield 3 * draws - 1


def check_planes(case: Trial) -> None:
    """Rows at the node's values are bounded from below by what they are pulled back to, less the stated error."""
    if isinstance(case.single, Elementwise):
        for alpha in parameters(case):
            check_elements(case, case.single.relax(*case.boxes, alpha=alpha))
        return
    dtype, domains = case.boxes[0].lower.dtype, len(case.boxes[0].lower)
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(domains, ROWS, *case.node.shape, generator=generator, dtype=torch.float64).to(dtype)
    pulled, offset = case.single.relax(*case.boxes).pullback(rows)
    bound = extended(offset) - extended(case.scale.error(rows) + torch.finfo(dtype).eps / 2 * offset.abs())
    for part, point in zip(pulled, case.points, strict=True):
        bound = bound + inner(part, point)
    assert (bound <= inner(rows, case.least)).all(), "pulled back to the wrong side"


def check_elements(case: Trial, planes: Enclosure) -> None:
    """Check the planes of an elementwise operator, one element after the other; infinite ones say nothing."""
    if isinstance(planes, Diagonal):
        below, above = (planes.lower_slope,), (planes.upper_slope,)
    else:
        assert isinstance(planes, Planes)
        below, above = planes.lower_slopes, planes.upper_slopes
    margin = extended(case.scale.backward)
    for sign, slopes, offset, end in (
        (1, below, planes.lower_offset, case.least),
        (-1, above, planes.upper_offset, case.most),
    ):
        plane = 0 if offset is None else extended(offset[:, 0])
        for slope, point in zip(slopes, case.points, strict=True):
            plane = plane + extended(slope[:, 0]) * point
        rest = sign * (end - plane) + margin
        known = np.isfinite(rest)
        assert known.mean() > FINITE, "hardly any bounds"
        assert (~known | (rest >= 0)).all(), "a plane is on the wrong side"


def check_slopes(case: Trial) -> None:
    """By the mean value theorem, quotients of differences lie in the range of slopes, up to the error of the values."""
    assert isinstance(case.op, Curve) and isinstance(case.single, Curve)
    (box,), (points,) = case.boxes, case.points
    order = points.argsort(0)
    x, least, most = (np.take_along_axis(part, order, 0) for part in (points, case.least, case.most))
    gap, rise = np.diff(x, axis=0), np.diff((least + most) / 2, axis=0)
    noise = (most - least)[1:] + (most - least)[:-1] + 2.0**-60 * (abs(most)[1:] + abs(most)[:-1])
    checked = (gap > 0) & (noise <= NOISE * gap)
    for jump in kinks(case.op) if isinstance(case.op, SetValued) or not isinstance(case.op, Smooth) else ():
        checked &= ~((x[:-1] <= jump) & (jump <= x[1:]))
    if isinstance(case.op, Stairs):
        checked &= rise == 0
    for end in getattr(case.op, "domain", ()):
        checked &= abs(x[:-1] - end) > STEEP  # where the derivative may be infinite
    low, high = (extended(end) for end in case.single.slopes(box))
    info = torch.finfo(box.lower.dtype)
    slack = SLACK * (info.eps * np.maximum(abs(low), abs(high)) + SLACK * info.tiny)
    slope = rise / np.where(checked, gap, 1)
    unsure = noise / np.where(checked, gap, 1) + slack
    assert (~checked | ((slope >= low - unsure) & (slope <= high + unsure))).all(), "a slope out of range"


def inner(rows: Tensor, values: Array) -> Array:
    """Products ``(P, B, S)`` of rows ``(B, S, *node)`` and values ``(P, B, *node)``."""
    flat = extended(rows).reshape(*rows.shape[:2], -1)
    found: Any = np.einsum("bsn,pbn->pbs", flat, values.reshape(*values.shape[:2], -1))
    return found  # type: ignore[no-any-return]


def check_forward(case: Trial) -> None:
    """The operator's form over its own operands as symbols holds the values."""
    shapes = [box.lower.shape[1:] for box in case.boxes]
    lower, upper = (torch.cat([end.flatten(1) for end in ends], 1) for ends in zip(*ends_of(case), strict=True))
    vector = Box(lower, upper)
    whole = input_form(vector, torch.arange(vector.lower.shape[1]))
    forms, begin = [], 0
    for shape in shapes:
        piece = slice(begin, begin + shape.numel())
        slopes = whole.slopes[:, :, piece].reshape(*whole.slopes.shape[:2], *shape)
        forms.append(Form(slopes, *(end[:, piece].reshape(-1, *shape) for end in (whole.centre, whole.error))))
        begin = piece.stop
    form = forward_step(case.graph, case.node, forms, case.boxes)
    x = np.concatenate([point.reshape(*point.shape[:2], -1) for point in case.points], 2)
    radius = extended(whole.slopes.diagonal(dim1=1, dim2=2))
    moved = (x - extended(whole.centre)) / np.where(radius > 0, radius, 1)
    symbols = np.clip(np.where(radius > 0, moved, 0), -1, 1)
    flat = extended(form.slopes).reshape(*form.slopes.shape[:2], -1)
    middle = extended(form.centre) + np.einsum("bdn,pbd->pbn", flat, symbols).reshape(case.least.shape)
    error = extended(form.error)
    known = np.isfinite(middle) & np.isfinite(error)
    assert known.mean() > FINITE, "hardly any bounds"
    assert (~known | ((case.least >= middle - error) & (case.most <= middle + error))).all(), "outside the form"


def ends_of(case: Trial) -> list[tuple[Tensor, Tensor]]:
    return [(box.lower, box.upper) for box in case.boxes]


def check(op: Op, shapes: list[Shape], dtype: torch.dtype, count: int) -> None:
    """Do all checks that are meant for an operator, in one dtype."""
    with np.errstate(invalid="ignore", over="ignore"):  # where there are no bounds
        case = trial(op, shapes, dtype, count)
        check_interval(case)
        check_planes(case)
        check_forward(case)
        if isinstance(op, Curve) and not isinstance(op, Shifted):
            check_slopes(case)
