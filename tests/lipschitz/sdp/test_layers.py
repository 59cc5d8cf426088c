"""Torch layers: written to ONNX, run there, read back, and bounded by the constants that they are known to have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from tests.lipschitz.sdp.nets import PUBLISHED, expected, needs_published
from tests.lipschitz.sdp.test_reader import assert_satisfied
from verifier.api import output_bounds
from verifier.check.replay import Replay
from verifier.errors import UnsupportedError
from verifier.export import export
from verifier.graph.graph import Graph
from verifier.graph.onnx_import import load
from verifier.layers import Equilibrium, FullSort, GroupSort, Householder, MaxMin
from verifier.lipschitz.sdp import GroupSort as GroupSortConstraint
from verifier.lipschitz.sdp import reference
from verifier.lipschitz.sdp.bound import bound
from verifier.lipschitz.sdp.reader import read
from verifier.lipschitz.sdp.system import Builder

DIGITS = [row for row in expected("relu_digits/published.csv") if row["method"] == "LipSDP"]


def draw(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(shape).standard_normal(shape))


def round_trip(module: nn.Module, shape: tuple[int, ...], tolerance: float = 1e-12) -> Graph:
    """Compare a module with onnxruntime and with what is read."""
    dtype = next(iter(module.parameters()), torch.zeros(1).double()).dtype
    proto = export(module, torch.zeros(shape, dtype=dtype))
    graph, replay = load(proto), Replay(proto)
    for scale in (0.1, 1.0, 10.0):
        x = (scale * draw(*shape)).to(dtype)
        expected = module(x).detach().flatten().numpy()
        np.testing.assert_allclose(replay.run(x.flatten().double().numpy()), expected, atol=tolerance * scale)
        np.testing.assert_allclose(
            graph(x.double().reshape(1, -1))[0].detach().numpy(), expected, atol=tolerance * scale
        )
    return graph


SHORT = {
    "MaxMin": (MaxMin(), (1, 6)),
    "MaxMin of channels": (MaxMin(1), (1, 4, 2, 1)),
    "GroupSort": (GroupSort(3), (1, 6)),
    "GroupSort of channels": (GroupSort(2, axis=1), (1, 4, 1, 2)),
    "FullSort": (FullSort(), (1, 5)),
    "Householder": (Householder(draw(2)), (1, 6)),
    "Householder of groups": (Householder(draw(2, 3)), (1, 6)),
    "Householder of channels": (Householder(draw(2), axis=1), (1, 4, 1, 2)),
}


@pytest.mark.parametrize("name", SHORT)
def test_layers_have_constant_one(name: str) -> None:
    graph = round_trip(*SHORT[name])
    assert reference.system(assert_satisfied(graph)) == pytest.approx(1, abs=1e-4)


def test_convolutional_maxmin() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), MaxMin(1), nn.Flatten(), nn.Linear(16, 2))
    assert_satisfied(round_trip(module, (1, 1, 4, 4), 1e-6))


@pytest.mark.parametrize("layer", [MaxMin(), GroupSort(4)], ids=["MaxMin", "GroupSort"])
def test_a_network_of_sorts_has_the_bound_of_its_arrays(layer: nn.Module) -> None:
    """Comparators of groups of 4 may do better, and for MaxMin both are the same."""
    size = 2 if isinstance(layer, MaxMin) else 4
    linears = [nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)]
    for k, linear in enumerate(linears):
        linear.weight.data = draw(*linear.weight.shape, k + 1)[..., 0]
    module = nn.Sequential(linears[0], layer, linears[1], layer, linears[2]).double()
    builder = Builder(5)
    signal = builder.input.after(linears[0].weight.data)
    for linear in linears[1:]:
        signal = GroupSortConstraint(size).apply(builder, signal).after(linear.weight.data)
    expected = bound(builder.finish(signal)).upper
    found = bound(read(load(export(module, torch.zeros(1, 5, dtype=torch.float64))))).upper
    assert found <= expected * (1 + 1e-4)
    assert found >= expected * (1 - (1e-4 if size == 2 else 0.2))
    jacobians = torch.vmap(torch.func.jacrev(module))(3 * draw(200, 5)).detach()
    assert found >= float(torch.linalg.matrix_norm(jacobians, 2).max()) * (1 - 1e-9)


@needs_published
@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in DIGITS if row["net"] == "cnn2_seed0"], ids=lambda row: row["net"])
def test_published_convolutions(row: dict[str, str]) -> None:
    data = np.load(PUBLISHED / "relu_digits" / f"{row['net']}.npz")
    conv, last = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(512, 1)
    conv.weight.data = torch.from_numpy(data["conv1_weight"]).permute(2, 0, 1).unsqueeze(1)
    order = data["fc1_weight"].T[7].reshape(8, 8, 8).transpose(2, 1, 0).reshape(1, -1)  # as it was published
    last.weight.data = torch.from_numpy(order.copy())
    module = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), last).float()
    found = bound(read(load(export(module, torch.zeros(1, 1, 8, 8)))), timeout=None)
    assert -1e-5 <= found.upper / float(row["bound"]) - 1 <= 1e-4


def equilibrium(activation: str, size: int = 4) -> nn.Module:
    inner = 0.3 * draw(size, size) - 0.2 * torch.eye(size)
    layer = Equilibrium(inner, draw(size, 3), draw(size), activation, tolerance=1e-14)
    return nn.Sequential(layer, nn.Linear(size, 2)).double()


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "Tanh"])
def test_an_equilibrium_is_one_layer_that_reads_itself(activation: str) -> None:
    graph = round_trip(equilibrium(activation), (1, 3), 1e-10)
    (layer,) = assert_satisfied(graph).layers
    assert sorted(layer.before.blocks) == [0, 1]


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_a_scalar_equilibrium(norm: str) -> None:
    """z = relu(w z + u x) is max(0, u x / (1 - w))."""
    layer = Equilibrium(*(torch.tensor(value) for value in ([[0.5]], [[3.0]], [0.0])))
    found = reference.system(read(load(export(layer.double(), torch.zeros(1, 1).double()))), norm)
    assert found == pytest.approx(6, rel=1e-5)


def test_the_bound_of_an_equilibrium_is_one() -> None:
    module = equilibrium("Relu")
    upper = reference.system(read(load(export(module, torch.zeros(1, 3).double()))))
    best = max(
        float(torch.linalg.matrix_norm(torch.autograd.functional.jacobian(module, 3 * draw(k, 3)[-1]), 2))
        for k in range(1, 30)
    )
    assert 0.5 * upper < best <= upper * (1 + 1e-9)


def test_other_methods_name_an_equilibrium(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export(equilibrium("Tanh"), torch.zeros(1, 3).double(), path)
    ports = "".join(f"(declare-const X_{k} Real)\n(assert (>= X_{k} 0))(assert (<= X_{k} 1))\n" for k in range(3))
    spec = tmp_path / "spec.vnnlib"
    spec.write_text(ports + "(declare-const Y_0 Real)(declare-const Y_1 Real)\n(assert (>= Y_0 100))")
    with pytest.raises(UnsupportedError, match=r"node '.*Equilibrium.*' \(Equilibrium\) has no bounds over boxes"):
        output_bounds(load(path), spec)


def change(model: onnx.ModelProto, what: str) -> None:
    """Make the Loop another one."""
    loop = next(node for node in model.graph.node if node.op_type == "Loop")
    body = next(entry.g for entry in loop.attribute if entry.name == "body")
    if what == "operator":
        body.node[3].op_type = "Add"
    elif what == "wiring":
        body.node[5].input[0] = "x"
    elif what == "attribute":
        body.node[7].attribute[0].i = 1
    elif what == "activation":
        body.node[2].op_type = "Identity"
    elif what == "step":
        next(value for value in body.initializer if value.name == "step").CopyFrom(
            onnx.numpy_helper.from_array(np.array(-0.5), "step")
        )
    elif what == "more":
        body.node.add().CopyFrom(onnx.helper.make_node("Neg", ["next"], ["unused"]))


@pytest.mark.parametrize("what", ["operator", "wiring", "attribute", "activation", "step", "more"])
def test_other_loops_are_refused(what: str) -> None:
    model = export(equilibrium("Tanh"), torch.zeros(1, 3).double())
    change(model, what)
    with pytest.raises(UnsupportedError, match=r"node '.*' \(Loop\): a loop; only that of an equilibrium layer"):
        load(model)
