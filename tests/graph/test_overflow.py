"""Whole numbers that may not fit into their type: there are no bounds where they would wrap around."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import verifier
from specs import Case, InputSet, Rows, Spec
from tests.graph.models import scalar
from tests.graph.test_discrete import BITS, INT, MODELS, TO_INT, chain, i64, patch
from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.check.replay import Replay
from verifier.errors import UnsupportedError
from verifier.graph.graph import OUTPUT
from verifier.graph.lower.checks import MAY_BE_WHOLE
from verifier.graph.lower.overflow import OVERFLOWS, element_types
from verifier.graph.onnx_import import load
from verifier.ops.curves import Within
from verifier.result import Reason, Verdict
from verifier.sets import Box

TO_32, TO_U8, TO_I8 = ({"to": kind} for kind in (TensorProto.INT32, TensorProto.UINT8, TensorProto.INT8))
CAST = "Cast", "x", "i", TO_32
ZERO = {"z": scalar(0)}
SIGNS = ("Greater", "x z", "p"), ("Cast", "p", "a", TO_U8)


def guards(model: onnx.ModelProto) -> list[tuple[float, float]]:
    graph = load(model, simplify=False)
    return [(node.op.low, node.op.high) for node in graph.nodes.values() if isinstance(node.op, Within)]


NEEDED = {
    "cast-32": (chain(("Cast", "x", "r", TO_32)), 1),
    "cast-64": (chain(("Cast", "x", "r", TO_INT)), 1),
    "cast-floor": (chain(("Floor", "x", "f"), ("Cast", "f", "r", TO_32)), 1),
    "cast-narrower": (chain(("Cast", "x", "i", TO_INT), ("Cast", "i", "r", TO_32)), 2),
    "cast-half-clipped": (chain(("Relu", "x", "c"), ("Cast", "c", "r", TO_32)), 1),
    "cast-clipped-far": (
        chain(("Clip", "x l h", "c"), ("Cast", "c", "r", TO_32), constants={"l": scalar(0), "h": scalar(4e9)}),
        1,
    ),
    "like": (chain(("CastLike", "x w", "r"), constants={"w": np.zeros(1, dtype=np.int32)}), 1),
    "add": (chain(CAST, ("Add", "i w", "r"), constants={"w": np.array(2**30 + 1, dtype=np.int32)}), 2),
    "sub": (chain(CAST, ("Sub", "w i", "r"), constants={"w": np.array(2**31 - 1000, dtype=np.int32)}), 2),
    "mul": (chain(CAST, ("Mul", "i i", "r")), 2),
    "mul-constant": (chain(CAST, ("Mul", "i w", "r"), constants={"w": np.array(3, dtype=np.int32)}), 2),
    "sum": (chain(CAST, ("ReduceSum", "i", "r")), 2),
    "running-sum": (chain(CAST, ("CumSum", "i w", "r"), constants={"w": i64(1)}), 2),
    "bytes": (chain(*SIGNS, ("Sub", "a w", "r"), constants=ZERO | {"w": np.array(1, dtype=np.uint8)}), 1),
    "small": (
        chain(
            ("Greater", "x z", "p"),
            ("Cast", "p", "a", TO_I8),
            ("Mul", "a w", "b"),
            ("Add", "b w", "r"),
            constants=ZERO | {"w": np.array(127, dtype=np.int8)},
        ),
        1,
    ),
}

NEEDLESS = {
    "argmax": chain(("ArgMax", "x", "i", {"axis": 1}), ("Add", "i w", "r"), constants={"w": i64(300)}),
    "truth": chain(("Greater", "x z", "p"), ("Cast", "p", "i", TO_32), ("ReduceSum", "i", "r"), constants=ZERO),
    "comparison": chain(("Floor", "x", "f"), ("Greater", "f z", "r"), constants=ZERO),
    "clipped": chain(
        ("Clip", "x l h", "c"), ("Cast", "c", "r", TO_32), constants={"l": scalar(-9), "h": scalar(300.5)}
    ),
    "clipped-rounded": chain(
        ("Clip", "x l h", "c"),
        ("Round", "c", "f"),
        ("Cast", "f", "r", TO_32),
        constants={"l": scalar(0), "h": scalar(255)},
    ),
    "bytes": chain(*SIGNS, ("Add", "a w", "r"), constants=ZERO | {"w": np.array(254, dtype=np.uint8)}),
    "choice": chain(("Greater", "x z", "p"), ("Where", "p v w", "r"), constants=ZERO | {"v": i64(2**20), "w": i64(-7)}),
    "products": chain(
        ("ArgMax", "x", "i", {"axis": 1}), ("Mul", "i i", "j"), ("Mul", "j w", "r"), constants={"w": i64(1000)}
    ),
    "bits": chain(("Greater", "x z", "p"), ("Xor", "p t", "r"), constants=ZERO | BITS),
}


PICK = {"And", "ArgMax", "ArgMin", "Ceil", "Clip", "Concat", "DepthToSpace", "Equal", "Expand", "Flatten", "Floor"}
PICK |= {"Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max"}
PICK |= {"Min", "Not", "OneHot", "Or", "Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Round", "ScatterElements"}
PICK |= {"ScatterND", "Sign", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Trilu"}
PICK |= {"Unsqueeze", "Where", "Xor"}
REFUSED = {"Div", "ReduceMean"}


def test_every_operator_of_whole_numbers_is_known_to_overflow_or_not() -> None:
    assert MAY_BE_WHOLE | {"CastLike"} == OVERFLOWS | PICK | REFUSED
    assert not OVERFLOWS & (PICK | REFUSED)


@pytest.mark.parametrize("name", NEEDED)
def test_what_may_not_fit_is_guarded(name: str) -> None:
    model, count = NEEDED[name]
    assert len(guards(model)) == count


@pytest.mark.parametrize("name", NEEDLESS)
def test_what_fits_is_not(name: str) -> None:
    assert guards(NEEDLESS[name]) == []


def test_a_guard_leaves_room_for_what_is_added() -> None:
    assert guards(chain(CAST, ("Add", "i w", "r"), constants={"w": np.array(7, dtype=np.int32)})) == [(-(2**30), 2**30)]
    assert len(guards(patch(3))) == 2  # the cast, and an index that has to be non-negative


def test_guards_let_small_numbers_through() -> None:
    for name in ("cast-32", "mul", "sum", "running-sum", "add", "sub"):
        graph = load(NEEDED[name][0])
        x = torch.tensor([[2.5, 3.0, 1.0, 0.5, 7.0, 20.0]], dtype=torch.float64)
        bounds = bound_nodes(graph, Box(x, x), INTERVAL).boxes[OUTPUT]
        expected = torch.from_numpy(Replay(NEEDED[name][0]).run(x[0].numpy()))[None]
        assert (bounds.lower.isfinite() & bounds.upper.isfinite()).all()
        assert ((bounds.lower <= expected + 64) & (expected - 64 <= bounds.upper)).all()  # which is in float32


def test_bytes_below_zero_have_no_bounds() -> None:
    graph = load(NEEDED["bytes"][0])
    x = torch.tensor([[-1.0, -1.0, -1.0, -1.0, -1.0, 1.0]], dtype=torch.float64)
    bounds = bound_nodes(graph, Box(x, x), INTERVAL).boxes[OUTPUT]
    assert bounds.lower.isneginf().tolist() == [[True, True, True, True, True, False]]
    torch.testing.assert_close(bounds.upper[0, 5].item(), 0.0)  # 1 - 1: bytes have no negative constants to be added


SQUARE = chain(CAST, ("Mul", "i i", "r"), shape=(1,))


def at_most(bound: float, lower: float, upper: float) -> Spec:
    """Unsafe where ``y <= bound``."""
    rows = Rows(np.ones((1, 1)), None, np.array([bound]), np.zeros(1, dtype=bool))
    return Spec((Case(InputSet(np.array([lower]), np.array([upper])), rows),), 1, 1)


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (SQUARE, at_most(-1.0, 40000.0, 60000.0)),
        (chain(("Cast", "x", "r", TO_32), shape=(1,)), at_most(0.0, 1e9, 4e9)),
        (chain(("Cast", "x", "r", TO_INT), shape=(1,)), at_most(0.0, 1e18, 4e19)),
    ],
    ids=["square", "cast-32", "cast-64"],
)
def test_nothing_is_proved_where_numbers_wrap_around(model: onnx.ModelProto, spec: Spec) -> None:
    """In real arithmetic no such point is unsafe; in the model one is."""
    (case,) = spec.cases
    assert Replay(model).run(case.inputs.upper.astype(np.float32))[0] <= case.rows.bound[0]
    result = verifier.verify(model, spec, verifier.Config(timeout=1, attack=False))
    assert result.verdict is Verdict.UNKNOWN
    assert result.reason is Reason.UNSUPPORTED
    assert "domain" in result.detail


def test_where_they_do_not_there_is_a_verdict() -> None:
    result = verifier.verify(SQUARE, at_most(99.5, 10.0, 3000.0), verifier.Config(timeout=20, attack=False))
    assert result.verdict is Verdict.UNSAT


def test_constants_that_do_not_fit_are_refused() -> None:
    model = chain(
        ("Cast", "w", "i", TO_32),
        ("Cast", "i", "f", {"to": TensorProto.FLOAT}),
        ("Add", "x f", "y"),
        constants={"w": scalar(3e9)},
    )
    with pytest.raises(UnsupportedError, match="does not fit into int32"):
        load(model)


def test_types_are_told_as_onnx_does() -> None:
    for name, model in MODELS.items():
        inferred = onnx.shape_inference.infer_shapes(model).graph
        expected = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
        assert expected.items() <= dict(element_types(model.graph, model.opset_import[0].version)).items(), name


def test_a_constant_says_its_type() -> None:
    value = helper.make_tensor("v", INT, [1], [4])
    nodes = [helper.make_node("Constant", [], ["c"], value=value), helper.make_node("Constant", [], ["d"], value_int=3)]
    graph = helper.make_graph(nodes, "constants", [], [])
    assert element_types(graph, 16) == {"c": INT, "d": INT}
