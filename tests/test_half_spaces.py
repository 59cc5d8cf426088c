"""Conditions on inputs alone: nothing that they allow is cut off, attacks keep to them, searches need less."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest
import torch

from specs import Case, InputSet, Rows, Spec
from tests.attack.small import Setting, relu_model
from verifier.attack import Pgd
from verifier.half_spaces import HalfSpaces
from verifier.problem import Cases
from verifier.search import by_input
from verifier.search.bab import Search
from verifier.search.by_input import InputSplitting
from verifier.sets import Box

NET = [[[1, 0.5, 0], [-1, 1, 1], [0.5, -1, 1], [1, 1, 1]], [[1, -1, 0.5, -0.5], [-1, 1, 1, 0.25]], [[1, -1]]]


def wedge(bound: float, gap: float = 1e-3, half: bool = True) -> Spec:
    """Unsafe: the output is at most a bound where x_0 + x_1 and x_1 - x_2 are almost 0; a row for nothing else."""
    lines = np.array([[0, 0, 0], [1, 1, 0], [-1, -1, 0], [0, 1, -1], [0, -1, 1]], dtype=np.float64)
    y = np.array([[1], [0], [0], [0], [0]], dtype=np.float64)
    bounds = np.array([bound, gap, 0, gap, 0])
    kept = slice(None) if half else slice(1)
    rows = Rows(y[kept], lines[kept], bounds[kept], np.zeros(len(bounds[kept]), bool))
    return Spec((Case(InputSet([-1] * 3, [1] * 3), rows),), 3, 1)


def spaces(normals: torch.Tensor, bound: torch.Tensor) -> HalfSpaces:
    return HalfSpaces(normals.unsqueeze(0), bound.unsqueeze(0))


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1.0, 1e10, 1e290])
def test_no_point_that_rows_allow_is_cut_off(scale: float) -> None:
    draw, cut = np.random.default_rng(0), 0
    for _ in range(60):
        size, count = draw.integers(1, 5), draw.integers(1, 4)
        normals = draw.normal(size=(count, size)) * draw.integers(0, 2, (count, size)) * scale
        points = draw.normal(size=(20, size))
        anchor = [sum(Fraction(a) * Fraction(b) for a, b in zip(row, points[0], strict=True)) for row in normals]
        bound = np.array([float(value) for value in anchor])
        lower, upper = points.min(0), points.max(0)
        box = Box(torch.from_numpy(lower[None]), torch.from_numpy(upper[None]))
        half = spaces(torch.from_numpy(normals), torch.from_numpy(bound))
        part, empty = half.tighten(torch.zeros(1, dtype=torch.long), box)
        low, high = part.lower[0].numpy(), part.upper[0].numpy()
        cut += bool((low > lower).any() or (high < upper).any())
        for point in points:
            exact = [sum(Fraction(a) * Fraction(b) for a, b in zip(row, point, strict=True)) for row in normals]
            if all(value <= Fraction(limit) for value, limit in zip(exact, bound, strict=True)):
                assert not empty
                assert (low <= point).all()
                assert (point <= high).all()
    assert cut > 10


def test_boxes_beyond_all_rows_are_empty_and_infinities_prove_nothing() -> None:
    normals = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    half = spaces(normals, torch.tensor([-3.0, 10.0], dtype=torch.float64))
    box = Box(-torch.ones(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))
    part, empty = half.tighten(torch.tensor([0]), box)
    assert empty.tolist() == [True]
    assert torch.equal(part.lower, box.lower)
    wide = Box(box.lower * 1e308, box.upper * 1e308)
    part, empty = spaces(normals * 1e10, torch.zeros(2, dtype=torch.float64)).tighten(torch.tensor([0]), wide)
    assert empty.tolist() == [False]
    assert torch.equal(part.lower, wide.lower)


def test_a_property_without_such_rows_has_none() -> None:
    setting = Setting(relu_model(NET), wedge(0.0, half=False))
    assert HalfSpaces.of(setting.cases) is None
    assert InputSplitting(setting.graph, setting.cases).half_spaces is None


def test_projection_ends_inside() -> None:
    setting = Setting(relu_model(NET), wedge(0.0))
    half = HalfSpaces.of(setting.problem.cases)
    assert half is not None
    case = torch.zeros(200, dtype=torch.long)
    x = 2 * torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 1
    for _ in range(30):
        x = half.project(case, x, setting.problem.box(case))
    missed = (half.normals[0] @ x.T).T - half.bound[0]
    assert float(missed.max()) <= 0
    assert float(x.abs().max()) <= 1


def test_descent_stays_in_a_wedge_and_finds_its_end() -> None:
    least = least_value(1e-3)
    setting = Setting(relu_model(NET), wedge(least + 0.01))
    until, generator = time.monotonic() + 20, torch.Generator().manual_seed(0)
    found = Pgd().run(setting.problem, setting.which, setting.checker, until, generator)
    assert found is not None
    assert setting.cases.excess(torch.tensor(0), torch.from_numpy(found.x), torch.from_numpy(found.y)).max() <= 0


def least_value(gap: float) -> float:
    """The least output in the wedge, by a grid."""
    graph = Setting(relu_model(NET), wedge(0.0)).graph
    t, a, b = np.meshgrid(np.linspace(-1, 1, 2001), [0, gap], [0, gap])
    points = np.stack([a - t, t, t - b], -1).reshape(-1, 3)
    points = points[np.abs(points).max(1) <= 1]
    return float(graph(torch.from_numpy(points)).min())


def domains_needed(cases: Cases, setting: Setting) -> int:
    """How many domains a search bounds until all are closed, a few at a time."""
    from verifier.result import Progress

    strategy, progress = InputSplitting(setting.graph, cases, batch=2), Progress()
    search = Search(strategy, lambda case, x: None, progress)
    roots, points = strategy.bound(strategy.roots(setting.which, torch.zeros(1, dtype=torch.float64)))
    search.enter(roots, points)
    search.run(time.monotonic() + 20)
    assert not len(search.cases())
    return progress.visited


def test_searches_need_fewer_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(relu_model(NET), wedge(least_value(1e-3) - 0.0001))
    with_rows = domains_needed(setting.cases, setting)
    monkeypatch.setattr(by_input.HalfSpaces, "of", staticmethod(lambda cases: None))
    without = domains_needed(setting.cases, setting)
    assert with_rows < without
