"""Torch modules to ONNX, layers of ``verifier.layers`` among them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from verifier.graph.lower.equilibrium import body
from verifier.layers import DOMAIN, Equilibrium

OPSET = 17


def export(module: nn.Module, example: Tensor, path: str | Path | None = None) -> onnx.ModelProto:
    """Write a module as a model of standard operators; its input is ``x`` and its output ``y``.

    Args:
        module: is traced in evaluation mode; an equilibrium layer becomes a Loop.
        example: an input, of the shape that the model will have.
        path: where to write the model, if anywhere.

    Returns:
        The model.
    """
    buffer, training = io.BytesIO(), module.training
    implicit = any(isinstance(part, Equilibrium) for part in module.modules())
    module.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the newer exporter needs another package
            torch.onnx.export(
                module,
                (example,),
                buffer,  # type: ignore[arg-type]
                input_names=["x"],
                output_names=["y"],
                opset_version=OPSET,
                dynamo=False,
                custom_opsets={DOMAIN: 1} if implicit else None,
            )
    finally:
        module.train(training)
    model = onnx.load_from_string(buffer.getvalue())
    spelled_out(model)
    onnx.checker.check_model(model)
    if path is not None:
        onnx.save(model, path)
    return model


def spelled_out(model: onnx.ModelProto) -> None:
    """Replace what is not of ONNX in a model by standard operators."""
    graph = model.graph
    weights = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += equilibrium(node, weights[node.input[1]]) if node.domain == DOMAIN else [node]
    standard = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    used = {name for node in nodes for name in node.input}
    kept = [value for value in graph.initializer if value.name in used]
    for field, values in ((graph.node, nodes), (graph.initializer, kept), (model.opset_import, standard)):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)


def equilibrium(node: onnx.NodeProto, inner: np.ndarray) -> list[onnx.NodeProto]:
    """Return the Loop for an equilibrium node of a fixed part and W."""
    given = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    step = body(given["activation"].decode(), np.ascontiguousarray(inner.T), given["step"], given["tolerance"])
    fixed, result = node.input[0], node.output[0]
    count, going, start = (f"{result}/{part}" for part in ("most", "going", "start"))
    return [
        helper.make_node(
            "Constant", [], [count], value=helper.make_tensor("", onnx.TensorProto.INT64, [], [given["most"]])
        ),
        helper.make_node("Constant", [], [going], value=helper.make_tensor("", onnx.TensorProto.BOOL, [], [True])),
        helper.make_node("Sub", [fixed, fixed], [start]),
        helper.make_node("Loop", [count, going, start, fixed], [result, f"{result}/fixed"], node.name, body=step),
    ]
