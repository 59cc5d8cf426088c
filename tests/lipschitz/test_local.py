"""Local Lipschitz constants: brackets hold, close on the exact value, and survive short deadlines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from exact_lipschitz import exact_lipschitz

import specs
import verifier
from specs import InputSet
from specs.sets import Ball
from tests.bounds.nets import Net, bilinear, boxes, dense, drawn, linear, normal, residual
from verifier.errors import ContradictionError, ShapeError, UnsupportedError, UsageError
from verifier.graph.graph import INPUT, Graph
from verifier.graph.jacobian import jacobian
from verifier.lipschitz import semidefinite
from verifier.lipschitz.local import BRANCHING, LocalLipschitz
from verifier.lipschitz.norms import Norm
from verifier.lipschitz.supremum import Supremum
from verifier.ops.curves import Exp, Gelu, LeakyRelu, PRelu, Sigmoid, Sin, Tanh
from verifier.ops.gate import ConstantGate
from verifier.ops.linear import Linear
from verifier.sets import Box

PAIRS = list(itertools.product(("inf", "2", "1"), repeat=2))
NETS: dict[str, Callable[[], Graph]] = {
    "relu": lambda: dense(0, [3, 6, 6, 3]),
    "leaky": lambda: dense(1, [3, 6, 6, 3], curve=LeakyRelu(-0.2)),
    "sigmoid": lambda: dense(2, [3, 5, 5, 3], 2.0, Sigmoid()),
    "gelu": lambda: dense(3, [3, 5, 5, 3], 1.5, Gelu()),
    "sin": lambda: dense(4, [3, 5, 3], 1.5, Sin()),
    "bilinear": lambda: bilinear(5),
    "residual": lambda: residual(6),
}


def layers(graph: Graph) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of a dense network."""
    found = [node.op for node in graph.nodes.values() if isinstance(node.op, Linear)]
    return [(op.weight.T.numpy(), op.bias.numpy()) for op in found]


def region(box: Box) -> InputSet:
    return InputSet(box.lower[0].numpy(), box.upper[0].numpy())


def sampled(graph: Graph, box: Box, norm: Norm, rows: torch.Tensor) -> float:
    """The largest norm at random points, by automatic differentiation."""
    x = box.sample(2000, drawn(9)).flatten(0, 1).requires_grad_()
    y = graph(x) @ rows.T
    grads = [torch.autograd.grad(y[:, k].sum(), x, retain_graph=True)[0] for k in range(len(rows))]
    return float(norm.of_matrix(torch.stack(grads, 1)).max())


@pytest.mark.parametrize("p", ["inf", "2", "1"])
@pytest.mark.parametrize("seed", range(4))
def test_branching_ends_at_the_exact_constant(seed: int, p: str) -> None:
    """Enumerated: all activation patterns that occur, some eight to sixteen neurons being unstable."""
    graph, box = dense(seed, [4, 8, 8, 3]), boxes(4, (0.6,), seed)
    row = normal(drawn(seed + 20), 1, 3)
    order = {"inf": math.inf, "2": 2, "1": 1}[p]
    exact = exact_lipschitz(layers(graph), box.lower[0].numpy(), box.upper[0].numpy(), row[0].numpy(), order).value
    run = LocalLipschitz(graph, box, Norm.parse(p), row, timeout=60, gap=1e-5)
    assert run.run()[0] != "timeout"
    assert exact * (1 - 1e-9) <= run.upper <= exact * (1 + 1e-4)
    assert run.gradients.best <= exact * (1 + 1e-9)
    plain = Supremum(run.part(0).graph, box)
    plain.crown(math.inf)
    bound = run.measure.of_layers(plain.greatest)
    assert bound >= exact * (1 - 1e-9)


def test_there_was_something_to_branch_on() -> None:
    """Or the test above would say little."""
    methods = []
    for seed in range(4):
        graph, box = dense(seed, [4, 8, 8, 3]), boxes(4, (0.6,), seed)
        run = LocalLipschitz(graph, box, Norm.parse("inf"), normal(drawn(seed + 20), 1, 3), timeout=60, gap=1e-5)
        run.run()
        methods.append(run.method)
    assert methods.count(BRANCHING) >= 2


