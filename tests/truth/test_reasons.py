"""What is not known is said to be unknown, with the reason; what only compares outputs needs only their order."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

import verifier
from specs import Case, InputSet, Rows, Spec
from verifier.graph.graph import OUTPUT
from verifier.graph.onnx_import import load
from verifier.ops.curves import Exp, Power
from verifier.result import Reason, Verdict


def model(nodes: list[tuple[str, str, str, dict[str, int]]], size: int, opset: int = 13) -> ModelProto:
    """Operators in a chain of vectors of one size, ``x`` to ``y``."""
    made = [helper.make_node(kind, source.split(), [target], **given) for kind, source, target, given in nodes]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name in ("x", "y")]
    graph = helper.make_graph(made, "chain", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def below(rows: list[list[float]], bound: list[float], lower: list[float], upper: list[float]) -> Spec:
    """Unsafe where all ``rows . y <= bound``."""
    inputs = InputSet(np.array(lower), np.array(upper))
    case = Case(inputs, Rows(np.array(rows), None, np.array(bound), np.zeros(len(bound), dtype=bool)))
    return Spec((case,), len(lower), len(rows[0]))


@pytest.mark.parametrize(
    ("kind", "rows", "bound"),
    [
        ("Reciprocal", [[1.0], [-1.0]], [0.2, -0.1]),
        ("Log", [[-1.0]], [-1e30]),
        ("Sqrt", [[-1.0]], [-1e30]),
    ],
)
def test_leaving_a_domain_is_a_reason(kind: str, rows: list[list[float]], bound: list[float]) -> None:
    spec = below(rows, bound, [-1.0], [1.0])
    result = verifier.verify(model([(kind, "x", "y", {})], 1), spec, verifier.Config(timeout=3, attack=False))
    assert result.verdict is Verdict.UNKNOWN
    assert result.reason is Reason.UNSUPPORTED
    assert "domain" in result.detail


def test_inside_of_the_domain_there_is_a_verdict() -> None:
    spec = below([[1.0]], [0.4], [0.5], [2.0])
    result = verifier.verify(model([("Reciprocal", "x", "y", {})], 1), spec, verifier.Config(timeout=20))
    assert result.verdict is Verdict.UNSAT


SOFTMAX = [("Mul", "x x", "s", {}), ("Softmax", "s", "y", {"axis": 1})]


def test_a_last_softmax_goes_where_only_order_counts() -> None:
    graph = load(model(SOFTMAX, 3))
    kinds = {type(node.op) for node in graph.nodes.values()}
    ranking = graph.ranking()
    assert Exp in kinds
    assert {type(node.op) for node in ranking.nodes.values()} & {Exp, Power} == {Power}
    assert ranking.nodes[OUTPUT].shape == graph.nodes[OUTPUT].shape


@pytest.mark.parametrize(
    ("kind", "axis", "opset", "may_rank"),
    [
        ("Softmax", None, 13, True),
        ("LogSoftmax", 0, 13, False),  # each element is a softmax of its own
        ("Softmax", 0, 11, True),  # the axes from this one on count as one
        ("Softmax", None, 11, True),
        ("Tanh", None, 13, True),
        ("Relu", None, 13, False),
    ],
)
def test_what_keeps_the_order_of_all_outputs(kind: str, axis: int | None, opset: int, may_rank: bool) -> None:
    proto = model([("Neg", "x", "s", {}), (kind, "s", "y", {} if axis is None else {"axis": axis})], 3, opset)
    graph = load(proto)
    assert (graph.ranking() is not graph) == may_rank


@pytest.mark.parametrize(
    ("rows", "bound", "verdict"),
    [
        ([[1.0, -1.0, 0.0]], [0.0], Verdict.UNSAT),  # y0 <= y1
        ([[-1.0, 0.0, 1.0]], [0.0], Verdict.SAT),  # y2 <= y0
        ([[1.0, -1.0, 0.0]], [0.6], Verdict.SAT),  # y0 - y1 <= 0.6 is not a question of order
        ([[2.0, -1.0, 0.0]], [0.0], Verdict.UNSAT),  # nor is 2 y0 <= y1
    ],
)
def test_with_and_without_the_softmax_it_is_the_same_property(
    rows: list[list[float]], bound: list[float], verdict: Verdict
) -> None:
    spec = below(rows, bound, [1.5, 0.0, 0.0], [1.6, 1.0, 0.5])
    result = verifier.verify(model(SOFTMAX, 3), spec, verifier.Config(timeout=20))
    assert result.verdict is verdict
