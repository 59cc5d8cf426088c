"""Several networks, hidden tensors and products of variables as one ONNX model: what a VNNLIB 2.0 query speaks of.

The model computes what the files compute, operator by operator, so that bounds, attack and replay need to know nothing
of networks in the plural.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from specs.linear import Variable
from specs.query import Declaration, Network, Query
from verifier.errors import ModelError, ShapeError, UnsupportedError, UsageError
from verifier.graph.graph import Graph
from verifier.graph.onnx_file import read
from verifier.graph.onnx_import import FLOATS

Source = str | Path | onnx.ModelProto


def join(query: Query, models: Source | Mapping[str, Source]) -> Source:
    """Return one model for all networks of a query.

    Args:
        query: the property; its inputs and outputs are those of the joint model.
        models: the model of each network by its name, or the only one. One that is ``equal-to`` another may be left
            out.

    Returns:
        The file itself where the query is a property of it as it is.

    Raises:
        UsageError: a network has no model, or a model no network.
        ShapeError: a model has other inputs, outputs or hidden tensors than the query declares.
        ModelError: a model cannot be read.
        UnsupportedError: models that use versions of the operator set that cannot be brought together.
    """
    sources = _assigned(query, models)
    read_ones = {name: read(source) for name, source in sources.items()}
    for network in query.networks:
        name, model = read_ones[network.name]
        _check(network, name, model)
        kind, other = network.relation or ("", "")
        if kind == "equal-to" and sources[network.name] != sources[other] and model != read_ones[other][1]:
            raise UsageError(f"{name}: is not the model of network {other}, to which {network.name} is equal")
    if query.plain and all(_same_sizes(entry, value) for entry, value in _pairs(query.networks[0], read_ones)):
        return sources[query.networks[0].name]
    parts = {name: model for name, (_, model) in read_ones.items()}
    return _joint(query, _same_opset([parts[network.name] for network in query.networks]))


def separate(query: Query, models: Source | Mapping[str, Source]) -> list[Source]:
    """Return the model of each network of a query that ``join`` has accepted, hidden tensors among its outputs."""
    sources, found = _assigned(query, models), []
    for network in query.networks:
        source = sources[network.name]
        if network.hidden:
            model = onnx.ModelProto()
            model.CopyFrom(read(source)[1])
            model.graph.output.extend(onnx.ValueInfoProto(name=entry.tensor) for entry in network.hidden)
            source = _Build(model.graph).distinct(model)
        found.append(source)
    return found


def _assigned(query: Query, models: Source | Mapping[str, Source]) -> dict[str, Source]:
    """Return the model of every network."""
    names = [network.name for network in query.networks]
    if not isinstance(models, Mapping):
        alone = [network.name for network in query.networks if (network.relation or ("", ""))[0] != "equal-to"]
        if len(alone) > 1:
            raise UsageError(f"the property speaks of the networks {', '.join(names)}: name a model for each")
        models = dict.fromkeys(names, models)
    for name in models:
        if name not in names:
            raise UsageError(f"the property declares no network {name}, only {', '.join(names)}")
    found = {}
    for network in query.networks:
        kind, other = network.relation or ("", "")
        if network.name not in models and kind != "equal-to":
            raise UsageError(f"no model is given for network {network.name}")
        found[network.name] = models[network.name] if network.name in models else models[other]
    return found


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that are no constants."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _pairs(
    network: Network, models: Mapping[str, tuple[str, onnx.ModelProto]]
) -> list[tuple[Declaration, onnx.ValueInfoProto]]:
    """Return the declared inputs with those of the model."""
    return list(zip(network.inputs, _inputs(models[network.name][1]), strict=True))


def _same_sizes(entry: Declaration, value: onnx.ValueInfoProto) -> bool:
    """Tell whether an input has as many elements as declared where its free dimensions are 1."""
    sizes: list[int] = [max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim]
    return math.prod(sizes) == entry.size


def _fixed(entry: Declaration, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Give the free dimensions of an input the sizes that are declared."""
    found = onnx.ValueInfoProto()
    found.CopyFrom(value)
    dims = found.type.tensor_type.shape.dim
    free = [k for k, dim in enumerate(dims) if dim.dim_value <= 0]
    rest = entry.size // math.prod(dim.dim_value for dim in dims if dim.dim_value > 0)
    for k in free:
        dims[k].dim_value = rest if len(free) == 1 else entry.shape[k] if len(entry.shape) == len(dims) else 1
    return found


