"""Counterexamples as ONNX tensors, a file for each declared variable: serialised assignments of the VNNLIB standard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from specs.query import Declaration, Network
from verifier.graph.onnx_file import read
from verifier.result import Counterexample

NAMES = {"float32": "FLOAT", "float64": "DOUBLE"}
"""What ONNX calls types other than by the standard's name in capitals."""


def serialised(witness: Counterexample, models: Path | Mapping[str, Path]) -> dict[str, bytes]:
    """Return the content of ``NAME.pb`` for each declared variable, by name.

    A tensor has its declared shape and type; ``real`` is the type that the ONNX model gives it (a hidden one: that of
    the model's first input). A VNNLIB 1.0 property has X and Y, of the shapes of the model's only input and output, or
    flat.
    """
    if witness.query is None:
        (path,) = models.values() if isinstance(models, Mapping) else [models]
        graph = read(path)[1].graph
        sides = (("X", inputs_of(graph), witness.x), ("Y", list(graph.output), witness.y))
        return {name: tensor(name, element_type(ports), shaped(values, ports)) for name, ports, values in sides}
    values = witness.query.assignment(witness.x, witness.y)
    found = {}
    for network in witness.query.networks:
        graph = read(path_of(network, models))[1].graph
        for entry in network.declarations:
            found[entry.name] = tensor(entry.name, type_of(entry, network, graph), values[entry.name])
    return found


def path_of(network: Network, models: Path | Mapping[str, Path]) -> Path:
    """Return a network's file; an equal one may have none of its own."""
    if not isinstance(models, Mapping):
        return models
    return models[network.name if network.name in models or network.relation is None else network.relation[1]]


def type_of(entry: Declaration, network: Network, graph: onnx.GraphProto) -> int:
    """Return ONNX's number of a declared type."""
    if entry.type != "real":
        number: int = getattr(TensorProto, NAMES.get(entry.type, entry.type.upper()))
        return number
    if entry.role == "output":
        return element_type([graph.output[network.outputs.index(entry)]])
    return element_type(inputs_of(graph)[network.inputs.index(entry) if entry.role == "input" else 0 :])


def inputs_of(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that are no constants."""
    constants = {constant.name for constant in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def element_type(ports: list[onnx.ValueInfoProto]) -> int:
    """Return ONNX's number of the first one's type."""
    number: int = ports[0].type.tensor_type.elem_type
    return number


def shaped(values: np.ndarray, ports: list[onnx.ValueInfoProto]) -> np.ndarray:
    """Give values the shape of the only port; free dimensions are 1."""
    shape = [max(dim.dim_value, 1) for dim in ports[0].type.tensor_type.shape.dim]
    return values.reshape(shape) if len(ports) == 1 and math.prod(shape) == values.size else values


def tensor(name: str, kind: int, values: np.ndarray) -> bytes:
    """Return a tensor as the bytes of its file."""
    dtype: Any = helper.tensor_dtype_to_np_dtype(kind)
    data: bytes = numpy_helper.from_array(values.astype(dtype), name).SerializeToString()
    return data
