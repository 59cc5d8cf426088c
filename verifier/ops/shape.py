"""Operators that only rename positions: each element keeps its value and appears once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from verifier.ops.op import Homogeneous, Op, Shape
from verifier.sets import Window, place, shape_within


@dataclass(frozen=True, eq=False)
class Movement(Homogeneous, register=False):
    """An operator that moves elements without adding or repeating any."""

    monotone = True
    diagonal = True
    whole = True

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count the element itself."""
        del shapes, out
        return 1


@dataclass(frozen=True, eq=False)
class Reshape(Movement):
    """The same elements, row-major, in another shape."""

    copies = True
    shape: Shape

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return x[0].reshape(len(x[0]), *self.shape)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Shape the coefficients like the operand."""
        return (rows.reshape(len(rows), *shapes[0]),)

    def reads(self, window: Window, shapes: list[Shape]) -> list[Window]:
        """See ``Affine.reads``: the same, if the window's axes are left as they are."""
        kept = len(window) > 0 and self.shape[-len(window) :] == shapes[0][-len(window) :]
        return [window if kept else ()]

    def transpose_window(self, rows: Tensor, window: Window, shapes: list[Shape], out: Shape) -> tuple[Tensor, ...]:
        """See ``Affine.transpose_window``."""
        (read,) = self.reads(window, shapes)
        if not read:
            return self.transpose(place(rows, window, (), out), shapes)
        return (rows.reshape(len(rows), *shape_within(shapes[0], read)),)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield flattening and its reverse."""
        yield Reshape((6,)), [(2, 3)]
        yield Reshape((3, 1, 2)), [(6,)]


@dataclass(frozen=True, eq=False)
class Transpose(Movement):
    """Axes in another order: axis k of the result is axis ``perm[k]`` of the operand."""

    copies = True
    perm: tuple[int, ...]

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return x[0].permute(0, *(axis + 1 for axis in self.perm))

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Put the axes back."""
        del shapes
        return (rows.permute(0, *(self.perm.index(axis) + 1 for axis in range(len(self.perm)))),)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield a swap and a rotation."""
        yield Transpose((1, 0)), [(2, 3)]
        yield Transpose((2, 0, 1)), [(3, 2, 3)]


@dataclass(frozen=True, eq=False)
class View(Movement):
    """A piece of a flat vector, from ``start``, in a shape."""

    copies = True
    start: int
    shape: Shape

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        size = 1
        for length in self.shape:
            size *= length
        return x[0].narrow(1, self.start, size).reshape(len(x[0]), *self.shape)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Put the coefficients at their place in the vector."""
        flat = rows.reshape(len(rows), -1)
        if flat.shape[1:] == shapes[0]:
            return (flat,)
        pulled = rows.new_zeros(len(rows), *shapes[0])
        pulled[:, self.start : self.start + flat.shape[1]] = flat
        return (pulled,)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield the whole vector and a piece."""
        yield View(0, (2, 3)), [(6,)]
        yield View(2, (3, 1)), [(6,)]
        yield View(1, ()), [(3,)]
