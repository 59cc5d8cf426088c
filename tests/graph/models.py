"""Small models, and their comparison with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from verifier.check.replay import Replay
from verifier.graph.graph import Graph
from verifier.graph.onnx_import import load

IR_VERSION = 8
DRAW = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def scalar(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple],
    constants: dict[str, np.ndarray] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 13,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def assert_same_function(proto: onnx.ModelProto, points: int = 4, **options: Any) -> Graph:
    """Compare with onnxruntime, with and without simplification."""
    replay = Replay(proto)
    for simplify in (True, False):
        graph = load(proto, simplify=simplify, **options)
        x = torch.from_numpy(np.random.default_rng(1).uniform(-3, 3, (points, graph.n_inputs))).float().double()
        expected = np.stack([replay.run(point.numpy()) for point in x])
        y = graph(x.to(graph.dtype)).double().numpy()
        assert y.shape == expected.shape == (points, graph.n_outputs)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * (1 + np.abs(expected).max()))
    return load(proto, **options)


def one(
    op: str,
    shape: tuple,
    *constants: np.ndarray | None,
    opset: int = 13,
    before: Sequence[np.ndarray] = (),
    **attributes: Any,
) -> onnx.ModelProto:
    """Build a model of one node: constants ``before``, then the input, then more constants (None leaves one out)."""
    names, given = [], {}
    for k, value in enumerate([*before, "x", *constants]):
        names.append("x" if isinstance(value, str) else "" if value is None else f"c{k}")
        if isinstance(value, np.ndarray):
            given[f"c{k}"] = value
    outputs = attributes.pop("outputs", ("y",))
    node = helper.make_node(op, names, outputs, name="n", **attributes)
    return model([node], {"x": shape}, given, outputs, opset)
