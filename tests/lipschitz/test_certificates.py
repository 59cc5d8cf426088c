"""Certified radii of labelled points: exact for affine networks, and no attack within them changes a label."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.bounds.nets import Net, dense, drawn, linear
from verifier import certified_radii
from verifier.errors import ShapeError, UsageError, VerifierError
from verifier.export import export
from verifier.graph.graph import Graph
from verifier.graph.onnx_import import load
from verifier.layers import Equilibrium, FullSort, GroupSort
from verifier.lipschitz import certificates
from verifier.lipschitz.constants import Constants
from verifier.lipschitz.equilibria import Enclosures
from verifier.ops import equilibrium as implicit
from verifier.ops.op import Op

DUAL = {"2": 2.0, "inf": 1.0}
ORDER = {"2": 2.0, "inf": math.inf}


def labelled(graph: Graph, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Points, and the labels that the network gives them, but for the last, whose is wrong."""
    points = torch.randn(count, graph.n_inputs, generator=drawn(5), dtype=torch.float64)
    labels = graph(points).argmax(1).numpy()
    labels[-1] = (labels[-1] + 1) % graph.n_outputs
    return points.numpy(), labels


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_of_an_affine_network_they_are_distances_to_the_boundary(norm: str) -> None:
    net, layer = Net(4), linear(drawn(0), 4, 5)
    net.add(layer)
    graph, weight = net.graph(), layer.weight.mT
    x, y = labelled(graph)
    outputs = graph(torch.from_numpy(x))
    found = certified_radii(graph, x, y, norm)
    for point, label, radius in zip(outputs, y, found.radii, strict=True):
        distances = [
            float((point[label] - point[k]) / torch.linalg.vector_norm(weight[label] - weight[k], DUAL[norm]))
            for k in range(5)
            if k != label
        ]
        exact = max(min(distances), 0.0)
        assert radius <= exact * (1 + 1e-15)
        assert radius == pytest.approx(exact, rel=1e-9)
    assert found.radii[-1] == 0
    assert found.accuracy(0.0) == 1 - 1 / 40


def within(move: Tensor, radii: Tensor, norm: str) -> Tensor:
    """Moves ``(N, n)`` cut to the radii."""
    size = radii.unsqueeze(1)
    if norm == "inf":
        return move.clamp(-size, size)
    return move * (size / move.norm(dim=1, keepdim=True)).clamp(max=1)


def attacked(graph: Graph, x: Tensor, y: Tensor, radii: Tensor, norm: str) -> Tensor:
    """The least margins that gradient steps within the radii reach, ``(N,)``."""
    best = torch.full_like(radii, math.inf)
    for trial in range(6):
        move = within(torch.randn(x.shape, generator=drawn(trial), dtype=torch.float64), radii, norm)
        for _ in range(25):
            place = (x + move).requires_grad_()
            output = graph(place)
            others = output.scatter(1, y.unsqueeze(1), -math.inf).amax(1)
            margin = output.gather(1, y.unsqueeze(1))[:, 0] - others
            best = torch.minimum(best, margin.detach())
            slope = torch.autograd.grad(margin.sum(), place)[0]
            step = slope.sign() if norm == "inf" else slope / slope.norm(dim=1, keepdim=True).clamp(min=1e-12)
            move = within(move - 0.5 * radii.unsqueeze(1) * step, radii, norm)
    return best


