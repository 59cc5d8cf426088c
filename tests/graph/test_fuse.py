"""What exporters spell out becomes one operator, is the same function, and what only looks alike stays."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from tests.bounds.nets import boxes, drawn
from tests.graph.models import assert_same_function, ints, scalar
from tests.graph.spelled import SPELLED, Spelled, Writer, built, gelu_torch, nonlinear
from verifier.bounds.schedule import BOTH, CROWN, FORWARD, INTERVAL, Method, bound_nodes
from verifier.graph import fuse as fusing
from verifier.graph.fuse_draft import Draft
from verifier.graph.graph import OUTPUT
from verifier.graph.onnx_import import load
from verifier.ops.arithmetic import Neg
from verifier.ops.curves import Power, Relu


@pytest.mark.parametrize("write", SPELLED, ids=lambda write: write.__name__)
def test_what_is_spelled_out_becomes_one_curve(write: Writer) -> None:
    proto = built(write)
    assert nonlinear(proto) == [SPELLED[write]]
    graph = assert_same_function(proto)
    raw = load(proto, simplify=False)
    x = 2 * torch.randn(64, graph.n_inputs, dtype=torch.float64, generator=drawn(0))
    torch.testing.assert_close(graph(x), raw(x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("method", [INTERVAL, FORWARD, CROWN, BOTH], ids=["interval", "forward", "crown", "both"])
@pytest.mark.parametrize("write", SPELLED, ids=lambda write: write.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bounds_hold_for_what_the_file_computes(write: Writer, method: Method, dtype: torch.dtype) -> None:
    proto = built(write)
    graph, raw = load(proto), load(proto, simplify=False)
    wanted = boxes(graph.n_inputs, (0.0, 1e-3, 0.3), 0)
    bounds = bound_nodes(graph.to(dtype), wanted.to(dtype), method).boxes[OUTPUT]
    y = raw(wanted.sample(100, drawn(0)).flatten(0, 1)).unflatten(0, (100, 3))
    assert (y >= bounds.lower - 1e-12 * (1 + y.abs())).all()
    assert (y <= bounds.upper + 1e-12 * (1 + y.abs())).all()
    if dtype == torch.float64:
        assert (bounds.upper - bounds.lower)[0].max() < 1e-9


def almost_gelu(n: Spelled, x: str) -> str:
    return n("Mul", x, n("Add", n("Erf", x), 1.001))


def gelu_of_something_else(n: Spelled, x: str) -> str:
    return n("Mul", x, n("Add", n("Erf", n("Add", x, 0.1)), 1))


def gelu_tanh_of_another_shape(n: Spelled, x: str) -> str:
    inner = n("Mul", n("Add", x, n("Mul", n("Pow", x, 3.0), 0.05)), 0.7978845834732056)
    return n("Mul", x, n("Add", n("Tanh", inner), 1))


def sigmoid_of_another_sum(n: Spelled, x: str) -> str:
    return n("Reciprocal", n("Add", 1.5, n("Exp", x)))


def softplus_of_another_sum(n: Spelled, x: str) -> str:
    return n("Log", n("Add", 1.5, n("Exp", x)))


def root_of_a_cube(n: Spelled, x: str) -> str:
    return n("Sqrt", n("Pow", x, 3.0))


def square_of_a_root(n: Spelled, x: str) -> str:
    return n("Pow", n("Sqrt", x), 2.0)


def root_of_a_reciprocal_root(n: Spelled, x: str) -> str:
    return n("Reciprocal", n("Pow", n("Abs", x), -0.5))


def crossed_clip(n: Spelled, x: str) -> str:
    return n("Min", n("Max", x, 1), 0)


def clip_to_several_ends(n: Spelled, x: str) -> str:
    return n("Min", n("Max", x, -2.0), np.arange(6, dtype=np.float32))


def per_channel_gate(n: Spelled, x: str) -> str:
    return n("Mul", x, n("Sigmoid", n("Mul", x, np.arange(1, 7, dtype=np.float32))))


ALIKE: list[Writer] = [
    almost_gelu,
    gelu_of_something_else,
    gelu_tanh_of_another_shape,
    sigmoid_of_another_sum,
    softplus_of_another_sum,
    root_of_a_cube,
    square_of_a_root,
    root_of_a_reciprocal_root,
    crossed_clip,
    clip_to_several_ends,
    per_channel_gate,
]


@pytest.mark.parametrize("write", ALIKE, ids=lambda write: write.__name__)
def test_what_only_looks_alike_stays(write: Writer) -> None:
    proto = built(write)
    assert len(nonlinear(proto)) >= 2
    graph, raw = load(proto), load(proto, simplify=False)
    x = torch.randn(64, graph.n_inputs, dtype=torch.float64, generator=drawn(0))
    torch.testing.assert_close(graph(x), raw(x), rtol=1e-11, atol=1e-11, equal_nan=True)


def test_a_layer_normalisation_has_one_curve_for_the_deviation() -> None:
    def write(n: Spelled, x: str) -> str:
        mean = n("ReduceMean", x, ints(-1))
        again = n("Sub", x, mean)
        variance = n("ReduceMean", n("Pow", n("Sub", x, mean), 2.0), ints(-1))
        return n("Div", again, n("Sqrt", n("Add", variance, 0.01)))

    proto = built(write)
    assert Counter(nonlinear(proto)) == {"Power": 2, "Product": 1}
    powers = [node.op.exponent for node in load(proto).nodes.values() if isinstance(node.op, Power)]
    assert powers == [2.0, -0.5]
    assert_same_function(proto)


def test_a_logarithm_of_a_normalised_exponential_needs_no_product() -> None:
    def write(n: Spelled, x: str) -> str:
        grown = n("Exp", x)
        return n("Log", n("Div", grown, n("ReduceSum", grown, ints(-1))))

    proto = built(write)
    assert nonlinear(proto) == ["Exp", "Log"]
    assert_same_function(proto)


def test_a_curve_that_is_read_twice_stays_for_the_other_reader() -> None:
    def write(n: Spelled, x: str) -> str:
        gate = n("Sigmoid", x)
        return n("Add", n("Mul", x, gate), gate)

    proto = built(write)
    assert sorted(nonlinear(proto)) == ["Sigmoid", "Silu"]
    assert_same_function(proto)


def test_the_constants_are_those_of_the_file() -> None:
    """A file's rounded constant is not replaced by the number that it stands for."""

    def write(n: Spelled, x: str) -> str:
        return n("Mul", x, n("Add", n("Erf", n("Mul", x, 0.707)), 1))

    proto = built(write)
    assert nonlinear(proto) == ["Gelu"]
    graph, raw = load(proto), load(proto, simplify=False)
    x = torch.randn(64, 3, dtype=torch.float64, generator=drawn(0))
    torch.testing.assert_close(graph(x), raw(x), rtol=1e-13, atol=1e-13)


def test_the_exact_graph_is_not_rewritten() -> None:
    kinds = [type(node.op).__name__ for node in load(built(gelu_torch)).exact().nodes.values()]
    assert "Erf" in kinds
    assert "Gelu" not in kinds


def test_a_rule_that_is_wrong_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(nodes: object, node: object) -> Draft | None:
        if not isinstance(node.op, Relu):  # type: ignore[attr-defined]
            return None
        draft = Draft(node)  # type: ignore[arg-type]
        draft.apply(Neg(), node.parents[0])  # type: ignore[attr-defined]
        return draft

    monkeypatch.setattr(fusing, "RULES", (wrong,))
    assert nonlinear(built(lambda n, x: n("Relu", x))) == ["Relu"]


def test_curves_are_fused_with_the_layers_around_them() -> None:
    kinds = [type(node.op).__name__ for node in load(built(gelu_torch)).nodes.values() if node.op]
    assert kinds == ["View", "Linear", "Gelu", "Linear", "Reshape"]


def test_nothing_to_fuse_changes_nothing() -> None:
    proto = built(lambda n, x: n("Relu", n("Add", x, scalar(1))))
    raw = load(proto, simplify=False)
    assert fusing.fuse(raw) is raw
