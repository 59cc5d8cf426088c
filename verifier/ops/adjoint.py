"""The adjoints of affine operators: what pulls derivatives back through them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from verifier.ops.arithmetic import Scale
from verifier.ops.conv import Conv
from verifier.ops.linear import Linear
from verifier.ops.op import Affine, Homogeneous, Op, Shape
from verifier.ops.reduce import ReduceSum
from verifier.sets import Box


@dataclass(frozen=True, eq=False)
class Adjoint(Homogeneous):
    """Pull S rows ``(S, *out)`` back through the linear part of an operator to one operand, ``(S, *operand)``.

    Attributes:
        op: the operator.
        operand: which operand.
        shapes: of all its operands.
    """

    op: Affine
    operand: int
    shapes: tuple[Shape, ...]

    def to(self, dtype: torch.dtype, device: torch.device) -> Self:
        """See ``Op.to``."""
        return replace(self, op=self.op.to(dtype, device))

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        pulled: Tensor = self.op.transpose(x[0].flatten(0, 1), list(self.shapes))[self.operand]
        return pulled.reshape(*x[0].shape[:2], *pulled.shape[1:])

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Apply the linear part to the operand, beside zeros."""
        del shapes
        joined = rows.flatten(0, 1)
        operands = [joined.new_zeros(len(joined), *shape) for shape in self.shapes]
        operands[self.operand] = joined
        return (self.op.linear(*operands).unflatten(0, rows.shape[:2]),)

    def interval(self, *x: Box) -> Box:
        """Move the centre by the operator, and the radius by its absolute values."""
        centre, radius = self.forward(x[0].centre), self.magnitude(x[0].radius)
        return Box(centre - radius, centre + radius)

    def magnitude(self, *x: Tensor) -> Tensor:
        """See ``Affine.magnitude``: the transpose of the operator's own, which is linear where all is positive."""
        joined = x[0].flatten(0, 1)
        with torch.enable_grad():
            ones = [joined.new_ones(len(joined), *shape).requires_grad_() for shape in self.shapes]
            terms = self.op.magnitude(*ones)
            found: Tensor
            (found,) = torch.autograd.grad(terms, ones[self.operand], joined, create_graph=joined.requires_grad)
        return found.reshape(*x[0].shape[:2], *found.shape[1:])

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count as the operator does, which answers for both directions."""
        return self.op.terms(list(self.shapes), shapes[0][1:])

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield those of a matrix, a convolution, a sum, and a scaling."""
        for kind in (Linear, Conv, ReduceSum, Scale):
            op, shapes = next(kind.samples())
            assert isinstance(op, Affine)
            out = op.forward(*(torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes)).shape[1:]
            yield Adjoint(op, 0, tuple(shapes)), [(2, *out)]
