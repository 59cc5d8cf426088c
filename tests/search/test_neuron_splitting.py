"""Neuron splitting: parts cover the whole, and bounds are sound."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from tests.bounds.nets import Net, boxes, dense, drawn
from tests.search.splits import THREE, by_neuron, certified, excess, network, spec_of
from verifier.graph.graph import Graph
from verifier.ops.curves import Relu
from verifier.ops.linear import Linear
from verifier.problem import Cases
from verifier.search.folded import Folded, FoldedBatch
from verifier.search.neuron_batch import Batch, NeuronDomains, Variables
from verifier.search.root import Root
from verifier.sets import Box

NEURON_NAMES = ["relu", "residual", "leaky", "prelu", "abs", "clip", "sign", "bilinear"]


def assert_neuron_domains(graph: Graph, cases: Cases, root: Root, domains: NeuronDomains, points: Tensor) -> int:
    """As for input domains; return how many domains have a point."""
    values, inside = graph.values(points), torch.ones(len(points), len(domains), dtype=torch.bool)
    for name, index in root.neurons().elements.items():
        z = values[name].flatten(1)[:, index].unsqueeze(1)
        inside &= ((z >= domains.lower[name].double()) & (z <= domains.upper[name].double())).all(-1)
    for case in range(len(cases)):
        here = inside & (domains.case == case)
        assert here.any(1).all()
        bound = torch.where(here & ~domains.bound.isnan(), domains.bound, -math.inf).amax(1)
        value = excess(cases, graph, case, points)
        assert (bound <= value + 1e-12 * (1 + value.abs())).all()
    return int(inside.any(0).sum())


@pytest.mark.parametrize("improved", [False, True])
@pytest.mark.parametrize("name", NEURON_NAMES)
def test_neuron_splitting_covers_and_bounds(name: str, improved: bool) -> None:
    graph = network(name)
    box = boxes(graph.n_inputs, (0.7,), 0)
    conditions = THREE if graph.n_outputs == 2 else [([[1.0, 0.0, -1.0]], [0.0]), ([[0.0, 1.0, 0.0]], [-1.0])]
    cases = Cases.of(spec_of(box, conditions), graph)
    points = box.sample(600, drawn(0)).flatten(0, 1)
    strategy, domains, root = by_neuron(graph, cases, improved)
    domains, _ = strategy.bound(domains)
    for _ in range(4):
        before = len(domains)
        domains, candidates = strategy.bound(strategy.split(domains))
        assert 2 * before <= len(domains) <= 4 * before
        assert ((candidates >= box.lower - 1e-6) & (candidates <= box.upper + 1e-6)).all()
        met = assert_neuron_domains(graph, cases, root, domains, points)
    assert met > len(cases)
    assert float(domains.weight.sum()) == pytest.approx(1)


def test_few_domains_are_split_twice_at_once() -> None:
    graph, box = dense(0, [3, 8, 8, 2]), boxes(3, (1.0,), 0)
    cases = Cases.of(spec_of(box, THREE), graph)
    points = box.sample(600, drawn(0)).flatten(0, 1)
    strategy, domains, root = by_neuron(graph, cases)
    domains, _ = strategy.bound(domains)
    ends = {name: (domains.lower[name], domains.upper[name]) for name in domains.lower}

    def cut(parts: NeuronDomains) -> Tensor:
        """Count the neurons that each part has narrowed."""
        first = {name: [end[:1] for end in both] for name, both in ends.items()}
        changed = [(parts.lower[name] > low) | (parts.upper[name] < high) for name, (low, high) in first.items()]
        return torch.cat(changed, 1).sum(1)

    strategy.batch = 4 * len(domains)
    parts = strategy.split(domains)
    assert len(parts) == 4 * len(domains)
    assert (cut(parts) == 2).all()
    assert float(parts.weight.sum()) == pytest.approx(1)
    assert_neuron_domains(graph, cases, root, strategy.bound(parts)[0], points)
    strategy.batch -= 1
    assert len(strategy.split(domains)) == 2 * len(domains)
    strategy.batch += 1
    alone = domains.candidates[:, :1].expand(-1, domains.candidates.shape[1]).clone()
    alone[0] = domains.candidates[0]
    mixed = strategy.split(dataclasses.replace(domains, candidates=alone))
    assert len(mixed) == 2 * len(domains) + 2
    assert sorted(cut(mixed).tolist()) == [1] * (len(mixed) - 4) + [2] * 4
    assert_neuron_domains(graph, cases, root, strategy.bound(mixed)[0], points)


@pytest.mark.parametrize("seed", range(4))
def test_random_splits_are_sound(seed: int) -> None:
    """Cuts that no rule would choose, several deep, with slopes and multipliers at random."""
    graph, generator = dense(seed, [3, 6, 6, 2]), drawn(seed)
    box = boxes(3, (1.0,), seed)
    cases = Cases.of(spec_of(box, THREE), graph)
    points = box.sample(2000, generator).flatten(0, 1)
    strategy, domains, root = by_neuron(graph, cases)
    domains, _ = strategy.bound(domains)
    for step in range(4):
        count = sum(len(index) for index in root.neurons().elements.values())
        domains = strategy.halve(domains, torch.randint(count, (len(domains),), generator=generator))
        if step % 2:
            for part in (domains.beta, domains.alpha):
                for value in part.values():
                    value.copy_(torch.randn(value.shape, generator=generator))
            domains.weights.copy_(torch.rand(domains.weights.shape, generator=generator))
        for dtype in (torch.float32, torch.float64):
            checked = dataclasses.replace(domains, bound=certified(strategy, domains, dtype))
            assert_neuron_domains(graph, cases, root, checked, points)


def test_combined_conditions_answer_for_the_rounding_of_their_rows() -> None:
    """Two conditions that float32 coefficients contradict each other in, though a point meets both.

    y_1 has to lie between 0.0999999982 y_0 and 0.2999999951 / 3 y_0; the coefficients are rounded apart. Combined, they
    cancel, and with them the margin for the rounding of the outputs.
    """
    one = torch.eye(3, dtype=torch.float64)
    net = Net(3)
    net.add(Linear(one))
    net.add(Relu())
    net.add(Linear(one))
    graph = net.graph()
    ends = torch.tensor([[[1e6, 0.9e5, -1.0]], [[1.1e6, 1.2e5, 1.0]]], dtype=torch.float64)
    box = Box(ends[0], ends[1])
    rows = [[0.0999999982, -1.0, 0.0], [-0.2999999951, 3.0, 0.0]]
    cases = Cases.of(spec_of(box, [(rows, [0.0, 0.0])]), graph)
    point = torch.tensor([[1.05e6, 1.05e6 * 0.0999999983, 0.0]], dtype=torch.float64)
    assert float(excess(cases, graph, 0, point)) <= 0
    strategy, domains, _ = by_neuron(graph, cases)
    domains.weights.copy_(torch.tensor([[0.75, 0.25]]))
    assert not float(certified(strategy, domains, torch.float32)) > 0


@pytest.mark.parametrize("name", NEURON_NAMES)
def test_the_folded_network_bounds_as_the_whole_does(name: str) -> None:
    graph = network(name)
    conditions = THREE if graph.n_outputs == 2 else [([[1.0, 0.0, -1.0]], [0.0]), ([[0.0, 1.0, 0.0]], [-1.0])]
    cases = Cases.of(spec_of(boxes(graph.n_inputs, (0.7,), 0), conditions), graph)
    strategy, domains, _ = by_neuron(graph, cases)
    for _ in range(2):
        domains, _ = strategy.bound(strategy.split(domains) if (domains.bound > -math.inf).all() else domains)
    whole = Batch(*strategy.fast, strategy.neurons, domains)
    folded = FoldedBatch(Folded(strategy.fast[0], strategy.neurons), strategy.fast[1], domains)
    records: list[dict[str, Tensor]] = [{}, {}]
    variables = Variables.of(domains, torch.float32, list(domains.beta))
    expected, found = (batch.evaluate(variables, kept) for batch, kept in zip((whole, folded), records, strict=True))
    torch.testing.assert_close(found.least, expected.least, rtol=1e-4, atol=1e-4)
    for curve, rows in records[1].items():
        torch.testing.assert_close(rows, records[0][curve], rtol=1e-4, atol=1e-4)
