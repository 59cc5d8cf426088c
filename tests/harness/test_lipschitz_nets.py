"""The networks and boxes of the Lipschitz benchmark, and the exact constants of the smallest."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import lipschitz_nets
import numpy as np
import onnxruntime
import pytest
import torch
from exact_lipschitz import DUAL, Layer, exact_lipschitz, read_mlp
from lipschitz_nets import COLUMNS, INSTANCES, NETS, SMOOTH, TINY, centre, choose, instances, network, unstable
from networks import write_onnx
from scipy.optimize import linprog

from verifier import load

POINTS = 20_000


def random_layers(*widths: int, seed: int = 0) -> list[Layer]:
    draw = np.random.default_rng(seed)
    return [(draw.normal(size=(m, n)), 0.5 * draw.normal(size=m)) for n, m in itertools.pairwise(widths)]


def random_box(layers: list[Layer], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw, inputs = np.random.default_rng(seed), layers[0][0].shape[1]
    middle, radius = 0.3 * draw.normal(size=inputs), draw.uniform(0.4, 1.2, inputs)
    return middle - radius, middle + radius


def gradients(layers: list[Layer], points: np.ndarray, row: np.ndarray) -> np.ndarray:
    x = torch.tensor(points, requires_grad=True)
    value = x
    for place, (weight, bias) in enumerate(layers):
        value = (value.relu() if place else value) @ torch.tensor(weight).T + torch.tensor(bias)
    (found,) = torch.autograd.grad((value @ torch.tensor(row)).sum(), x)
    return found.numpy()


def by_all_signs(layers: list[Layer], lower: np.ndarray, upper: np.ndarray, row: np.ndarray, p: float) -> float:
    """The constant of a network with one hidden layer, by a linear program for each choice of signs."""
    (weight, bias), (last, _) = layers
    best = -math.inf
    for signs in itertools.product((-1.0, 1.0), repeat=len(bias)):
        half = np.array(signs)[:, None] * weight
        a = np.column_stack([-half, np.ones(len(bias))])
        limits = [*zip(lower, upper, strict=True), (None, 1.0)]
        found = linprog([*np.zeros(len(lower)), -1.0], a, np.array(signs) * bias, bounds=limits, method="highs")
        if found.x[-1] > 1e-6:
            gradient = (row @ last * (np.array(signs) > 0)) @ weight
            best = max(best, float(np.linalg.norm(gradient, DUAL[p])))
    return best


def test_the_list_is_of_known_networks_with_increasing_radii() -> None:
    assert INSTANCES.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)
    groups = {net: list(group) for net, group in itertools.groupby(instances(), key=lambda one: one.net)}
    assert list(groups) == list(NETS)
    for name, group in groups.items():
        assert len(group) == 3
        assert 0 < group[0].eps < group[1].eps < group[2].eps
        assert len({one.output for one in group}) == 1
        assert 0 <= group[0].output < (3 if name in TINY else 10)


@pytest.mark.parametrize("name", NETS)
def test_files_are_read_as_they_are_meant(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, path = NETS[name].layers(), tmp_path / "net.onnx"  # not trained: that takes seconds
    write_onnx(name, model, NETS[name].shape, path)
    points = np.random.default_rng(0).uniform(0, 1, (4, *NETS[name].shape)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = np.concatenate([session.run(None, {"X": point[None]})[0] for point in points])
    graph = load(path)
    np.testing.assert_allclose(graph(torch.from_numpy(points).flatten(1).double()).numpy(), said, atol=1e-5)
    kinds = [type(node.op).__name__.lower() for node in graph.nodes.values()]
    assert sum(kind == (name.partition("_")[0] if name in SMOOTH else "relu") for kind in kinds) >= 2


@pytest.mark.parametrize("name", TINY)
def test_tiny_networks_are_trained_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.random.get_rng_state()
    path = network(name)
    assert torch.equal(torch.random.get_rng_state(), before)
    monkeypatch.setattr(lipschitz_nets, "train", None)
    assert network(name) == path
    point = centre(name)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (said,) = session.run(None, {"X": point[None].astype(np.float32)})
    np.testing.assert_allclose(load(path)(torch.from_numpy(point[None])).numpy(), said, atol=1e-5)
    value = point
    for place, (weight, bias) in enumerate(read_mlp(path)):
        value = weight @ (np.maximum(value, 0) if place else value) + bias
    np.testing.assert_allclose(value[None], said, atol=1e-5)


def test_radii_grow_with_the_share_of_unstable_neurons() -> None:
    name = "tiny_4_6_6_3"
    graph = load(network(name))
    chosen = choose(name)
    shares = [unstable(graph, name, one.eps) for one in chosen]
    assert all(count == 12 for _, count in shares)
    assert all(found >= share * 12 for (found, _), share in zip(shares, lipschitz_nets.SHARES, strict=True))
    assert unstable(graph, name, 0.9 * chosen[0].eps)[0] == 0


def test_there_is_no_other_network() -> None:
    with pytest.raises(KeyError):
        network("mlp")


@pytest.mark.parametrize("p", DUAL)
@pytest.mark.parametrize("seed", range(5))
def test_listed_regions_agree_with_all_sign_patterns(seed: int, p: float) -> None:
    layers = random_layers(2, 4, 3, seed=seed)
    lower, upper = random_box(layers, seed)
    row = np.random.default_rng(seed).normal(size=3)
    found = exact_lipschitz(layers, lower, upper, row, p)
    assert found.value == pytest.approx(by_all_signs(layers, lower, upper, row, p), rel=1e-12)


@pytest.mark.parametrize("widths", [(2, 4, 3), (3, 5, 4, 2), (2, 3, 3, 3, 2), (4, 2)])
def test_no_point_has_a_larger_gradient_and_one_has_the_largest(widths: tuple[int, ...]) -> None:
    layers = random_layers(*widths)
    lower, upper = random_box(layers)
    row = np.eye(widths[-1])[0] - np.eye(widths[-1])[1]
    sampled = gradients(layers, np.random.default_rng(1).uniform(lower, upper, (POINTS, widths[0])), row)
    for p, dual in DUAL.items():
        found = exact_lipschitz(layers, lower, upper, row, p)
        assert ((lower <= found.point) & (found.point <= upper)).all()
        assert found.value >= np.linalg.norm(sampled, dual, axis=1).max() - 1e-12
        (there,) = gradients(layers, found.point[None], row)
        np.testing.assert_allclose(there, found.gradient, rtol=0, atol=1e-12)
        assert np.linalg.norm(there, dual) == pytest.approx(found.value, rel=1e-12)
        assert found.regions >= len(np.unique(sampled.round(9), axis=0))


def test_two_regions_are_told_apart_by_hand() -> None:
    layers = [(np.array([[2.0, 1.0]]), np.array([0.0])), (np.array([[3.0]]), np.array([5.0]))]
    found = exact_lipschitz(layers, -np.ones(2), np.ones(2), np.ones(1))
    assert (found.value, found.regions) == (9.0, 2)
    below = exact_lipschitz(layers, np.array([-1.0, -1.0]), np.array([0.0, 0.0]), np.ones(1), 2)
    assert (below.value, below.regions) == (0.0, 1)  # the box touches the kink only at a corner


def test_what_has_no_exact_constant_is_refused() -> None:
    layers = random_layers(2, 4, 3)
    with pytest.raises(ValueError, match="interior"):
        exact_lipschitz(layers, np.zeros(2), np.array([1.0, 0.0]), np.ones(3))
    with pytest.raises(ValueError, match="p=3"):
        exact_lipschitz(layers, np.zeros(2), np.ones(2), np.ones(3), 3)


def test_only_chains_of_gemm_and_relu_are_read(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    for name in ("cnn_4", "tanh_2x32"):
        write_onnx(name, NETS[name].layers(), NETS[name].shape, path)
        with pytest.raises(ValueError, match="a chain of Gemm"):
            read_mlp(path)
    write_onnx("odd", NETS["mlp_2x8"].layers()[:-1], NETS["mlp_2x8"].shape, path)
    with pytest.raises(ValueError, match="has to be a Gemm"):
        read_mlp(path)
