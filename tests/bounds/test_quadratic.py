"""Products as quadratic forms of the input: never above the truth, and tight where the form is convex."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.bounds.nets import Net, bilinear, boxes, drawn, linear, normal
from verifier.bounds.backward import LinearBound
from verifier.bounds.forward import Form
from verifier.bounds.quadratic import Spread, gain, least_on_cube, raised
from verifier.bounds.rounding import gamma
from verifier.bounds.schedule import BOTH, FORWARD, bound_nodes
from verifier.graph.graph import INPUT, Graph
from verifier.ops.curves import Relu
from verifier.ops.linear import Linear
from verifier.ops.product import Product
from verifier.ops.reduce import ReduceSum
from verifier.sets import Box

DTYPES = [torch.float32, torch.float64]


def quadratic(matrix: Tensor, curve: bool = False) -> Graph:
    """x' M x, or relu(A x + b)' M x."""
    net, size = Net(len(matrix)), len(matrix)
    first = INPUT
    if curve:
        net.add(linear(drawn(0), size, size))
        first = net.add(Relu())
    second = net.add(Linear(matrix.mT.contiguous()), INPUT)
    net.add(Product(), first, second)
    net.add(ReduceSum((0,), keep=True))
    return net.graph()


def both(graph: Graph, box: Box, rows: Tensor, forward: bool) -> tuple[LinearBound, LinearBound]:
    """Bounds of rows without and with quadratic forms."""
    bounds, record = bound_nodes(graph, box, FORWARD if forward else BOTH), {}
    found = bounds.rows(rows, record=record)
    return found, raised(bounds, found, record)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_forms_are_bounded_on_the_cube(size: int, dtype: torch.dtype) -> None:
    generator = drawn(size)
    square = normal(generator, 60, size, size)
    forms = torch.cat([square + square.mT, square @ square.mT, square[:1] * 0, -torch.eye(size).double()[None]])
    scale = 10.0 ** torch.randint(-12, 12, (len(forms), 1, 1), generator=generator)
    forms = (forms * scale).to(dtype)
    least, terms = (value.double() for value in least_on_cube(forms))
    points = Box(-torch.ones(1, size).double(), torch.ones(1, size).double()).sample(2000, generator).flatten(0, 1)
    values = ((points @ forms.double()) * points.unsqueeze(0)).sum(-1).amin(1)
    assert (least - gamma(size**2, dtype) * terms <= values).all()
    assert (least >= -3 * size * forms.abs().sum((1, 2)).double() - 1e-30).all()


def test_what_is_convex_costs_nothing() -> None:
    half = normal(drawn(0), 50, 6, 6, scale=0.1) + torch.eye(6).double()
    forms = half @ half.mT
    least, _ = least_on_cube(forms)
    assert (least > -1e-12).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("columns", "size"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_strays_are_paid_for(columns: int, size: int, dtype: torch.dtype) -> None:
    """Forms about other middles than the boxes', with every value at an extreme of what they allow."""
    generator, domains = drawn(columns + 2 * size), 200
    rows, sides, values, radii = normal(generator, domains, 1, size).to(dtype), [], [], []
    ends = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0]).double()] * (columns + 2 * size))
    coordinates, errors = ends[:, :columns], ends[:, columns:].unflatten(1, (2, size))
    for k in range(2):
        slopes, centre = normal(generator, domains, columns, size), normal(generator, domains, size)
        error, shift = normal(generator, domains, size).abs() / 4, normal(generator, domains, size) / 4
        form = Form(slopes.to(dtype), centre.to(dtype), error.to(dtype))
        radius = 1.001 * (form.box().radius.double() + shift.abs())
        box = Box(centre + shift - radius, centre + shift + radius).to(dtype)
        sides.append(Spread.of(form, box))
        box = box.to(torch.float64)
        moved = coordinates @ form.slopes.double() + form.error.double().unsqueeze(1) * errors[:, k]
        values.append(moved + (form.centre.double() - box.centre).unsqueeze(1))
        radii.append(box.radius)
    least = (rows.double() * values[0] * values[1]).sum(-1).amin(1, keepdim=True)
    planes = (rows.double().abs() * (radii[0] * radii[1]).unsqueeze(1)).sum(-1)
    found = gain(rows, *sides).double()
    assert (found - planes <= least + 1e-12).all()
    assert (found > 0).any()


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["convex", "indefinite", "curve", "bilinear"])
def test_raised_bounds_hold(name: str, dtype: torch.dtype, forward: bool) -> None:
    radii = (0.0, 1e-6, 1e-3, 0.1, 0.7, 3.0)
    for seed in range(4):
        half = normal(drawn(seed), 4, 4)
        graph = (
            bilinear(seed)
            if name == "bilinear"
            else quadratic(half if name != "convex" else half @ half.mT, name == "curve")
        )
        box = boxes(graph.n_inputs, radii, seed).to(dtype)
        rows = normal(drawn(seed), len(radii), 3, graph.n_outputs).to(dtype)
        plain, better = both(graph.to(dtype), box, rows, forward)
        wide = box.to(torch.float64)
        points = wide.sample(500, drawn(seed)).clamp(wide.lower, wide.upper)
        values = graph(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        least = (values.unsqueeze(2) * rows.double()).sum(-1).amin(0)
        assert (better.minimum(box).double() <= least + 1e-13 * (1 + least.abs())).all()
        assert (better.minimum(box) >= plain.minimum(box) - 1e-5 * (1 + plain.offset.abs())).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_convex_sums_are_bounded_by_their_tangent_planes(dtype: torch.dtype) -> None:
    matrix = torch.tensor([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 1.5]], dtype=torch.float64)
    graph, box = quadratic(matrix).to(dtype), boxes(3, (0.5,), 1).to(dtype)
    plain, better = both(graph, box, torch.ones(1, 1, 1, dtype=dtype), forward=True)
    middle = box.centre.double()
    tangent = (middle @ matrix * middle).sum() - (2 * middle @ matrix).abs() @ box.radius.double().flatten()
    assert float(better.minimum(box)) == pytest.approx(float(tangent), rel=1e-3)
    assert float(plain.minimum(box)) < float(tangent) - 0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_points_are_bounded_as_they_were(dtype: torch.dtype) -> None:
    graph, box = quadratic(torch.eye(3).double()).to(dtype), boxes(3, (0.0, 0.0), 1).to(dtype)
    plain, better = both(graph, box, torch.ones(2, 1, 1, dtype=dtype), forward=True)
    torch.testing.assert_close(better.minimum(box), plain.minimum(box))
