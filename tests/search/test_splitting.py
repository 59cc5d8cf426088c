"""Input and neuron splitting both decide small problems exactly, and are never wrong."""

from __future__ import annotations

import math
import time

import pytest
import torch

from specs import Spec
from tests.bounds.nets import Net, boxes, dense, drawn, exact_minimum
from tests.search.splits import CURVES, by_neuron, excess, spec_of
from verifier.attack import Checker
from verifier.graph.graph import INPUT, Graph
from verifier.ops.linear import Linear
from verifier.ops.product import Product
from verifier.ops.reduce import ReduceSum
from verifier.problem import Cases
from verifier.result import Counterexample, Progress
from verifier.search.bab import Search
from verifier.search.by_input import InputDomains, InputSplitting
from verifier.search.neuron_batch import NeuronDomains


def decide(strategy: str, graph: Graph, spec: Spec, seconds: float = 20.0) -> str:
    """Search by one strategy alone, without attacks."""
    cases = Cases.of(spec, graph)
    checker = Checker(graph, cases, spec, None)
    case, until = torch.arange(len(cases)), time.monotonic() + seconds
    if strategy == "input":
        split = InputSplitting(graph, cases)
        found: Search[InputDomains] | Search[NeuronDomains] = Search(split, checker, Progress())
        found.frontier.push(split.roots(case, torch.full((len(cases),), -math.inf, dtype=torch.float64)))  # type: ignore
        first: Counterexample | None = None
    else:
        by, domains, _ = by_neuron(graph, cases, improved=True)
        found = Search(by, checker, Progress())
        found.enter(*by.bound(domains))
        first = found.counterexample
    if first is None:
        found.run(until)
    return "sat" if first or found.counterexample else "unknown" if len(found.cases()) else "unsat"


@pytest.mark.parametrize("strategy", ["input", "neuron"])
@pytest.mark.parametrize("seed", range(4))
def test_thresholds_around_the_optimum(seed: int, strategy: str) -> None:
    graph, box = dense(seed, [2, 5, 5, 1]), boxes(2, (1.0,), seed)
    for sign in (1.0, -1.0):
        row = torch.tensor([sign], dtype=torch.float64)
        least = exact_minimum(graph, box, row)
        assert decide(strategy, graph, spec_of(box, [([[sign]], [least - 1e-3])])) == "unsat"
        assert decide(strategy, graph, spec_of(box, [([[sign]], [least + 1e-3])])) == "sat"


@pytest.mark.parametrize("strategy", ["input", "neuron"])
@pytest.mark.parametrize("seed", range(3))
def test_conjunctions_around_the_optimum(seed: int, strategy: str) -> None:
    """Two conditions at once; the truth by a grid of which the gradients say how much it can miss."""
    graph, box = dense(seed, [2, 5, 5, 2]), boxes(2, (1.0,), seed)
    rows = [[1.0, 0.3], [-0.4, 1.0]]
    cases = Cases.of(spec_of(box, [(rows, [0.0, 0.0])]), graph)
    axis = torch.linspace(0, 1, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis) * (box.upper - box.lower) + box.lower
    values = excess(cases, graph, 0, grid).view(401, 401)
    steps = torch.maximum(values.diff(dim=0).abs().max(), values.diff(dim=1).abs().max())
    least, miss = float(values.min()), 2 * float(steps)
    unsafe, safe = [least + 1e-3] * 2, [least - miss - 1e-3] * 2
    assert decide(strategy, graph, spec_of(box, [(rows, unsafe)])) == "sat"
    assert decide(strategy, graph, spec_of(box, [(rows, safe)])) == "unsat"
    both = spec_of(box, [(rows, safe), (rows, unsafe)])
    assert decide(strategy, graph, both) == "sat"


@pytest.mark.parametrize(
    ("strategy", "name"),
    [(strategy, name) for strategy in ("input", "neuron") for name in CURVES],
)
def test_other_curves_are_never_wrong(strategy: str, name: str) -> None:
    graph, box = dense(1, [2, 4, 4, 1], curve=CURVES[name]), boxes(2, (0.5,), 1)
    y = graph(box.sample(5000, drawn(0)).flatten(0, 1)).flatten()
    least = float(y.min())
    assert decide(strategy, graph, spec_of(box, [([[1.0]], [least + 1e-6])]), 2.0) in ("sat", "unknown")
    assert decide(strategy, graph, spec_of(box, [([[1.0]], [least - 1.0])]), 2.0) in ("unsat", "unknown")


@pytest.mark.parametrize("seed", range(3))
def test_products_are_never_wrong(seed: int) -> None:
    """Thresholds on both sides of the least value on a grid, for the sum of products of the same inputs."""
    matrix, net = torch.randn(2, 2, generator=drawn(seed)).double(), Net(2)
    net.add(Product(), INPUT, net.add(Linear(matrix)))
    net.add(ReduceSum((0,), keep=True))
    graph, box = net.graph(), boxes(2, (0.5,), seed)
    axis = torch.linspace(0, 1, 801, dtype=torch.float64)
    least = float(graph(torch.cartesian_prod(axis, axis) * (box.upper - box.lower) + box.lower).min())
    assert decide("input", graph, spec_of(box, [([[1.0]], [least + 1e-6])]), 5.0) == "sat"
    assert decide("input", graph, spec_of(box, [([[1.0]], [least - 1e-3])]), 5.0) == "unsat"


@pytest.mark.parametrize("scale", [1e20, 1e100])
@pytest.mark.parametrize("strategy", ["input", "neuron"])
def test_overflow_proves_nothing(strategy: str, scale: float) -> None:
    """Products beyond the largest number: bounds are infinite or no numbers."""
    graph, box = dense(0, [2, 4, 4, 1], scale), boxes(2, (1.0,), 0)
    value = float(graph(box.centre))
    assert decide(strategy, graph, spec_of(box, [([[1.0]], [value])]), 1.0) != "unsat"
    assert decide(strategy, graph, spec_of(box, [([[-1.0]], [-value])]), 1.0) != "unsat"
