"""Sums along axes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.op import Homogeneous, Op, Shape


@dataclass(frozen=True, eq=False)
class ReduceSum(Homogeneous):
    """Sum over axes, which disappear unless ``keep``."""

    monotone = True
    whole = True
    axes: tuple[int, ...]
    keep: bool = True

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        if not self.axes:
            return x[0]
        return x[0].sum([axis + 1 for axis in self.axes], keepdim=self.keep)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Repeat the coefficients along the axes."""
        kept = [1 if axis in self.axes else size for axis, size in enumerate(shapes[0])]
        return (rows.reshape(len(rows), *kept).expand(len(rows), *shapes[0]),)

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count the summands."""
        del out
        return math.prod(shapes[0][axis] for axis in self.axes) + 1

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield one and several axes, kept and dropped."""
        yield ReduceSum((0,), keep=False), [(4,)]
        yield ReduceSum((1,)), [(3, 3)]
        yield ReduceSum((0, 2), keep=False), [(3, 2, 3)]


@dataclass(frozen=True, eq=False)
class ReduceMean(ReduceSum):
    """Mean over axes, which disappear unless ``keep``."""

    whole = False

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        if not self.axes:
            return x[0]
        return x[0].mean([axis + 1 for axis in self.axes], keepdim=self.keep)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Repeat the coefficients along the axes, divided by the count."""
        return super().transpose(rows / math.prod(shapes[0][axis] for axis in self.axes), shapes)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield one and several axes, kept and dropped."""
        yield ReduceMean((1, 2)), [(2, 3, 4)]
        yield ReduceMean((0,), keep=False), [(3, 3)]


@dataclass(frozen=True, eq=False)
class CumSum(Homogeneous):
    """Running sum along an axis, from the end where ``reverse``, without the element itself where ``exclusive``."""

    monotone = True
    whole = True
    axis: int
    exclusive: bool = False
    reverse: bool = False

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        axis = self.axis + 1
        ordered = x[0].flip(axis) if self.reverse else x[0]
        total = ordered.cumsum(axis)
        if self.exclusive:
            zero = torch.zeros_like(total.narrow(axis, 0, 1))
            total = torch.cat([zero, total.narrow(axis, 0, total.shape[axis] - 1)], axis)
        return total.flip(axis) if self.reverse else total

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count the longest sum."""
        del out
        return shapes[0][self.axis] + 1

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield both directions, with and without the element itself."""
        yield CumSum(0), [(4,)]
        yield CumSum(1, exclusive=True), [(3, 3)]
        yield CumSum(0, reverse=True), [(3, 2)]
        yield CumSum(1, exclusive=True, reverse=True), [(2, 4)]


@dataclass(frozen=True, eq=False)
class SumOfOthers(Homogeneous):
    """For each element, the sum of all others along an axis, without any difference that could cancel."""

    monotone = True
    whole = True
    axis: int

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate: the sum of those before, and of those behind."""
        before, behind = (CumSum(self.axis, exclusive=True, reverse=reverse) for reverse in (False, True))
        return before.forward(*x) + behind.forward(*x)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Do the same: the matrix is symmetric."""
        del shapes
        return (self.forward(rows),)

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count the elements along the axis."""
        del out
        return shapes[0][self.axis] + 1

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield the only axis, and one of several."""
        yield SumOfOthers(0), [(4,)]
        yield SumOfOthers(1), [(3, 3)]
        yield SumOfOthers(1), [(2, 5, 2)]
