"""What the lowering functions share: operands, the call they lower, and the builder that collects nodes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from verifier.errors import ModelError, UnsupportedError
from verifier.graph.graph import Node, unused
from verifier.graph.lower.whole import Span, common_kind, span_of
from verifier.graph.onnx_file import Array
from verifier.ops.arithmetic import Add, Neg, Scale, Sub, Translate
from verifier.ops.curves import Power
from verifier.ops.op import Op, Shape
from verifier.ops.product import Product
from verifier.ops.select import Expand, Slice
from verifier.ops.shape import Reshape, Transpose

TRUTH: Span = (0.0, 1.0)
"""The range of truth values."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A tensor that depends on the network's input.

    ``kind`` is that of its ONNX type: "f" floating, "i" whole numbers, "b" truth values, which are 0 and 1 here. Where
    all values are known to be whole, whatever their type, ``span`` is a range that holds them.
    """

    name: str
    shape: Shape
    kind: str = "f"
    span: Span | None = None

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)


Operand = Variable | Array


def kind_of(x: Operand) -> str:
    """Return the kind of an operand; "i" without a sign as well."""
    return x.kind if isinstance(x, Variable) else {"u": "i"}.get(x.dtype.kind, x.dtype.kind)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One ONNX node with its operands; an optional operand that is left out is None.

    ``read`` names the tensors of the file that something reads, outputs among them.
    """

    proto: onnx.NodeProto
    opset: int
    args: tuple[Operand | None, ...]
    attributes: Mapping[str, Any]
    read: Collection[str]

    @property
    def where(self) -> str:
        """Say which node this is, for messages."""
        name = self.proto.name or (self.proto.output[0] if self.proto.output else "?")
        return f"node {name!r} ({self.proto.op_type})"

    def unsupported(self, reason: str) -> UnsupportedError:
        """Return the error to raise where this use of the operator is not supported."""
        return UnsupportedError(f"{self.where}: {reason}")

    def arg(self, k: int) -> Operand | None:
        """Return operand k, or None where it is left out."""
        return self.args[k] if k < len(self.args) else None

    def operand(self, k: int) -> Operand:
        """Return operand k, which must be there."""
        value = self.arg(k)
        if value is None:
            raise ModelError(f"{self.where}: operand {k} is missing")
        return value

    def variable(self, k: int = 0) -> Variable:
        """Return operand k, which must depend on the input."""
        value = self.operand(k)
        if not isinstance(value, Variable):
            raise self.unsupported(f"operand {k} is a constant, and another one depends on the network's input")
        return value

    def optional(self, k: int) -> Array | None:
        """Return operand k, which must be constant where it is given."""
        value = self.arg(k)
        if isinstance(value, Variable):
            raise self.unsupported(f"operand {k} depends on the network's input; it must be constant")
        return value

    def constant(self, k: int) -> Array:
        """Return operand k, which must be there and constant."""
        value = self.optional(k)
        if value is None:
            raise ModelError(f"{self.where}: operand {k} is missing")
        return value

    def gives(self, k: int) -> bool:
        """Tell whether something reads result k."""
        return k < len(self.proto.output) and self.proto.output[k] in self.read

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def ints(self, name: str, k: int) -> list[int] | None:
        """Return integers that are an attribute in old opsets and operand k in new ones."""
        if name in self.attributes:
            value = self.attributes[name]
            return [int(entry) for entry in (value if isinstance(value, Sequence) else [value])]
        given = self.optional(k)
        return None if given is None else [int(entry) for entry in given.reshape(-1)]


Lowering = Callable[["Builder", Call], "Operand | tuple[Operand, ...]"]

LOWER: dict[str, Lowering] = {}
"""How each ONNX operator becomes ours, by its name; filled by ``lowers``."""


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    """Enter a function into ``LOWER`` under the names of ONNX operators."""

    def enter(function: Lowering) -> Lowering:
        for name in names:
            if name in LOWER:
                raise TypeError(f"ONNX operator {name} is lowered twice")
            LOWER[name] = function
        return function

    return enter