def _check(network: Network, name: str, model: onnx.ModelProto) -> None:
    """Compare the declared tensors with the model's."""
    inputs = _inputs(model)
    for what, declared, found in (
        ("inputs", network.inputs, inputs),
        ("outputs", network.outputs, list(model.graph.output)),
    ):
        if len(declared) != len(found):
            raise ShapeError(f"{name}: has {len(found)} {what}, network {network.name} declares {len(declared)}")
        for entry, value in zip(declared, found, strict=True):
            shape = value.type.tensor_type.shape.dim
            sizes = [dim.dim_value for dim in shape if dim.HasField("dim_value") and dim.dim_value > 0]
            fixed = len(sizes) == len(shape)
            if (fixed and math.prod(sizes) != entry.size) or entry.size % math.prod(sizes):
                stated = [dim.dim_value or dim.dim_param or "?" for dim in shape]
                raise ShapeError(
                    f"{name}: {value.name!r} has shape {stated}, {entry.name} is declared with {list(entry.shape)}"
                )
            kind = FLOATS.get(value.type.tensor_type.elem_type)
            if kind is not None and entry.type in FLOATS.values() and entry.type != kind:
                raise ShapeError(f"{name}: {value.name!r} is of type {kind}, {entry.name} is declared as {entry.type}")
    computed = {output for node in model.graph.node for output in node.output}
    for entry in network.hidden:
        if entry.tensor not in computed:
            raise ModelError(f"{name}: no node computes {entry.tensor!r}, which {entry.name} is declared to be")


def check_sizes(query: Query, graph: Graph) -> None:
    """Compare the declared outputs and hidden tensors with those of the joint model, as it was read.

    Raises:
        ShapeError: one has another number of elements.
    """
    declared = [entry for network in query.networks for entry in (*network.hidden, *network.outputs)]
    for entry, port in zip(declared, graph.outputs, strict=False):
        if entry.size != math.prod(port.shape):
            name = entry.tensor or port.name
            raise ShapeError(
                f"tensor {name!r} has shape {list(port.shape)}, {entry.name} is declared with {list(entry.shape)}"
            )


def _same_opset(models: Sequence[onnx.ModelProto]) -> list[onnx.ModelProto]:
    """Bring all models to one version of the operator set, the newest among them."""
    versions = [
        max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
        for model in models
    ]
    newest = max(versions)
    found = []
    for model, version in zip(models, versions, strict=True):
        if version == newest:
            found.append(model)
            continue
        try:
            found.append(version_converter.convert_version(model, newest))
        except Exception as error:  # noqa: BLE001  the converter's errors have no common base
            reason = str(error).splitlines()[0]
            raise UnsupportedError(f"a model of opset {version} cannot be brought to {newest}: {reason}") from None
    return found


def _joint(query: Query, models: Sequence[onnx.ModelProto]) -> onnx.ModelProto:
    """Put the graphs beside each other, inputs in front of them and products behind."""
    joint = onnx.ModelProto()
    joint.ir_version = max(model.ir_version for model in models)
    domains = {entry.domain: entry.version for model in models for entry in model.opset_import}
    joint.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in domains.items())
    joint.graph.name = "query"
    build = _Build(joint.graph)
    inputs, outputs = [], []
    for network, model in zip(query.networks, models, strict=True):
        part = compose.add_prefix(model, f"{network.name}/").graph
        constants = {tensor.name for tensor in part.initializer}
        inputs += [value for value in part.input if value.name not in constants]
        joint.graph.input.extend(value for value in part.input if value.name in constants)
        hidden = [onnx.ValueInfoProto(name=f"{network.name}/{entry.tensor}") for entry in network.hidden]
        outputs += [*hidden, *part.output]
        build.pending.append(part)
    declared = [entry for network in query.networks for entry in network.inputs]
    vectors = build.enter(query, declared, inputs)
    for part in build.pending:
        joint.graph.initializer.extend(part.initializer)
        joint.graph.sparse_initializer.extend(part.sparse_initializer)
        joint.graph.node.extend(part.node)
    names = list(dict.fromkeys(value.name for value in outputs))
    if len(names) < len(outputs):
        outputs = build.copies(outputs)
    joint.graph.output.extend(outputs)
    if query.products:
        build.multiply(query.products, query.n_inputs, vectors, [value.name for value in outputs])
    return joint


