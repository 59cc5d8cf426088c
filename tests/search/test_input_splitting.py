"""Input splitting: parts cover the whole, and bounds are sound."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from tests.bounds.nets import Net, boxes, dense, drawn
from tests.search.splits import CURVES, THREE, excess, network, spec_of
from verifier.graph.graph import Graph
from verifier.ops.linear import Linear
from verifier.problem import Cases
from verifier.search.by_input import FULL, InputDomains, InputSplitting
from verifier.sets import Box


def assert_input_domains(graph: Graph, cases: Cases, domains: InputDomains, points: Tensor) -> None:
    """Each unsafe point is in a domain of its case, and no bound of a domain that holds one is above its excess."""
    inside = ((points.unsqueeze(1) >= domains.lower) & (points.unsqueeze(1) <= domains.upper)).all(-1)
    for case in range(len(cases)):
        here = inside & (domains.case == case)
        value = excess(cases, graph, case, points)
        assert (here.any(1) | (value > 0)).all()
        bound = torch.where(here & ~domains.bound.isnan(), domains.bound, -math.inf).amax(1)
        assert (bound <= value + 1e-12 * (1 + value.abs())).all()


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", ["relu", "residual", "bilinear", *CURVES])
def test_input_splitting_covers_and_bounds(name: str, double: bool) -> None:
    graph = network(name)
    box = boxes(graph.n_inputs, (0.7,), 0)
    conditions = THREE if graph.n_outputs == 2 else [([[1.0, 0.0, -1.0]], [0.0]), ([[0.0, 1.0, 0.0]], [-1.0])]
    cases = Cases.of(spec_of(box, conditions), graph)
    points = box.sample(300, drawn(0)).flatten(0, 1)
    strategy = InputSplitting(graph, cases, batch=32, double=double)
    domains = strategy.roots(torch.arange(len(cases)), torch.full((len(cases),), -math.inf, dtype=torch.float64))
    for _ in range(4):
        domains, candidates = strategy.bound(strategy.split(domains))
        assert_input_domains(graph, cases, domains, points)
        assert ((candidates >= box.lower - 1e-6) & (candidates <= box.upper + 1e-6)).all()
    assert domains.bound.min() > -math.inf
    assert 0 < float(domains.weight.sum()) < 1 + 1e-9


def test_input_splitting_bounds_before_it_splits() -> None:
    graph, box = dense(0, [3, 4, 2]), boxes(3, (1.0,), 0)
    cases = Cases.of(spec_of(box, THREE), graph)
    strategy = InputSplitting(graph, cases)
    domains = strategy.roots(torch.arange(3), torch.full((3,), -math.inf, dtype=torch.float64))
    torch.testing.assert_close(strategy.split(domains).lower, domains.lower)
    bounded, _ = strategy.bound(domains)
    old = dataclasses.replace(bounded, influence=torch.ones_like(bounded.lower))
    assert len(strategy.split(old)) > FULL // 2
    new = dataclasses.replace(bounded, influence=-old.influence)
    mixed = strategy.split(InputDomains.cat([old, new]))
    assert len(mixed) > FULL // 2
    assert int((mixed.influence < 0).all(1).sum()) == len(new)


def test_input_splitting_cuts_off_what_is_safe() -> None:
    """Unsafe only where an affine network is at most 0, in a corner: no split, and little is left of the box."""
    net = Net(2)
    net.add(Linear(torch.tensor([[1.0], [1.0]], dtype=torch.float64)))
    graph, box = net.graph(), Box(torch.zeros(1, 2).double(), torch.ones(1, 2).double())
    cases = Cases.of(spec_of(box, [([[1.0]], [0.25])]), graph)
    strategy = InputSplitting(graph, cases)
    domains = strategy.roots(torch.arange(1), torch.full((1,), -math.inf, dtype=torch.float64))
    bounded, _ = strategy.bound(domains)
    torch.testing.assert_close(bounded.upper, torch.full((1, 2), 0.25).double(), rtol=0, atol=1e-5)
    assert (bounded.upper >= 0.25).all()
    assert float(bounded.weight) == pytest.approx(1 / 16, rel=1e-3)
    assert (bounded.influence == -1).all()


def test_conditions_that_exclude_each_other_close_a_domain() -> None:
    net = Net(1)
    net.add(Linear(torch.tensor([[1.0, -1.0]], dtype=torch.float64)))
    graph, box = net.graph(), Box(torch.zeros(1, 1).double(), torch.ones(1, 1).double())
    for gap, closed in ((0.1, True), (0.0, False)):  # y at most 1/2 - gap, and at least 1/2
        cases = Cases.of(spec_of(box, [([[1.0, 0.0], [0.0, 1.0]], [0.5 - gap, -0.5])]), graph)
        strategy = InputSplitting(graph, cases)
        domains = strategy.roots(torch.arange(1), torch.full((1,), -math.inf, dtype=torch.float64))
        assert bool(strategy.bound(domains)[0].bound > 0) is closed


def test_points_and_flat_boxes_are_split_without_harm() -> None:
    graph = dense(0, [3, 4, 2])
    box = boxes(3, (1.0,), 0)
    flat = Box(box.centre.clone(), box.centre.clone())
    flat.upper[0, 1] = torch.nextafter(flat.lower[0, 1], torch.tensor(math.inf, dtype=torch.float64))
    cases = Cases.of(spec_of(flat, THREE), graph)
    strategy = InputSplitting(graph, cases, batch=16)
    domains = strategy.roots(torch.arange(3), torch.zeros(3, dtype=torch.float64))
    points = torch.cat([flat.lower, flat.upper])
    for _ in range(2):
        domains = strategy.split(domains)
        assert (domains.lower <= domains.upper).all()
        domains, _ = strategy.bound(domains)
        assert_input_domains(graph, cases, domains, points)