class Builder:
    """Collects nodes in topological order; every method that takes a variable returns the one it adds (or its operand).

    Constants keep the file's precision, or float64 where they were computed. ``partial`` names the file's tensors whose
    size depends on the input: here they have the largest one, and whatever depends on it must not be computed.
    ``sized`` names the numbers that are made of such a size. ``types`` tells the ONNX types of the file's tensors.
    With ``sorts``, long sorts stay one operator each. ``taken`` are names that no other tensor may bear.
    """

    def __init__(
        self, types: Callable[[], Mapping[str, int]] = dict, *, sorts: bool = False, taken: Container[str] = ()
    ) -> None:
        self.nodes: list[Node] = []
        self.prefix = ""
        self.partial: set[str] = set()
        self.sized: set[str] = set()
        self.types, self.sorts, self.taken = types, sorts, taken

    def apply(self, op: Op, *operands: Variable, name: str | None = None) -> Variable:
        """Add a node."""
        shape = result_shape(op, *(operand.shape for operand in operands))
        kind = common_kind(operand.kind for operand in operands)
        span = span_of(op, [operand.span for operand in operands], [operand.shape for operand in operands], shape)
        result = Variable(name or unused(f"{self.prefix}~{len(self.nodes)}", self.taken), shape, kind, span)
        self.nodes.append(Node(result.name, op, tuple(operand.name for operand in operands), result.shape))
        return result

    def reshape(self, x: Variable, shape: Sequence[int]) -> Variable:
        """Bring to a shape of the same size."""
        return x if x.shape == tuple(shape) else self.apply(Reshape(tuple(int(size) for size in shape)), x)

    def transpose(self, x: Variable, perm: Sequence[int]) -> Variable:
        """Permute axes."""
        return x if list(perm) == list(range(x.rank)) else self.apply(Transpose(tuple(perm)), x)

    def expand(self, x: Variable, shape: Shape) -> Variable:
        """Broadcast to a shape."""
        if x.shape == shape:
            return x
        if len(shape) >= x.rank and (1,) * (len(shape) - x.rank) + x.shape == shape:
            return self.reshape(x, shape)
        return self.apply(Expand(shape), x)

    def slice(self, x: Variable, axis: int, start: int, stop: int, step: int = 1) -> Variable:
        """Take a piece of one axis; the step must be positive."""
        if (start, stop, step) == (0, x.shape[axis], 1):
            return x
        ranges = [(0, size, 1) for size in x.shape]
        ranges[axis] = (start, stop, step)
        return self.apply(Slice(tuple(ranges)), x)

    def translate(self, x: Variable, constant: Array) -> Variable:
        """Add a constant, with broadcasting."""
        x = self.expand(x, np.broadcast_shapes(x.shape, constant.shape))
        return self.apply(Translate(tensor(lift(constant, x.rank))), x) if constant.any() else x

    def scale(self, x: Variable, constant: Array | float) -> Variable:
        """Multiply by a constant, with broadcasting."""
        constant = np.asarray(constant)
        x = self.expand(x, np.broadcast_shapes(x.shape, constant.shape))
        return x if (constant == 1).all() else self.apply(Scale(tensor(lift(constant, x.rank))), x)

    def add(self, x: Operand, y: Operand) -> Variable:
        """Add, with broadcasting; one of the two may be constant."""
        if not isinstance(y, Variable):
            x, y = y, x
        if not isinstance(y, Variable):
            raise TypeError("a sum of two constants is one")
        if not isinstance(x, Variable):
            return self.translate(y, x)
        shape = np.broadcast_shapes(x.shape, y.shape)
        return self.apply(Add(), self.expand(x, shape), self.expand(y, shape))

    def subtract(self, x: Operand, y: Operand) -> Variable:
        """Subtract, with broadcasting; one of the two may be constant."""
        if not isinstance(y, Variable):
            return self.add(x, -y if y.dtype.kind == "f" else -double(y))  # bytes have no negative numbers
        if not isinstance(x, Variable):
            return self.add(self.apply(Neg(), y), x)
        shape = np.broadcast_shapes(x.shape, y.shape)
        return self.apply(Sub(), self.expand(x, shape), self.expand(y, shape))

    def multiply(self, x: Operand, y: Operand) -> Variable:
        """Multiply, with broadcasting; one of the two may be constant."""
        if not isinstance(y, Variable):
            x, y = y, x
        if not isinstance(y, Variable):
            raise TypeError("a product of two constants is one")
        if not isinstance(x, Variable):
            return self.scale(y, double(x))
        if x.name == y.name:
            return self.apply(Power(2.0), x)
        shape = np.broadcast_shapes(x.shape, y.shape)
        return self.apply(Product(), self.expand(x, shape), self.expand(y, shape))


def result_shape(op: Op, *shapes: Shape) -> Shape:
    """Return the shape that an operator gives to operands, by evaluating it on no domains at all (B = 0)."""
    dtype = next((value.dtype for value in vars(op).values() if is_float(value)), torch.float64)
    return tuple(op.forward(*(torch.empty(0, *shape, dtype=dtype) for shape in shapes)).shape[1:])


def is_float(value: object) -> bool:
    """Tell whether a field is a tensor of floating point."""
    return isinstance(value, Tensor) and value.is_floating_point()


def tensor(array: Array) -> Tensor:
    """Return a constant as a tensor, without a copy where possible; whole numbers become float64."""
    array = np.asarray(array)  # a constant without axes turns into a number when it is computed with
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if not array.dtype.isnative or any(step < 0 for step in array.strides):
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # memory of the file is read-only, and so is every operator
        return torch.from_numpy(array)


def double(array: Array) -> Array:
    """Return a constant in float64, for arithmetic."""
    return array.astype(np.float64, copy=False)


def lift(array: Array, rank: int) -> Array:
    """Put axes of length 1 in front, up to a rank."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def positive_axis(axis: int, rank: int) -> int:
    """Count an axis from the front."""
    if not -rank <= axis < max(rank, 1):
        raise ValueError(f"axis {axis} is out of range for {rank} axes")
    return axis % rank if rank else 0
