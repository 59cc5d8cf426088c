"""Layers made of many operators, between affine ones: boxes of all nodes hold the values."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.bounds.nets import boxes, drawn
from verifier.bounds.schedule import BOTH, CROWN, FORWARD, INTERVAL, Method, bound_nodes
from verifier.graph.onnx_import import load

METHODS = {"interval": INTERVAL, "forward": FORWARD, "crown": CROWN, "both": BOTH}
RADII = (0.0, 1e-3, 0.1, 0.5)
DRAW = np.random.default_rng(0)


def net(op: str, shape: tuple[int, ...], *constants: np.ndarray | None, **attributes: Any) -> onnx.ModelProto:
    """Build a layer of some operator between two affine ones."""
    size = int(np.prod(shape))
    opset = attributes.pop("opset", 18)
    given: dict[str, np.ndarray] = {
        "first": DRAW.standard_normal((3, size)).astype(np.float32),
        "shape": np.array(shape, dtype=np.int64),
        "flat": np.array([1, -1], dtype=np.int64),
    }
    names = ["h"]
    for k, value in enumerate(constants):
        names.append("" if value is None else f"c{k}")
        if value is not None:
            given[f"c{k}"] = value
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["m"]),
        helper.make_node("Reshape", ["m", "shape"], ["h"]),
        helper.make_node(op, names, ["z"], **attributes),
        helper.make_node("Reshape", ["z", "flat"], ["y"]),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in (("x", (1, 3)), ("y", None))
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in given.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def weights(*shape: int) -> np.ndarray:
    return (DRAW.standard_normal(shape) / 2).astype(np.float32)


NETS = {
    "LSTM": net("LSTM", (3, 1, 2), weights(1, 8, 2), weights(1, 8, 2), weights(1, 16), hidden_size=2),
    "GRU": net("GRU", (3, 1, 2), weights(2, 6, 2), weights(2, 6, 2), hidden_size=2, direction="bidirectional"),
    "RNN": net("RNN", (3, 2, 2), weights(1, 2, 2), weights(1, 2, 2), hidden_size=2, direction="reverse"),
    "Layer": net("LayerNormalization", (2, 4), weights(4), weights(4), epsilon=0.1),
    "Instance": net("InstanceNormalization", (1, 2, 4), weights(2), weights(2), epsilon=0.1),
    "Group": net("GroupNormalization", (1, 4, 2), weights(4), weights(4), num_groups=2, epsilon=0.1, opset=21),
    "LRN": net("LRN", (1, 4, 2, 1), size=3, alpha=0.5),
    "Lp": net("LpNormalization", (2, 3)),
    "L1": net("ReduceL1", (2, 3), np.array([1])),
    "LogSumExp": net("ReduceLogSumExp", (2, 3), np.array([1])),
    "Prod": net("ReduceProd", (2, 3), np.array([1])),
    "Einsum": net("Einsum", (2, 3), weights(3, 4), equation="ij,jk->ki", opset=13),
    "Pow": net("Pow", (2, 3), np.float32([0, 2, 3])),
    "Pow-constant": net("Pow", (2, 3), np.array(2, dtype=np.float32)),
    "Resize": net("Resize", (1, 1, 2, 3), None, np.float32([1, 1, 2, 2]), mode="cubic"),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("proto", NETS.values(), ids=NETS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_box_holds_the_values(proto: onnx.ModelProto, method: Method, dtype: torch.dtype) -> None:
    graph = load(proto)
    box = boxes(graph.n_inputs, RADII, 0)
    bounds = bound_nodes(graph.to(dtype), box.to(dtype), method)
    inner = bounds.boxes[next(iter(graph.nodes))]
    values = graph.values(inner.sample(60, drawn(0)).double().flatten(0, 1))
    finite = 0
    for name, value in values.items():
        inside = value.unflatten(0, (60, len(RADII)))
        assert (inside >= bounds.boxes[name].lower - 1e-12 * (1 + inside.abs())).all(), name
        assert (inside <= bounds.boxes[name].upper + 1e-12 * (1 + inside.abs())).all(), name
        finite += bool(bounds.boxes[name].lower[:2].isfinite().all())
    assert finite == len(values)
