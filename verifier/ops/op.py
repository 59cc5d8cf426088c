"""What an operator is: its contract, the registry, and what affine operators share.

Axis 0 of every value is the domain axis B; behind it stands the ONNX tensor's own shape, whole. Constants (weights,
biases, indices) are fields of the operator, without a domain axis.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from verifier.sets import Box, Enclosure, Window, cut, dot, place

Shape = tuple[int, ...]

OPS: dict[str, type[Op]] = {}
"""Every operator by its class name, filled by class definition."""


@dataclass(frozen=True, eq=False)
class Op(ABC):
    """A function of one or several tensors, elementwise in the domain axis."""

    def __init_subclass__(cls, *, register: bool = True) -> None:
        """Enter the operator into the registry; two operators of one name are an error."""
        super().__init_subclass__()
        if register:
            if cls.__name__ in OPS and OPS[cls.__name__].__module__ != cls.__module__:
                raise TypeError(f"operator {cls.__name__} is defined twice")
            OPS[cls.__name__] = cls

    @abstractmethod
    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate; operands ``(B, *operand)``, result ``(B, *out)``."""

    @abstractmethod
    def interval(self, *x: Box) -> Box:
        """Enclose the values over boxes, up to rounding (the bounder adds the rounding margin)."""

    @abstractmethod
    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """Enclose between two affine functions over boxes; ``alpha`` has shape ``(P, B, S, *node)``."""

    def to(self, dtype: torch.dtype, device: torch.device) -> Self:
        """Move every tensor field; floating ones take the dtype."""
        moved = {
            field.name: value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **moved)

    @staticmethod
    @abstractmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield instances with operand shapes (no domain axis) for the conformance suite, in float64."""


@dataclass(frozen=True, eq=False)
class Affine(Op, register=False):
    """An operator ``y = sum_k M_k x_k + c``: subclasses need only ``forward``.

    The transpose is the vector-Jacobian product of ``forward``, and the offset its value at zero; hot operators
    override them. ``monotone`` says that every coefficient of every ``M_k`` is >= 0, which makes the interval trivial;
    other operators override ``interval``.
    """

    monotone: ClassVar[bool] = False
    diagonal: ClassVar[bool] = False
    """Each output element reads at most one element of each operand, and no element is read twice."""
    whole: ClassVar[bool] = False
    """Every coefficient of every ``M_k`` is -1, 0 or 1."""
    copies: ClassVar[bool] = False
    """Each output element is an element of the only operand."""
    weights: ClassVar[str | None] = None
    """The tensor field that holds the coefficients, one by one or repeated, if there is one; else None."""
    pointwise: ClassVar[bool] = False
    """Each output element reads the operands' elements at its own place, by the same coefficients everywhere."""

    def offset(self, shapes: list[Shape], like: Tensor) -> Tensor | None:
        """Return the value at zero, shape ``(1, *out)``, or None where it is zero."""
        return self.forward(*(like.new_zeros(1, *shape) for shape in shapes))

    def linear(self, *x: Tensor) -> Tensor:
        """Apply only the linear part, without the offset."""
        constant = self.offset([tuple(value.shape[1:]) for value in x], x[0])
        return self.forward(*x) if constant is None else self.forward(*x) - constant

    def homogeneous(self) -> Affine:
        """Return an operator that does what ``linear`` does.

        Raises:
            NotImplementedError: the operator does not say.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its linear part is")

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Pull coefficients ``(N, *out)`` back through the linear part to every operand, ``(N, *operand)``."""
        # torch.func.vjp would do, but its first call imports a compiler, which takes most of a second.
        with torch.enable_grad():
            zeros = tuple(rows.new_zeros(len(rows), *shape).requires_grad_() for shape in shapes)
            return torch.autograd.grad(self.forward(*zeros), zeros, rows, create_graph=rows.requires_grad)

    def reads(self, window: Window, shapes: list[Shape]) -> list[Window]:
        """Return windows of the operands that hold all that a window of the result reads."""
        return [window if self.pointwise else ()] * len(shapes)

    def local(self, window: Window, shapes: list[Shape]) -> tuple[Affine, list[Window]] | None:
        """Return an operator for a window of the result that costs no more than the window, and what it is given.

        That are windows of the operands; where they reach beyond, zeros belong. None: it is not known how.
        """
        del window, shapes
        return None

    def transpose_window(self, rows: Tensor, window: Window, shapes: list[Shape], out: Shape) -> tuple[Tensor, ...]:
        """Pull coefficients on a window, ``(N, *window)``, back to the windows of the operands that it reads."""
        return self.transpose(rows if self.pointwise else place(rows, window, (), out), shapes)

    def interval(self, *x: Box) -> Box:
        """Enclose the values over boxes."""
        if not self.monotone:
            raise NotImplementedError(f"{type(self).__name__} must say how it bounds a box")
        return Box(self.forward(*(box.lower for box in x)), self.forward(*(box.upper for box in x)))

    def magnitude(self, *x: Tensor) -> Tensor:
        """Bound the sum of absolute terms of each element, for operands of at most these absolute values."""
        return self.interval(*(Box(-value, value) for value in x)).magnitude

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """Return the operator itself: it is its own lower and upper bound."""
        del alpha
        return Exact(self, [tuple(box.lower.shape[1:]) for box in x])

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Bound how many products are summed into one element, forward or transposed (for rounding margins)."""
        return max(math.prod(out), *(math.prod(shape) for shape in shapes)) + 1


@dataclass(frozen=True, eq=False)
class Homogeneous(Affine, register=False):
    """An affine operator without a constant part: zero goes to zero."""

    def offset(self, shapes: list[Shape], like: Tensor) -> None:
        """Return None: the value at zero is zero."""
        del shapes, like

    def homogeneous(self) -> Affine:
        """Return the operator itself."""
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Exact:
    """The enclosure of an affine operator: itself."""

    op: Affine
    shapes: list[Shape]

    def pullback(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """See ``Enclosure.pullback``; exact."""
        domains, count = rows.shape[:2]
        flat = rows.reshape(domains * count, *rows.shape[2:])
        pulled = self.op.transpose(flat, self.shapes)
        constant = self.op.offset(self.shapes, rows)
        offset = rows.new_zeros(domains, count) if constant is None else dot(rows, constant.unsqueeze(1))
        return tuple(part.reshape(domains, count, *part.shape[1:]) for part in pulled), offset

    def take(self, index: Tensor) -> Exact:
        """See ``Enclosure.take``: the same for every domain."""
        del index
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """The enclosure of an affine operator for rows that are zero outside of a window of its node, and given inside."""

    op: Affine
    shapes: list[Shape]
    out: Shape
    window: Window

    def pullback(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """See ``Enclosure.pullback``; the coefficients are on the windows that are read."""
        domains, count = rows.shape[:2]
        pulled = self.op.transpose_window(rows.flatten(0, 1), self.window, self.shapes, self.out)
        constant = self.op.offset(self.shapes, rows)
        offset = rows.new_zeros(domains, count)
        if constant is not None:
            offset = dot(rows, cut(constant, self.window).unsqueeze(1))
        return tuple(part.reshape(domains, count, *part.shape[1:]) for part in pulled), offset

    def take(self, index: Tensor) -> Windowed:
        """See ``Enclosure.take``: the same for every domain."""
        del index
        return self