@pytest.mark.parametrize(("p", "q"), PAIRS)
@pytest.mark.parametrize("name", NETS)
def test_brackets_hold_in_all_norms(name: str, p: str, q: str) -> None:
    graph = NETS[name]()
    box = boxes(graph.n_inputs, (0.2,), 3)
    norm, rows = Norm.parse(f"{p},{q}"), torch.eye(graph.n_outputs, dtype=torch.float64)
    run = LocalLipschitz(graph, box, norm, rows, timeout=1.0 if name != "residual" else 0.5)
    run.run()
    assert sampled(graph, box, norm, rows) <= run.upper * (1 + 1e-9)
    assert 0 < run.gradients.best <= run.upper
    uppers, lowers = [step.upper for step in run.steps], [step.lower for step in run.steps]
    assert uppers == sorted(uppers, reverse=True)
    assert lowers == sorted(lowers)


def test_the_lower_end_is_attained() -> None:
    graph, box = NETS["gelu"](), boxes(3, (0.2,), 3)
    result = verifier.lipschitz(graph, region(box), "2", "0-2", timeout=2, gap=0.1)
    assert result.point is not None and result.lower is not None
    x = torch.from_numpy(result.point).unsqueeze(0).requires_grad_()
    y = graph(x)
    (slope,) = torch.autograd.grad(y[0, 0] - y[0, 2], x)
    assert float(slope.norm()) == pytest.approx(result.lower, rel=1e-6)
    assert result.gap is not None and result.gap >= 0


@pytest.mark.parametrize("curve", [None, Tanh()])
def test_bounds_hold_between_any_two_points(curve: Tanh | None) -> None:
    """What a constant is for: no two outputs differ by more than it allows."""
    graph, box = dense(7, [4, 9, 9, 2], 1.5, curve), boxes(4, (0.4,), 7)
    for name, order in (("inf", math.inf), ("2", 2), ("1", 1)):
        bound = verifier.lipschitz(graph, region(box), name, timeout=3).upper
        x, y = (box.sample(3000, drawn(seed)).flatten(0, 1) for seed in (1, 2))
        x = torch.cat([x, x])
        y = torch.cat([y, x[: len(y)] + 1e-4 * (y - x[: len(y)])])
        change = torch.linalg.vector_norm(graph(x) - graph(y), order, dim=1)
        assert (change <= bound * torch.linalg.vector_norm(x - y, order, dim=1) * (1 + 1e-9) + 1e-12).all()


def test_relaxing_by_constants_is_never_better() -> None:
    for seed in range(6):
        graph, box = dense(seed, [4, 12, 12, 12, 2], 1.5), boxes(4, (0.5,), seed)
        row = torch.eye(2, dtype=torch.float64)[:1]
        plain, constant = (jacobian(graph, row, gate=gate) for gate in (None, ConstantGate()))
        norm = Norm(math.inf, math.inf)
        theirs = Supremum(norm.on_top(constant, 1), box)
        theirs.crown(math.inf)
        ours = Supremum(norm.on_top(plain, 1), box, twin=norm.on_top(constant, 1))
        ours.crown(math.inf)
        assert ours.greatest <= theirs.greatest
        assert sampled(graph, box, norm, row) <= ours.greatest


def test_inputs_that_may_not_change_do_not_count() -> None:
    """Neither do those without a width, and a network that reads only such ones is constant."""
    graph, box = dense(3, [3, 6, 6, 2]), boxes(3, (0.3,), 3)
    whole = verifier.lipschitz(graph, region(box), "1,inf", timeout=5)
    single = [verifier.lipschitz(graph, region(box), "1,inf", inputs=[k], timeout=5) for k in range(3)]
    assert max(result.upper for result in single) == pytest.approx(whole.upper, rel=1e-3)
    flat = Box(torch.where(torch.tensor([True, False, False]), box.lower, box.centre), box.upper.clone())
    flat.upper[0, 1:] = box.centre[0, 1:]
    result = verifier.lipschitz(graph, region(flat), "inf", timeout=5)
    alone = verifier.lipschitz(graph, region(flat), "inf", inputs=[0], timeout=5)
    assert result.upper == pytest.approx(alone.upper)
    point = InputSet(box.centre[0].numpy(), box.centre[0].numpy())
    assert verifier.lipschitz(graph, point).upper == 0


@pytest.mark.parametrize("timeout", [0.0, 0.05, 0.3])
def test_a_short_deadline_gives_a_looser_bound(timeout: float) -> None:
    graph, box = dense(1, [6, 40, 40, 40, 4]), boxes(6, (0.5,), 1)
    norm, rows = Norm.parse("inf"), torch.eye(4, dtype=torch.float64)
    run = LocalLipschitz(graph, box, norm, rows, timeout=timeout)
    reason, closed = run.run()
    assert not closed
    assert reason == "timeout"
    assert sampled(graph, box, norm, rows) <= run.upper < math.inf


