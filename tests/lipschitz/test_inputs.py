"""Chosen inputs may change while the others range: columns of the Jacobian, over the whole box."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import verifier
from specs import InputSet
from tests.bounds.nets import dense, drawn
from verifier import LipschitzResult
from verifier.errors import UsageError
from verifier.graph.graph import Graph
from verifier.lipschitz.norms import Norm
from verifier.sets import Box

BOX = InputSet(np.full(4, -0.6), np.full(4, 0.6))
ROW = torch.tensor([[-1.0, 0, 1]]).double()


NORMS = ["inf", "2", "1", "inf,1", *(pytest.param(norm, marks=pytest.mark.slow) for norm in ("2,inf", "1,2"))]


def columns(graph: Graph, x: Tensor, inputs: list[int], rows: Tensor | None = None) -> Tensor:
    """The columns of the Jacobian at points ``(B, n)``, shape ``(B, S, d)``."""
    x = x.clone().requires_grad_()
    y = graph(x) if rows is None else graph(x) @ rows.T
    found = torch.stack([torch.autograd.grad(part.sum(), x, retain_graph=True)[0] for part in y.unbind(1)], 1)
    return found[:, :, inputs]


def assert_tight(found: LipschitzResult, graph: Graph, inputs: list[int], rows: Tensor | None = None) -> None:
    """No point has a larger norm than the upper end, and the lower end is the norm at the point that is named."""
    norm = Norm.parse(found.norm)
    box = Box(*(torch.from_numpy(end)[None] for end in (BOX.lower, BOX.upper)))
    points = box.sample(10_000, drawn(0)).flatten(0, 1)
    assert float(norm.of_matrix(columns(graph, points, inputs, rows)).max()) <= found.upper * (1 + 1e-12)
    assert found.lower is not None
    assert found.point is not None
    there = norm.of_matrix(columns(graph, torch.from_numpy(found.point)[None], inputs, rows))
    assert found.lower == pytest.approx(float(there), rel=1e-6)
    assert found.upper <= found.lower * (1.1 if found.norm == "inf,1" else 1.01)


@pytest.mark.parametrize("norm", NORMS)
def test_only_their_columns_count(norm: str) -> None:
    graph, inputs = dense(0, [4, 6, 2]), [1, 3]
    found = verifier.lipschitz(graph, BOX, norm, inputs=inputs, timeout=10, gap=1e-2)
    assert_tight(found, graph, inputs)


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
def test_rows_are_combined(norm: str) -> None:
    graph = dense(1, [4, 7, 3])
    found = verifier.lipschitz(graph, BOX, norm, "2-0", inputs=[0, 2], timeout=10, gap=1e-3)
    assert_tight(found, graph, [0, 2], ROW)
    assert found.output == "2-0"


def test_the_others_range() -> None:
    """Where the other inputs are fixed, fewer slopes are met."""
    graph = dense(2, [4, 7, 2])
    wide = verifier.lipschitz(graph, BOX, "2", 0, inputs=[0], timeout=6)
    fixed = InputSet(np.array([-0.6, 0, 0, 0]), np.array([0.6, 0, 0, 0]))
    narrow = verifier.lipschitz(graph, fixed, "2", 0, timeout=6)
    assert wide.lower is not None
    assert narrow.upper <= wide.upper * (1 + 1e-3)
    assert narrow.upper < wide.lower


def test_which_are_refused() -> None:
    with pytest.raises(UsageError, match="no input 4"):
        verifier.lipschitz(dense(0, [4, 5, 2]), BOX, inputs=[4])
    with pytest.raises(UsageError, match="no inputs"):
        verifier.lipschitz(dense(0, [4, 5, 2]), BOX, inputs=[])
