"""Refined boxes hold everything, are never wider, and settle neurons that a single pass leaves undecided."""

from __future__ import annotations

import math
import time

import pytest
import torch

from tests.bounds.nets import boxes, dense, drawn, residual
from verifier.graph.graph import INPUT, Graph
from verifier.ops.curves import Clip, LeakyRelu
from verifier.ops.op import Op
from verifier.problem import Cases
from verifier.result import Progress
from verifier.search import portfolio
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.folded import Folded
from verifier.search.portfolio import NeuronArm
from verifier.search.refine import grow, reading, refine
from verifier.search.root import Root, Roots
from verifier.sets import Box

CURVES: dict[str, Op | None] = {"relu": None, "leaky": LeakyRelu(-0.3), "clip": Clip(-1.0, 0.5)}


@pytest.fixture(autouse=True)
def always_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks are refined too."""
    monkeypatch.setattr(Folded, "pays", staticmethod(lambda bounds, neurons: True))


def network(name: str, seed: int) -> Graph:
    return residual(seed) if name == "residual" else dense(seed, [3, 8, 8, 8, 2], curve=CURVES[name])


def sampled(name: str, seed: int) -> tuple[Root, dict[str, torch.Tensor]]:
    graph = network(name, seed)
    box = boxes(graph.n_inputs, (1.0,), seed)
    return Root.cheap(graph, box).crown(), graph.values(box.sample(3000, drawn(seed)).flatten(0, 1))


def outside(box: Box, values: torch.Tensor) -> float:
    """By how much values ``(N, *node)`` leave a box, rounding of the evaluation aside."""
    slack = 1e-12 * (1 + values.abs())
    return float(torch.maximum(box.lower - values - slack, values - slack - box.upper).amax())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["residual", *CURVES])
def test_refined_boxes_hold_and_are_not_wider(name: str, seed: int) -> None:
    root, values = sampled(name, seed)
    refined = refine(root, 4, math.inf)
    for node, box in refined.exact.boxes.items():
        assert outside(box, values[node]) <= 0
        if node != INPUT:
            old = root.exact.boxes[node]
            assert (box.lower >= old.lower).all()
            assert (box.upper <= old.upper).all()
    assert refined.slack() <= root.slack()


def test_refining_gains() -> None:
    root, _ = sampled("relu", 0)
    few, many = refine(root, 1, math.inf), refine(root, 6, math.inf)
    assert many.slack() < few.slack() < root.slack()


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_leaves_cover_and_their_values_hold(rounds: int) -> None:
    """What a leaf says of an element holds at every point of the leaf, and every point is in a leaf of each case."""
    root, values = sampled("relu", 1)
    name = list(root.neurons().elements)[-1]
    elements = root.neurons().elements[name]
    part, cases = reading(root, name, elements)
    strategy = NeuronSplitting(part, cases, candidates=1)
    case = torch.arange(len(cases))
    old = torch.full((len(cases),), -math.inf, dtype=torch.float64)
    leaves = grow(strategy, strategy.roots(case, old, 0 * case, case), rounds, math.inf)
    inside = torch.ones(len(values[name]), len(leaves), dtype=torch.bool)
    for node, index in strategy.neurons.elements.items():
        z = values[node].flatten(1)[:, index].unsqueeze(1)
        inside &= ((z >= leaves.lower[node].double()) & (z <= leaves.upper[node].double())).all(-1)
    read = values[name].flatten(1)[:, elements]
    excess = torch.cat([read, -read], dim=1)
    for k in range(len(cases)):
        here = inside & (leaves.case == k)
        assert here.any(1).all()
        bound = torch.where(here, leaves.bound, -math.inf).amax(1)
        assert (bound <= excess[:, k] + 1e-12 * (1 + excess[:, k].abs())).all()


def test_without_time_nothing_is_lost() -> None:
    root, _ = sampled("relu", 2)
    refined = refine(root, 4, time.monotonic() - 1)
    assert refined.slack() <= root.slack()


@pytest.mark.parametrize("seed", range(3))
def test_a_search_on_refined_roots_is_sound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases that hold by a margin are closed, those that a sample violates stay open, roots refined or not."""
    monkeypatch.setattr(portfolio, "FIRST_SEARCH", 0.001)
    monkeypatch.setattr(portfolio, "LEAST_SEARCH", 0.0)
    graph = network("relu", seed)
    box = boxes(3, (1.0,), seed)
    outputs = graph(box.sample(20000, drawn(seed)).flatten(0, 1))
    rows = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    values = outputs @ rows.T
    least, spread = values.amin(0), values.amax(0) - values.amin(0)
    bound = torch.cat([least - 0.1 * spread, least + 0.01 * spread]).unsqueeze(1)
    which = torch.zeros(6, dtype=torch.long)
    cases = Cases(box, which, torch.cat([rows, rows]).unsqueeze(1), None, bound)
    until = time.monotonic() + 60
    roots = Roots(graph, cases, until)
    arm = NeuronArm(roots, torch.arange(6), lambda case, x: None, Progress(), lambda root, case: None)
    while arm.cases().tolist() != [3, 4, 5] and time.monotonic() < until - 1:
        arm.run(time.monotonic() + 1, None)
    assert arm.cases().tolist() == [3, 4, 5]
