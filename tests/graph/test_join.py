"""Several networks, hidden tensors and products as one model: it computes what each network computes by itself."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("vnnlib")

from specs.vnnlib2 import parse
from tests.specs.nets import computed, models_of
from tests.specs.queries import Writer, joined, random_nets, random_values
from verifier import Config, verify
from verifier.check.networks import Networks
from verifier.check.replay import Replay
from verifier.errors import ModelError, ShapeError, UnsupportedError, UsageError
from verifier.graph.join import join, separate
from verifier.graph.onnx_import import load
from verifier.result import Verdict

BOX = "".join(f"(assert (>= {name} -1.0)) (assert (<= {name} 1.0))\n" for name in ("X[0]", "X[1]", "U[0]", "U[1]"))
ONE = "(vnnlib-version <2.0>)\n(declare-network f (declare-input X float32 [2]) {}(declare-output Y float32 [2]))\n"
TWO = ONE.format("") + "(declare-network g {}(declare-input U float32 [2]) (declare-output V float32 [2]))\n" + BOX


@pytest.mark.parametrize("seed", range(60))
def test_the_joint_model_computes_what_the_networks_do(seed: int) -> None:
    draw = random.Random(seed)
    writer = Writer(draw, random_nets(draw))
    models = models_of(writer.nets, draw)
    writer.box()
    query = parse(writer.text(writer.formula(), writer.formula(), *writer.equalities()))
    joint = join(query, models)
    replay, graph, files = Replay(joint), load(joint), Networks(query, separate(query, models))
    for _ in range(5):
        inputs = random_values(draw, writer.nets)
        free = np.array([draw.randint(-8, 8) / 4 for _ in range(query.n_inputs)])
        start, x = 0, free[query.shared]
        for net in writer.nets:
            for tensor in net.of("input"):
                inputs[tensor.name] = x[start : start + inputs[tensor.name].size].reshape(tensor.shape)
                start += inputs[tensor.name].size
        y = joined(writer.nets, computed(writer.nets, models, inputs), "hidden", "output")
        factors = {"X": free, "Y": y}
        products = [np.prod([factors[v.kind][v.number] for v in one]) for one in query.products]
        wanted = np.concatenate([y, products])
        np.testing.assert_array_equal(replay.run(free), wanted)
        np.testing.assert_array_equal(files.run(free), wanted)
        np.testing.assert_allclose(graph(as_tensor(free))[0].numpy(), wanted, rtol=1e-12, atol=1e-12)


def as_tensor(x: np.ndarray) -> object:
    import torch

    return torch.from_numpy(x).unsqueeze(0)


def affine(
    scale: float = 1.0, opset: int = 13, shape: tuple[int | str, ...] = (2,), **extra: object
) -> onnx.ModelProto:
    """``relu(scale * x) - 0.5``, with a hidden tensor h."""
    weights = [
        numpy_helper.from_array(np.array(scale, np.float32), "w"),
        numpy_helper.from_array(np.array(0.5, np.float32), "b"),
    ]
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["h"]),
        helper.make_node("Clip", ["h", "", ""], ["c"]) if opset > 10 else helper.make_node("Identity", ["h"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Sub", ["r", "b"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    inputs = ports[:1] + [helper.make_tensor_value_info(one.name, TensorProto.FLOAT, []) for one in weights] * bool(
        extra.get("listed")
    )
    graph = helper.make_graph(nodes, "affine", inputs, ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [9, 13, 17])
def test_versions_of_operators_are_brought_together(opset: int) -> None:
    query = parse(TWO.format("") + "(assert (>= (- Y[0] V[1]) 2.0))")
    joint = join(query, {"f": affine(), "g": affine(-2.0, opset)})
    x = np.array([1.0, -1.0, 0.5, -0.5])
    np.testing.assert_array_equal(Replay(joint).run(x), [0.5, -0.5, -0.5, 0.5])


def test_a_hidden_tensor_may_be_an_output_and_free_dimensions_are_as_declared() -> None:
    text = ONE.format('(declare-hidden H float32 [2] "y") (declare-hidden K float32 [2] "y") ') + BOX[: len(BOX) // 2]
    joint = join(parse(text + "(assert (>= (* H[0] Y[1] K[1]) 1.0))"), affine(shape=("N",)))
    query = parse(TWO.format("") + "(assert (== X[0] U[1])) (assert (>= (* Y[0] V[0]) 1.0))")
    np.testing.assert_array_equal(Replay(joint).run(np.array([1.0, 0.0]))[-1], 0.5 * -0.5 * -0.5)
    plain = join(parse(ONE.format("") + BOX[: len(BOX) // 2] + "(assert (>= Y[0] 1.0))"), affine(shape=("N",)))
    np.testing.assert_array_equal(load(plain).inputs[0].shape, (2,))
    both = join(query, {"f": affine(shape=("N",)), "g": affine()})
    point, values = np.array([1.0, 0.0, 0.25]), [0.5, -0.5, -0.25, 0.5, -0.125]
    np.testing.assert_array_equal(Replay(both).run(point), values)
    files = Networks(query, separate(query, {"f": affine(shape=("N",)), "g": affine()}))
    np.testing.assert_array_equal(files.run(point), values)


def test_constants_that_are_listed_as_inputs_are_none() -> None:
    query = parse(TWO.format("") + "(assert (>= (- Y[0] V[1]) 2.0))")
    joint = join(query, {"f": affine(listed=True), "g": affine(2.0, listed=True)})
    np.testing.assert_array_equal(load(joint)(as_tensor(np.array([1.0, 0, 0, 1])))[0].numpy(), [0.5, -0.5, -0.5, 1.5])


def test_files_may_be_compressed_and_an_equal_network_left_out(tmp_path: Path) -> None:
    path = tmp_path / "f.onnx.gz"
    path.write_bytes(gzip.compress(affine().SerializeToString()))
    query = parse(TWO.format("(equal-to f) ") + "(assert (> (+ Y[0] V[1]) 0.9))")
    for models in (path, {"f": path}, {"f": path, "g": path}):
        assert verify(models, query, Config(timeout=20)).verdict is Verdict.SAT


PLAIN = TWO.format("") + "(assert (>= Y[0] V[0]))"
MISTAKES = {
    "no model": (PLAIN, {"f": affine()}, UsageError, "no model is given for network g"),
    "no network": (PLAIN, {"f": affine(), "g": affine(), "h": affine()}, UsageError, "declares no network h"),
    "one model": (PLAIN, affine(), UsageError, "name a model for each"),
    "not equal": (PLAIN.replace("g (", "g (equal-to f) (", 1), {"f": affine(), "g": affine(2.0)}, UsageError, "equal"),
    "shape": (PLAIN, {"f": affine(shape=(3,)), "g": affine()}, ShapeError, "'x' has shape [3]"),
    "hidden": (
        ONE.format('(declare-hidden H float32 [2] "z") ') + BOX[: len(BOX) // 2] + "(assert (>= H[0] 1.0))",
        affine(),
        ModelError,
        "no node computes 'z'",
    ),
    "inputs": (
        "(vnnlib-version <2.0>) (declare-network f (declare-input X real [1]) (declare-input Z real [1]) "
        "(declare-output Y real [2])) (assert (>= Y[0] 0.0)) (assert (and (>= X[0] 0.0) (<= X[0] 0.0))) "
        "(assert (and (>= Z[0] 0.0) (<= Z[0] 0.0)))",
        affine(),
        ShapeError,
        "has 1 inputs, network f declares 2",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_does_not_fit_is_refused(case: str) -> None:
    text, models, error, words = MISTAKES[case]
    with pytest.raises(error) as caught:
        join(parse(text), models)
    assert words in str(caught.value)


def test_equated_inputs_are_of_one_type() -> None:
    query = parse(TWO.replace("float32", "real").format("") + "(assert (== X[0] U[0])) (assert (>= Y[0] V[0]))")
    other = affine()
    for port in (*other.graph.input, *other.graph.output):
        port.type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(UnsupportedError, match="different types"):
        join(query, {"f": affine(), "g": other})
