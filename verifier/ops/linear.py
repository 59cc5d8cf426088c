"""Products of the last axis with a constant matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from verifier.ops.matrix import Matrix, compressed
from verifier.ops.op import Affine, Homogeneous, Op, Shape
from verifier.sets import Box


def sizes(constant: Tensor | None, terms: Tensor | None) -> Tensor | None:
    """Return the absolute terms of a constant: its own size, unless it was computed."""
    return constant.abs() if terms is None and constant is not None else terms


@dataclass(frozen=True, eq=False)
class Linear(Affine):
    """``y = x @ weight + bias`` on the last axis; weight ``(k, n)``, bias ``(n,)`` or None.

    ``bias_terms`` (n,) are the absolute terms that a computed bias was summed from: its error is relative to them.
    ``roundings`` counts how often the constants were rounded when they were computed.
    """

    weights = "weight"
    weight: Tensor
    bias: Tensor | None = None
    bias_terms: Tensor | None = None
    roundings: int = 0

    def to(self, dtype: torch.dtype, device: torch.device) -> Self:
        """See ``Op.to``; what is known of the matrix is kept."""
        moved = super().to(dtype, device)
        moved.__dict__["matrix"] = self.matrix.to(moved.weight)
        return moved

    def linear(self, *x: Tensor) -> Tensor:
        """Apply the matrix alone."""
        return x[0] @ self.matrix

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate; ``(B, ..., k)`` gives ``(B, ..., n)``."""
        y = x[0] @ self.matrix
        return y if self.bias is None else y + self.bias

    def homogeneous(self) -> Linear:
        """See ``Affine.homogeneous``."""
        return replace(self, bias=None, bias_terms=None)

    def offset(self, shapes: list[Shape], like: Tensor) -> Tensor | None:
        """Return the bias for every row."""
        if self.bias is None:
            return None
        return self.bias.to(like).expand(1, *shapes[0][:-1], -1)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Multiply by the transposed matrix."""
        del shapes
        return (rows @ self.matrix.transposed,)

    def interval(self, *x: Box) -> Box:
        """Move the centre by the matrix and the radius by its absolute value."""
        centre, radius = self.forward(x[0].centre), x[0].radius @ self.matrix.absolute
        return Box(centre - radius, centre + radius)

    @cached_property
    def matrix(self) -> Matrix:
        """The weight, ready for products."""
        return Matrix(self.weight)

    def magnitude(self, *x: Tensor) -> Tensor:
        """Multiply by the absolute value of the matrix."""
        y = x[0] @ self.matrix.absolute
        terms = sizes(self.bias, self.bias_terms)
        return y if terms is None else y + terms

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count the entries of a row or a column of the matrix, and the bias."""
        del shapes, out
        return self.matrix.fan + 1 + self.roundings

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield rows, several rows, and a node whose leading axis could be taken for the domains'."""
        draw = torch.Generator().manual_seed(0)
        weight = torch.randn(5, 3, generator=draw, dtype=torch.float64)
        bias = torch.randn(3, generator=draw, dtype=torch.float64)
        yield Linear(weight, bias), [(5,)]
        yield Linear(weight), [(1, 5)]
        yield Linear(weight, bias), [(3, 5)]
        yield Linear(torch.randn(4, 4, generator=draw, dtype=torch.float64)), [(2, 4, 4)]
        wide = torch.zeros(300, 500, dtype=torch.float64)
        wide[torch.arange(300), torch.arange(300)] = torch.randn(300, generator=draw, dtype=torch.float64)
        yield Linear(wide, torch.ones(500, dtype=torch.float64)), [(1, 300)]


@dataclass(frozen=True, eq=False)
class Sparse(Affine, register=False):
    """``Linear`` by its coefficients that are not zero: what is made of them costs as much as there are of them.

    ``values`` (E,) are ordered by the element of the result that they add to: element j reads the elements
    ``source[first[j]:first[j + 1]]`` of an operand ``(k,)``.
    """

    weights = "values"
    values: Tensor
    source: Tensor
    first: Tensor
    k: int
    bias: Tensor | None = None

    @staticmethod
    def of(op: Linear) -> Sparse:
        """Convert; operands have no axis but the last."""
        table = op.matrix.compressed
        return Sparse(table.values(), table.col_indices(), table.crow_indices(), len(op.weight), op.bias)

    def rows(self, index: Tensor) -> tuple[Sparse, Tensor]:
        """Keep some elements of the operand, without the bias; return also which elements of the result they reach."""
        place = torch.full((self.k,), -1, device=index.device)
        place[index] = torch.arange(len(index), device=index.device)
        source = place[self.source]
        kept = source >= 0
        target = torch.arange(len(self.first) - 1, device=index.device).repeat_interleave(self.first.diff())[kept]
        reached, count = target.unique_consecutive(return_counts=True)
        first = torch.cat([count.new_zeros(1), count.cumsum(0)])
        return Sparse(self.values[kept], source[kept], first, len(index)), reached

    @cached_property
    def table(self) -> Tensor:
        """The transposed matrix in compressed rows."""
        return compressed(self.first, self.source, self.values, (len(self.first) - 1, self.k))

    def linear(self, *x: Tensor) -> Tensor:
        """Apply the matrix alone."""
        return (self.table @ x[0].T.contiguous()).T.contiguous()

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate; ``(B, k)`` gives ``(B, n)``."""
        y = self.linear(*x)
        return y if self.bias is None else y + self.bias

    def offset(self, shapes: list[Shape], like: Tensor) -> Tensor | None:
        """Return the bias."""
        del shapes
        return None if self.bias is None else self.bias.to(like).unsqueeze(0)

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count the most coefficients of an element of the result, and the bias."""
        del shapes, out
        return int(self.first.diff().amax()) + 1 if len(self.first) > 1 else 1

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield a sparse and a dense matrix, the part of one, and one of nothing but zeros."""
        draw = torch.Generator().manual_seed(0)
        weight = torch.randn(8, 6, generator=draw, dtype=torch.float64)
        thin = torch.where(torch.rand(8, 6, generator=draw) < 0.3, weight, 0)
        yield Sparse.of(Linear(thin, torch.randn(6, generator=draw, dtype=torch.float64))), [(8,)]
        yield Sparse.of(Linear(weight)), [(8,)]
        yield Sparse.of(Linear(thin)).rows(torch.tensor([5, 0, 3]))[0], [(3,)]
        yield Sparse.of(Linear(0 * weight)), [(8,)]


@dataclass(frozen=True, eq=False)
class MatMulConstant(Homogeneous):
    """Matrix products of stacked matrices: ``x @ weight``, or ``weight @ x`` where ``left``; both of the same rank."""

    weights = "weight"
    weight: Tensor
    left: bool = False

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate; the axes before the last two broadcast."""
        return self.weight @ x[0] if self.left else x[0] @ self.weight

    def interval(self, *x: Box) -> Box:
        """Move the centre by the matrices and the radius by their absolute values."""
        centre, radius = self.forward(x[0].centre), MatMulConstant(self.weight.abs(), self.left).forward(x[0].radius)
        return Box(centre - radius, centre + radius)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield left and right factors, with and without broadcasting."""
        draw = torch.Generator().manual_seed(0)
        weight = torch.randn(3, 4, 2, generator=draw, dtype=torch.float64)
        yield MatMulConstant(weight), [(3, 5, 4)]
        yield MatMulConstant(weight), [(1, 3, 4)]
        yield MatMulConstant(weight, left=True), [(3, 2, 5)]
        yield MatMulConstant(weight[:1], left=True), [(3, 2, 2)]
