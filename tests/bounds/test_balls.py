"""Balls: linear functions and networks over them are bounded, tighter than over the boxes around them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.bounds.nets import dense, drawn, normal
from verifier.balls import Ball
from verifier.graph.graph import OUTPUT
from verifier.search.root import Root
from verifier.sets import Box

ORDERS = [1.0, 2.0, math.inf]


def ball(order: float, n: int, domains: int = 1, clip: float = math.inf, dtype: torch.dtype = torch.float64) -> Ball:
    middle = normal(drawn(3), domains, n)
    reach = torch.full((domains, 1), 0.7, dtype=torch.float64)
    lower, upper = (middle - reach).clamp(-clip, clip), (middle + reach).clamp(-clip, clip)
    found = Ball(lower, upper, middle, reach, order).to(dtype)
    assert isinstance(found, Ball)
    return found


def points(region: Ball, count: int) -> Tensor:
    """Points of a ball (B = 1), many of them on its border."""
    away = normal(drawn(5), count, region.middle.shape[1])
    away = away * (torch.rand(away.shape, generator=drawn(6)) < 0.4)
    size = torch.linalg.vector_norm(away, region.order, dim=1, keepdim=True).clamp(min=1e-9)
    x = region.middle.double() + away / size * region.reach.double()
    return region.project(torch.cat([x, x * 0.99 + 0.01 * region.middle.double()]).to(region.lower))


@pytest.mark.parametrize("clip", [math.inf, 0.8])
@pytest.mark.parametrize("order", ORDERS)
def test_minima_are_not_missed_and_nearly_attained(order: float, clip: float) -> None:
    region, rows = ball(order, 4, clip=clip), normal(drawn(1), 1, 30, 4)
    least = region.least(rows)[0]
    x = points(region, 40_000)
    assert len(x) > 1000
    distance = torch.linalg.vector_norm(x - region.middle, order, dim=1)
    assert (distance <= region.reach).all()
    met = (x @ rows[0].T).amin(0)
    assert (least <= met).all()
    if math.isinf(clip) and not math.isinf(order):
        assert (met <= least + 0.25 * rows[0].norm(dim=1) * region.reach).all()
    plain = Box(region.lower, region.upper).least(rows)[0]
    assert (least >= plain).all()
    assert math.isinf(order) or (least > plain + 1e-3).any()


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_taken_of_a_ball_holds_it(order: float) -> None:
    region, rows = ball(order, 5, domains=3), normal(drawn(2), 3, 6, 5)
    index = torch.tensor([2, 0])
    torch.testing.assert_close(region.take(index).least(rows[index]), region.least(rows)[index])
    single = ball(order, 5)
    torch.testing.assert_close(single.expand(3).least(rows[:1].expand(3, -1, -1)), single.least(rows[:1]).expand(3, -1))
    some = torch.tensor([1, 3])
    zero = torch.zeros_like(rows)
    zero[:, :, some] = rows[:, :, some]
    assert (region.columns(some).least(rows[:, :, some]) <= region.least(zero) + 1e-12).all()
    assert (region.to(torch.float32).least(rows.float()).double() <= region.least(rows) + 1e-5).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("order", ORDERS)
def test_networks_are_bounded_over_balls(order: float, dtype: torch.dtype) -> None:
    graph, region = dense(1, [6, 12, 12, 3]), ball(order, 6)
    root = Root.cheap(graph, region).reading(torch.eye(3, dtype=torch.float64)).crown()
    rows = torch.cat([torch.eye(3), -torch.eye(3)]).unsqueeze(0).double()
    bounds = root.exact if dtype == torch.float64 else root.fast
    least = bounds.rows(rows.to(dtype)).minimum(region.to(dtype))[0]
    y = graph(points(region, 20_000))
    met = (y @ rows[0].T).amin(0)
    assert (least.double() <= met + 1e-12).all()
    for name, box in root.exact.boxes.items():
        assert (box.lower <= box.upper).all(), name
    plain = Root.cheap(graph, Box(region.lower, region.upper)).reading(torch.eye(3, dtype=torch.float64)).crown()
    width = root.exact.boxes["n3"].upper - root.exact.boxes["n3"].lower
    wide = plain.exact.boxes["n3"].upper - plain.exact.boxes["n3"].lower
    assert math.isinf(order) or width.mean() < 0.8 * wide.mean()
    better = root.improve(rows, torch.full((6,), 100.0).double(), 10, math.inf)
    assert (better.rows(rows).minimum(region)[0] <= met + 1e-12).all()
    assert (better.rows(rows).minimum(region)[0] >= least.double() - 1e-3).all()
    assert OUTPUT in better.exact.boxes


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("order", ORDERS)
def test_squares_that_underflow_are_not_lost(order: float, dtype: torch.dtype) -> None:
    region = ball(order, 4, dtype=dtype) if dtype == torch.float32 else ball(order, 4)
    small = 1e-25 if dtype == torch.float32 else 1e-170
    rows = torch.full((1, 1, 4), small, dtype=dtype)
    x = region.middle.double() - region.reach.double() / 4
    assert region.least(rows).item() <= float((rows[0].double() * x).sum())
