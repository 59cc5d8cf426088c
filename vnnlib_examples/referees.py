"""Settles queries of VNNLIB 2.0 without the verifier: by points that onnxruntime computes, and by cutting boxes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from conditions import Declared, Query
from intervals import Interval, Value
from properties import Box
from subdivide import Network, exclude_rows

ROOM = 1e-3  # see make.py
POINTS, FEW = 200_000, 5000  # tried in search of a counterexample: at once, or one by one


def by_boxes(query: Query, nets: Path) -> tuple[str, str, str]:
    """``sat`` if a point violates by ROOM, else a proof by cutting boxes that none does up to ROOM."""
    if by_points(query, nets):
        return "sat", "points", ""
    networks = {net.name: Network(nets / f"{net.net}.onnx") for net in query.networks}

    def excess(lower: np.ndarray, upper: np.ndarray, varying: np.ndarray) -> Value:
        x = Value.inputs(lower, upper, varying, (lower.shape[1],))
        rows = [condition.excess(values_on(query, networks, x)) for condition in query.conditions]
        return Value.stacked(rows).plus(np.array(-ROOM))

    columns = sorted(set(query.columns().values()))
    moving = np.isin(np.arange(len(query.box.lower)), columns)
    free = Box(*(np.where(moving, side, 0.0) for side in (query.box.lower, query.box.upper)))
    return "unsat", "subdivision", f"{exclude_rows(excess, free)} boxes"


def values_on(query: Query, networks: Mapping[str, Network], x: Value) -> dict[str, Value]:
    """All elements that are declared, over boxes of all inputs ``(boxes, size)``."""
    columns, found = query.columns(), {}
    for net in query.networks:
        given = []
        for tensor in net.of("input"):
            places = np.array([columns[name] for name in tensor.elements()])
            given.append(x.shaped(lambda a, before, p=places, t=tensor: a[..., p].reshape(*a.shape[:before], *t.shape)))
        values = networks[net.name].values(*given)
        names = [port.name for port in networks[net.name].graph.output]
        tensors = [*zip(net.of("input"), given, strict=True)]
        tensors += [(tensor, values[tensor.onnx]) for tensor in net.of("hidden")]
        tensors += [(tensor, values[name]) for tensor, name in zip(net.of("output"), names, strict=True)]
        for tensor, value in tensors:
            for k, name in enumerate(tensor.elements()):
                found[name] = value.shaped(lambda a, before, k=k: a.reshape(*a.shape[:before], -1)[..., k])
    return found


def by_points(query: Query, nets: Path) -> bool:
    """Whether one of many random points satisfies all conditions by ROOM, as onnxruntime computes them."""
    alone = any(not tensor.shape for net in query.networks for tensor in net.tensors)
    draw = np.random.default_rng(0)
    low, high = query.box.lower, query.box.upper
    x = (low + (high - low) * draw.random((FEW if alone else POINTS, len(low)))).astype(np.float32)
    x = x[np.all((low <= x) & (x <= high), axis=1)]
    columns = query.columns()
    values: dict[str, np.ndarray] = {name: x[:, k] for name, k in columns.items()}
    for net in query.networks:
        values |= replayed(net, nets, values)
    exact = {name: value.astype(np.float64) for name, value in values.items()}
    return bool((np.max([one.missed(exact) for one in query.conditions], axis=0) <= -ROOM).any())


def replayed(net: Declared, nets: Path, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The hidden tensors and outputs of a network at many points."""
    model = onnx.load(nets / f"{net.net}.onnx")
    model.graph.output.extend(onnx.ValueInfoProto(name=tensor.onnx) for tensor in net.of("hidden"))
    for port in [*model.graph.input, *model.graph.output]:
        if port.type.tensor_type.shape.dim:
            port.type.tensor_type.shape.dim[0].dim_param = "points"
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {
        port.name: np.stack([values[name] for name in tensor.elements()], axis=1)
        for port, tensor in zip(session.get_inputs(), net.of("input"), strict=True)
    }
    tensors = net.of("output") + net.of("hidden")
    if all(tensor.shape for tensor in tensors):
        results = session.run(None, feed)
    else:  # one point at a time, and few of them
        count = len(next(iter(feed.values())))
        points = [{key: value[k : k + 1] for key, value in feed.items()} for k in range(count)]
        results = [np.stack(parts) for parts in zip(*(session.run(None, point) for point in points), strict=True)]
    found = zip(tensors, results, strict=True)
    return {
        name: value.reshape(len(value), -1)[:, k] for tensor, value in found for k, name in enumerate(tensor.elements())
    }


def by_rectifier(query: Query, nets: Path) -> tuple[str, str, str]:
    """The only output is a ReLU's, which is never below 0."""
    (net,) = query.networks
    graph = onnx.load(nets / f"{net.net}.onnx").graph
    (condition,) = query.conditions
    if graph.node[-1].op_type != "Relu" or condition.operator != "<" or condition.bound != 0:
        raise ValueError("that is not what is asked")
    return "unsat", "ReLU", ""


def by_rest(query: Query, nets: Path) -> tuple[str, str, str]:
    """The only output is that of a ReLU whose operand is below 0 in the whole box, and so it is 0."""
    (net,) = query.networks
    network = Network(nets / f"{net.net}.onnx")
    operand = network.graph.node[-1].input[0]

    def excess(lower: np.ndarray, upper: np.ndarray, varying: np.ndarray) -> Value:
        value = network.values(Value.inputs(lower, upper, varying, (1, lower.shape[1])))[operand]
        return value.scaled(Interval.exactly(np.array(-1.0))).shaped(lambda a, before: a.reshape(*a.shape[:before], -1))

    return "unsat", "subdivision", f"{exclude_rows(lambda *box: excess(*box).plus(np.array(-ROOM)), query.box)} boxes"


def by_slope(query: Query, nets: Path) -> tuple[str, str, str]:
    """Two runs of one network at inputs of which only the first differs: its derivative there is below 0."""
    net = query.networks[0]
    network, size = Network(nets / f"{net.net}.onnx"), len(query.box.lower) // 2
    lower, upper, count = query.box.lower[None, :size], query.box.upper[None, :size], 0
    while len(lower):
        count += len(lower)
        slope = network.on(lower, upper, np.arange(size)).slope.upper[:, 0, 0, 0]
        still = ~(slope < -ROOM)
        if count > 100_000:
            raise ValueError("no sign of the derivative is found")
        lower, upper = lower[still], upper[still]
        axis = (upper - lower).argmax(1)
        rows, middle = np.arange(len(lower)), ((lower + upper) / 2)[np.arange(len(lower)), axis]
        below, above = upper.copy(), lower.copy()
        below[rows, axis] = above[rows, axis] = middle
        lower, upper = np.concatenate([lower, above]), np.concatenate([below, upper])
    return "unsat", "derivatives", f"{count} boxes"
