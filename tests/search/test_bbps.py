"""Shortcuts bound the neurons, and where nothing but the split node matters, the estimated gain is the real one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.bounds.nets import bilinear, boxes, dense, drawn, residual
from tests.search.splits import THREE, spec_of
from verifier.bounds import windows
from verifier.graph.graph import Graph
from verifier.ops.curves import Sigmoid, Sin, Tanh
from verifier.problem import Cases
from verifier.search.branching.bbps import shortcut_gains, shortcuts
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.neuron_batch import Batch, NeuronDomains, Variables
from verifier.search.root import Root
from verifier.sets import Box


def problem(graph: Graph, seed: int) -> tuple[NeuronSplitting, NeuronDomains, Box]:
    box = boxes(graph.n_inputs, (0.6,), seed)
    conditions = THREE[:1] if graph.n_outputs == 2 else [([[1.0, 0.0, -1.0]], [0.0])]
    cases = Cases.of(spec_of(box, conditions), graph)
    root = Root.cheap(graph, box).crown()
    strategy = NeuronSplitting(root, cases, iterations=0)
    zero = torch.zeros(1, dtype=torch.long)
    return strategy, strategy.roots(zero, torch.zeros(1, dtype=torch.float64), zero, zero), box


def restarted(strategy: NeuronSplitting, domains: NeuronDomains) -> NeuronDomains:
    """Domains with the parameters of least area."""
    alpha = {}
    for name, reader in strategy.neurons.readers.items():
        alpha[name] = reader.op.start(*reader.boxes(domains.ends)).squeeze(2).transpose(0, 1)
    return replace(domains, alpha=alpha)


def bound(strategy: NeuronSplitting, domains: NeuronDomains) -> torch.Tensor:
    """The bound by the lines of least area, without multipliers."""
    domains = restarted(strategy, domains)
    return Batch(*strategy.fast, strategy.neurons, domains).evaluate(Variables.of(domains, torch.float32, [])).least


@pytest.mark.parametrize("step", [windows.STEP, 0])  # 0: in as many tiles as possible
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("net", [bilinear, residual, lambda seed: dense(seed, [3, 6, 5, 2], curve=Sigmoid())])
def test_shortcuts_hold_the_neurons(net: object, seed: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(net)
    monkeypatch.setattr(windows, "STEP", step)
    graph = net(seed)
    strategy, _, box = problem(graph, seed)
    known = shortcuts(strategy.fast[0], strategy.neurons)
    assert known is not None
    points = box.sample(500, drawn(seed)).flatten(0, 1)
    values = graph.values(points)
    unit = ((points - box.centre) / box.radius).float()
    for name, index in strategy.neurons.elements.items():
        value, found = values[name].flatten(1)[:, index].float(), known[name]
        assert (unit @ found.lower.T + found.least <= value + 1e-4).all()
        assert (unit @ found.upper.T + found.most >= value - 1e-4).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("curve", [Sigmoid(), Tanh(), Sin()])
def test_gains_through_a_single_layer_can_be_had(curve: object, seed: int) -> None:
    """They are no less than what splits gain at once, and no more than what an ascent makes of them."""
    graph = dense(seed, [3, 6, 2], scale=2.0, curve=curve)  # type: ignore[arg-type]
    strategy, domains, _ = problem(graph, seed)
    known = shortcuts(strategy.fast[0], strategy.neurons)
    assert known is not None
    (name,) = strategy.neurons.elements
    domains = restarted(strategy, replace(domains, bound=torch.full_like(domains.bound, -1e3)))  # nothing is cut off
    record: dict[str, torch.Tensor] = {}
    batch = Batch(*strategy.fast, strategy.neurons, domains)
    before = batch.evaluate(Variables.of(domains, torch.float32, []), record).least
    count = len(strategy.neurons.elements[name])
    places = torch.arange(count).unsqueeze(0)
    point = strategy.points.at(name, places, domains.ends[name])
    gains = shortcut_gains(strategy.neurons, known, record, domains, name, places, point)[0]
    strategy.ascent.target = 1e6
    for k in range(count):
        parts = strategy.halve(domains, torch.tensor([k]))
        assert float(gains[k]) >= float((bound(strategy, parts) - before).sum()) - 1e-3
        assert float(gains[k]) <= float((strategy.ascent.run(parts, 300)[1] - before).sum()) + 1e-2
    assert float(gains.amax()) > 0.1
