"""Operators that pick, join and repeat elements."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from verifier.ops.op import Homogeneous, Op, Shape
from verifier.ops.shape import Movement
from verifier.sets import Window, cut, place, shape_within


@dataclass(frozen=True, eq=False)
class Slice(Movement):
    """Every ``step``-th element from ``start`` before ``stop`` on each axis; all non-negative, steps positive."""

    copies = True
    ranges: tuple[tuple[int, int, int], ...]

    @property
    def index(self) -> tuple[slice, ...]:
        """The ranges as a subscript, with the domain axis."""
        return (slice(None), *(slice(*ends) for ends in self.ranges))

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return x[0][self.index]

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Put the coefficients back at their places."""
        pulled = rows.new_zeros(len(rows), *shapes[0])
        pulled[self.index] = rows
        return (pulled,)

    def reads(self, window: Window, shapes: list[Shape]) -> list[Window]:
        """See ``Affine.reads``."""
        del shapes
        ends = zip(window, self.ranges[len(self.ranges) - len(window) :], strict=True)
        return [
            tuple(
                slice(start + part.start * step, start + (part.stop - 1) * step + 1) for part, (start, _, step) in ends
            )
        ]

    def transpose_window(self, rows: Tensor, window: Window, shapes: list[Shape], out: Shape) -> tuple[Tensor, ...]:
        """See ``Affine.transpose_window``."""
        del out
        leading = len(self.ranges) - len(window)
        pulled = rows.new_zeros(len(rows), *shape_within(shapes[0], self.reads(window, shapes)[0]))
        steps = tuple(slice(None, None, step) for _, _, step in self.ranges[leading:])
        pulled[(slice(None), *(slice(*ends) for ends in self.ranges[:leading]), *steps)] = rows
        return (pulled,)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield pieces with and without steps."""
        yield Slice(((1, 4, 1),)), [(5,)]
        yield Slice(((0, 3, 2), (1, 2, 1))), [(3, 3)]


@dataclass(frozen=True, eq=False)
class Gather(Homogeneous):
    """Elements of one axis by a list of non-negative indices, repeats allowed."""

    monotone = True
    whole = True
    copies = True
    indices: Tensor
    axis: int

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return x[0].index_select(self.axis + 1, self.indices)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Add the coefficients up at the elements they came from."""
        pulled = rows.new_zeros(len(rows), *shapes[0])
        return (pulled.index_add(self.axis + 1, self.indices, rows),)

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count the repeats that one element can have."""
        del shapes, out
        return int(self.indices.bincount().max()) + 1 if len(self.indices) else 1

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield a permutation, repeats, and an axis as long as the index list."""
        yield Gather(torch.tensor([2, 0, 1]), 0), [(3,)]
        yield Gather(torch.tensor([1, 1, 0, 1]), 1), [(4, 2)]
        yield Gather(torch.tensor([0]), 0), [(2, 3)]


@dataclass(frozen=True, eq=False)
class Concat(Movement):
    """Operands one behind the other along an axis, with runs of zeros between them.

    ``gaps`` has one length more than there are operands: zeros before each operand, and behind the last.
    """

    axis: int
    gaps: tuple[int, ...]

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        pieces: list[Tensor] = []
        for gap, piece in zip(self.gaps, (*x, None), strict=True):
            if gap:
                shape = list(x[0].shape)
                shape[self.axis + 1] = gap
                pieces.append(x[0].new_zeros(shape))
            if piece is not None:
                pieces.append(piece)
        return torch.cat(pieces, self.axis + 1)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Cut the coefficients up."""
        pulled, start = [], 0
        for gap, shape in zip(self.gaps, shapes, strict=False):
            pulled.append(rows.narrow(self.axis + 1, start + gap, shape[self.axis]))
            start += gap + shape[self.axis]
        return tuple(pulled)

    def reads(self, window: Window, shapes: list[Shape]) -> list[Window]:
        """See ``Affine.reads``."""
        return [window if self._across(window, shape) else () for shape in shapes]

    def transpose_window(self, rows: Tensor, window: Window, shapes: list[Shape], out: Shape) -> tuple[Tensor, ...]:
        """See ``Affine.transpose_window``."""
        if self._across(window, shapes[0]):
            return self.transpose(rows, shapes)
        return self.transpose(place(rows, window, (), out), shapes)

    def _across(self, window: Window, shape: Shape) -> bool:
        """Tell whether a window's axes are others than the one that is joined."""
        return self.axis < len(shape) - len(window)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield one to three operands, with and without gaps."""
        yield Concat(0, (0, 0, 0)), [(2,), (3,)]
        yield Concat(1, (1, 0, 2, 1)), [(3, 3), (3, 1), (3, 2)]
        yield Concat(0, (2, 0)), [(2, 2)]


@dataclass(frozen=True, eq=False)
class Pad(Movement):
    """Zeros before and behind each axis; negative lengths cut."""

    pads: tuple[tuple[int, int], ...]

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return functional.pad(x[0], [length for ends in reversed(self.pads) for length in ends])

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Cut what was added, and put zeros where something was cut."""
        del shapes
        return (functional.pad(rows, [-length for ends in reversed(self.pads) for length in ends]),)

    def reads(self, window: Window, shapes: list[Shape]) -> list[Window]:
        """See ``Affine.reads``."""
        leading = len(self.pads) - len(window)
        ends = zip(window, self.pads[leading:], shapes[0][leading:], strict=True)
        parts = tuple(
            slice(max(part.start - before, 0), min(part.stop - before, size)) for part, (before, _), size in ends
        )
        inside = all(part.start < part.stop for part in parts)  # nothing but padding: all is as good
        return [parts if inside and not any(map(any, self.pads[:leading])) else ()]

    def transpose_window(self, rows: Tensor, window: Window, shapes: list[Shape], out: Shape) -> tuple[Tensor, ...]:
        """See ``Affine.transpose_window``."""
        (read,) = self.reads(window, shapes)
        if not read:
            return self.transpose(place(rows, window, (), out), shapes)
        ends = zip(read, window, self.pads[len(self.pads) - len(window) :], strict=True)
        inside = tuple(
            slice(part.start + before - wide.start, part.stop + before - wide.start) for part, wide, (before, _) in ends
        )
        return (cut(rows, inside),)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield padding, and padding with a cut."""
        yield Pad(((1, 2),)), [(3,)]
        yield Pad(((0, 0), (2, 0), (-1, 1))), [(3, 2, 3)]


@dataclass(frozen=True, eq=False)
class Expand(Homogeneous):
    """Repeat axes of length 1, and add leading axes, up to a shape."""

    monotone = True
    whole = True
    copies = True
    shape: Shape

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate, without copying."""
        missing = len(self.shape) + 1 - x[0].dim()
        lifted = x[0].reshape(len(x[0]), *[1] * missing, *x[0].shape[1:])
        return lifted.expand(-1, *self.shape)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Add the coefficients of the repeats up."""
        missing = [1] * (len(self.shape) - len(shapes[0]))
        return (rows.sum_to_size(len(rows), *missing, *shapes[0]).reshape(len(rows), *shapes[0]),)

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count the repeats of one element."""
        return math.prod(out) // max(math.prod(shapes[0]), 1) + 1

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield new axes, longer axes, and both."""
        yield Expand((3, 4)), [(4,)]
        yield Expand((3, 2)), [(3, 1)]
        yield Expand((3, 3, 2)), [(1, 2)]