class _Build:
    """Adds nodes to a graph, with names of their own."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.pending: list[onnx.GraphProto] = []
        self._numbers = itertools.count()

    def node(self, kind: str, *operands: str, output: str = "", **attributes: Any) -> str:
        """Add a node; return its output."""
        name = output or f"query/{kind}_{next(self._numbers)}"
        self.graph.node.append(helper.make_node(kind, operands, [name], **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        """Add a constant; return its name."""
        name = f"query/constant_{next(self._numbers)}"
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def enter(self, query: Query, declared: Sequence[Declaration], inputs: Sequence[onnx.ValueInfoProto]) -> list[str]:
        """Declare the joint inputs, and compute those of the networks where some are shared; return the former."""
        if len(query.shared) == query.n_inputs:
            self.graph.input.extend(map(_fixed, declared, inputs))
            return [value.name for value in inputs]
        kinds = {value.type.tensor_type.elem_type for value in inputs}
        if len(kinds) > 1:
            raise UnsupportedError("inputs of different types are equated; they must be of one type")
        name = "query/inputs"
        self.graph.input.append(helper.make_tensor_value_info(name, kinds.pop(), [query.n_inputs]))
        for entry, value in zip(declared, inputs, strict=True):
            chosen = self.node("Gather", name, self.constant(query.shared[entry.part]))
            shape = [dim.dim_value if dim.dim_value > 0 else -1 for dim in value.type.tensor_type.shape.dim]
            wanted = shape if shape.count(-1) <= 1 else list(entry.shape)
            self.node("Reshape", chosen, self.constant(np.array(wanted, dtype=np.int64)), output=value.name)
        return [name]

    def distinct(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Give outputs of a model that are there twice names of their own."""
        if len({value.name for value in self.graph.output}) < len(self.graph.output):
            outputs = self.copies(list(self.graph.output))
            del self.graph.output[:]
            self.graph.output.extend(outputs)
        return model

    def copies(self, outputs: Sequence[onnx.ValueInfoProto]) -> list[onnx.ValueInfoProto]:
        """Give outputs that are there twice, as a tensor that is hidden and an output, names of their own."""
        found = []
        for value in outputs:
            fresh = onnx.ValueInfoProto()
            fresh.CopyFrom(value)
            fresh.name = self.node("Identity", value.name)
            found.append(fresh)
        return found

    def multiply(
        self, products: Sequence[tuple[Variable, ...]], n_inputs: int, inputs: Sequence[str], outputs: Sequence[str]
    ) -> None:
        """Add an output that holds all products, in float64; squares are products of a tensor with itself."""
        flat = self.constant(np.array([-1], dtype=np.int64))
        pieces = [
            self.node("Cast", self.node("Reshape", name, flat), to=TensorProto.DOUBLE) for name in (*inputs, *outputs)
        ]
        vector = self.node("Concat", *pieces, axis=0) if len(pieces) > 1 else pieces[0]

        def places(factors: Sequence[Variable]) -> list[int]:
            return [number if kind == "X" else n_inputs + number for kind, number in factors]

        order = sorted(range(len(products)), key=lambda k: (len(products[k]), len(set(products[k]))))
        parts = []
        for _, group in itertools.groupby(order, key=lambda k: (len(products[k]), len(set(products[k])) == 1)):
            table = np.array([places(products[k]) for k in group], dtype=np.int64)
            columns = [self.node("Gather", vector, self.constant(table[:, 0]))]
            for k in range(1, table.shape[1]):
                same = (table[:, k] == table[:, k - 1]).all()
                columns.append(columns[-1] if same else self.node("Gather", vector, self.constant(table[:, k])))
            found = columns[0]
            for column in columns[1:]:
                found = self.node("Mul", found, column)
            parts.append(found)
        joined = self.node("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
        place = np.argsort(np.array(order, dtype=np.int64)).astype(np.int64)
        result = self.node("Gather", joined, self.constant(place), output="query/products")
        self.graph.output.append(helper.make_tensor_value_info(result, TensorProto.DOUBLE, [len(products)]))
