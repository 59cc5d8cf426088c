"""Semidefinite bounds as a method of ``lipschitz``: never below a gradient, with or without a region, at any time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import verifier
from specs import InputSet, neighbourhood
from tests.bounds.nets import Net, bilinear, dense, drawn
from tests.graph.models import model
from tests.lipschitz.sdp.spelled import node
from verifier.errors import UnsupportedError, UsageError
from verifier.graph.graph import Graph
from verifier.lipschitz import semidefinite
from verifier.lipschitz.norms import Norm, spectral
from verifier.lipschitz.product import product
from verifier.lipschitz.semidefinite import Semidefinite
from verifier.ops.curves import Relu, Tanh
from verifier.ops.linear import Linear
from verifier.sets import Box

NORMS = ["2", "inf", "2,inf", "inf,1"]
NARROW = InputSet(np.full(4, -0.3), np.array([0.3, 0.3, 0.3, -0.3]))
"""A box whose last input is fixed."""


def steepest(graph: Graph, norm: str, x: Tensor, inputs: list[int], rows: Tensor | None = None) -> float:
    """The largest norm of the Jacobian at points ``(B, n)``, with respect to some inputs."""
    x = x.clone().requires_grad_()
    y = graph(x) if rows is None else graph(x) @ rows.T
    slopes = torch.stack([torch.autograd.grad(part.sum(), x, retain_graph=True)[0] for part in y.unbind(1)], 1)
    return float(Norm.parse(norm).of_matrix(slopes[:, :, inputs]).max())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_everywhere(norm: str, seed: int) -> None:
    graph = dense(seed, [4, 8, 8, 3], 2.0, Tanh() if seed % 2 else None)
    found = verifier.lipschitz(graph, norm=norm)
    points = 3 * torch.randn(2000, 4, generator=drawn(seed), dtype=torch.float64)
    assert steepest(graph, norm, points, [0, 1, 2, 3]) <= found.upper
    assert found.lower is not None
    assert found.point is not None
    there = steepest(graph, norm, torch.from_numpy(found.point)[None], [0, 1, 2, 3])
    assert found.lower == pytest.approx(there, rel=1e-6)
    assert (found.method, found.certified) == ("sdp", True)
    assert found.steps[0].method == "product"
    assert found.upper == found.steps[-1].upper < found.steps[0].upper


@pytest.mark.parametrize("norm", NORMS)
def test_a_region_has_smaller_slopes(norm: str) -> None:
    """Here, inputs that are fixed do not count, and slopes are those on the region."""
    graph = dense(1, [4, 8, 8, 3], 2.0, Tanh())
    everywhere = verifier.lipschitz(graph, norm=norm, method="sdp")
    found = verifier.lipschitz(graph, NARROW, norm, method="sdp")
    points = torch.from_numpy(np.random.default_rng(0).uniform(NARROW.lower, NARROW.upper, (2000, 4)))
    assert steepest(graph, norm, points, [0, 1, 2]) <= found.upper < everywhere.upper
    assert found.upper < verifier.lipschitz(graph, norm=norm, method="sdp", inputs=[0, 1, 2]).upper


def test_it_bounds_differences_within_a_ball() -> None:
    graph = dense(2, [4, 16, 16, 2], 2.0)
    ball = neighbourhood(np.full(4, 0.2), 0.3, p=2)
    found = verifier.lipschitz(graph, ball, "2", "1-0", method="sdp")
    moves = torch.randn(2, 5000, 4, generator=drawn(0), dtype=torch.float64)
    x, y = 0.2 + 0.3 * moves / moves.norm(dim=2, keepdim=True)
    rates = (graph(x) - graph(y)) @ torch.tensor([-1.0, 1.0]).double() / (x - y).norm(dim=1)
    assert 0.3 * found.upper < float(rates.abs().max()) <= found.upper
    assert found.output == "1-0"


def test_differences_have_their_own_constant() -> None:
    graph = dense(3, [4, 8, 8, 3])
    whole, pair = (verifier.lipschitz(graph, norm="2", output=output).upper for output in (None, "2-0"))
    assert 0 < pair <= math.sqrt(2) * whole * (1 + 1e-6)


def test_without_a_program_there_is_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = dense(0, [4, 8, 3])
    found = verifier.lipschitz(graph, norm="1")
    assert (found.method, found.lower) == ("product", None)
    assert "no semidefinite bound: there is none for the norm 1" in found.reason
    monkeypatch.setattr(semidefinite, "NEURONS", 7)
    assert "8 neurons are more than 7" in verifier.lipschitz(graph, norm="2").reason
    assert verifier.lipschitz(graph, norm="2", method="sdp").method == "sdp"


def test_a_product_of_variables_has_no_constant() -> None:
    found = verifier.lipschitz(bilinear(0), norm="2")
    assert (found.upper, found.method) == (math.inf, "product")
    with pytest.raises(UnsupportedError, match="Product"):
        verifier.lipschitz(bilinear(0), norm="2", method="sdp")


def test_when_the_time_is_up_there_is_a_bound() -> None:
    graph = dense(0, [4, 8, 8, 3])
    found = verifier.lipschitz(graph, norm="2", timeout=1e-9)
    assert found.reason == "timeout"
    assert (found.method, found.certified, found.closed) == ("product", True, False)
    assert found.upper == pytest.approx(verifier.lipschitz(graph, norm="2", method="product").upper, rel=1e-12)


def test_an_interrupt_leaves_the_best_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, noted = dense(0, [4, 8, 8, 3]), Semidefinite._note

    def note(run: Semidefinite) -> None:
        noted(run)
        if run.upper < run.steps[0].upper:
            raise KeyboardInterrupt

    monkeypatch.setattr(Semidefinite, "_note", note)
    found = verifier.lipschitz(graph, norm="inf")
    assert (found.reason, found.certified) == ("interrupted", True)
    whole = verifier.lipschitz(graph, norm="inf", method="product").upper
    assert found.upper <= whole


@pytest.mark.parametrize("norm", ["1", "2,1", "inf,2", "1,inf"])
def test_which_norms_are_refused(norm: str) -> None:
    with pytest.raises(UsageError, match="no semidefinite bound"):
        verifier.lipschitz(dense(0, [4, 8, 3]), norm=norm, method="sdp")


def test_a_constant_network_has_constant_zero() -> None:
    graph = dense(0, [4, 8, 3], scale=0.0)
    assert verifier.lipschitz(graph, norm="2").upper == 0


@pytest.mark.parametrize("norm", NORMS)
def test_where_nothing_changes_the_constant_is_zero(norm: str) -> None:
    graph = dense(0, [4, 8, 3])
    point = InputSet(np.zeros(4), np.zeros(4))
    for found in (
        verifier.lipschitz(graph, point, norm, method="sdp"),
        verifier.lipschitz(graph, NARROW, norm, method="sdp", inputs=[3]),
    ):
        assert (found.upper, found.lower) == (0, 0)


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_products_may_leave_the_range_on_the_way(norm: str) -> None:
    net = Net(2)
    for scale in [1e-36] * 9 + [1e36] * 9:
        net.add(Linear(scale * torch.eye(2, dtype=torch.float64)))
        net.add(Relu())
    assert product(net.graph(), float(norm)) >= 1 - 1e-9


def test_wide_layers_are_measured_by_their_shorter_side() -> None:
    wide = torch.randn(20000, 2, generator=drawn(0), dtype=torch.float64)
    found = spectral(Box(wide[None], wide[None]))
    assert float(found) == pytest.approx(float(torch.linalg.matrix_norm(wide, 2)), rel=1e-6)


def test_without_time_it_is_the_product_of_what_was_recognised() -> None:
    """A maximum that is spelled by a comparison has a constant once it is read as one."""
    split = {"first": np.array([0]), "second": np.array([1])}
    lines = [node("Gather", "x first", "a", axis=1), node("Gather", "x second", "b", axis=1)]
    proto = model([*lines, node("Greater", "a b", "c"), node("Where", "c a b", "y")], {"x": (1, 2)}, split)
    found = verifier.lipschitz(proto, norm="2", method="sdp", timeout=0)
    assert found.upper == pytest.approx(verifier.lipschitz(proto, norm="2", method="product").upper)
    assert found.upper < math.inf
