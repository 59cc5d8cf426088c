"""Operator norms: layers, boxes and matrices agree with what vectors show."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from tests.bounds.nets import Net, drawn, linear
from verifier.errors import UsageError
from verifier.graph.jacobian import jacobian
from verifier.lipschitz.norms import Norm, spectral
from verifier.sets import Box

ORDERS = (1.0, 2.0, math.inf)
PAIRS = list(itertools.product(ORDERS, ORDERS))
SHAPES = [(1, 1), (1, 5), (4, 1), (3, 5), (5, 3)]


def brute(matrix: Tensor, norm: Norm) -> float:
    """The norm by the vertices of the unit ball, or by many directions and the singular values."""
    d = matrix.shape[1]
    if norm.p == 2 and norm.q == 2:
        return float(torch.linalg.matrix_norm(matrix, 2))
    if norm.p == 2:  # the norm of the transpose from the dual of q to 2
        dual = {1.0: math.inf, math.inf: 1.0}[norm.q]
        return brute(matrix.T.contiguous(), Norm(dual, 2))
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=d)), dtype=torch.float64)
    vertices = signs if math.isinf(norm.p) else torch.eye(d, dtype=torch.float64)
    return float(torch.linalg.vector_norm(vertices @ matrix.T, norm.q, dim=1).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_matrices_are_measured_from_both_sides(p: float, q: float, shape: tuple[int, int]) -> None:
    norm, generator = Norm(p, q), drawn(0)
    for _ in range(20):
        matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
        exact = brute(matrix, norm)
        below, above = norm.of_matrix(matrix.unsqueeze(0)).item(), norm.of_boxes(Box(matrix[None], matrix[None])).item()
        assert below <= exact * (1 + 1e-12)
        assert exact <= above
        if p == 1 or norm.rowwise:
            assert below == pytest.approx(exact)
            assert above == pytest.approx(exact)
        elif norm.spectral:
            assert above == pytest.approx(exact)


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_boxes_hold_all_their_matrices(p: float, q: float) -> None:
    norm, generator = Norm(p, q), drawn(1)
    for radius in (0.0, 1e-3, 0.5, 3.0):
        centre = torch.randn(6, 3, 4, generator=generator, dtype=torch.float64)
        box = Box(centre - radius, centre + radius * torch.rand(6, 3, 4, generator=generator, dtype=torch.float64))
        bound = norm.of_boxes(box)
        corners = torch.rand(200, 6, 3, 4, generator=generator, dtype=torch.float64) < 0.5
        for matrices in torch.where(corners, box.lower, box.upper):
            exact = torch.tensor([brute(matrix, norm) for matrix in matrices[:2]], dtype=torch.float64)
            assert (exact <= bound[:2] * (1 + 1e-12)).all()


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_layers_on_top_of_a_constant_jacobian_are_its_norm_or_more(p: float, q: float) -> None:
    net, norm = Net(4), Norm(p, q)
    net.add(linear(drawn(2), 4, 3))
    graph = net.graph()
    slopes = jacobian(graph)
    matrix = slopes(torch.zeros(1, 4, dtype=torch.float64)).view(3, 4)
    top = float(norm.on_top(slopes, 3)(torch.zeros(1, 4, dtype=torch.float64)).max())
    exact, bound = brute(matrix, norm), norm.of_layers(top)
    assert exact <= bound * (1 + 1e-12)
    if p == 1 or norm.rowwise:
        assert bound == pytest.approx(exact)
    elif not norm.spectral:
        assert bound == pytest.approx(norm.of_boxes(Box(matrix[None], matrix[None])).item())
    else:
        assert bound == pytest.approx(matrix.norm().item())


def test_the_largest_singular_value_is_bounded_where_others_are_zero_or_far_apart() -> None:
    for values in ([0.0, 0.0], [1.0, 0.0], [1e8, 1e-8], [1e-200, 0.0], [3.0, 3.0]):
        left, right = (torch.linalg.qr(torch.randn(k, 2, generator=drawn(k)).double())[0] for k in (3, 5))
        matrix = (left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T).unsqueeze(0)
        found = spectral(Box(matrix, matrix)).item()
        assert values[0] * (1 - 1e-12) <= found
        assert found <= values[0] * (1 + 1e-6) + 1e-150


@pytest.mark.parametrize("text", ["inf", "2", "1", "inf,1", "2,inf", "1,2"])
def test_names_are_read_and_written(text: str) -> None:
    norm = Norm.parse(text)
    assert Norm.parse(str(norm)) == norm


@pytest.mark.parametrize("text", ["", "3", "inf,", "1,2,2", "fro"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="inf, 2 or 1"):
        Norm.parse(text)
