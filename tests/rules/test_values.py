"""The values of every operator at chosen points, against numbers of high precision."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

from tests.rules.boxes import draw_box, draw_points
from tests.rules.containment import error_of, units_of
from tests.rules.instances import INSTANCES, Instance
from tests.rules.references import RATIONAL, SMOOTH, exactly, name_of
from tests.rules.test_containment import label
from verifier.bounds.rounding import gamma
from verifier.ops.curves import Curve
from verifier.ops.elementwise import Elementwise
from verifier.ops.op import Affine

POINTS = 300

CURVES = [instance for instance in INSTANCES if type(instance[0]).__name__ in SMOOTH]
OTHERS = [instance for instance in INSTANCES if type(instance[0]).__name__ in RATIONAL]


def chosen(op: Curve, seed: int) -> torch.Tensor:
    """Draw points in boxes of all widths: inside, at ends, and at and beside the places where a curve bends."""
    generator = torch.Generator().manual_seed(seed)
    points = draw_points(op, draw_box(op, (1,), 50, torch.float64, generator), 8, generator).flatten()
    return points[torch.randperm(len(points), generator=generator)[:POINTS]]


@pytest.mark.parametrize("instance", CURVES, ids=label)
def test_curves_are_as_precise_as_stated(instance: Instance) -> None:
    op, _ = instance
    assert isinstance(op, Curve)
    x = chosen(op, 0)
    y = op.forward(x)
    for at, value, allowed in zip(x.tolist(), y.tolist(), error_of(op, x, y).tolist(), strict=True):
        exact = SMOOTH[name_of(op)](op, mpmath.mpf(at))
        assert abs(exact - value) <= allowed, at


@pytest.mark.parametrize("instance", CURVES, ids=label)
def test_margins_are_worth_several_such_errors(instance: Instance) -> None:
    """A bound is made of two values or three, and a product with a slope: each may be wrong by as much."""
    op, _ = instance
    assert isinstance(op, Curve)
    assert gamma(3 + op.roundings, torch.float64) >= 4 * units_of(op) * torch.finfo(torch.float64).eps / 2


@pytest.mark.parametrize("instance", OTHERS, ids=label)
def test_other_operators_are_as_precise_as_stated(instance: Instance) -> None:
    """Sums of products are off by what their number allows, all else by nothing; fractions are exact."""
    op, shapes = instance
    generator = torch.Generator().manual_seed(0)
    count = 20 if sum(map(math.prod, shapes)) < 100 else 1
    x = [draw_points(op, draw_box(op, shape, count, torch.float64, generator), 1, generator)[0] for shape in shapes]
    y = op.forward(*x)
    exact: Any = RATIONAL[name_of(op)](op, *(exactly(value.numpy()) for value in x))
    assert exact.shape == y.shape
    off = np.abs(exact - exactly(y.numpy())).astype(float)
    assert (off <= allowance(op, shapes, x, y).numpy()).all()


def allowance(op: Any, shapes: Any, x: list[torch.Tensor], y: torch.Tensor) -> torch.Tensor:
    """Return the error that an operator's own statement of its roundings allows."""
    if isinstance(op, Elementwise):
        return torch.zeros_like(y) if op.exact else torch.finfo(torch.float64).eps * y.abs()
    assert isinstance(op, Affine)
    if op.copies:
        return torch.zeros_like(y)
    zeros = [torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes]
    steps = gamma(op.terms(shapes, tuple(y.shape[1:])), torch.float64)
    sizes = abs_terms(op, x) if type(op).__name__ == "Sparse" else op.magnitude(*(value.abs() for value in x))
    return steps * (sizes + op.forward(*zeros).abs())


def abs_terms(op: Any, x: list[torch.Tensor]) -> torch.Tensor:
    """Return the absolute terms of a sparse matrix, which does not state them."""
    rows = torch.eye(x[0].shape[1], dtype=torch.float64)
    return x[0].abs() @ op.linear(rows).abs()
