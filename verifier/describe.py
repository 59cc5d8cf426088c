"""What a model file holds, and whether it is read correctly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch

from verifier.check.replay import Replay
from verifier.errors import ModelError
from verifier.graph.graph import Graph
from verifier.graph.lower import LOWER
from verifier.graph.lower.fold import FOLD
from verifier.graph.onnx_file import read
from verifier.graph.onnx_import import FLOATS, OPSETS, load
from verifier.graph.order import KEEP_ORDER

POINTS = 8
"""Random inputs of each kind that the network is compared on."""

READ = {*FOLD, *KEEP_ORDER, "Shape", "Size"}
"""Operators that are read without being lowered: on constants, for shapes, or where only the order matters."""


def describe(path: Path, seed: int = 0) -> Iterator[str]:
    """Yield lines of text on a model: what the file states, then what became of it.

    Raises:
        ModelError: the file cannot be read.
        UnsupportedError: it cannot be verified; the lines on the file itself were yielded before.
    """
    _, model = read(path)
    yield from describe_file(model.graph, model.opset_import)
    graph = load(path)
    kinds = Counter(type(node.op).__name__ for node in graph.nodes.values() if node.op is not None)
    yield line("graph", f"{kinds.total()} nodes after simplification: {counted(kinds)}")
    yield from compare(graph, path, seed)


def describe_file(graph: onnx.GraphProto, opsets: list[onnx.OperatorSetIdProto]) -> Iterator[str]:
    """Yield what the file states."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    yield line("opset", ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in opsets) or "none")
    for title, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            if value.name not in constants:
                yield line(title, typed(value))
    sizes = [int(np.prod(tensor.dims)) for tensor in constants.values() if tensor.data_type in FLOATS]
    yield line("parameters", f"{sum(sizes)} in {len(sizes)} constants")
    kinds = Counter(f"{node.domain}.{node.op_type}".removeprefix("ai.onnx").lstrip(".") for node in graph.node)
    yield line("operators", f"{kinds.total()} nodes: {counted(kinds)}")
    unknown = Counter({kind: count for kind, count in kinds.items() if kind not in LOWER and kind not in READ})
    if unknown:
        yield line("unsupported", f"{counted(unknown)} (opsets {OPSETS[0]} to {OPSETS[-1]} are read)")


def compare(graph: Graph, path: Path, seed: int) -> Iterator[str]:
    """Yield the largest difference between the graph and onnxruntime at random points."""
    random, replay = np.random.default_rng(seed), Replay(path)
    shape = (POINTS, graph.n_inputs)
    for title, points in (("in [0, 1]", random.random(shape)), ("standard normal", random.standard_normal(shape))):
        points = points.astype(np.float16).astype(np.float64)  # exact in every type that an input can have
        with torch.no_grad():
            ours = graph(torch.from_numpy(points)).numpy()
        try:
            theirs = np.stack([replay.run(point) for point in points])
        except ModelError as error:
            yield line("difference", f"unknown: {error}")
            return
        with np.errstate(invalid="ignore"):
            worst = np.where(ours == theirs, 0, np.abs(ours - theirs)).max()
        size = np.abs(theirs).max()
        yield line("difference", f"{worst:.3g} from onnxruntime, inputs {title} (outputs up to {size:.3g})")


def typed(value: onnx.ValueInfoProto) -> str:
    """Return the name, type and shape of an input or output, as declared."""
    declared = value.type.tensor_type
    shape = ", ".join(
        str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in declared.shape.dim
    )
    kind = FLOATS.get(declared.elem_type) or onnx.TensorProto.DataType.Name(declared.elem_type).lower()
    return f"{value.name} {kind} [{shape}]"


def counted(kinds: Counter[str]) -> str:
    """Return names with their counts, the most frequent first."""
    ranked = sorted(kinds.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{kind} {count}" for kind, count in ranked)


def line(title: str, text: str) -> str:
    """Return a line of the description."""
    return f"{title:<12} {text}"
