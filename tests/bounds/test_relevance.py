"""What rows of the output depend on, and that nothing else needs tight boxes."""

from __future__ import annotations

import torch

from tests.bounds.nets import Net, boxes, drawn, linear, normal
from verifier.bounds.relevance import relevance
from verifier.bounds.schedule import CROWN, INTERVAL, bound_nodes
from verifier.graph.graph import Graph
from verifier.ops.arithmetic import Neg, Sub
from verifier.ops.conv import Conv
from verifier.ops.curves import Relu
from verifier.ops.shape import View
from verifier.sets import Box


def masks(graph: Graph, box: Box, row: torch.Tensor) -> dict[str, torch.Tensor]:
    bounds = bound_nodes(graph, box, INTERVAL)
    return relevance(graph, bounds.boxes, bounds.enclosures, row.unsqueeze(0))


def test_an_image_matters_where_a_corner_sees_it() -> None:
    generator, net = drawn(0), Net(36)
    net.add(View(0, (1, 1, 6, 6)))
    names = []
    for _ in range(2):
        net.add(Conv(normal(generator, 1, 1, 3, 3), None, (1, 1), (1, 1), (1, 1)))
        names.append(net.add(Relu()))
    net.add(Conv(normal(generator, 1, 1, 3, 3), None, (1, 1), (1, 1), (1, 1)))
    graph, box, row = net.graph(), boxes(36, (2.0,), 0), torch.zeros(36, dtype=torch.float64)
    row[0] = 1
    found = masks(graph, box, row)
    for name, side in zip(reversed(names), (2, 3), strict=True):
        assert found[name].shape == (1, 1, 1, 6, 6)
        assert not found[name][..., side:, :].any()
        assert not found[name][..., side:].any()
    assert found[names[1]][..., :2, :2].any()
    every, some = (bound_nodes(graph, box, CROWN, relevant=relevant) for relevant in (None, found))
    least = [bounds.rows(row.view(1, 1, -1)).minimum(box) for bounds in (every, some)]
    torch.testing.assert_close(*least)
    assert any((some.boxes[n].upper > every.boxes[n].upper + 1e-6).any() for n in graph.nodes)


def test_coefficients_that_cancel_matter() -> None:
    """The identity by two rectifiers: with equal slopes, no layer above them would count."""
    net = Net(3)
    net.add(linear(drawn(1), 3, 4))
    hidden = net.add(Relu())
    before = net.add(linear(drawn(2), 4, 5), hidden)
    ends = net.add(Relu(), before), net.add(Relu(), net.add(Neg(), before))
    net.add(Sub(), *ends)
    found = masks(net.graph(), boxes(3, (2.0,), 1), torch.ones(5, dtype=torch.float64))
    assert all(mask.any() for mask in found.values())
    assert found[hidden].sum() >= 3
