"""Comparisons, logic, indices and choices that depend on the input: the same function as onnxruntime's, and bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.graph.models import model, scalar, weights
from verifier.bounds.schedule import BOTH, CROWN, FORWARD, INTERVAL, bound_nodes
from verifier.check.replay import Replay
from verifier.errors import UnsupportedError
from verifier.graph.graph import OUTPUT, Graph
from verifier.graph.lower.topk import selection
from verifier.graph.onnx_import import load
from verifier.ops.curves import Step
from verifier.sets import Box

INT, BOOL, FLOAT = TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT


def chain(
    *steps: tuple[str, str, str] | tuple[str, str, str, dict[str, Any]],
    shape: tuple[int, ...] = (2, 3),
    constants: dict[str, np.ndarray] | None = None,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 16,
) -> onnx.ModelProto:
    """Build a model of nodes (operator, operands, results, attributes); a cast brings ``r`` to the output ``y``."""
    nodes = [
        helper.make_node(op, given.split(), made.split(), **(rest[0] if rest else {}))
        for op, given, made, *rest in steps
    ]
    if not any("y" in node.output for node in nodes):
        nodes.append(helper.make_node("Cast", ["r"], ["y"], to=FLOAT))
    return model(nodes, {"x": shape}, constants, outputs, opset)


def i64(*values: Any) -> np.ndarray:
    return np.array(values, dtype=np.int64)


HALVES = ("Slice", "x h0 h1 h2", "a"), ("Slice", "x h1 h3 h2", "c")
ENDS = {"h0": i64(0), "h1": i64(1), "h2": i64(0), "h3": i64(2)}
W, TO_INT, TO_BOOL = weights(1, 3), {"to": INT}, {"to": BOOL}
BITS = {"t": np.array([[True, False, True]])}
RANGE = np.arange(5, dtype=np.int64)

MODELS = {
    **{
        f"{op}-{name}": chain(*steps, (op, f"{one} {other}", "r"), constants=constants)
        for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")
        for name, steps, one, other, constants in [
            ("constant", (), "x", "w", {"w": np.round(W)}),
            ("left", (), "w", "x", {"w": np.round(2 * W) / 2}),
            ("real", HALVES, "a", "c", ENDS),
            ("whole", (*HALVES, ("Cast", "a", "i", TO_INT), ("Cast", "c", "j", TO_INT)), "i", "j", ENDS),
            ("mixed", (*HALVES, ("Floor", "a", "i")), "i", "c", ENDS),
            ("mixed-left", (*HALVES, ("Ceil", "a", "i")), "c", "i", ENDS),
            ("whole-constant", (("Floor", "x", "i"),), "i", "w", {"w": np.array([[0, 0.5, 1]], dtype=np.float32)}),
            ("huge", (("Floor", "x", "i"),), "i", "w", {"w": scalar(1e30)}),
        ]
    },
    **{
        f"{op}-{other}": chain(
            *HALVES,
            ("Greater", "a z", "p"),
            ("Less", "c z", "q"),
            (op, f"p {other}", "r"),
            constants=ENDS | BITS | {"z": scalar(0)},
        )
        for op in ("And", "Or", "Xor", "Equal")
        for other in ("q", "t")
    },
    "Not": chain(("Greater", "x z", "p"), ("Not", "p", "r"), constants={"z": scalar(0)}),
    "Cast-int": chain(("Cast", "x", "r", TO_INT)),
    "Cast-bool": chain(("Cast", "x", "r", TO_BOOL)),
    "Cast-int-bool": chain(("Cast", "x", "i", TO_INT), ("Cast", "i", "r", TO_BOOL)),
    "Where": chain(("Greater", "x z", "p"), ("Where", "p x w", "y"), constants={"z": scalar(0), "w": W}),
    "Where-both": chain(*HALVES, ("Greater", "a z", "p"), ("Where", "p a c", "y"), constants=ENDS | {"z": scalar(0)}),
    "Where-constants": chain(("Greater", "x z", "p"), ("Where", "p w z", "y"), constants={"z": scalar(0), "w": W}),
    **{
        f"{op}-{axis}-{last}": chain((op, "x", "r", {"axis": axis, "keepdims": last, "select_last_index": last}))
        for op in ("ArgMax", "ArgMin")
        for axis in (0, 1, -1)
        for last in (0, 1)
    },
    "ArgMax-many": chain(("ArgMax", "x", "r", {"axis": 1}), shape=(1, 7)),
    "ArgMax-one": chain(
        ("ArgMax", "x", "i", {"axis": 0}), ("Cast", "i", "f", {"to": FLOAT}), ("Add", "f x", "y"), shape=(1, 3)
    ),
    "ArgMax-softmax": chain(
        ("Softmax", "x", "s", {"axis": 1}),
        ("Transpose", "s", "u", {"perm": [1, 0]}),
        ("ArgMax", "u", "r", {"axis": 0}),
    ),
    "TopK": chain(("TopK", "x k", "v r"), constants={"k": i64(1)}),
    "TopK-values": chain(("TopK", "x k", "y i", {"axis": 0, "largest": 0}), constants={"k": i64(1)}),
    "TopK-smallest": chain(("TopK", "x k", "v r", {"largest": 0}), constants={"k": i64(1)}),
    "TopK-unread": chain(("TopK", "x k", "y i", {"axis": 0}), constants={"k": i64(2)}),
    **{
        f"TopK-{size}-{k}-{axis}-{largest}": chain(
            ("TopK", "x k", "v i", {"axis": axis, "largest": largest}),
            ("Cast", "i", "f", {"to": FLOAT}),
            ("Concat", "v f", "y", {"axis": 0}),
            constants={"k": i64(k)},
            shape=(2, size) if axis else (size, 2),
        )
        for size, k, axis, largest in [(2, 2, 1, 1), (3, 2, 0, 0), (4, 4, -1, 1), (5, 3, 1, 0), (7, 2, 0, 1)]
    },
    "TopK-whole": chain(
        ("Cast", "x", "i", TO_INT), ("TopK", "i k", "v p"), ("Add", "v p", "r"), constants={"k": i64(2)}
    ),
    "MaxPool-unread": chain(("MaxPool", "x", "y i", {"kernel_shape": [2, 2]}), shape=(1, 1, 3, 4)),
    "Hardmax": chain(("Hardmax", "x", "y")),
    "Hardmax-old": chain(("Hardmax", "x", "y", {"axis": 1}), opset=11, shape=(2, 3)),
    **{
        f"OneHot{axis}": chain(
            ("Cast", "x", "i", TO_INT),
            ("OneHot", "i d v", "y", {"axis": axis}),
            constants={"d": i64(3), "v": np.array([-1, 2], dtype=np.float32)},
        )
        for axis in (-1, 0, 1)
    },
    "OneHot-ArgMax": chain(
        ("ArgMax", "x", "i", {"axis": 1, "keepdims": 0}),
        ("OneHot", "i d v", "r"),
        constants={"d": i64(3), "v": i64(0, 1)},
    ),
    **{
        f"Gather-{table.ndim}-{axis}": chain(
            ("ArgMax", "x", "i", {"axis": 1}), ("Gather", "w i", "y", {"axis": axis}), constants={"w": table}
        )
        for table, axis in [(weights(3), 0), (weights(3, 2), 0), (weights(2, 3, 2), 1)]
    },
    "Gather-negative": chain(("Cast", "x", "i", TO_INT), ("Gather", "w i", "y"), constants={"w": weights(4)}),
    "Gather-variable": chain(("ArgMax", "x", "i", {"axis": 1}), ("Gather", "x i", "y", {"axis": 1})),
    "ScatterND": chain(
        ("ScatterND", "x i w", "y"), constants={"i": i64([0, 1], [1, 2]), "w": np.ones(2, dtype=np.float32)}
    ),
    "ScatterND-into": chain(("ScatterND", "w i x", "y"), constants={"i": i64([3], [1]), "w": weights(4, 3)}),
    "ScatterElements": chain(
        ("ScatterElements", "x i w", "y", {"axis": 1}), constants={"i": i64([0], [2]), "w": weights(2, 1)}
    ),
    "ScatterND-at": chain(
        ("ArgMax", "x", "i", {"axis": 1}),
        ("ScatterND", "w i u", "y"),
        constants={"w": weights(3), "u": np.zeros(1, dtype=np.float32)},
        shape=(1, 3),
    ),
}


def patch(length: int) -> onnx.ModelProto:
    """Zeros written into an image at a place that depends on the input, as far as it lies inside."""
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=INT),
        helper.make_node("Add", ["i", "length"], ["e"]),
        helper.make_node("Slice", ["range", "i", "e", "zero"], ["s"]),
        helper.make_node("Reshape", ["s", "column"], ["c"]),
        helper.make_node("Expand", ["c", "lines"], ["p"]),
        helper.make_node("Shape", ["p"], ["q"]),
        helper.make_node("Expand", ["other", "q"], ["o"]),
        helper.make_node("Concat", ["o", "p"], ["n"], axis=1),
        helper.make_node("Reshape", ["q", "one"], ["m"]),
        helper.make_node("Gather", ["m", "zero"], ["m0"], axis=0),
        helper.make_node("Expand", ["nought", "m0"], ["u"]),
        helper.make_node("ScatterND", ["image", "n", "u"], ["y"]),
    ]
    given = {"length": i64(length), "range": RANGE, "zero": i64(0), "column": i64(-1, 1), "lines": i64(1, 1)}
    given |= {"other": i64([2]), "one": i64(-1), "nought": np.zeros(1, dtype=np.float32), "image": weights(3, 5)}
    return model(nodes, {"x": (1,)}, given, opset=16)


MODELS |= {f"patch-{length}": patch(length) for length in (1, 3)}
NOT_NEGATIVE = {"patch-1", "patch-3"}


def points(name: str, graph: Graph, count: int = 40) -> torch.Tensor:
    """Points among which many hold whole numbers, halves and ties."""
    x = np.random.default_rng(1).uniform(-2.6, 2.6, (count, graph.n_inputs)).astype(np.float32)
    x[: count // 2] = np.round(x[: count // 2] * 2) / 2
    x[: count // 4] = np.round(x[: count // 4] / 2)
    if name in NOT_NEGATIVE:
        x = 3 * abs(x)
    return torch.from_numpy(x).double()


@pytest.mark.parametrize("name", MODELS)
def test_same_function(name: str) -> None:
    replay = Replay(MODELS[name])
    for simplify in (True, False):
        graph = load(MODELS[name], simplify=simplify)
        x = points(name, graph)
        expected = np.stack([replay.run(point.numpy()) for point in x])
        np.testing.assert_allclose(graph(x).numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", [INTERVAL, FORWARD, CROWN, BOTH], ids=["interval", "forward", "crown", "both"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("name", MODELS)
def test_bounds_hold_the_values(name: str, dtype: torch.dtype, method: Any) -> None:
    exact, graph = load(MODELS[name]), load(MODELS[name], dtype=dtype)
    centre = points(name, graph)
    radius = torch.tensor([0.0, 1e-9, 0.25, 0.5, 1.0]).double().repeat(8)[:, None]
    box = Box(centre - radius, centre + radius)  # ends at wholes and halves: many touch a jump
    if name in NOT_NEGATIVE:
        box = Box(box.lower.clamp(min=0), box.upper)
    draws = torch.cat([box.lower[None], box.upper[None], centre[None].clamp(box.lower, box.upper)])
    draws = torch.cat([draws, box.sample(40, torch.Generator().manual_seed(0))])
    values = exact(draws.flatten(0, 1)).unflatten(0, draws.shape[:2])
    with torch.no_grad():
        bounds = bound_nodes(graph, box.to(dtype), method)
        rows = torch.cat([torch.eye(graph.n_outputs), -torch.eye(graph.n_outputs)]).to(dtype)
        least = bounds.rows(rows.expand(len(centre), -1, -1)).minimum(box.to(dtype)).double()
    hull = bounds.boxes[OUTPUT]
    slack = 1e-9 * (1 + values.abs())
    assert (values >= hull.lower.double() - slack).all()
    assert (values <= hull.upper.double() + slack).all()
    assert (torch.cat([values, -values], -1) >= least - 1e-9 * (1 + least.abs())).all()


@pytest.mark.parametrize("name", ["Equal-whole", "OneHot0", "Gather-1-0", "And-q", "Xor-q", "Cast-int-bool", "patch-3"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_decided_values_are_exact(name: str, dtype: torch.dtype) -> None:
    """Rounding margins alone leave no truth value open."""
    graph = load(MODELS[name], dtype=dtype)
    x = torch.tensor([1.25, -1.5, 0.75, 1.0, 2.25, 0.5])[: graph.n_inputs].to(dtype)[None]
    bounds = bound_nodes(graph, Box(x, x), INTERVAL)
    torch.testing.assert_close(bounds.boxes[OUTPUT].lower, bounds.boxes[OUTPUT].upper, rtol=0, atol=1e-3)


def test_outside_of_an_axis_there_are_no_bounds() -> None:
    for name, x in (("Gather-negative", 5.0), ("Gather-negative", -5.0), ("patch-1", -1.0), ("patch-3", -3.0)):
        graph = load(MODELS[name])
        point = torch.full((1, graph.n_inputs), x, dtype=torch.float64)
        bounds = bound_nodes(graph, Box(point, point), BOTH)
        rows = torch.ones(1, 1, graph.n_outputs, dtype=torch.float64)
        assert bounds.rows(rows).minimum(Box(point, point)).isneginf().all()


def test_two_classes_take_a_single_step() -> None:
    graph = load(chain(("ArgMax", "x", "r", {"axis": 1}), shape=(3, 2)))
    steps = [node for node in graph.nodes.values() if isinstance(node.op, Step)]
    assert len(steps) == 1
    assert steps[0].shape == (3, 1)


BAD = {
    "sorted = 1 is supported": chain(("TopK", "x k", "v r", {"sorted": 0}), constants={"k": i64(2)}),
    "16384 are supported": chain(("TopK", "x k", "v r"), constants={"k": i64(2)}, shape=(1, 200)),
    "cast them first": chain(("OneHot", "x d v", "y"), constants={"d": i64(3), "v": weights(2)}),
    "int32 and int64 are supported": chain(("Cast", "x", "r", {"to": TensorProto.INT8})),
    "division of whole numbers": chain(("Cast", "x", "i", TO_INT), ("Div", "i w", "r"), constants={"w": i64(2)}),
    "a reduction": chain(
        ("ScatterND", "x i w", "y", {"reduction": "add"}), constants={"i": i64([0]), "w": weights(1, 3)}
    ),
    "one number for all of them": chain(
        ("ArgMax", "x", "i", {"axis": 1}), ("ScatterND", "w i u", "y"), constants={"w": weights(3), "u": weights(2)}
    ),
    "the size of an operand": chain(
        ("Cast", "x", "i", TO_INT),
        ("Add", "i w", "j"),
        ("Slice", "t i j z", "s"),
        ("ReduceSum", "s", "r"),
        constants={"w": i64(1), "z": i64(0), "t": RANGE},
        shape=(1,),
    ),
}


@pytest.mark.parametrize(("size", "k", "most"), [(1, 1, 0), (2, 2, 1), (8, 8, 19), (64, 2, 125), (1000, 3, 3000)])
def test_selection_of_the_largest(size: int, k: int, most: int) -> None:
    stages, results = selection(size, k)
    assert sum(map(len, stages)) <= most
    for seed in range(20):
        values = dict(enumerate(np.random.default_rng(seed).permutation(size)))
        for entry in (entry for stage in stages for entry in stage):
            pair = values[entry.one], values[entry.other]
            values[entry.larger], values[entry.smaller] = max(pair), min(pair)
        assert [values[number] for number in results] == list(range(size))[::-1][:k]


def test_values_of_many_elements() -> None:
    proto = chain(("TopK", "x k", "y i", {"axis": 1}), constants={"k": i64(5)}, shape=(2, 300))
    graph = load(proto)
    x = points("", graph, 8)
    np.testing.assert_array_equal(graph(x).numpy(), np.stack([Replay(proto).run(point.numpy()) for point in x]))


@pytest.mark.parametrize("message", BAD)
def test_what_is_not_supported_is_named(message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        load(BAD[message])
