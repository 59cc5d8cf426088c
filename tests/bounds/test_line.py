"""The course of a network along a line, against exact fractions."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

import verifier.bounds.line
import verifier.ops.matrix
from specs import Case, InputSet, Rows, Spec
from tests.bounds.nets import Net, drawn, linear, normal
from verifier.attack import Checker
from verifier.bounds.line import GAP, Course, Line
from verifier.graph.graph import INPUT, Graph
from verifier.ops.arithmetic import Add
from verifier.ops.curves import Abs, Relu
from verifier.ops.linear import Linear
from verifier.problem import Cases
from verifier.result import Progress
from verifier.search.by_line import LineSearch
from verifier.sets import Box


def steps(height: float = 1.0) -> Graph:
    """Two steps of slope 1e10, one behind the other: 0 below x = 0.3, ``height`` above it, with a ramp between."""
    net = Net(1)
    for shift in (0.3, 0.5):
        bias = torch.tensor([-shift * 1e10, -shift * 1e10 - 1], dtype=torch.float64)
        net.add(Linear(torch.full((1, 2), 1e10, dtype=torch.float64), bias))
        net.add(Relu())
        net.add(Linear(torch.tensor([[1.0], [-1.0]], dtype=torch.float64)))
    net.add(Linear(torch.tensor([[height]], dtype=torch.float64)))
    return net.graph()


def mixed(seed: int, skip: bool = True) -> Graph:
    generator, net = drawn(seed), Net(3)
    first = net.add(linear(generator, 3, 8))
    net.add(Relu())
    net.add(linear(generator, 8, 8))
    if skip:
        net.add(Add(), net.nodes[-1].name, first)
    net.add(Relu())
    net.add(linear(generator, 8, 6))
    net.add(Relu())
    net.add(linear(generator, 6, 2))
    return net.graph()


def thin(seed: int) -> Graph:
    """A network of matrices that are mostly zero."""
    generator, net = drawn(seed), Net(3)
    for k, n in itertools.pairwise((3, 12, 12, 12, 2)):
        op = linear(generator, k, n)
        net.add(replace(op, weight=torch.where(torch.rand(k, n, generator=generator) < 0.4, op.weight, 0)))
        net.add(Relu())
    return net.graph()


def exact(graph: Graph, x: list[Fraction]) -> list[Fraction]:
    """Evaluate a network of products, sums and rectifiers in fractions."""
    values = {INPUT: x}
    for name, node in graph.nodes.items():
        operands = [values[parent] for parent in node.parents]
        if isinstance(node.op, Linear):
            weight = [[Fraction(entry) for entry in row] for row in node.op.weight.T.tolist()]
            bias = [Fraction(0)] * len(weight) if node.op.bias is None else map(Fraction, node.op.bias.tolist())
            values[name] = [sum(map(lambda w, v: w * v, row, operands[0]), c) for row, c in zip(weight, bias)]  # noqa: B905
        elif isinstance(node.op, Relu):
            values[name] = [max(value, Fraction(0)) for value in operands[0]]
        elif isinstance(node.op, Add):
            values[name] = [a + b for a, b in zip(*operands, strict=True)]
        elif node.op is not None:
            values[name] = operands[0]
    return values[name]


def line(start: list[float], end: list[float]) -> Box:
    return Box(torch.tensor([start], dtype=torch.float64), torch.tensor([end], dtype=torch.float64))


def at(course: Course, point: int) -> list[Fraction]:
    pairs = zip(course.values.high[point].tolist(), course.values.low[point].tolist(), strict=True)
    return [Fraction(high) + Fraction(low) for high, low in pairs]


@pytest.mark.parametrize(
    ("graph", "box"),
    [
        (mixed(0), line([-2.0, 0.3, 0.1], [2.0, 0.3, 0.1])),
        (mixed(1, skip=False), line([0.1, -3.0, 0.7], [0.1, 3.0, 0.7])),
        (mixed(2), line([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])),
        (steps(), line([0.0], [1.0])),
        (steps(), line([0.3 - 1e-12], [0.3 + 1e-12])),
    ],
)
def test_values_lie_within_the_error_of_the_interpolation(graph: Graph, box: Box) -> None:
    ((_, inputs, outputs),) = Line(graph).follow(box, time.monotonic() + 60)
    assert at(inputs, 0) == [Fraction(value) for value in box.lower[0].tolist()]
    for piece in range(len(outputs.error)):
        assert_interpolates(graph, inputs, outputs, piece)
    assert outputs.error.max() < 1e-8


def assert_interpolates(graph: Graph, inputs: Course, outputs: Course, piece: int) -> None:
    """Compare a piece of the line with fractions."""
    ends = [at(inputs, piece), at(inputs, piece + 1)]
    known = [at(outputs, piece), at(outputs, piece + 1)]
    for share in (Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(9, 10), Fraction(1)):
        x = [a + share * (b - a) for a, b in zip(*ends, strict=True)]
        y = exact(graph, x)
        for got, a, b, error in zip(y, *known, outputs.error[piece].tolist(), strict=True):
            assert abs(got - (a + share * (b - a))) <= Fraction(error)


@pytest.mark.parametrize("room", [1 << 18, 60])
@pytest.mark.parametrize("graph", [mixed(4), mixed(5, skip=False), thin(6)])
def test_boxes_are_followed_together(graph: Graph, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier.bounds.line, "ROOM", room)
    monkeypatch.setattr(verifier.ops.matrix, "LARGE", 1)
    monkeypatch.setattr(verifier.ops.matrix, "DENSITY", 0.5)
    lower = torch.tensor([[-2.0, 0.3, 0.1], [0.5, -1.0, 0.2], [0.5, 0.5, 0.5], [1.0, 1.0, -9.0]], dtype=torch.float64)
    upper = torch.tensor([[2.0, 0.3, 0.1], [0.5, 1.0, 0.2], [0.5, 0.5, 0.5], [1.0, 1.0, 9.0]], dtype=torch.float64)
    ends: dict[int, list[list[float]]] = {}
    for owner, inputs, outputs in Line(graph).follow(Box(lower, upper), time.monotonic() + 60):
        assert outputs.error[owner != GAP].max() < 1e-20
        for piece, box in enumerate(owner.tolist()):
            if box != GAP:
                assert_interpolates(graph, inputs, outputs, piece)
                first, last = inputs.values.high[piece].tolist(), inputs.values.high[piece + 1].tolist()
                assert ends.setdefault(box, [first, first])[1] == first
                ends[box][1] = last
    assert ends == {k: [lower[k].tolist(), upper[k].tolist()] for k in range(4)}


def decide(graph: Graph, box: Box, conditions: list[tuple[list[list[float]], list[float]]]) -> list[bool | None]:
    """Return for each union of conditions whether it was excluded; None with a counterexample."""
    inputs = InputSet(box.lower[0].numpy(), box.upper[0].numpy())
    found: list[bool | None] = []
    for y, bound in conditions:
        rows = Rows(np.array(y), None, np.array(bound), np.zeros(len(bound), dtype=bool))
        spec = Spec((Case(inputs, rows),), graph.n_inputs, graph.n_outputs)
        cases = Cases.of(spec, graph)
        search = LineSearch(graph, cases, Checker(graph, cases, spec, None), Progress())
        still, witness = search.run(torch.arange(1), time.monotonic() + 60)
        found.append(None if witness is not None else not len(still))
    return found


def test_steep_steps_are_decided() -> None:
    graph, box = steps(2.5), line([0.0], [1.0])
    verdicts = decide(graph, box, [([[-1.0]], [-2.5 - 1e-6]), ([[-1.0]], [-2.5]), ([[1.0]], [-1e-6]), ([[1.0]], [0.0])])
    assert verdicts == [True, None, True, None]


def test_rowstogether_are_excluded_where_none_is_alone() -> None:
    net = Net(1)
    net.add(Linear(torch.tensor([[1.0, -1.0]], dtype=torch.float64)))
    net.add(Relu())
    graph, box = net.graph(), line([-1.0], [1.0])  # y = (x+, x-): never both large
    both = ([[-1.0, 0.0], [0.0, -1.0]], [-0.1, -0.1])
    assert decide(graph, box, [both, ([[-1.0, 0.0]], [-0.1])]) == [True, None]


def test_a_line_of_many_pieces_is_followed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, box = mixed(3), line([-4.0, 0.3, 0.1], [4.0, 0.3, 0.1])
    ((_, _, outputs),) = Line(graph).follow(box, time.monotonic() + 60)
    least = float(outputs.values.high[:, 0].min())
    conditions = [([[1.0, 0.0]], [least - 1e-9]), ([[1.0, 0.0]], [least + 1e-9])]
    assert decide(graph, box, conditions) == [True, None]
    monkeypatch.setattr(verifier.bounds.line, "ROOM", 30)
    parts = list(Line(graph).follow(box, time.monotonic() + 60))
    assert len(parts) > 3
    assert sum(len(part.error) for _, _, part in parts) >= len(outputs.error)
    ends = [(part.values.high[0].tolist(), part.values.high[-1].tolist()) for _, part, _ in parts]
    assert ends[0][0] == box.lower[0].tolist()
    assert ends[-1][1] == box.upper[0].tolist()
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ends))
    assert decide(graph, box, conditions) == [True, None]


def test_other_curves_are_refused() -> None:
    net = Net(1)
    net.add(Abs())
    with pytest.raises(NotImplementedError, match="Abs"):
        Line(net.graph())


def test_time_is_kept() -> None:
    with pytest.raises(TimeoutError):
        next(Line(mixed(0)).follow(line([0.0] * 3, [0.0] * 3), time.monotonic() - 1))


def test_numbers_that_overflow_decide_nothing() -> None:
    net = Net(1)
    net.add(Linear(normal(drawn(0), 1, 4).abs() * 1e200))
    net.add(Relu())
    net.add(Linear(torch.full((4, 1), 1e200, dtype=torch.float64)))
    assert decide(net.graph(), line([1.0], [2.0]), [([[-1.0]], [-1e300]), ([[1.0]], [0.0])]) != [True, True]


def test_a_spike_that_sampling_misses_is_found() -> None:
    net = Net(1)
    net.add(Linear(torch.tensor([[1.0, -1.0]], dtype=torch.float64), torch.tensor([-0.3, 0.3], dtype=torch.float64)))
    net.add(Relu())
    net.add(Linear(torch.full((2, 1), -1e10, dtype=torch.float64), torch.ones(1, dtype=torch.float64)))
    net.add(Relu())  # 1 at x = 0.3, and 0 but for 1e-10 around it
    graph, box = net.graph(), line([0.0], [1.0])
    assert decide(graph, box, [([[-1.0]], [-0.5]), ([[-1.0]], [-1.0 - 1e-6])]) == [None, True]
