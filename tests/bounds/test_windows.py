from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.bounds.nets import Net, boxes, drawn, normal, residual
from verifier.bounds import windows
from verifier.bounds.optimise import JointAscent
from verifier.bounds.schedule import CROWN, INTERVAL, bound_nodes
from verifier.bounds.windows import Piece, pieces, seen_inputs, windows_above
from verifier.graph.graph import INPUT, Graph
from verifier.ops.conv import FEW_PLACES, MANY_ROWS, Conv, ConvTranspose, spread
from verifier.ops.curves import Relu
from verifier.ops.op import Shape
from verifier.ops.pool import AveragePool
from verifier.ops.select import Concat, Pad, Slice
from verifier.ops.shape import Reshape, View
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


def upsampled(seed: int) -> Graph:
    """A branch that is pooled and spread again beside one that is not, with padding and cuts on the way."""
    generator, net = drawn(seed), Net(3 * 9 * 8)
    net.add(View(0, (1, 3, 9, 8)))
    image = net.add(Slice(((0, 1, 1), (1, 3, 1), (0, 9, 1), (1, 8, 1))))
    before = net.add(Relu(), net.add(Conv(normal(generator, 3, 2, 3, 3), None, (1, 1), (1, 1), (1, 1)), image))
    net.add(AveragePool((2, 2), (2, 2)))
    net.add(Relu())
    net.add(ConvTranspose(normal(generator, 3, 2, 3, 2), normal(generator, 2), (2, 2), (1, 0), (1, 1)))
    net.add(Relu())
    net.add(Pad(((0, 0), (0, 0), (1, 1), (0, 1))))
    net.add(Concat(1, (0, 0, 0)), before, net.nodes[-1].name)
    net.add(Conv(normal(generator, 2, 5, 2, 2), normal(generator, 2), (1, 1), (1, 0), (1, 1)))
    net.add(Slice(((0, 1, 1), (0, 2, 1), (1, 10, 2), (0, 6, 1))))
    net.add(Reshape((2, 5, 6)))
    net.add(Slice(((0, 1, 1), (0, 5, 1), (0, 6, 1))))
    net.add(Relu())
    return net.graph()


@pytest.mark.parametrize("graph", [strided(0), residual(1), upsampled(2)], ids=["strided", "residual", "upsampled"])
@pytest.mark.parametrize("side", [1, 2, 3])
def test_windows_change_nothing(graph: Graph, side: int) -> None:
    generator = drawn(3)
    lower = normal(generator, 2, graph.n_inputs)
    bounds, local_only = bound_nodes(graph, Box(lower, lower + 0.5), INTERVAL), 0
    for node in graph.nodes.values():
        if len(node.shape) < 3:
            continue
        height, width = node.shape[-2:]
        for top, left in ((0, 0), (height - side, width - side), ((height - side) // 2, 0)):
            rows = torch.zeros(2, 3, *node.shape, dtype=torch.float64)
            window = (slice(top, top + side), slice(left, left + side))
            rows[..., window[0], window[1]] = normal(generator, 2, 3, *node.shape[:-2], side, side)
            piece = Piece(node, windows_above(graph, node.name, window), torch.arange(0))
            whole = bounds.rows(rows, node.name)
            local = bounds.within(piece)
            part = local.rows(rows[..., window[0], window[1]], node.name)
            seen = seen_inputs(graph, piece.windows)
            local_only += seen is not None
            coefficients = torch.zeros_like(whole.coefficients)
            coefficients[..., slice(None) if seen is None else seen] = part.coefficients
            torch.testing.assert_close(coefficients, whole.coefficients)
            torch.testing.assert_close(part.minimum(local.boxes[INPUT]), whole.minimum(bounds.boxes[INPUT]))
            torch.testing.assert_close(part.offset, whole.offset)
            assert whole.error is not None
            assert part.error is not None
            assert (part.error > 0).all()
            assert (part.error <= whole.error * (1 + 1e-9)).all()
    assert local_only >= 3


@pytest.mark.parametrize("net", [residual, upsampled])
def test_tiles_bound_like_whole_nodes(net: Callable[[int], Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    graph = net(2)
    box = boxes(graph.n_inputs, (0.3, 0.1), 4)
    found: list[dict[str, Box]] = []
    for step in (0, 1 << 40):  # as many tiles as possible, and one
        monkeypatch.setattr(windows, "STEP", step)
        found.append(bound_nodes(graph, box, CROWN).boxes)
    for name in graph.nodes:
        torch.testing.assert_close(found[0][name].lower, found[1][name].lower)
        torch.testing.assert_close(found[0][name].upper, found[1][name].upper)


def test_windows_of_other_axes_than_space_are_let_go() -> None:
    generator, net = drawn(0), Net(4 * 32)
    net.add(View(0, (1, 4, 32)))
    net.add(ConvTranspose(normal(generator, 4, 4, 2), normal(generator, 4), (2,), (0,), (1,)))
    line = net.nodes[-1]
    net.add(Reshape((1, 4, 8, 8)))
    net.add(ConvTranspose(normal(generator, 4, 2, 2, 2), None, (2, 2), (0, 0), (1, 1)))
    net.add(Reshape((2, 16, 16)))
    graph = net.graph()
    bounds = bound_nodes(graph, boxes(graph.n_inputs, (0.3,), 1), INTERVAL)
    for node, window in ((line, (slice(1, 3), slice(7, 20))), (net.nodes[-2], (slice(3, 7),))):
        rows = torch.zeros(1, 2, *node.shape, dtype=torch.float64)
        rows[(..., *window)] = normal(generator, 1, 2, *rows[(..., *window)].shape[2:])
        local = bounds.within(Piece(node, windows_above(graph, node.name, window), torch.arange(0)))
        part = local.rows(rows[(..., *window)], node.name)
        torch.testing.assert_close(
            part.minimum(local.boxes[INPUT]), bounds.rows(rows, node.name).minimum(bounds.boxes[INPUT])
        )


def test_pieces_hold_every_element_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "STEP", 0)
    graph = strided(1)
    node = next(node for node in reversed(list(graph.nodes.values())) if isinstance(node.op, Conv))
    elements = torch.arange(0, 2 * node.shape[2] * node.shape[3], 3)
    found = list(pieces(graph, node, elements, 1))
    assert len(found) > 1
    assert torch.cat([piece.index for piece in found]).sort()[0].tolist() == list(range(len(elements)))


@pytest.mark.parametrize(
    ("space", "kernel", "stride", "dilation"),
    [
        ((5,), (3,), (1,), (1,)),
        ((3,), (2,), (3,), (2,)),
        ((1, 1), (3, 3), (1, 1), (1, 1)),
        ((4, 4), (3, 2), (2, 1), (1, 3)),
        ((2, 1, 2), (2, 3, 1), (1, 2, 2), (2, 1, 1)),
    ],
)
def test_rows_are_spread_together_as_one_by_one(space: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> None:
    """Few places of many rows in float64 are one product; a row alone is torch's own work."""
    generator = drawn(0)
    assert math.prod(space) <= FEW_PLACES
    rows, weight = normal(generator, MANY_ROWS + 3, 4, *space).requires_grad_(), normal(generator, 4, 3, *kernel)
    together = spread(rows, weight, stride, dilation, 1)
    alone = torch.cat([spread(row, weight, stride, dilation, 1) for row in rows.split(1)])
    torch.testing.assert_close(together, alone)
    mix = normal(generator, *alone.shape)
    gradients = [torch.autograd.grad((mix * found).sum(), rows)[0] for found in (together, alone)]
    torch.testing.assert_close(*gradients)


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
