"""The folded ascent says what the plain one says, and what a certified pass makes of its slopes holds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.bounds.nets import bilinear, boxes, dense, drawn, residual
from verifier.bounds.optimise import JointAscent
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node, Port
from verifier.ops.arithmetic import Scale
from verifier.ops.curves import Abs, Clip, LeakyRelu, Relu
from verifier.ops.op import Op
from verifier.ops.reduce import ReduceSum
from verifier.ops.shape import Reshape
from verifier.search.folded_ascent import FoldedAscent
from verifier.search.root import Root
from verifier.sets import Box

CURVES: dict[str, Op | None] = {"relu": None, "leaky": LeakyRelu(-0.3), "abs": Abs(), "clip": Clip(-1.0, 0.5)}
NETS = {"residual": residual, "bilinear": bilinear}
NAMES = [*NETS, *CURVES]


def problem(name: str, seed: int) -> tuple[Graph, Box, Root, Tensor]:
    graph = NETS[name](seed) if name in NETS else dense(seed, [3, 6, 6, 5, 3], curve=CURVES[name])
    box = boxes(graph.n_inputs, (0.7,), seed)
    rows = torch.randn(1, 2, graph.n_outputs, generator=drawn(seed), dtype=torch.float64)
    return graph, box, Root.cheap(graph, box).crown(), rows


def folded_ascent(root: Root, rows: Tensor) -> FoldedAscent:
    return FoldedAscent(root.fast, rows.float(), root.neurons())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_it_bounds_as_the_plain_ascent_does(name: str, seed: int) -> None:
    _, _, root, rows = problem(name, seed)
    folded, plain = folded_ascent(root, rows), JointAscent(root.fast, rows.float())
    torch.testing.assert_close(folded.evaluate(), plain.evaluate(), rtol=1e-3, atol=1e-3)
    for start, box in folded.boxes.items():
        expected, index = plain.boxes[start], folded.neurons.elements[start]
        torch.testing.assert_close(box.lower, expected.lower.flatten(1)[:, index], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(box.upper, expected.upper.flatten(1)[:, index], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pays", [False, True])
def test_improved_roots_hold(pays: bool, name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FoldedAscent, "pays", staticmethod(lambda bounds, neurons: pays))
    graph, box, root, rows = problem(name, seed)
    better = root.improve(rows, torch.full((2,), math.inf), 12, math.inf)
    points = box.sample(3000, drawn(seed)).flatten(0, 1)
    values = graph.values(points)
    for node, found in better.exact.boxes.items():
        if node != INPUT:
            slack = 1e-12 * (1 + values[node].abs())
            assert (values[node] >= found.lower - slack).all()
            assert (values[node] <= found.upper + slack).all()
            assert (found.lower >= root.exact.boxes[node].lower).all()
            assert (found.upper <= root.exact.boxes[node].upper).all()
    least = better.rows(rows).minimum(box)[0]
    assert (least <= (values[OUTPUT].flatten(1) @ rows[0].T).amin(0) + 1e-9).all()
    assert name in ("leaky", "abs", "clip", "bilinear") or (least >= root.rows(rows).minimum(box)[0] - 1e-6).all()


def test_a_certified_pass_gets_what_the_ascent_promised() -> None:
    _, box, root, rows = problem("relu", 0)
    ascent = folded_ascent(root, rows)
    ascent.run(torch.full((2,), math.inf), 12, math.inf)
    promised, exact = ascent.best, root.improve(rows, torch.full((2,), math.inf), 12, math.inf)
    found = exact.rows(rows).minimum(box)[0]
    assert (found.float() > promised - 0.05 * promised.abs()).all()


def test_a_curve_of_one_number_without_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FoldedAscent, "pays", staticmethod(lambda bounds, neurons: True))
    weight = torch.randn(3, generator=drawn(0), dtype=torch.float64)
    nodes = [
        Node(INPUT, None, (), (3,)),
        Node("scaled", Scale(weight), (INPUT,), (3,)),
        Node("sum", ReduceSum((0,), keep=False), ("scaled",), ()),
        Node("relu", Relu(), ("sum",), ()),
        Node(OUTPUT, Reshape((1,)), ("relu",), (1,)),
    ]
    graph = Graph(nodes, [Port("x", (3,), "float64")], [Port("y", (), "float64")])
    box = Box(torch.full((1, 3), -0.7, dtype=torch.float64), torch.full((1, 3), 0.7, dtype=torch.float64))
    root, rows = Root.cheap(graph, box).crown(), torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
    least = root.improve(rows, torch.full((2,), math.inf), 12, math.inf).rows(rows).minimum(box)[0]
    values = graph(box.sample(3000, drawn(0)).flatten(0, 1))
    assert (least <= (values @ rows[0].T).amin(0) + 1e-9).all()
