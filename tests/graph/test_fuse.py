"""What exporters spell out becomes one operator, is the same function, and what only looks alike stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from tests.bounds.nets import boxes, drawn
from tests.graph.test_import import assert_same_function, ints, model, scalar, weights
from verifier.bounds.schedule import BOTH, CROWN, FORWARD, INTERVAL, Method, bound_nodes
from verifier.graph import fuse as fusing
from verifier.graph.fuse_draft import Draft
from verifier.graph.graph import OUTPUT
from verifier.graph.onnx_import import load
from verifier.ops.arithmetic import Neg
from verifier.ops.curves import Curve, Power, Relu
from verifier.ops.product import Product


class Spelled:
    """A model under construction, in short: operands are names or numbers; each call returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def __call__(self, op: str, *operands: str | float | np.ndarray, **attributes: object) -> str:
        names = []
        for operand in operands:
            if not isinstance(operand, str):
                name = f"c{len(self.constants)}"
                self.constants[name] = np.asarray(
                    operand, dtype=np.int64 if isinstance(operand, np.ndarray) and operand.dtype == np.int64 else "f4"
                )
                operand = name
            names.append(operand)
        self.nodes.append(helper.make_node(op, names, [f"t{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]


Writer = Callable[[Spelled, str], str]


def built(write: Writer, shape: tuple[int, ...] = (1, 6)) -> onnx.ModelProto:
    """Put what a writer spells out between two affine layers."""
    net = Spelled()
    y = write(net, net("MatMul", "x", weights(3, shape[-1])))
    net("MatMul", y, weights(shape[-1], 2))
    return model(net.nodes, {"x": (*shape[:-1], 3)}, net.constants, [net.nodes[-1].output[0]], opset=18)


def gelu_torch(n: Spelled, x: str) -> str:
    gate = n("Add", n("Erf", n("Div", x, 1.4142135381698608)), 1)
    return n("Mul", n("Mul", x, gate), 0.5)


def gelu_torch_new(n: Spelled, x: str) -> str:
    gate = n("Mul", n("Add", n("Erf", n("Mul", x, 0.7071067690849304)), 1.0), 0.5)
    return n("Mul", gate, x)


def gelu_halved_first(n: Spelled, x: str) -> str:
    return n("Mul", n("Mul", 0.5, x), n("Add", 1, n("Erf", n("Div", x, float(np.sqrt(2))))))


def gelu_of_another_width(n: Spelled, x: str) -> str:
    return n("Mul", n("Mul", x, 3), n("Add", 1, n("Erf", n("Mul", x, -0.3))))


def gelu_negated(n: Spelled, x: str) -> str:
    return n("Mul", x, n("Sub", n("Erf", n("Mul", x, 0.6)), 1))


def gelu_of_a_moved_number(n: Spelled, x: str) -> str:
    return gelu_torch(n, n("Add", x, 0.7))


def gelu_tanh_torch(n: Spelled, x: str) -> str:
    inner = n("Mul", n("Add", x, n("Mul", n("Pow", x, 3.0), 0.044715)), 0.7978845834732056)
    return n("Mul", n("Mul", x, 0.5), n("Add", n("Tanh", inner), 1))


def gelu_tanh_products(n: Spelled, x: str) -> str:
    cube = n("Mul", n("Mul", x, x), x)
    inner = n("Mul", 0.7978845608, n("Add", x, n("Mul", 0.044715, cube)))
    return n("Mul", n("Mul", n("Add", n("Tanh", inner), 1), x), 0.5)


def gelu_tanh_factored(n: Spelled, x: str) -> str:
    inner = n("Mul", n("Mul", x, 0.7978845608), n("Add", 1, n("Mul", n("Mul", x, 0.044715), x)))
    return n("Mul", 0.5, n("Mul", x, n("Add", 1, n("Tanh", inner))))


def quick_gelu(n: Spelled, x: str) -> str:
    return n("Mul", x, n("Sigmoid", n("Mul", x, 1.702)))


def silu_by_tanh(n: Spelled, x: str) -> str:
    return n("Mul", n("Mul", x, 0.5), n("Add", n("Tanh", n("Mul", x, 0.5)), 1))


def silu_of_the_rest(n: Spelled, x: str) -> str:
    return n("Mul", x, n("Sub", 1, n("Sigmoid", x)))


def silu_by_exp(n: Spelled, x: str) -> str:
    return n("Div", x, n("Add", n("Exp", n("Neg", x)), 1))


def mish_by_softplus(n: Spelled, x: str) -> str:
    return n("Mul", x, n("Tanh", n("Softplus", x)))


def mish_by_logarithm(n: Spelled, x: str) -> str:
    return n("Mul", n("Mul", x, 2), n("Tanh", n("Log", n("Add", n("Exp", x), 1))))


def hard_swish_by_clip(n: Spelled, x: str) -> str:
    return n("Div", n("Mul", x, n("Clip", n("Add", x, 3), 0, 6)), 6)


def hard_swish_by_gate(n: Spelled, x: str) -> str:
    return n("Mul", x, n("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def hard_swish_by_extremes(n: Spelled, x: str) -> str:
    return n("Mul", n("Div", n("Min", n("Max", n("Add", x, 3), 0), 6), 6), x)


def sigmoid_by_exp(n: Spelled, x: str) -> str:
    return n("Reciprocal", n("Add", 1, n("Exp", n("Mul", x, -2))))


def sigmoid_by_growing_exp(n: Spelled, x: str) -> str:
    grown = n("Exp", x)
    return n("Div", grown, n("Add", grown, 1))


def sigmoid_by_dividing(n: Spelled, x: str) -> str:
    return n("Div", 3.0, n("Add", n("Mul", 2, n("Exp", n("Neg", x))), 2))


def tanh_by_exp(n: Spelled, x: str) -> str:
    up, down = n("Exp", x), n("Exp", n("Neg", x))
    return n("Div", n("Sub", up, down), n("Add", up, down))


def tanh_by_square(n: Spelled, x: str) -> str:
    return n("Div", n("Sub", n("Exp", n("Mul", x, 2)), 1), n("Add", n("Exp", n("Mul", x, 2)), 1))


def tanh_by_falling(n: Spelled, x: str) -> str:
    fallen = n("Exp", n("Mul", x, -2))
    return n("Div", n("Sub", 1, fallen), n("Add", 1, fallen))


def softplus_by_log(n: Spelled, x: str) -> str:
    return n("Log", n("Add", n("Exp", n("Mul", x, 3)), 1))


def log_sigmoid(n: Spelled, x: str) -> str:
    return n("Log", n("Sigmoid", x))


def abs_by_max(n: Spelled, x: str) -> str:
    return n("Max", x, n("Neg", x))


def abs_by_root(n: Spelled, x: str) -> str:
    return n("Sqrt", n("Mul", x, x))


def leaky_by_max(n: Spelled, x: str) -> str:
    return n("Max", n("Mul", x, 0.01), x)


def leaky_by_rectifiers(n: Spelled, x: str) -> str:
    return n("Sub", n("Relu", x), n("Mul", n("Relu", n("Neg", x)), 0.25))


def leaky_by_min(n: Spelled, x: str) -> str:
    return n("Add", n("Max", x, 0), n("Mul", n("Min", x, 0), 0.2))


def clip_by_extremes(n: Spelled, x: str) -> str:
    return n("Min", n("Max", x, -0.5), 1.25)


def clip_the_other_way(n: Spelled, x: str) -> str:
    return n("Max", -0.5, n("Min", 1.25, x))


def relu_6(n: Spelled, x: str) -> str:
    return n("Min", n("Relu", x), 6)


def clip_to_equal_ends(n: Spelled, x: str) -> str:
    return n("Min", n("Max", x, np.full((1, 6), -2.0)), np.full(6, 3.0))


def cube_by_products(n: Spelled, x: str) -> str:
    return n("Mul", n("Mul", x, x), n("Mul", x, 2))


def square_of_negative(n: Spelled, x: str) -> str:
    return n("Mul", x, n("Neg", x))


SPELLED: dict[Writer, str] = {
    gelu_torch: "Gelu",
    gelu_torch_new: "Gelu",
    gelu_halved_first: "Gelu",
    gelu_of_another_width: "Gelu",
    gelu_negated: "Gelu",
    gelu_of_a_moved_number: "Gelu",
    gelu_tanh_torch: "GeluTanh",
    gelu_tanh_products: "GeluTanh",
    gelu_tanh_factored: "GeluTanh",
    quick_gelu: "Silu",
    silu_by_tanh: "Silu",
    silu_of_the_rest: "Silu",
    silu_by_exp: "Silu",
    mish_by_softplus: "Mish",
    mish_by_logarithm: "Mish",
    hard_swish_by_clip: "HardSwish",
    hard_swish_by_gate: "HardSwish",
    hard_swish_by_extremes: "HardSwish",
    sigmoid_by_exp: "Sigmoid",
    sigmoid_by_growing_exp: "Sigmoid",
    sigmoid_by_dividing: "Sigmoid",
    tanh_by_exp: "Tanh",
    tanh_by_square: "Tanh",
    tanh_by_falling: "Tanh",
    softplus_by_log: "Softplus",
    log_sigmoid: "Softplus",
    abs_by_max: "Abs",
    abs_by_root: "Abs",
    leaky_by_max: "LeakyRelu",
    leaky_by_rectifiers: "LeakyRelu",
    leaky_by_min: "LeakyRelu",
    clip_by_extremes: "Clip",
    clip_the_other_way: "Clip",
    relu_6: "Clip",
    clip_to_equal_ends: "Clip",
    cube_by_products: "Power",
    square_of_negative: "Power",
}


def nonlinear(proto: onnx.ModelProto) -> list[str]:
    """Name the operators that are not affine."""
    nodes = load(proto).nodes.values()
    return [type(node.op).__name__ for node in nodes if isinstance(node.op, (Curve, Product))]


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