def test_a_search_that_is_cut_short_again_and_again_loses_nothing() -> None:
    graph, box = dense(0, [4, 8, 8, 3]), boxes(4, (0.6,), 0)
    row = normal(drawn(20), 1, 3)
    exact = exact_lipschitz(layers(graph), box.lower[0].numpy(), box.upper[0].numpy(), row[0].numpy()).value
    part = Supremum(Norm(math.inf, math.inf).on_top(jacobian(graph, row), 1), box)
    part.crown(math.inf)
    for _ in range(200):
        part.branch(exact * (1 + 1e-5), math.inf, deadline=0)  # no round gets anywhere
        assert part.greatest >= exact * (1 - 1e-9)
        assert not part.closed
        break
    part.branch(exact * (1 + 1e-5), math.inf)
    assert part.closed
    assert exact * (1 - 1e-9) <= part.greatest <= exact * (1 + 1e-4)


@pytest.mark.parametrize("order", [1, 2, math.inf])
def test_balls_are_bounded_no_worse_than_their_boxes(order: float) -> None:
    graph, centre = dense(2, [6, 16, 16, 2], 1.5), np.full(6, 0.6)
    ball = InputSet(np.zeros(6), np.ones(6), Ball(centre, 0.5, order))
    box = InputSet(centre - 0.5, np.ones(6))
    found, around = (verifier.lipschitz(graph, part, "2", 0, timeout=3) for part in (ball, box))
    first = [next(step.upper for step in result.steps if step.method != "interval") for result in (found, around)]
    assert first[0] < first[1] * (1 - 1e-3) if order < math.inf else first[0] == pytest.approx(first[1], rel=1e-6)
    assert found.point is not None and found.lower is not None
    assert np.linalg.norm(found.point - centre, order) <= 0.5
    x = torch.randn(40_000, 6, generator=drawn(4), dtype=torch.float64)
    away = x / torch.linalg.vector_norm(x, order, dim=1, keepdim=True) * torch.rand(len(x), 1, generator=drawn(5))
    x = torch.from_numpy(centre) + 0.5 * away
    x = x[((x >= 0) & (x <= 1)).all(1)].requires_grad_()
    (slope,) = torch.autograd.grad(graph(x)[:, 0].sum(), x)
    assert float(slope.norm(dim=1).max()) <= found.upper * (1 + 1e-9)


def test_what_cannot_be_asked_for_is_refused() -> None:
    graph, good = dense(0, [3, 4, 2]), InputSet(np.zeros(3), np.ones(3))
    for options, message in (
        ({"norm": "3"}, "norm"),
        ({"output": 2}, "no output 2"),
        ({"output": "0-5"}, "no output 5"),
        ({"output": "a"}, "neither an index"),
        ({"inputs": [3]}, "no input 3"),
        ({"inputs": []}, "no inputs"),
        ({"method": "magic"}, "no method"),
    ):
        with pytest.raises(UsageError, match=message):
            verifier.lipschitz(graph, good, **options)
    with pytest.raises(ShapeError, match="4 input variables"):
        verifier.lipschitz(graph, InputSet(np.zeros(4), np.ones(4)))
    with pytest.raises(UsageError, match="needs a region"):
        verifier.lipschitz(graph, method="clarke")
    with pytest.raises(UsageError, match="empty"):
        verifier.lipschitz(graph, InputSet(np.zeros(3), np.ones(3), Ball(np.full(3, 5.0), 1.0, 2)))
    rows = specs.Rows(np.eye(2)[:1], None, np.zeros(1), np.zeros(1, dtype=bool))
    other = InputSet(np.zeros(3), np.full(3, 2.0))
    both = specs.Spec((specs.Case(good, rows), specs.Case(other, rows)), 3, 2)
    with pytest.raises(UsageError, match="2 input sets"):
        verifier.lipschitz(graph, both)


def test_a_network_that_jumps_is_named() -> None:
    from verifier.ops.curves import Floor

    net = Net(2)
    net.add(Floor(), INPUT)
    with pytest.raises(UnsupportedError, match="n1"):
        verifier.lipschitz(net.graph(), InputSet(np.zeros(2), np.ones(2)))


