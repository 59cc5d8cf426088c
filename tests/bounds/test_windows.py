from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.bounds.nets import Net, boxes, drawn, normal, residual
from verifier.bounds import windows
from verifier.bounds.optimise import JointAscent
from verifier.bounds.schedule import CROWN, INTERVAL, bound_nodes
from verifier.bounds.windows import Piece, pieces, windows_above
from verifier.graph.graph import Graph
from verifier.ops.conv import Conv
from verifier.ops.curves import Relu
from verifier.ops.shape import View
from verifier.sets import Box, dot, summands


def strided(seed: int) -> Graph:
    """Strides, dilation and padding that no window divides evenly."""
    generator, net = drawn(seed), Net(2 * 9 * 8)
    net.add(View(0, (1, 2, 9, 8)))
    net.add(Conv(normal(generator, 3, 2, 3, 3), normal(generator, 3), (2, 1), (1, 2), (1, 1)))
    net.add(Relu())
    net.add(Conv(normal(generator, 4, 3, 2, 3), normal(generator, 4), (1, 2), (0, 1), (2, 1)))
    net.add(Relu())
    net.add(Conv(normal(generator, 2, 4, 3, 3), None, (1, 1), (1, 1), (1, 1)))
    return net.graph()


@pytest.mark.parametrize("graph", [strided(0), residual(1)], ids=["strided", "residual"])
@pytest.mark.parametrize("side", [1, 2, 3])
def test_windows_change_nothing(graph: Graph, side: int) -> None:
    generator = drawn(3)
    lower = normal(generator, 2, graph.n_inputs)
    bounds = bound_nodes(graph, Box(lower, lower + 0.5), INTERVAL)
    for node in graph.nodes.values():
        if len(node.shape) < 4:
            continue
        height, width = node.shape[2:]
        for top, left in ((0, 0), (height - side, width - side), ((height - side) // 2, 0)):
            rows = torch.zeros(2, 3, *node.shape, dtype=torch.float64)
            window = (slice(top, top + side), slice(left, left + side))
            rows[..., window[0], window[1]] = normal(generator, 2, 3, *node.shape[:2], side, side)
            piece = Piece(node, windows_above(graph, node.name, window), torch.arange(0))
            whole = bounds.rows(rows, node.name)
            part = bounds.within(piece).rows(rows[..., window[0], window[1]], node.name)
            torch.testing.assert_close(part.coefficients, whole.coefficients)
            torch.testing.assert_close(part.offset, whole.offset)
            assert whole.error is not None
            assert part.error is not None
            assert (part.error > 0).all()
            assert (part.error <= whole.error * (1 + 1e-9)).all()


def test_tiles_bound_like_whole_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, box = residual(2), boxes(32, (0.3, 0.1), 4)
    found: list[dict[str, Box]] = []
    for step in (0, 1 << 40):  # as many tiles as possible, and one
        monkeypatch.setattr(windows, "STEP", step)
        found.append(bound_nodes(graph, box, CROWN).boxes)
    for name in graph.nodes:
        torch.testing.assert_close(found[0][name].lower, found[1][name].lower)
        torch.testing.assert_close(found[0][name].upper, found[1][name].upper)


def test_pieces_hold_every_element_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "STEP", 0)
    graph = strided(1)
    node = next(node for node in reversed(list(graph.nodes.values())) if isinstance(node.op, Conv))
    elements = torch.arange(0, 2 * node.shape[2] * node.shape[3], 3)
    found = list(pieces(graph, node, elements, 1))
    assert len(found) > 1
    assert torch.cat([piece.index for piece in found]).sort()[0].tolist() == list(range(len(elements)))


@pytest.mark.parametrize("size", [1, 256, 257, 320, 1000])
@pytest.mark.parametrize("wide", [False, True])
def test_dot_of_any_length(size: int, wide: bool) -> None:
    generator = drawn(size)
    rows, values = normal(generator, 2, 3, size), normal(generator, 2, 3 if wide else 1, size)
    expected: Tensor = (rows * values).sum(-1)
    torch.testing.assert_close(dot(rows, values), expected)


def test_a_part_of_a_node_has_no_more_summands() -> None:
    counts = [summands(size) for size in range(1, 5000)]
    assert counts == sorted(counts)


def test_tiles_change_no_ascent(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, box = residual(5), boxes(32, (0.4,), 6)
    rows, found, certified = torch.eye(3, dtype=torch.float64).unsqueeze(0), [], []
    for step in (0, 1 << 40):
        monkeypatch.setattr(windows, "STEP", step)
        with torch.no_grad():
            bounds = bound_nodes(graph, box, CROWN)
        ascent = JointAscent(bounds, rows)
        assert ascent.elements
        ascent.run(torch.full((3,), 1e3, dtype=torch.float64), 5, math.inf)
        found.append(ascent.best)
        with torch.no_grad():
            certified.append(bound_nodes(graph, box, CROWN, known=bounds.boxes, slopes=ascent.slopes()).boxes)
    torch.testing.assert_close(found[0], found[1])
    for name in graph.nodes:
        torch.testing.assert_close(certified[0][name].lower, certified[1][name].lower)
