"""Tables of operators: those of ONNX and how they are read, and those that networks consist of then."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import torch
from tables import table

from verifier.errors import UnsupportedError
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node, Port
from verifier.graph.jacobian import jacobian
from verifier.graph.lower import LOWER
from verifier.graph.lower.builder import result_shape
from verifier.graph.lower.fold import FOLD
from verifier.graph.lower.piecewise import PLAIN
from verifier.ops.elementwise import Elementwise
from verifier.ops.op import OPS, Op, Shape
from verifier.ops.product import Product
from verifier.ops.shape import Reshape, View
from verifier.ops.unbounded import Unbounded


def onnx_table() -> str:
    """Return what is read of ONNX: by name, on what, and how."""
    rows = ((f"`{name}`", operands(name), how(name)) for name in sorted({*LOWER, *FOLD}))
    return table(("ONNX operator", "operands", "how it is read"), rows)


def operands(name: str) -> str:
    """Say whether an operator may depend on the network's input."""
    return "any" if name in LOWER else "constant"


def how(name: str) -> str:
    """Return the first sentence on an operator."""
    if name in PLAIN:
        op = PLAIN[name]
        exponent = f", with exponent {op.exponent:g}" if hasattr(op, "exponent") else ""
        return f"as `{type(op).__name__}`: {summary(type(op))}{exponent}"
    return summary(LOWER[name]) if name in LOWER else "evaluated when the network is read"


def own_table() -> str:
    """Return what networks consist of: each operator, its bounds, whether it is branched on and differentiated."""
    rows = ((f"`{name}`", summary(kind), *traits(kind)) for name, kind in sorted(OPS.items()))
    return table(("operator", "function", "bounds", "branched on", "derivative"), rows)


def traits(kind: type[Op]) -> tuple[str, str, str]:
    """Return what can be done with an operator; by its first sample."""
    if issubclass(kind, Unbounded):
        return "none but a global Lipschitz constant", "no", "no"
    op, shapes = next(iter(kind.samples()))
    relaxed = "planes" if issubclass(kind, Product) else "lines"
    bounds = f"between two {relaxed}" if isinstance(op, Elementwise) else "exact"
    branched = "yes" if isinstance(op, Elementwise) else "not needed"
    return bounds, branched, "yes" if differentiable(op, shapes) else "no"


def differentiable(op: Op, shapes: list[Shape]) -> bool:
    """Tell whether a network of this operator alone has a Jacobian."""
    try:
        jacobian(alone(op, shapes))
    except UnsupportedError:
        return False
    return True


def alone(op: Op, shapes: list[Shape]) -> Graph:
    """Return the network that applies an operator to pieces of its input."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    names = [f"operand {k}" for k in range(len(shapes))]
    out = result_shape(op, *shapes)
    size = (torch.Size(out).numel(),)

    def nodes() -> Iterator[Node]:
        yield Node(INPUT, None, (), (sum(sizes),))
        for k, (name, shape) in enumerate(zip(names, shapes, strict=True)):
            yield Node(name, View(sum(sizes[:k]), shape), (INPUT,), shape)
        yield Node("result", op, tuple(names), out)
        yield Node(OUTPUT, Reshape(size), ("result",), size)

    ports = (Port("x", (sum(sizes),), "float64"),), (Port("y", size, "float64"),)
    return Graph(nodes(), *ports, torch.float64, torch.device("cpu"))


def summary(documented: object) -> str:
    """Return the first line of a docstring, without its full stop."""
    return (inspect.getdoc(documented) or "").partition("\n")[0].rstrip(".")
