"""Curves as exporters spell them out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from tests.graph.models import model, weights
from verifier.graph.onnx_import import load
from verifier.ops.curves import Curve
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
