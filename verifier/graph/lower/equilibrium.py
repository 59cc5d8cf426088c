"""Equilibria: ONNX has no implicit layer, so one is written as a Loop that averages until nothing moves any more.

Only a Loop of exactly this form is read, and as what it converges to.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from verifier.graph.lower.builder import Builder, Call, Operand, lowers, tensor
from verifier.graph.lower.piecewise import PLAIN
from verifier.graph.onnx_file import Array, to_array
from verifier.ops.curves import Curve
from verifier.ops.equilibrium import Equilibrium

PLACES = (0, 4, 8)
"""Nodes of a step whose second operands are the weight, the step and the tolerance."""

LENGTH = 12
"""Parts of the wiring of a step: its nodes, its inputs and its outputs."""


def body(activation: str, weight: Array, step: float, tolerance: float) -> onnx.GraphProto:
    """Build one step, of the state z and of x, which stays: ``z + step * (activation(z @ weight + x) - z)``.

    Args:
        activation: an ONNX operator of one operand, without attributes.
        weight: ``(n, n)``; its dtype is that of the state.
        step: the part of the way that is gone.
        tolerance: it goes on while an element moves by more than this.
    """
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    constants = {"weight": weight, "step": np.array(step), "tolerance": np.array(tolerance)}
    nodes = [
        helper.make_node("MatMul", ["z", "weight"], ["recurrent"]),
        helper.make_node("Add", ["recurrent", "x"], ["preactivation"]),
        helper.make_node(activation, ["preactivation"], ["image"]),
        helper.make_node("Sub", ["image", "z"], ["way"]),
        helper.make_node("Mul", ["way", "step"], ["move"]),
        helper.make_node("Add", ["z", "move"], ["next"]),
        helper.make_node("Abs", ["move"], ["distances"]),
        helper.make_node("ReduceMax", ["distances"], ["distance"], keepdims=0),
        helper.make_node("Greater", ["distance", "tolerance"], ["go_on"]),
        helper.make_node("Identity", ["x"], ["same"]),
    ]
    states = [("z", kind), ("x", kind), ("next", kind), ("same", kind)]
    z, x, following, same = (helper.make_tensor_value_info(name, dtype, None) for name, dtype in states)
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    going, go_on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("going", "go_on"))
    initial = [numpy_helper.from_array(np.asarray(value, weight.dtype), name) for name, value in constants.items()]
    return helper.make_graph(nodes, "equilibrium", [count, going, z, x], [go_on, following, same], initial)


@lowers("Loop")
def loop(b: Builder, call: Call) -> tuple[Operand, ...]:
    """Lower a Loop that is an equilibrium, to its last state and x; where it begins does not matter."""
    step = call.get("body")
    constants = {value.name: to_array(value) for value in step.initializer}
    form = wiring(step)
    names = [step.node[k].input[1] if len(form) == LENGTH and len(step.node[k].input) > 1 else "" for k in PLACES]
    kind = step.node[2].op_type if len(form) == LENGTH else ""
    curve = PLAIN.get(kind)
    if not isinstance(curve, Curve) or not set(names) <= set(constants):
        raise refused(call)
    weight, rate, tolerance = (constants[name] for name in names)
    if form != wiring(body(kind, weight, 1.0, 0.0)) or rate.size != 1 or tolerance.size != 1 or not (rate > 0).all():
        raise refused(call)
    count, going, x = call.optional(0), call.optional(1), call.variable(3)
    if count is None or (going is not None and not going.all()) or len(call.args) != 4:
        raise refused(call)
    if weight.shape != (x.shape[-1], x.shape[-1]):
        raise ValueError(f"weights of shape {weight.shape} for {x.shape[-1]} states")
    op = Equilibrium(
        tensor(weight), curve, float(rate.reshape(())), float(tolerance.reshape(())), int(count.reshape(()))
    )
    return b.apply(op, x), x


def refused(call: Call) -> Exception:
    """Return the error to raise for other loops."""
    return call.unsupported("a loop; only that of an equilibrium layer is supported, as verifier.export writes it")


def wiring(graph: onnx.GraphProto) -> list[tuple[object, ...]]:
    """Return what reads what, with names replaced by numbers in the order in which they occur."""
    numbers: dict[str, int] = {}

    def numbered(names: list[str]) -> tuple[int, ...]:
        return tuple(numbers.setdefault(name, len(numbers)) for name in names)

    inputs: tuple[object, ...] = numbered([value.name for value in graph.input])
    nodes: list[tuple[object, ...]] = [
        (
            node.domain,
            node.op_type,
            numbered(list(node.input)),
            numbered(list(node.output)),
            sorted(entry.SerializeToString() for entry in node.attribute),
        )
        for node in graph.node
    ]
    return [inputs, *nodes, numbered([value.name for value in graph.output])]
