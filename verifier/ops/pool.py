"""Average pooling over windows that lie inside; padding and uneven counts are other operators' work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from verifier.ops.op import Affine, Homogeneous, Op, Shape
from verifier.sets import Window, place, shape_within

AVERAGE: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


@dataclass(frozen=True, eq=False)
class AveragePool(Homogeneous):
    """Mean over windows of ``(B, N, channels, *space)``, without padding."""

    monotone = True
    kernel: Shape
    stride: Shape

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        average = AVERAGE[len(self.kernel)]
        y = average(x[0].flatten(0, 1), self.kernel, self.stride)
        return y.reshape(*x[0].shape[:2], *y.shape[1:])

    def reads(self, window: Window, shapes: list[Shape]) -> list[Window]:
        """See ``Affine.reads``."""
        del shapes
        if len(window) != len(self.stride):
            return [()]
        steps = zip(window, self.stride, self.kernel, strict=True)
        return [tuple(slice(part.start * stride, (part.stop - 1) * stride + kernel) for part, stride, kernel in steps)]

    def local(self, window: Window, shapes: list[Shape]) -> tuple[Affine, list[Window]] | None:
        """See ``Affine.local``."""
        reads = self.reads(window, shapes)
        return (self, reads) if reads[0] else None

    def transpose_window(self, rows: Tensor, window: Window, shapes: list[Shape], out: Shape) -> tuple[Tensor, ...]:
        """See ``Affine.transpose_window``: what a window reads is averaged to nothing else."""
        (read,) = self.reads(window, shapes)
        if not read:
            return self.transpose(place(rows, window, (), out), shapes)
        return self.transpose(rows, [shape_within(shapes[0], read)])

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count a window."""
        del shapes, out
        return math.prod(self.kernel) + 1

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield one to three dimensions, with gaps and overlaps."""
        yield AveragePool((2, 3), (2, 1)), [(1, 2, 4, 5)]
        yield AveragePool((2,), (3,)), [(3, 3, 7)]
        yield AveragePool((2, 1, 2), (1, 1, 1)), [(2, 1, 3, 2, 3)]
