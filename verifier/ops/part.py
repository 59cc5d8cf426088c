"""A window of the result of an affine operator, from windows of its operands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.arithmetic import Translate
from verifier.ops.conv import ConvTranspose
from verifier.ops.op import Affine, Op, Shape
from verifier.ops.select import Concat
from verifier.sets import Box, Window, cut, place


@dataclass(frozen=True, eq=False)
class Part(Affine, register=False):
    """What an affine operator makes of the windows of its operands that a window of its result reads.

    ``shapes`` and ``out`` are those of the whole operands and of the whole result. A pass forward costs as much as one
    of the whole operator, a pass backward only what the windows do.
    """

    op: Affine
    window: Window
    shapes: tuple[Shape, ...]
    out: Shape

    def to(self, dtype: torch.dtype, device: torch.device) -> Part:
        """See ``Op.to``."""
        return dataclasses.replace(self, op=self.op.to(dtype, device))

    @staticmethod
    def of(op: Affine, window: Window, shapes: list[Shape], out: Shape) -> tuple[Affine, list[Window]]:
        """Return an operator for a window of the result, and what it is to be given of the operands.

        Where that reaches beyond an operand, zeros belong.
        """
        if not window:
            return op, [()] * len(shapes)
        return op.local(window, shapes) or (Part(op, window, tuple(shapes), out), op.reads(window, shapes))

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return cut(self.op.forward(*self._placed(x)), self.window)

    def linear(self, *x: Tensor) -> Tensor:
        """Evaluate without the offset."""
        return cut(self.op.linear(*self._placed(x)), self.window)

    def homogeneous(self) -> Part:
        """See ``Affine.homogeneous``."""
        return dataclasses.replace(self, op=self.op.homogeneous())

    def offset(self, shapes: list[Shape], like: Tensor) -> Tensor | None:
        """Return that of the window."""
        constant = self.op.offset(list(self.shapes), like)
        return None if constant is None else cut(constant, self.window)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Pull back to the windows that are read."""
        return self.op.transpose_window(rows, self.window, list(self.shapes), self.out)

    def interval(self, *x: Box) -> Box:
        """Enclose the values over boxes."""
        ends = (self._placed(box.lower for box in x), self._placed(box.upper for box in x))
        return self.op.interval(*map(Box, *ends)).within(self.window)

    def magnitude(self, *x: Tensor) -> Tensor:
        """See ``Affine.magnitude``."""
        return cut(self.op.magnitude(*self._placed(x)), self.window)

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count those of the whole."""
        return self.op.terms(list(self.shapes), self.out)

    def _placed(self, x: Iterable[Tensor]) -> list[Tensor]:
        """Surround operands by zeros, which the window does not read."""
        read = self.op.reads(self.window, list(self.shapes))
        return [place(value, part, (), shape) for value, part, shape in zip(x, read, self.shapes, strict=True)]

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield one that reads as much, one that reads less, and one of two operands."""
        draw = torch.Generator().manual_seed(0)
        places = torch.randn(1, 2, 5, generator=draw, dtype=torch.float64)
        yield Part(Translate(places), (slice(1, 4),), ((1, 2, 5),), (1, 2, 5)), [(1, 2, 3)]
        weight = torch.randn(2, 3, 2, 2, generator=draw, dtype=torch.float64)
        bias = torch.randn(3, generator=draw, dtype=torch.float64)
        spread = ConvTranspose(weight, bias, (2, 2), (0, 0), (1, 1))
        yield Part(spread, (slice(3, 6), slice(0, 3)), ((1, 2, 4, 3),), (1, 3, 8, 6)), [(1, 2, 2, 2)]
        joined = Concat(1, (0, 0, 0))
        yield Part(joined, (slice(1, 3),), ((1, 2, 4), (1, 1, 4)), (1, 3, 4)), [(1, 2, 2), (1, 1, 2)]
