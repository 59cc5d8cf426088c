"""Softmax and its logarithm: the function, exact intervals, and containment over many boxes."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import onnx
import pytest
import torch

from tests.graph.models import assert_same_function, model, one, weights
from verifier.bounds.schedule import CROWN, FORWARD, INTERVAL, bound_nodes
from verifier.graph.graph import OUTPUT
from verifier.graph.onnx_import import load
from verifier.ops.curves import Exp
from verifier.sets import Box

FORMS = {
    f"{op}-{shape}-{axis}-{opset}": one(op, shape, axis=axis, opset=opset)
    for op in ("Softmax", "LogSoftmax")
    for shape, axis, opset in [
        ((1, 1), 1, 13),
        ((3, 2), 1, 13),
        ((2, 3), -1, 13),
        ((3, 2, 4), 0, 13),
        ((2, 17), 1, 13),
        ((1, 90), 1, 13),
        ((2, 3, 4), 1, 11),
    ]
}


@pytest.mark.parametrize("name", FORMS)
def test_same_function(name: str) -> None:
    assert_same_function(FORMS[name])


def shifted(op: str, shift: float, count: int = 5) -> onnx.ModelProto:
    """Build one of operands that are all moved, which changes nothing."""
    nodes = [onnx.helper.make_node("Add", ["x", "c"], ["s"]), onnx.helper.make_node(op, ["s"], ["y"], axis=1)]
    return model(nodes, {"x": (1, count)}, {"c": np.full((1, count), shift, dtype=np.float32)})


@pytest.mark.parametrize("shift", [-1000.0, -100.0, -20.0, 20.0, 100.0, 1000.0])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_large_operands_have_bounds_as_good(op: str, shift: float) -> None:
    assert_same_function(shifted(op, shift))
    x = torch.linspace(-1, 1, 5)[None]
    widths = []
    for moved in (0.0, shift):
        graph = load(shifted(op, moved), dtype=torch.float32)
        box = bound_nodes(graph, Box(x - 0.1, x + 0.1), CROWN).boxes[OUTPUT]
        widths.append(box.upper - box.lower)
    assert (widths[1] <= 1.5 * widths[0] + 1e-3).all()


def test_operands_are_moved_only_if_large() -> None:
    graph = load(one("Softmax", (1, 6)))
    (powers,) = (node for node in graph.nodes.values() if isinstance(node.op, Exp))
    x = torch.linspace(-3, 3, 6, dtype=torch.float64)[None]
    bounds = bound_nodes(graph, Box(x - 1, x + 1), INTERVAL)
    moved = bounds.boxes[powers.parents[0]]
    torch.testing.assert_close((moved.lower[0], moved.upper[0]), (x - 1, x + 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 8, 40])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_intervals_are_exact(op: str, count: int) -> None:
    """A softmax rises with its own operand and falls with all others."""
    graph = load(one(op, (1, count), axis=1))
    draw = torch.Generator().manual_seed(count)
    x = 2 * torch.randn(20, count, generator=draw, dtype=torch.float64)
    radius = 2 * torch.rand(20, count, generator=draw, dtype=torch.float64)
    found = bound_nodes(graph, Box(x - radius, x + radius), INTERVAL).boxes[OUTPUT]
    own = torch.eye(count, dtype=torch.float64)
    for sign, end in ((-1, found.lower), (1, found.upper)):
        corners = x[:, None] + sign * radius[:, None] * (2 * own - 1)  # (20, element, count)
        exact = getattr(torch, {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[op])(corners, -1)
        torch.testing.assert_close(end, exact.diagonal(dim1=1, dim2=2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", [INTERVAL, FORWARD, CROWN], ids=["interval", "forward", "crown"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_bounds_hold_over_many_boxes(op: str, dtype: torch.dtype, method: Any) -> None:
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["s"]), onnx.helper.make_node(op, ["s"], ["t"], axis=1)]
    nodes += [onnx.helper.make_node("MatMul", ["t", "v"], ["y"])]
    proto = model(nodes, {"x": (1, 3)}, {"w": weights(3, 5), "v": weights(5, 2)})
    exact, graph = load(proto), load(proto, dtype=dtype)
    draw = torch.Generator().manual_seed(0)
    centre = 3 * torch.randn(10_000, 3, generator=draw, dtype=torch.float64)
    radius = 10 ** (4 * torch.rand(10_000, 3, generator=draw, dtype=torch.float64) - 3.5)
    box = Box(centre - radius, centre + radius)
    samples = torch.cat([box.lower[None], box.upper[None], box.sample(20, draw)])
    values = exact(samples.flatten(0, 1)).unflatten(0, samples.shape[:2])
    with torch.no_grad():
        bounds = bound_nodes(graph, box.to(dtype), method)
        rows = torch.cat([torch.eye(2), -torch.eye(2)]).to(dtype).expand(10_000, -1, -1)
        least = bounds.rows(rows).minimum(box.to(dtype)).double()
    hull, slack = bounds.boxes[OUTPUT], 1e-12 * (1 + values.abs())
    assert (values >= hull.lower.double() - slack).all()
    assert (values <= hull.upper.double() + slack).all()
    assert (torch.cat([values, -values], -1) >= least - 1e-12 * (1 + least.abs())).all()
    assert least.isfinite().double().mean() > 0.9


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_points_are_held_as_mpmath_has_them(dtype: torch.dtype) -> None:
    x = 6 * torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float32).to(dtype)
    for op in ("Softmax", "LogSoftmax"):
        bounds = bound_nodes(load(one(op, (1, 4), axis=1), dtype=dtype), Box(x, x), CROWN).boxes[OUTPUT]
        for point, low, high in zip(x.tolist(), bounds.lower.tolist(), bounds.upper.tolist(), strict=True):
            with mpmath.workdps(50):
                powers = [mpmath.exp(mpmath.mpf(entry)) for entry in point]
                shares = [power / mpmath.fsum(powers) for power in powers]
                exact = shares if op == "Softmax" else [mpmath.log(share) for share in shares]
            assert all(a <= value <= b for a, value, b in zip(low, exact, high, strict=True))
