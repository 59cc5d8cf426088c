"""From an ONNX model to a graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import torch
from onnx import TensorProto

from verifier.errors import ModelError, UnsupportedError
from verifier.graph.fuse import fuse
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node, Port
from verifier.graph.lower import LOWER
from verifier.graph.lower.builder import Builder, Call, Operand, Variable
from verifier.graph.lower.checks import check_finite, check_whole
from verifier.graph.lower.fold import FOLD, fold
from verifier.graph.lower.overflow import element_types, kept_inside
from verifier.graph.lower.scatter import check_partial, sized
from verifier.graph.onnx_file import Array, read, to_array
from verifier.graph.order import Readers, ends_in_order
from verifier.graph.simplify import merge_neighbours, simplify_exactly
from verifier.ops.op import Shape
from verifier.ops.select import Concat
from verifier.ops.shape import Reshape, View

OPSETS = range(7, 22)
"""Versions of the ONNX operator set that are read."""

FLOATS: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
}
"""Types that inputs and outputs may have."""


def load(
    source: str | Path | onnx.ModelProto,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    *,
    simplify: bool = True,
) -> Graph:
    """Read a network.

    Args:
        source: path of an ``.onnx`` file, gzipped or not, or a model in memory.
        dtype: floating type of all constants in the graph; folding and merging compute in float64 whatever it is.
        device: where the constants lie.
        simplify: recognise functions that are spelled out, and merge adjacent affine operators.

    Returns:
        The graph; free batch dimensions are 1, and nodes bear the names of the file's tensors.

    Raises:
        ModelError: the file cannot be read, or is not a valid network.
        UnsupportedError: it uses an operator, an opset or a type that is not supported.
    """
    name, model = read(source)

    def made(*, ranking: bool = False, sorts: bool = False) -> Graph:
        nodes, inputs, outputs = translate(model, ranking=ranking, sorts=sorts)
        raw = Graph(nodes, inputs, outputs)
        plainly = not ranking and not sorts
        may_rank = plainly and ends_in_order(model.graph, version(model), raw.outputs[0].shape)
        again = (lambda: made(ranking=True)) if may_rank else None
        may_sort = plainly and any(proto.op_type == "TopK" for proto in model.graph.node)
        whole = (lambda: made(sorts=True)) if may_sort else None
        if not simplify:
            return settle(raw, dtype, device, None, again, whole)
        plain = simplify_exactly(raw)
        fused = fuse(plain)
        merged = merge_neighbours(fused)
        same = fused is plain and len(merged.nodes) == len(plain.nodes)
        exact = None if same else lambda: settle(plain, torch.float64, device)
        return settle(merged, dtype, device, exact, again, whole)

    try:
        return made()
    except ModelError as error:
        raise type(error)(f"{name}: {error}") from error.__cause__


def settle(
    graph: Graph,
    dtype: torch.dtype,
    device: torch.device | str,
    exact: Callable[[], Graph] | None = None,
    ranking: Callable[[], Graph] | None = None,
    sorts: Callable[[], Graph] | None = None,
) -> Graph:
    """Bring every constant to one dtype and device."""
    where = torch.device(device)
    moved = (
        Node(node.name, None if node.op is None else node.op.to(dtype, where), node.parents, node.shape)
        for node in graph.nodes.values()
    )
    return Graph(moved, graph.inputs, graph.outputs, dtype, where, exact, ranking, sorts)


def translate(
    model: onnx.ModelProto, *, ranking: bool = False, sorts: bool = False
) -> tuple[list[Node], tuple[Port, ...], tuple[Port, ...]]:
    """Lower every node that an output depends on; for a ranking without the last one, which keeps the order.

    ``sorts`` keeps long sorts as they are.
    """
    opset, graph = version(model), model.graph
    taken = {value.name for value in graph.input} | {name for proto in graph.node for name in proto.output}
    builder = Builder(functools.cache(lambda: element_types(graph, opset)), sorts=sorts, taken=taken)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    ports = tuple(port(value) for value in graph.input if value.name not in constants)
    values: dict[str, Operand] = {}
    values.update(enter(builder, ports))
    finite: set[str] = set()
    readers = Readers(graph, opset, [graph.output[0].name] if ranking else ())
    for proto in needed(graph):
        for name in proto.input:
            if name in constants and name not in values:
                values[name] = to_array(constants[name])
        lower_node(builder, proto, values, finite, readers)
    outputs = leave(builder, graph.output, values, constants)
    return reachable(builder.nodes), ports, outputs


def version(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set, which must be one we read."""
    if not model.graph.node and not model.graph.output:
        raise ModelError("holds no network: the graph is empty")
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise ModelError("does not say which version of the ONNX operator set it uses")
    if versions[0] not in OPSETS:
        raise UnsupportedError(f"uses opset {versions[0]}; supported are {OPSETS[0]} to {OPSETS[-1]}")
    return int(versions[0])


def port(value: onnx.ValueInfoProto) -> Port:
    """Read the declared shape and type of an input; a free leading dimension is 1."""
    declared = value.type.tensor_type
    if declared.elem_type not in FLOATS:
        raise UnsupportedError(
            f"input {value.name!r} is not of a floating type; supported are {', '.join(FLOATS.values())}"
        )
    if not declared.HasField("shape"):
        raise ModelError(f"input {value.name!r} has no declared shape")
    shape = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in declared.shape.dim]
    if shape and shape[0] <= 0:
        shape[0] = 1
    if any(size <= 0 for size in shape):
        raise UnsupportedError(f"input {value.name!r} has a free dimension that is not the first; fix it in the model")
    return Port(value.name, tuple(shape), FLOATS[declared.elem_type])