@pytest.mark.parametrize("method", ["sdp", "product"])
@pytest.mark.parametrize("norm", ["2", "inf"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_no_attack_within_them_changes_a_label(seed: int, norm: str, method: str) -> None:
    graph = dense(seed, [4, 10, 10, 3], 2.0)
    x, y = labelled(graph)
    found = certified_radii(graph, x, y, norm, method=method)
    proved = found.radii > 0
    assert proved[:-1].all()
    assert not proved[-1]
    points, labels, radii = (torch.from_numpy(array[proved]) for array in (x, y, found.radii))
    margins = attacked(graph, points, labels, radii, norm)
    assert (margins > 0).all()
    assert any((attacked(graph, points, labels, times * radii, norm) < 0).any() for times in (50, 500))  # an attack


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_differences_do_better_than_all_outputs_together(norm: str) -> None:
    graph = dense(3, [4, 10, 10, 5], 2.0)
    x, y = labelled(graph)
    product, sdp = (certified_radii(graph, x, y, norm, method=method) for method in ("product", "sdp"))
    assert (sdp.radii[:-1] > product.radii[:-1]).all()
    assert not product.pairs
    assert set(sdp.pairs) <= {(j, k) for j in range(5) for k in range(j + 1, 5)}
    assert max(sdp.pairs.values()) <= (math.sqrt(2) if norm == "2" else 2) * sdp.upper * (1 + 1e-12)
    assert sdp.certified
    again = certified_radii(graph, x[:1], y[:1], norm, method="sdp")
    assert len(again.pairs) <= len(sdp.pairs)
    assert again.radii[0] == pytest.approx(sdp.radii[0], rel=1e-6)


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_when_the_time_is_up_radii_stand(norm: str) -> None:
    graph = dense(3, [4, 10, 10, 5], 2.0)
    x, y = labelled(graph)
    short = certified_radii(graph, x, y, norm, method="sdp", timeout=1e-9)
    assert short.reason == "timeout"
    assert np.array_equal(short.radii, certified_radii(graph, x, y, norm, method="product").radii)


def test_an_interrupt_leaves_the_best_radii(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, steps = dense(3, [4, 10, 10, 5], 2.0), []

    def pair(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Constants, "bound_pair", pair)
    found = certified_radii(graph, *labelled(graph), method="sdp", watch=steps.append)
    assert found.reason == "interrupted"
    assert np.array_equal(found.radii, steps[-1].radii)
    assert (steps[0].radii <= steps[-1].radii).all()


def test_equal_outputs_are_never_proved_and_constant_ones_always() -> None:
    net, layer = Net(2), linear(drawn(0), 2, 2)
    layer.weight[:] = 0
    layer.bias[:] = torch.tensor([1.0, 1.0])
    net.add(layer)
    graph, x, y = net.graph(), np.zeros((1, 2)), np.array([0])
    assert certified_radii(graph, x, y).radii[0] == 0
    layer.bias[1] = 0.5
    assert certified_radii(graph, x, y).radii[0] == math.inf


def test_figures() -> None:
    values = {"norm": "2", "upper": 1.0, "pairs": {(0, 1): 2.0}, "seconds": 0.0, "reason": ""}
    found = certificates.CertifiedRadii(np.array([0.0, 1.0, 3.0, 2.0]), np.zeros(4, dtype=np.int64), **values)
    assert [found.accuracy(eps) for eps in (0.0, 1.0, 2.5, 3.0)] == [0.75, 0.5, 0.25, 0]
    assert [found.quantile(part) for part in (0.0, 0.5, 0.9, 1.0)] == [0, 1, 2, 3]
    assert found.as_dict()["pairs"] == {"0-1": 2.0}


def equilibrium(seed: int) -> Graph:
    """An implicit layer that no averaging by halves solves, and an affine one."""
    draw = drawn(seed)
    a, b = (torch.randn(6, 6, generator=draw) * size for size in (0.3, 0.5))
    inner = 0.8 * torch.eye(6) - a.T @ a + b - b.T
    layer = Equilibrium(inner, torch.randn(6, 4, generator=draw), torch.randn(6, generator=draw), step=0.125)
    return load(export(nn.Sequential(layer, nn.Linear(6, 3)), torch.zeros(1, 4)))


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_implicit_networks_have_radii(norm: str) -> None:
    torch.manual_seed(0)
    graph = equilibrium(0)
    x, y = labelled(graph)
    found = certified_radii(graph, x, y, norm)
    assert (found.radii[:-1] > 0).all()
    assert found.radii[-1] == 0
    moves = torch.randn(30, *x.shape, generator=drawn(3), dtype=torch.float64)
    moved = torch.from_numpy(x) + torch.stack([within(9 * move, torch.from_numpy(found.radii), norm) for move in moves])
    labels = graph(moved[:, :-1].flatten(0, 1)).argmax(1).view(30, -1)
    assert (labels == torch.from_numpy(y[:-1])).all()


def test_sorting_networks_have_radii() -> None:
    torch.manual_seed(0)
    layers = nn.Linear(4, 8), GroupSort(4), nn.Linear(8, 8), FullSort(), nn.Linear(8, 3)
    graph = load(export(nn.Sequential(*layers), torch.zeros(1, 4)))
    x, y = labelled(graph)
    found = certified_radii(graph, x, y)
    assert (found.radii[:-1] > 0).all()
    moves = torch.randn(30, *x.shape, generator=drawn(3), dtype=torch.float64)
    moved = torch.from_numpy(x) + torch.stack([within(9 * move, torch.from_numpy(found.radii), "2") for move in moves])
    labels = graph(moved[:, :-1].flatten(0, 1)).argmax(1).view(30, -1)
    assert (labels == torch.from_numpy(y[:-1])).all()


def test_their_values_are_enclosed() -> None:
    torch.manual_seed(0)
    graph, points = equilibrium(1), torch.randn(20, 4, generator=drawn(2), dtype=torch.float64)
    box = Enclosures(graph, 20.0).outputs(points)
    assert float((box.upper - box.lower).max()) < 1e-9
    nodes = {name: replace(node, op=solved(node.op)) for name, node in graph.nodes.items()}
    values = Graph(nodes.values(), graph.inputs, graph.outputs)(points)
    assert ((box.lower <= values) & (values <= box.upper)).all()


def solved(op: Op | None) -> Op | None:
    """Equilibria are iterated until they stand."""
    return replace(op, step=1 / 16, tolerance=1e-16, most=20_000) if isinstance(op, implicit.Equilibrium) else op


POINTS, LABELS = np.zeros((3, 4)), np.array([0, 1, 2])
REFUSED: dict[str, tuple[tuple[Any, ...], type[VerifierError], str]] = {
    "norm": ((POINTS, LABELS, "1"), UsageError, "norms 2 and inf"),
    "text": ((np.full((3, 4), "a"), LABELS), UsageError, "real numbers, not <U1"),
    "complex": ((POINTS * 1j, LABELS), UsageError, "real numbers"),
    "float-labels": ((POINTS, LABELS * 1.0), UsageError, "whole numbers, not float64"),
    "one-hot": ((POINTS, np.eye(3, dtype=int)), ShapeError, r"3 points need as many labels.*\(3, 3\)"),
    "count": ((POINTS, LABELS[:2]), ShapeError, "3 points need as many labels"),
    "empty": ((POINTS[:0], LABELS[:0]), ShapeError, "N at least 1"),
    "flat": ((POINTS[0], LABELS), ShapeError, r"\(N, 4\)"),
    "width": ((np.zeros((3, 5)), LABELS), ShapeError, r"shape \(5,\).*4 numbers"),
    "axes": ((np.zeros((3, 2, 2)), LABELS), ShapeError, r"shape \(2, 2\) do not fit"),
    "nan": ((np.full((3, 4), np.nan), LABELS), UsageError, "point 0: number 0 is nan"),
    "label": ((POINTS, LABELS + 1), UsageError, "point 2: there is no label 3: the network has 3 outputs"),
    "negative": ((POINTS, LABELS - 1), UsageError, "no label -1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    arguments, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        certified_radii(dense(0, [4, 5, 3]), *arguments)


def test_one_output_has_nothing_to_compare_with() -> None:
    with pytest.raises(UsageError, match="at least 2 outputs"):
        certified_radii(dense(0, [4, 5, 1]), POINTS, np.zeros(3, dtype=int))
    with pytest.raises(UsageError, match="no method 'clarke'"):
        certified_radii(dense(0, [4, 5, 3]), POINTS, LABELS, method="clarke")
