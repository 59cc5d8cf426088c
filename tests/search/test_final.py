"""Domains whose neurons are all decided: closed exactly, never split again, and honest where they stay open."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

import specs
from tests.bounds.nets import boxes, dense, drawn, residual
from tests.search.splits import CURVES, THREE, by_neuron, certified, excess, spec_of
from verifier.attack import Checker
from verifier.graph.graph import Graph
from verifier.graph.onnx_import import load
from verifier.ops.op import Op
from verifier.problem import Cases
from verifier.result import Progress
from verifier.search import portfolio
from verifier.search.bab import Search
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.neuron_batch import NeuronDomains
from verifier.search.portfolio import NeuronArm
from verifier.search.root import Roots

EXAMPLES = Path(__file__).resolve().parents[2] / "vnnlib_examples"

PIECEWISE: dict[str, Op | None] = {"relu": None, "leaky": CURVES["leaky"], "abs": CURVES["abs"]}


def network(name: str, seed: int) -> Graph:
    return residual(seed) if name == "residual" else dense(seed, [3, 4, 3, 2], curve=PIECEWISE[name])


def decided(strategy: NeuronSplitting, domains: NeuronDomains, graph: Graph, points: Tensor) -> NeuronDomains:
    """Cut domains at every neuron; keep those with the most points, and a few others."""
    for position in range(sum(len(index) for index in strategy.neurons.elements.values())):
        domains = strategy.halve(domains, torch.full((len(domains),), position))
        order = holders(strategy, domains, graph, points).sum(0).argsort(descending=True)
        domains = domains.take(
            torch.cat([order[:16], order[16:][torch.randperm(len(order[16:]), generator=drawn(0))[:16]]])
        )
    return domains


def holders(strategy: NeuronSplitting, domains: NeuronDomains, graph: Graph, points: Tensor) -> Tensor:
    """Tell which domains hold which points, ``(N, B)``."""
    values, inside = graph.values(points), torch.ones(len(points), len(domains), dtype=torch.bool)
    for name, index in strategy.neurons.elements.items():
        z = values[name].flatten(1)[:, index].unsqueeze(1)
        inside &= ((z >= domains.lower[name].double()) & (z <= domains.upper[name].double())).all(-1)
    return inside


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["residual", *PIECEWISE])
def test_decided_domains_are_closed_exactly(name: str, seed: int) -> None:
    """No domain with a violating point is closed; one that stays open has such a point, and gives it away."""
    graph = network(name, seed)
    box = boxes(graph.n_inputs, (0.7,), seed)
    points = box.sample(600, drawn(seed)).flatten(0, 1)
    outputs = graph(points)
    worst = torch.maximum(outputs[:, 0] - outputs[:, 1], outputs[:, 1])
    middle = float(worst.quantile(0.2))
    conditions = [([[1.0, -1.0], [0.0, 1.0]], [middle, middle]), ([[-1.0, 0.0]], [float(-outputs[:, 0].max()) - 0.1])]
    if graph.n_outputs != 2:
        conditions = [([[1.0, *[0.0] * (graph.n_outputs - 1)]], [float(outputs[:, 0].quantile(0.02))])]
    cases = Cases.of(spec_of(box, conditions), graph)
    strategy, roots, _ = by_neuron(graph, cases)
    leaves = decided(strategy, roots, graph, points)
    inside, met = holders(strategy, leaves, graph, points), 0
    for k in range(len(leaves)):
        leaf = leaves.take(torch.tensor([k]))
        finished, x = strategy.finish(leaf, box.centre[0])
        closed = bool(certified(strategy, finished, torch.float64) > 0)
        assert closed == bool(finished.bound > 0)
        values = excess(cases, graph, int(leaf.case), points[inside[:, k]])
        assert not (closed and (values <= 0).any())
        if not closed:
            assert float(excess(cases, graph, int(leaf.case), x)) <= 1e-3  # slopes are kept in half precision
            met += 1
    assert 0 < met < len(leaves)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["residual", *PIECEWISE])
def test_only_undecided_neurons_are_candidates(name: str, seed: int) -> None:
    graph = network(name, seed)
    box = boxes(graph.n_inputs, (0.7,), seed)
    conditions = THREE if graph.n_outputs == 2 else [([[1.0, *[0.0] * (graph.n_outputs - 1)]], [0.0])]
    strategy, domains, _ = by_neuron(graph, Cases.of(spec_of(box, conditions), graph))
    domains, generator = strategy.bound(domains)[0], drawn(seed)
    for _ in range(1 + sum(len(index) for index in strategy.neurons.elements.values())):
        masks = {
            reader.operands[0].name: reader.op.undecided(*reader.boxes(domains.ends))
            for reader in strategy.neurons.readers.values()
        }
        open_ = torch.cat([masks[operand] for operand in strategy.neurons.elements], dim=1)
        assert domains.final.equal(~open_.any(1))
        domains, open_ = domains.take(~domains.final), open_[~domains.final]
        if not len(domains):
            break
        assert open_.gather(1, domains.candidates).all()
        chosen = torch.randint(domains.candidates.shape[1], (len(domains), 1), generator=generator)
        domains = strategy.halve(domains, domains.candidates.gather(1, chosen).flatten())
        domains = domains.take(torch.randperm(len(domains), generator=generator)[:8])
        domains = strategy.bound(domains)[0]
    assert not len(domains)


def test_a_search_that_cannot_close_ends_and_says_so() -> None:
    """A jump at the split point leaves a gap that no split removes: the case stays open, and nothing is split on."""
    graph, box = dense(1, [2, 4, 4, 1], curve=CURVES["sign"]), boxes(2, (0.5,), 1)
    least = float(graph(box.sample(5000, drawn(0)).flatten(0, 1)).min())
    spec = spec_of(box, [([[1.0]], [least - 1e-3]), ([[1.0]], [least - 100])])
    cases = Cases.of(spec, graph)
    strategy, domains, _ = by_neuron(graph, cases)
    search = Search(strategy, lambda case, x: None, Progress())
    search.enter(*strategy.bound(domains))
    search.run(time.monotonic() + 60)
    assert not len(search.frontier)
    assert search.cases().tolist() in ([], [0])
    assert (search.weight > 0) == bool(len(search.cases()))
    assert search.progress.visited < 2 ** (2 + sum(len(index) for index in strategy.neurons.elements.values()))
    search.drop(torch.tensor([0]))
    assert search.cases().tolist() == []
    assert search.weight == 0


def test_a_refined_search_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root of few undecided neurons: short ascents leave decided domains open, and they were split without end."""
    monkeypatch.setattr(portfolio, "FIRST_SEARCH", 0.0001)
    monkeypatch.setattr(portfolio, "LEAST_SEARCH", 0.0)
    spec = specs.load(EXAMPLES / "vnnlib/digits_fc_image_3_eps_0.12.vnnlib")
    graph = load(EXAMPLES / "nets/digits_fc.onnx", device=torch.device("cpu"))
    cases, progress = Cases.of(spec, graph), Progress()
    roots, checker = Roots(graph, cases, time.monotonic() + 120), Checker(graph, cases, spec, None)
    arm = NeuronArm(roots, torch.tensor([7]), checker, progress, lambda root, case: None)
    arm.run(time.monotonic() + 60, None)
    assert not len(arm.cases())
    assert progress.visited < 2000
