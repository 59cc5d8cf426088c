"""Every operator of the registry against its contract."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.rules.boxes import kinks
from tests.rules.instances import INSTANCES
from verifier.ops.adjoint import Adjoint
from verifier.ops.curves import Curve, Heaviside, Relu
from verifier.ops.curves.setvalued import SetValued
from verifier.ops.linear import Sparse
from verifier.ops.op import OPS, Affine, Op, Shape
from verifier.sets import Box, Diagonal, Enclosure

RADII = (0.0, 1e-9, 1e-6, 1e-4, 1e-2, 0.5, 4.0)
POINTS = 24
TOLERANCE = 1e-10

CASES = [
    pytest.param(op, shapes, id=f"{name}-{k}")
    for name, kind in sorted(OPS.items())
    for k, (op, shapes) in enumerate(kind.samples())
]
AFFINE = [instance for instance in INSTANCES if isinstance(instance[0], Affine)]
TUNABLE = [case for case in CASES if hasattr(case.values[0], "parameters")]


def hard_boxes(op: Op, shape: Shape, generator: torch.Generator) -> Box:
    """One domain for each radius; half of the coordinates straddle, touch or just miss a kink."""
    size = (len(RADII), *shape)
    draw = partial(torch.rand, size, dtype=torch.float64, generator=generator)
    radius = torch.tensor(RADII, dtype=torch.float64).reshape(-1, *[1] * len(shape))
    places = torch.tensor([*kinks(op), 0.0], dtype=torch.float64)
    near = places[torch.randint(len(places), size, generator=generator)] + radius * (8 * draw() - 4).round() / 2
    centre = torch.where(draw() < 0.5, near, 12 * draw() - 6)
    low, high = getattr(op, "domain", (-math.inf, math.inf))
    box = Box((centre - radius).clamp(low, high), (centre + radius).clamp(low, high))
    if not isinstance(op, Curve):
        return box
    if isinstance(op, (SetValued, Heaviside)):
        box = Box(aside(op, box.lower), aside(op, box.upper))
    outside = op.outside(box)  # there are no bounds to test
    return Box(torch.where(outside, 0.2, box.lower), torch.where(outside, 0.2 + radius.clamp(max=1), box.upper))


def aside(op: SetValued | Heaviside, x: Tensor) -> Tensor:
    """Move points off the places where a function has several values, upward."""
    return torch.where(torch.isin(x, torch.tensor(op.kinks(), dtype=torch.float64).to(x)), x + 1e-7, x)


def values_at(op: Op, points: list[Tensor]) -> Tensor:
    """Evaluate at points ``(count, B, *operand)``."""
    count, domains = points[0].shape[:2]
    y = op.forward(*(point.flatten(0, 1) for point in points))
    return y.reshape(count, domains, *y.shape[1:])


def sampled(op: Op, shapes: list[Shape], seed: int) -> tuple[list[Box], list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    boxes = [hard_boxes(op, shape, generator) for shape in shapes]
    points = [box.sample(POINTS, generator) for box in boxes]
    return boxes, points, values_at(op, points)


def inner(rows: Tensor, values: Tensor) -> Tensor:
    """Products ``(count, B, S)`` of rows ``(B, S, *node)`` and values ``(count, B, *node)``."""
    flat, other = rows.reshape(*rows.shape[:2], -1), values.reshape(*values.shape[:2], -1)
    return torch.einsum("bsn,kbn->kbs", flat, other)


def assert_pulls_back_soundly(enclosure: Enclosure, points: list[Tensor], y: Tensor, rows: Tensor) -> None:
    pulled, offset = enclosure.pullback(rows)
    assert offset.shape == rows.shape[:2]
    for part, point in zip(pulled, points, strict=True):
        assert part.shape == (*rows.shape[:2], *point.shape[2:])
    bound = offset + sum(inner(part, point) for part, point in zip(pulled, points, strict=True))
    scale = (
        1
        + inner(rows.abs(), y.abs())
        + sum(inner(part.abs(), point.abs()) for part, point in zip(pulled, points, strict=True))
    )
    assert (bound - inner(rows, y) <= TOLERANCE * scale).all()


def random_rows(op: Op, y: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(y.shape[1], 3, *y.shape[2:], dtype=torch.float64, generator=generator)
    return torch.where(torch.rand(rows.shape, generator=generator) < 0.2, 0.0, rows)


@pytest.mark.parametrize(("op", "shapes"), CASES)
def test_a_batch_is_its_rows_one_by_one(op: Op, shapes: list[Shape]) -> None:
    generator = torch.Generator().manual_seed(0)
    low, high = getattr(op, "domain", (-math.inf, math.inf))
    for count in sorted({1, 2, *(size for shape in shapes for size in shape)}):
        x = [torch.randn(count, *shape, dtype=torch.float64, generator=generator).clamp(low, high) for shape in shapes]
        y = op.forward(*x)
        assert len(y) == count
        for k in range(count):
            alone = op.forward(*(value[k : k + 1] for value in x))
            torch.testing.assert_close(y[k : k + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("op", "shapes"), CASES)
def test_no_domains_are_as_good_as_any(op: Op, shapes: list[Shape]) -> None:
    shape = op.forward(*(torch.ones(1, *shape, dtype=torch.float64) for shape in shapes)).shape[1:]
    assert op.forward(*(torch.ones(0, *shape, dtype=torch.float64) for shape in shapes)).shape == (0, *shape)


def endless(dtype: torch.dtype) -> list[tuple[float, float]]:
    """Return boxes without an end, or with one at the largest number."""
    largest = torch.finfo(dtype).max
    ends = (
        (low, high)
        for x in (0.0, 1.0, -1.5, 30.0, 2000.0)
        for low, high in ((x, math.inf), (-math.inf, x), (x, largest))
    )
    return [*ends, (-math.inf, math.inf)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("op", "shapes"), TUNABLE)
def test_infinite_boxes_prove_nothing_wrong(op: Op, shapes: list[Shape], dtype: torch.dtype) -> None:
    """What holds over an endless box holds for points far out in it; NaN says nothing."""
    single = op.to(dtype, torch.device("cpu"))
    low, high = (torch.tensor(ends, dtype=dtype) for ends in zip(*endless(dtype), strict=True))
    far = torch.tensor([0.0, 1e-3, 1.0, 2.0, 3.5, 10.0, 80.0, 1e3, 1e6, 1e20], dtype=dtype)
    x = torch.cat([far, -far])[:, None] + torch.where(low.isfinite(), low, 0)
    boxes, points = [], []
    for shape in shapes:
        ends = [end.reshape(-1, *[1] * len(shape)).expand(-1, *shape) for end in (low, high)]
        boxes.append(Box(*ends))
        inside = x.reshape(*x.shape, *[1] * len(shape)).expand(-1, -1, *shape).clamp(*ends)
        points.append(inside)
    y, hull = values_at(single, points), single.interval(*boxes)
    known = y.isfinite()
    if isinstance(op, (SetValued, Heaviside)):
        known &= aside(op, points[0]) == points[0]
    slack = 1e-5 * (1 + y.abs())
    assert not (known & ((y < hull.lower - slack) | (y > hull.upper + slack))).any()
    rows = torch.ones(len(low), 1, *y.shape[2:], dtype=dtype)
    for sign in (1, -1):
        pulled, offset = single.relax(*boxes).pullback(sign * rows)
        bound = offset + sum(inner(part, point) for part, point in zip(pulled, points, strict=True))
        terms = inner(rows, y.abs()) + sum(
            inner(part.abs(), point.abs()) for part, point in zip(pulled, points, strict=True)
        )
        wrong = bound - inner(sign * rows, y) > 1e-5 * (1 + terms)
        assert not (wrong & bound.isfinite() & known.flatten(2).all(2, keepdim=True)).any()


@pytest.mark.parametrize(("op", "shapes"), CASES)
def test_interval_of_a_point_is_the_value(op: Op, shapes: list[Shape]) -> None:
    generator = torch.Generator().manual_seed(0)
    points = [hard_boxes(op, shape, generator).lower for shape in shapes]
    hull, y = op.interval(*(Box(point, point) for point in points)), op.forward(*points)
    torch.testing.assert_close(hull.lower, y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(hull.upper, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("op", "shapes"), CASES)
def test_a_smaller_box_has_no_larger_interval(op: Op, shapes: list[Shape]) -> None:
    boxes, points, _ = sampled(op, shapes, 0)
    smaller = [Box(p[:2].amin(0), p[:2].amax(0)) for p in points]
    large, small = op.interval(*boxes), op.interval(*smaller)
    slack = TOLERANCE * (1 + large.magnitude)
    assert (small.lower >= large.lower - slack).all()
    assert (small.upper <= large.upper + slack).all()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("op", "shapes"), CASES)
def test_pullback_is_a_lower_bound(op: Op, shapes: list[Shape], seed: int) -> None:
    boxes, points, y = sampled(op, shapes, seed)
    assert_pulls_back_soundly(op.relax(*boxes), points, y, random_rows(op, y, seed))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("op", "shapes"), TUNABLE)
def test_pullback_is_a_lower_bound_for_any_alpha(op: Op, shapes: list[Shape], seed: int) -> None:
    boxes, points, y = sampled(op, shapes, seed)
    rows = random_rows(op, y, seed)
    generator = torch.Generator().manual_seed(seed)
    size = (op.parameters, *rows.shape[:2], *shapes[0])
    for spread in (0.5, 3.0):
        alpha = spread * torch.randn(size, dtype=torch.float64, generator=generator)
        assert_pulls_back_soundly(op.relax(*boxes, alpha=alpha), points, y, rows)


@pytest.mark.parametrize(("op", "shapes"), TUNABLE)
def test_the_parameters_to_start_from_are_those_of_the_plain_relaxation(op: Op, shapes: list[Shape]) -> None:
    boxes, points, y = sampled(op, shapes, 0)
    rows, alpha = random_rows(op, y, 0), op.start(*boxes)
    assert alpha.shape == (op.parameters, len(y[0]), 1, *y.shape[2:])
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert_pulls_back_soundly(op.relax(*boxes, alpha=alpha), points, y, rows)


def part_of(box: Box, places: list[float], generator: torch.Generator) -> Box:
    """Part of a box, which often begins or ends at one of some places inside it."""
    ends = []
    for _ in range(2):
        draw = torch.rand(box.lower.shape, dtype=torch.float64, generator=generator)
        point = torch.lerp(box.lower, box.upper, draw)
        place = torch.tensor(places, dtype=torch.float64)[torch.randint(len(places), draw.shape, generator=generator)]
        exact = torch.rand(draw.shape, generator=generator) < 0.5
        ends.append(torch.where(exact, place, point).clamp(box.lower, box.upper))
    return Box(torch.minimum(*ends), torch.maximum(*ends))


@pytest.mark.parametrize(("op", "shapes"), TUNABLE)
def test_absolute_terms_cover_every_plane(op: Op, shapes: list[Shape]) -> None:
    boxes, _, _ = sampled(op, shapes, 0)
    generator = torch.Generator().manual_seed(0)
    limit, offsets = op.absolute_terms(*boxes), op.offset_terms(*boxes)
    for _ in range(20):
        parts = [part_of(box, [*kinks(op), 0.0], generator) for box in boxes]
        alpha = torch.randn(op.parameters, len(limit), 1, *limit.shape[1:], generator=generator).double()
        for sign in (1.0, -1.0):
            rows = torch.eye(limit[0].numel()).double().mul(sign).reshape(1, -1, *limit.shape[1:])
            pulled, offset = op.relax(*parts, alpha=alpha).pullback(rows.expand(len(limit), *rows.shape[1:]))
            terms = offset.abs() + sum(
                (part.abs() * box.magnitude.unsqueeze(1)).flatten(2).sum(2)
                for part, box in zip(pulled, parts, strict=True)
            )
            assert (terms <= limit.flatten(1) * (1 + 1e-9) + 1e-12).all()
            assert (offset.abs() <= offsets.flatten(1) * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize(("op", "shapes"), AFFINE)
def test_affine_parts_fit_together(op: Affine, shapes: list[Shape]) -> None:
    """Forward is the linear part and the offset, and the transpose is the adjoint of the linear part."""
    generator = torch.Generator().manual_seed(0)
    x = [torch.randn(4, *shape, dtype=torch.float64, generator=generator) for shape in shapes]
    y, linear, offset = op.forward(*x), op.linear(*x), op.offset(shapes, x[0])
    assert offset is None or offset.shape == (1, *y.shape[1:])
    torch.testing.assert_close(y, linear if offset is None else linear + offset)
    rows = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    pulled = op.transpose(rows, shapes)
    assert [part.shape for part in pulled] == [value.shape for value in x]
    product = sum((part * value).reshape(4, -1).sum(1) for part, value in zip(pulled, x, strict=True))
    torch.testing.assert_close((rows * linear).reshape(4, -1).sum(1), product)
    default = Affine.transpose(op, rows, shapes)
    for part, other in zip(pulled, default, strict=True):
        torch.testing.assert_close(part, other)


@pytest.mark.parametrize(("op", "shapes"), [case for case in AFFINE if not isinstance(case[0], Sparse)])
def test_adjoints_are_transposed_matrices(op: Affine, shapes: list[Shape]) -> None:
    """In value, and in the absolute values that bounds and rounding margins are made of."""
    out = op.forward(*(torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes)).shape[1:]
    size = math.prod(out)
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *out)
    rows = torch.randn(2, 3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for k, part in enumerate(op.transpose(unit, shapes)):
        matrix, adjoint = part.reshape(size, -1), Adjoint(op, k, tuple(shapes))
        x = rows.reshape(2, 3, *out)
        torch.testing.assert_close(adjoint.forward(x).flatten(2), rows @ matrix)
        terms = adjoint.magnitude(x.abs()).flatten(2)
        assert (terms >= rows.abs() @ matrix.abs() * (1 - 1e-9)).all()
        hull, radius = adjoint.interval(Box(x - 0.5, x + 0.5)), 0.5 * matrix.abs().sum(0)
        assert (hull.lower.flatten(2) <= rows @ matrix - radius * (1 - 1e-9) + 1e-9).all()
        assert (hull.upper.flatten(2) >= rows @ matrix + radius * (1 - 1e-9) - 1e-9).all()


@pytest.mark.parametrize(("op", "shapes"), AFFINE)
def test_affine_claims_are_true(op: Affine, shapes: list[Shape]) -> None:
    """``terms`` counts at least the largest sum, ``monotone`` and ``diagonal`` say what they say."""
    zeros = [torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes]
    out = op.forward(*zeros).shape[1:]
    terms, size = op.terms(shapes, tuple(out)), math.prod(out)
    assert terms >= 1
    rows = torch.eye(size, dtype=torch.float64).reshape(size, *out)
    matrices = [part.reshape(size, -1) for part in op.transpose(rows, shapes)]
    assert terms >= max(int((matrix != 0).sum(axis).max()) for matrix in matrices for axis in (0, 1))
    assert terms >= int(sum((matrix != 0).sum(1) for matrix in matrices).max())
    if op.whole:
        assert all(((matrix == 0) | (matrix.abs() == 1)).all() for matrix in matrices)
    if op.monotone:
        assert all((matrix >= 0).all() for matrix in matrices)
    if op.diagonal:
        assert all(int((matrix != 0).sum(axis).max()) <= 1 for matrix in matrices for axis in (0, 1))


@pytest.mark.parametrize(("op", "shapes"), CASES)
def test_single_precision_is_near(op: Op, shapes: list[Shape]) -> None:
    single = op.to(torch.float32, torch.device("cpu"))
    for field in dataclasses.fields(single):
        value = getattr(single, field.name)
        assert not isinstance(value, Tensor) or value.dtype in (torch.float32, torch.int64)
    low, high = getattr(op, "domain", (-math.inf, math.inf))
    places = [torch.linspace(0.5, 3, math.prod(shape), dtype=torch.float64).reshape(1, *shape) for shape in shapes]
    x = [place.clamp(low, high) for place in places]
    y = single.forward(*(value.float() for value in x))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double(), op.forward(*x), rtol=1e-4, atol=1e-4)


def test_two_operators_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="defined twice"):
        type("Relu", (Relu,), {"__module__": "elsewhere"})


@dataclasses.dataclass(frozen=True, eq=False)
class MutantRelu(Relu, register=False):
    """A rectifier with one of four mistakes."""

    mistake: str = ""

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        lower, upper = x[0].lower.unsqueeze(1), x[0].upper.unsqueeze(1)
        active = (lower >= (-1e-3 if self.mistake == "early" else 0)).to(lower)
        unstable = (lower < 0) & (upper > 0) & (active == 0)
        chord = torch.where(unstable, upper / torch.where(unstable, upper - lower, 1), active)
        floor = torch.where(unstable, 0.5, active)
        lift = torch.where(unstable, -chord * lower, 0)
        if self.mistake == "low chord":
            lift = lift * 0.999
        if self.mistake == "steep floor":
            floor = torch.where(unstable, 1.01, active)
        if self.mistake == "dead":
            floor = torch.where(unstable & (upper > -lower), 0.5, (lower > 1e-3).to(lower))
            return Diagonal(floor, None, floor, None)
        return Diagonal(floor, None, chord, lift)


@pytest.mark.parametrize("mistake", ["early", "low chord", "steep floor", "dead"])
def test_the_suite_kills_mutants(mistake: str) -> None:
    mutant = MutantRelu(mistake)
    with pytest.raises(AssertionError):
        for seed in range(3):
            boxes, points, y = sampled(mutant, [(1, 7)], seed)
            assert_pulls_back_soundly(mutant.relax(*boxes), points, y, random_rows(mutant, y, seed))


def test_the_suite_passes_the_mutant_without_a_mistake() -> None:
    boxes, points, y = sampled(MutantRelu(), [(1, 7)], 0)
    assert_pulls_back_soundly(MutantRelu().relax(*boxes), points, y, random_rows(MutantRelu(), y, 0))
