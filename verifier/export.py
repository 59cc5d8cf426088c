"""Torch modules to ONNX, layers of ``verifier.layers`` among them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from verifier.errors import ModelError, UsageError
from verifier.graph.graph import Graph
from verifier.graph.lower.equilibrium import body
from verifier.graph.onnx_import import load
from verifier.layers import DOMAIN, Equilibrium

OPSET = 17


def export(module: nn.Module, example: Tensor | tuple[Tensor, ...], path: str | Path | None = None) -> onnx.ModelProto:
    """Write a module as a model of standard operators; a single input is ``x`` and a single output ``y``.

    Args:
        module: is traced in evaluation mode; an equilibrium layer becomes a Loop. It is left as it was.
        example: an input, or several, of the shapes that the model will have.
        path: where to write the model, if anywhere.

    Returns:
        The model.

    Raises:
        UsageError: the module does not take such an input.
        ModelError: torch cannot export it, or what it does depends on values by more than tensor operations.
    """
    arguments = example if isinstance(example, tuple) else (example,)
    if not all(isinstance(part, Tensor) for part in arguments):
        raise UsageError("an example input is a tensor, or a tuple of tensors for a module of several inputs")
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            outputs = _called(module, arguments)
        model = _traced(module, arguments, isinstance(outputs, Tensor))
    finally:
        for part, mode in training.items():
            part.train(mode)
    spelled_out(model)
    onnx.checker.check_model(model)
    if path is not None:
        onnx.save(model, path)
    return model


def as_onnx(model: Any, example: Any = None, n_inputs: int | None = None) -> Any:
    """Export a module; leave anything else as it is.

    Without an example, one row of ``n_inputs`` zeros is tried, of the type of the module's parameters.

    Raises:
        UsageError: this is no model, or an example is needed, or does not fit.
        ModelError: torch cannot export the module.
    """
    if not isinstance(model, nn.Module):
        if not isinstance(model, (str, Path, onnx.ModelProto, Mapping)):
            raise UsageError(f"a model is the path of an ONNX file, an ONNX model or a torch module, not {model!r}")
        if isinstance(model, Mapping) and any(isinstance(part, nn.Module) for part in model.values()):
            raise UsageError("several networks are ONNX files or models; verifier.export makes them of torch modules")
        if example is not None:
            raise UsageError("example_input is for torch modules; a file or a graph knows its input")
        return model
    if example is None:
        if n_inputs is None:
            raise UsageError("a torch module needs example_input, a tensor of the shape of its input")
        example = torch.zeros(1, n_inputs, dtype=next((part.dtype for part in model.parameters()), torch.float32))
    return export(model, example)


def graph_of(model: Any, example: Any = None, n_inputs: int | None = None) -> Graph:
    """Read a network from whatever describes it: a graph as it is, a file, a model in memory or a torch module.

    Raises:
        UsageError: see ``as_onnx``.
        ModelError: the model cannot be read.
    """
    return model if isinstance(model, Graph) else load(as_onnx(model, example, n_inputs))


def _called(module: nn.Module, arguments: tuple[Tensor, ...]) -> Any:
    """Call a module as a user would, for errors that are about the input."""
    try:
        return module(*arguments)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        shapes = ", ".join(str(list(part.shape)) for part in arguments)
        raise UsageError(f"the module does not take an input of shape {shapes}: {_line(error)}") from None


def _traced(module: nn.Module, arguments: tuple[Tensor, ...], single: bool) -> onnx.ModelProto:
    """Export by tracing; the newer exporter of torch needs another package."""
    buffer = io.BytesIO()
    implicit = any(isinstance(part, Equilibrium) for part in module.modules())
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            torch.onnx.export(
                module,
                arguments,
                buffer,  # type: ignore[arg-type]  # it takes files as well
                input_names=["x"] if len(arguments) == 1 else None,
                output_names=["y"] if single else None,
                opset_version=OPSET,
                dynamo=False,
                custom_opsets={DOMAIN: 1} if implicit else None,
            )
    except Exception as error:  # noqa: BLE001  the exporter's errors have no common base
        raise ModelError(f"torch cannot export the module to ONNX: {_line(error)}") from None
    if any(issubclass(warning.category, TracerWarning) for warning in told):
        _check_fixed(module, arguments)
    return onnx.load_from_string(buffer.getvalue())


def _check_fixed(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    """Refuse a module whose Python code reads values: a trace would hold for the example's alone.

    It is run on tensors that have shapes and no values. Code that only reads shapes may pass: a model has one shape.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            module(*(mode.from_tensor(part) for part in arguments))
    except Exception:  # noqa: BLE001  what cannot be run without values is refused, whatever it raises
        raise ModelError(
            "the module's Python code reads values of tensors (if, float, item, numpy): a trace would hold for the "
            "example alone; tensor operations such as torch.where are supported"
        ) from None


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


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
