"""Input and neuron splitting: parts cover the whole, bounds are sound, and both decide small problems exactly."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from specs import Case, InputSet, Rows, Spec
from tests.bounds.nets import Net, bilinear, boxes, dense, drawn, exact_minimum, residual
from verifier.attack import Checker
from verifier.graph.graph import INPUT, Graph
from verifier.ops.curves import Abs, Clip, LeakyRelu, PRelu, Relu, Sign
from verifier.ops.linear import Linear
from verifier.ops.op import Op
from verifier.ops.product import Product
from verifier.ops.reduce import ReduceSum
from verifier.problem import Cases
from verifier.result import Counterexample, Progress
from verifier.search.bab import Search
from verifier.search.by_input import FULL, InputDomains, InputSplitting
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.folded import Folded, FoldedBatch
from verifier.search.neuron_batch import Batch, NeuronDomains, Variables
from verifier.search.root import Root, Roots
from verifier.sets import Box

CURVES: dict[str, Op] = {
    "leaky": LeakyRelu(-0.3),
    "prelu": PRelu(torch.tensor([0.25, -1.0, 3.0, 0.5], dtype=torch.float64)),
    "abs": Abs(),
    "clip": Clip(-1.0, 0.5),
    "sign": Sign(),
}


NETS = {"residual": residual, "bilinear": bilinear}


def network(name: str) -> Graph:
    return NETS[name](0) if name in NETS else dense(0, [3, 4, 4, 2], curve=CURVES.get(name))


def spec_of(box: Box, conditions: Sequence[tuple[Sequence[Sequence[float]], Sequence[float]]]) -> Spec:
    """One box, and a case for each list of rows with their bounds: unsafe iff all ``row . y <= bound``."""
    inputs = InputSet(box.lower[0].numpy(), box.upper[0].numpy())
    cases = [
        Case(inputs, Rows(np.array(rows, dtype=float), None, np.array(bounds), np.zeros(len(bounds), dtype=bool)))
        for rows, bounds in conditions
    ]
    return Spec(tuple(cases), box.lower.shape[1], len(conditions[0][0][0]))


def excess(cases: Cases, graph: Graph, case: int, points: Tensor) -> Tensor:
    """The largest excess of a case at points ``(K, n)``."""
    return cases.excess(torch.full((len(points),), case), points, graph(points)).amax(-1)


def by_neuron(graph: Graph, cases: Cases, improved: bool = False) -> tuple[NeuronSplitting, NeuronDomains, Root]:
    case, roots = torch.arange(len(cases)), Roots(graph, cases)
    root = roots.improve(0, case, 10, math.inf) if improved else roots.of(0)
    found = root.rows(cases.y_rows[case].flatten(0, 1).unsqueeze(0)).reshape(*cases.bound.shape)
    least, row = cases.close(case, found, root.box.expand(len(case)))[1].max(1)
    strategy = NeuronSplitting(root, cases, iterations=10)
    return strategy, strategy.roots(case, least, row, case * cases.bound.shape[1] + row), root


def certified(strategy: NeuronSplitting, domains: NeuronDomains, dtype: torch.dtype) -> Tensor:
    """Bounds of domains, rounding included, with the variables they have."""
    side = strategy.fast if dtype == torch.float32 else strategy.exact
    batch = Batch(*side, strategy.neurons, domains)
    return batch.evaluate(Variables.of(domains, dtype, list(domains.beta)), certify=True).least.double()


NEURON_NAMES = ["relu", "residual", "leaky", "prelu", "abs", "clip", "sign", "bilinear"]

THREE = [([[1.0, -1.0]], [-0.5]), ([[-1.0, 0.0], [0.0, 1.0]], [0.2, 0.1]), ([[0.0, 1.0]], [-1.0])]


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
