"""Sums, differences, and products with constants; operands have the result's shape (``Expand`` brings them to it)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from verifier.ops.op import Affine, Homogeneous, Op, Shape
from verifier.sets import Box


@dataclass(frozen=True, eq=False)
class Translate(Affine):
    """``y = x + constant``; the constant has the node's rank and broadcasts to its shape.

    ``constant_terms`` are the absolute terms that a computed constant was summed from: its error is relative to them.
    ``roundings`` counts how often it was rounded.
    """

    monotone = True
    diagonal = True
    whole = True
    pointwise = True
    constant: Tensor
    constant_terms: Tensor | None = None
    roundings: int = 0

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return x[0] + self.constant

    def magnitude(self, *x: Tensor) -> Tensor:
        """Add the constant's absolute terms."""
        return x[0] + (self.constant.abs() if self.constant_terms is None else self.constant_terms)

    def linear(self, *x: Tensor) -> Tensor:
        """Return the operand."""
        return x[0]

    def homogeneous(self) -> Translate:
        """See ``Affine.homogeneous``."""
        return replace(self, constant=torch.zeros_like(self.constant), constant_terms=None)

    def offset(self, shapes: list[Shape], like: Tensor) -> Tensor | None:
        """Return the constant."""
        return self.constant.to(like).expand(1, *shapes[0])

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Return the coefficients."""
        del shapes
        return (rows,)

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count both summands."""
        del shapes, out
        return 2 + self.roundings

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield full and broadcast constants."""
        draw = torch.Generator().manual_seed(0)
        yield Translate(torch.randn(5, generator=draw, dtype=torch.float64)), [(5,)]
        yield Translate(torch.randn(1, 3, 1, generator=draw, dtype=torch.float64)), [(3, 3, 2)]


@dataclass(frozen=True, eq=False)
class Scale(Homogeneous):
    """``y = x * constant``; the constant has the node's rank and broadcasts to its shape.

    ``roundings`` counts how often the constant was rounded when it was computed.
    """

    diagonal = True
    weights = "constant"
    constant: Tensor
    roundings: int = 0

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return x[0] * self.constant

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Scale the coefficients."""
        del shapes
        return (rows * self.constant,)

    def interval(self, *x: Box) -> Box:
        """Swap the ends where the constant is negative."""
        one, other = self.forward(x[0].lower), self.forward(x[0].upper)
        return Box(torch.minimum(one, other), torch.maximum(one, other))

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count one product."""
        del shapes, out
        return 1 + self.roundings

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield full and broadcast constants, of both signs and zero."""
        yield Scale(torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)), [(3,)]
        yield Scale(torch.tensor([[[-1.5], [0.5], [0.0]]], dtype=torch.float64)), [(3, 3, 2)]


@dataclass(frozen=True, eq=False)
class Neg(Homogeneous):
    """``y = -x``."""

    diagonal = True
    whole = True
    pointwise = True

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return -x[0]

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Negate the coefficients."""
        del shapes
        return (-rows,)

    def interval(self, *x: Box) -> Box:
        """Swap the ends."""
        return Box(-x[0].upper, -x[0].lower)

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count one product."""
        del shapes, out
        return 1

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield two shapes."""
        yield Neg(), [(4,)]
        yield Neg(), [(2, 3)]


@dataclass(frozen=True, eq=False)
class Add(Homogeneous):
    """``z = x + y`` of two variables of one shape."""

    monotone = True
    diagonal = True
    whole = True
    pointwise = True

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return x[0] + x[1]

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Hand the coefficients to both."""
        del shapes
        return rows, rows

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count both summands."""
        del shapes, out
        return 2

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield two shapes."""
        yield Add(), [(4,), (4,)]
        yield Add(), [(2, 3), (2, 3)]


@dataclass(frozen=True, eq=False)
class Sub(Homogeneous):
    """``z = x - y`` of two variables of one shape."""

    diagonal = True
    whole = True
    pointwise = True

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return x[0] - x[1]

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Hand the coefficients to the first, and negated to the second."""
        del shapes
        return rows, -rows

    def interval(self, *x: Box) -> Box:
        """Subtract opposite ends."""
        return Box(x[0].lower - x[1].upper, x[0].upper - x[1].lower)

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count both summands."""
        del shapes, out
        return 2

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield two shapes."""
        yield Sub(), [(4,), (4,)]
        yield Sub(), [(2, 3), (2, 3)]
