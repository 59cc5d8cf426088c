"""Boxes cut to where linear bounds leave room: nothing that they allow is lost."""

from __future__ import annotations

import pytest
import torch

from tests.bounds.nets import boxes, drawn, normal
from verifier.bounds.backward import LinearBound
from verifier.search.contraction import contracted
from verifier.sets import Box


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 3])
def test_no_point_that_rows_allow_is_cut_off(count: int, dtype: torch.dtype) -> None:
    generator, radii = drawn(count), [1e-7, 1e-3, 1.0, 1e4] * 50
    box = boxes(3, radii, 0).to(dtype)
    slopes = normal(generator, len(radii), count, 3).to(dtype)
    slopes[:, 0, 0] = 0
    offset = normal(generator, len(radii), count)
    inside = box.sample(1, generator)[0].double()
    middle = (slopes.double() @ inside.unsqueeze(-1)).squeeze(-1)  # each row is 0 somewhere in the box
    found = LinearBound(slopes, (offset * 0 - middle).to(dtype), torch.zeros(()).to(dtype))
    wide = box.to(torch.float64)
    exact = LinearBound(slopes.double(), found.offset.double(), None)
    sizes = (slopes.double().abs() @ wide.magnitude.unsqueeze(-1)).squeeze(-1) + exact.offset.abs()
    least = exact.minimum(wide) - 1e-14 * sizes
    part = contracted(found, least, box)
    points = torch.cat([wide.sample(2000, generator), inside.unsqueeze(0)])
    assert (least <= 0).any()
    value = (slopes.double() @ points.unsqueeze(-1)).squeeze(-1) + exact.offset
    allowed = (value <= 0).all(-1)
    kept = ((points >= part.lower) & (points <= part.upper)).all(-1)
    assert (kept | ~allowed).all()
    assert allowed.any()
    assert (part.upper - part.lower < 0.9 * (wide.upper - wide.lower)).any()


def test_ends_are_where_a_row_becomes_positive() -> None:
    box = Box(torch.tensor([[0.0, -1.0, 0.0]]), torch.tensor([[4.0, 1.0, 1.0]]))
    found = LinearBound(torch.tensor([[[1.0, -2.0, 0.0]]]), torch.tensor([[1.0]]), None)
    part = contracted(found, found.minimum(box), box)  # x - 2 y + 1 <= 0
    torch.testing.assert_close(part.lower, torch.tensor([[0.0, 0.5, 0.0]]).double())
    torch.testing.assert_close(part.upper, torch.tensor([[1.0, 1.0, 1.0]]).double())


def test_rows_that_exclude_each_other_leave_nothing() -> None:
    box = Box(torch.zeros(1, 1), torch.ones(1, 1))
    found = LinearBound(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[-0.25, 0.75]]), None)
    part = contracted(found, found.minimum(box), box)  # x <= 1/4 and x >= 3/4
    assert float(part.lower) > float(part.upper)
    unknown = contracted(found, torch.full((1, 2), -torch.inf), box)
    assert (float(unknown.lower), float(unknown.upper)) == (0, 1)