@pytest.mark.parametrize("order", ["inf", "2", "1"])
def test_the_product_of_norms_bounds_every_local_constant(order: str) -> None:
    for name in ("relu", "leaky", "sigmoid", "gelu", "residual"):
        graph = NETS[name]()
        everywhere = verifier.lipschitz(graph, norm=order, method="product")
        assert everywhere.lower is None
        box = boxes(graph.n_inputs, (1.0,), 3)
        rows = torch.eye(graph.n_outputs, dtype=torch.float64)
        assert sampled(graph, box, Norm.parse(order), rows) <= everywhere.upper < math.inf
    net, layer = Net(3), linear(drawn(0), 3, 2)
    net.add(layer)
    exact = torch.linalg.matrix_norm(layer.weight.T, {"inf": math.inf, "2": 2, "1": 1}[order]).item()
    assert verifier.lipschitz(net.graph(), norm=order, method="product").upper == pytest.approx(exact)


@pytest.mark.parametrize("seed", range(3))
def test_slopes_behind_scales_are_split(seed: int) -> None:
    net, generator = Net(2), drawn(seed)
    for inputs, outputs in ((2, 3), (3, 2)):
        net.add(linear(generator, inputs, outputs))
        net.add(PRelu(normal(generator, outputs)))
    net.add(linear(generator, 2, 1))
    graph, box = net.graph(), Box(-torch.ones(1, 2).double(), torch.ones(1, 2).double())
    found = verifier.lipschitz(graph, region(box), timeout=10)
    assert found.reason != "timeout"
    bound = sampled(graph, box, Norm.parse("inf"), torch.eye(1).double())
    assert bound <= found.upper * (1 + 1e-9)


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_points_have_the_constant_zero(p: str, q: str) -> None:
    graph, point = dense(3, [3, 6, 6, 2]), np.full(3, 0.2)
    assert verifier.lipschitz(graph, InputSet(point, point), f"{p},{q}").upper == 0
    beside = point + np.array([0.1, 0, 0])
    assert verifier.lipschitz(graph, InputSet(point, beside), f"{p},{q}", 0, inputs=[1]).upper == 0


def test_entries_without_bounds_give_no_bound() -> None:
    net = Net(4)
    for widths in ((4, 5), (5, 4)):
        net.add(linear(drawn(1), *widths, 5.0))
        net.add(Exp())
    net.add(linear(drawn(2), 4, 3))
    graph, box = net.graph(), InputSet(np.full(4, -1e3), np.full(4, 1e3))
    for pair in ("2", "inf", "1,2"):
        assert verifier.lipschitz(graph, box, pair, timeout=1).upper == math.inf


def test_a_pattern_without_an_interior_leaves_the_bracket_open() -> None:
    """relu(x) - relu(-x) is x, but at 0 all patterns meet."""
    weights = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    net = Net(1)
    net.add(Linear(weights, torch.zeros(2, dtype=torch.float64)))
    net.add(LeakyRelu(0.0))
    net.add(Linear(weights.T.contiguous(), torch.zeros(1, dtype=torch.float64)))
    found = verifier.lipschitz(net.graph(), InputSet(-np.ones(1), np.ones(1)), timeout=10)
    assert not found.closed
    assert found.reason == "nothing is left to split"
    assert found.lower == pytest.approx(1)
    assert 1 <= found.upper <= 2 + 1e-9


@pytest.mark.parametrize("method", ["auto", "sdp"])
def test_a_bound_below_a_gradient_is_an_error_and_no_answer(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at, box = dense(1, [3, 4, 2]), InputSet(-np.ones(3), np.ones(3))
    assert verifier.lipschitz(at, box, norm="2", method=method, timeout=2, gap=0.1).upper > 0
    monkeypatch.setattr(LocalLipschitz, "upper", 1e-3)
    monkeypatch.setattr(semidefinite, "products", lambda *_: [1e-3, 1e-3])
    with pytest.raises(ContradictionError, match=r"contradicts the certified bound 0\.001: this is a defect"):
        verifier.lipschitz(at, box, norm="2", method=method, timeout=2, gap=0.1)


def test_lack_of_memory_ends_a_run_with_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    box = InputSet(-np.ones(3), np.ones(3))
    monkeypatch.setattr(LocalLipschitz, "_improve", fail)
    found = verifier.lipschitz(dense(0, [3, 6, 6, 3]), box, timeout=5)
    assert (found.reason, found.closed) == ("memory", False)
    assert found.lower is not None
    assert 0 < found.lower <= found.upper < math.inf
    monkeypatch.setattr(LocalLipschitz, "_improve", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        verifier.lipschitz(dense(0, [3, 6, 6, 3]), box, timeout=5)
