"""Small ONNX models for random declarations, with weights that are quarters: float32 computes them exactly."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tests.specs.queries import Net, Tensor, Values


def model_of(net: Net, draw: random.Random, width: int = 4) -> onnx.ModelProto:
    """A network of one hidden layer with ReLU, whose first values are the hidden tensors."""
    nodes, weights = [], []

    def constant(values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values, f"c{len(weights)}"))
        return weights[-1].name

    def add(kind: str, *operands: str, output: str = "", **attributes: object) -> str:
        name = output or f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, operands, [name], **attributes))
        return name

    def quarters(*shape: int) -> np.ndarray:
        return np.array([draw.randint(-4, 4) / 4 for _ in range(math.prod(shape))], np.float32).reshape(shape)

    def part(source: str, start: int, tensor: Tensor, name: str) -> str:
        places = np.arange(start, start + math.prod(tensor.shape)).reshape(tensor.shape)
        return add("Gather", source, constant(places), output=name, axis=0)

    flat = [add("Reshape", tensor.name, constant(np.array([-1], np.int64))) for tensor in net.of("input")]
    x = add("Concat", *flat, axis=0)
    n, hidden = size(net, "input"), net.of("hidden")
    width = max(width, size(net, "hidden"))
    h = add("Relu", add("Add", add("MatMul", constant(quarters(width, n)), x), constant(quarters(width))))
    start = 0
    for tensor in hidden:
        part(h, start, tensor, tensor.onnx)
        start += math.prod(tensor.shape)
    m = size(net, "output")
    y = add("Add", add("MatMul", constant(quarters(m, width)), h), constant(quarters(m)))
    start = 0
    for tensor in net.of("output"):
        part(y, start, tensor, tensor.name)
        start += math.prod(tensor.shape)

    def info(tensor: Tensor) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape)

    graph = helper.make_graph(
        nodes, net.name, [info(one) for one in net.of("input")], [info(one) for one in net.of("output")], weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def size(net: Net, role: str) -> int:
    return sum(math.prod(tensor.shape) for tensor in net.of(role))


def models_of(nets: list[Net], draw: random.Random) -> dict[str, onnx.ModelProto]:
    """A model for each network; one that is equal to another is left out."""
    return {net.name: model_of(net, draw) for net in nets if not net.relation.startswith("equal-to")}


def computed(nets: list[Net], models: Mapping[str, onnx.ModelProto], inputs: Values) -> Values:
    """All declared tensors, each network run by itself."""
    values: Values = {}
    for net in nets:
        model = onnx.ModelProto()
        model.CopyFrom(models.get(net.name) or models[net.relation.split()[1]])
        model.graph.output.extend(onnx.ValueInfoProto(name=tensor.onnx) for tensor in net.of("hidden"))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        given = [inputs[tensor.name].astype(np.float32) for tensor in net.of("input")]
        feed = {port.name: value for port, value in zip(session.get_inputs(), given, strict=True)}
        found = session.run(None, feed)
        values |= {tensor.name: value for tensor, value in zip(net.of("input"), given, strict=True)}
        names = net.of("output") + net.of("hidden")
        values |= {tensor.name: np.asarray(value) for tensor, value in zip(names, found, strict=True)}
    return values