def enter(builder: Builder, ports: Sequence[Port]) -> dict[str, Operand]:
    """Add the flat input vector, and each input as a view of it."""
    if not ports:
        raise ModelError("has no inputs")
    sizes = [size_of(entry.shape) for entry in ports]
    vector = Variable(INPUT, (sum(sizes),))
    builder.nodes.append(Node(INPUT, None, (), vector.shape))
    return {
        entry.name: builder.apply(View(sum(sizes[:k]), entry.shape), vector, name=entry.name)
        for k, entry in enumerate(ports)
    }


def size_of(shape: Shape) -> int:
    """Count elements."""
    return torch.Size(shape).numel()


def needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes that an output depends on, in the file's order."""
    wanted, kept = {value.name for value in graph.output}, []
    for proto in reversed(graph.node):
        if wanted.intersection(proto.output):
            wanted.update(proto.input)
            kept.append(proto)
    return kept[::-1]


def lower_node(
    builder: Builder, proto: onnx.NodeProto, values: dict[str, Operand], finite: set[str], readers: Readers
) -> None:
    """Fold or lower one node, and enter its outputs into ``values``."""
    where = f"node {proto.name or (proto.output[0] if proto.output else '?')!r} ({proto.op_type})"
    for name in proto.input:
        if name and name not in values:
            raise ModelError(f"{where}: operand {name!r} is not defined before it is used")
    args = tuple(values[name] if name else None for name in proto.input)
    if proto.domain not in ("", "ai.onnx"):
        raise UnsupportedError(f"{where}: operators of domain {proto.domain!r} are not supported, only those of ONNX")
    try:
        attributes = {entry.name: attribute(entry) for entry in proto.attribute}
        call = Call(proto, readers.opset, args, attributes, readers.read)
        results: Operand | tuple[Operand, ...] | None = fold(call)
        by_size = sized(builder, call, folded=results is not None)
        partial = not by_size and any(name in builder.partial for name in proto.input)
        if results is None:
            check_finite(call, finite)
            check_whole(call)
            partial = check_partial(builder, call)
            first = args[0] if args else None
            drop = isinstance(first, Variable) and readers.may_drop(proto, first.rank)
            results = first if drop and first is not None else lowered(builder, call)
    except ModelError:
        raise
    except (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{where}: {reason}") from error
    for name, value in zip(proto.output, results if isinstance(results, tuple) else (results,), strict=False):
        if name in values:
            raise ModelError(f"{where}: output {name!r} is defined twice")
        if name:
            values[name] = value
            if partial:
                builder.partial.add(name)
            if by_size:
                builder.sized.add(name)


def lowered(builder: Builder, call: Call) -> tuple[Operand, ...]:
    """Lower one node; the nodes that hold its outputs take their names."""
    kind = call.proto.op_type
    if kind not in LOWER:
        known = ", ".join(sorted({*LOWER, *FOLD}))
        raise call.unsupported(f"operator {kind} is not supported; supported are {known}")
    start, builder.prefix = len(builder.nodes), call.proto.output[0]
    found = LOWER[kind](builder, call)
    results = found if isinstance(found, tuple) else (kept_inside(builder, call, found),)
    fresh = {node.name: start + k for k, node in enumerate(builder.nodes[start:])}
    named: list[Operand] = []
    for name, value in zip(call.proto.output, results, strict=False):
        if isinstance(value, Variable) and value.name in fresh and name:
            k = fresh.pop(value.name)
            node = builder.nodes[k]
            builder.nodes[k] = Node(name, node.op, node.parents, node.shape)
            for later in range(k + 1, len(builder.nodes)):
                node = builder.nodes[later]
                parents = tuple(name if parent == value.name else parent for parent in node.parents)
                builder.nodes[later] = Node(node.name, node.op, parents, node.shape)
            value = replace(value, name=name)
        named.append(value)
    return tuple(named)


def attribute(entry: onnx.AttributeProto) -> object:
    """Return an attribute as a Python value; text is decoded, also in lists."""
    value = onnx.helper.get_attribute_value(entry)
    return [decoded(part) for part in value] if isinstance(value, list) else decoded(value)


def decoded(value: object) -> object:
    """Return text for bytes, and anything else as it is."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def leave(
    builder: Builder,
    declared: Iterable[onnx.ValueInfoProto],
    values: dict[str, Operand],
    constants: dict[str, onnx.TensorProto],
) -> tuple[Port, ...]:
    """Add the flat output vector."""
    ports, flat = [], []
    builder.prefix = OUTPUT
    for value in declared:
        found: Operand | Array | None = values.get(value.name)
        if found is None and value.name not in constants:
            raise ModelError(f"output {value.name!r} is not computed by any node")
        if not isinstance(found, Variable):
            raise UnsupportedError(f"output {value.name!r} does not depend on the input")
        if value.name in builder.partial:
            raise UnsupportedError(f"the size of output {value.name!r} depends on the input")
        ports.append(Port(value.name, found.shape, FLOATS.get(value.type.tensor_type.elem_type, "float32")))
        flat.append(builder.apply(Reshape((size_of(found.shape),)), found))
    if not ports:
        raise ModelError("has no outputs")
    if len(flat) == 1:
        last = builder.nodes.pop()
        builder.nodes.append(Node(OUTPUT, last.op, last.parents, last.shape))
    else:
        builder.apply(Concat(0, (0,) * (len(flat) + 1)), *flat, name=OUTPUT)
    return tuple(ports)


def reachable(nodes: list[Node]) -> list[Node]:
    """Drop nodes that the output does not depend on."""
    wanted, kept = {OUTPUT, INPUT}, []
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.parents)
            kept.append(node)
    return kept[::-1]
