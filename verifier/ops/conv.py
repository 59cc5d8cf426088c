"""Convolutions of one to three spatial dimensions, and their transposes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from verifier.ops.linear import sizes
from verifier.ops.op import Affine, Op, Shape
from verifier.sets import Box, Window, cut, place

CONVOLVE: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
SPREAD: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}

FEW_PLACES, MANY_ROWS = 16, 8
"""Rows of at most so many places are spread in one product, if there are so many: in float64, torch's own way on a CPU,
a product for each row, took two to four times as long then (one to nine places, 16 to 764 rows)."""


def spread(rows: Tensor, weight: Tensor, stride: Shape, dilation: Shape, groups: int) -> Tensor:
    """Transpose a convolution without padding: ``(N, out channels, *space)`` to ``(N, in channels, *reach)``."""
    plain = rows.dtype != torch.float64 or rows.device.type != "cpu" or groups > 1
    if plain or len(rows) < MANY_ROWS or math.prod(rows.shape[2:]) > FEW_PLACES:
        return SPREAD[len(stride)](rows, weight, None, stride, 0, 0, groups, dilation)
    (count, channels), space, kernel = rows.shape[:2], rows.shape[2:], weight.shape[2:]
    by_place = rows.movedim(1, -1).reshape(-1, channels) @ weight.flatten(2).transpose(1, 2).flatten(1)
    terms = by_place.view(count, *space, math.prod(kernel), weight.shape[1])
    steps = list(zip(space, stride, dilation, strict=True))
    reach = ((size - 1) * step + gap * (taps - 1) + 1 for (size, step, gap), taps in zip(steps, kernel, strict=True))
    pulled = rows.new_zeros(count, *reach, weight.shape[1])
    for k, tap in enumerate(itertools.product(*map(range, kernel))):
        met = (
            slice(at * gap, at * gap + (size - 1) * step + 1, step)
            for at, (size, step, gap) in zip(tap, steps, strict=True)
        )
        pulled[(slice(None), *met)] += terms[..., k, :]
    return pulled.movedim(-1, 1)


@dataclass(frozen=True, eq=False)
class Convolution(Affine, register=False):
    """What both directions share; values are ``(B, N, channels, *space)``, and N is an axis of the node.

    ``bias_terms`` (channels,) are the absolute terms that a computed bias was summed from: its error is relative to
    them. ``roundings`` counts how often the constants were rounded when they were computed.
    """

    weights = "weight"
    weight: Tensor
    bias: Tensor | None
    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int = 1
    bias_terms: Tensor | None = None
    roundings: int = 0

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Evaluate with the given weights, ``(B * N, channels, *space)``."""
        raise NotImplementedError

    def forward(self, *x: Tensor) -> Tensor:
        """Evaluate."""
        return self.stacked(x[0], self.weight, self.bias)

    def linear(self, *x: Tensor) -> Tensor:
        """Evaluate without the bias."""
        return self.stacked(x[0], self.weight, None)

    def stacked(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Evaluate with the node's leading axis and the domains in one."""
        y = self.apply(x.flatten(0, 1), weight, bias)
        return y.reshape(*x.shape[:2], *y.shape[1:])

    def homogeneous(self) -> Convolution:
        """See ``Affine.homogeneous``."""
        return dataclasses.replace(self, bias=None, bias_terms=None)

    def offset(self, shapes: list[Shape], like: Tensor) -> Tensor | None:
        """Return the bias at every place."""
        if self.bias is None:
            return None
        out = self.linear(self.weight.new_empty(0, *shapes[0])).shape[1:]
        return self.bias.to(like).reshape(-1, *[1] * len(self.stride)).expand(1, *out)

    def interval(self, *x: Box) -> Box:
        """Move the centre by the weights and the radius by their absolute values."""
        centre, radius = self.forward(x[0].centre), self.stacked(x[0].radius, self.absolute, None)
        return Box(centre - radius, centre + radius)

    @cached_property
    def absolute(self) -> Tensor:
        """The absolute values of the weights."""
        return self.weight.abs()

    def magnitude(self, *x: Tensor) -> Tensor:
        """Evaluate with the absolute values of weights and bias."""
        return self.stacked(x[0], self.absolute, sizes(self.bias, self.bias_terms))

    def terms(self, shapes: list[Shape], out: Shape) -> int:
        """Count the larger fan, and the bias."""
        del shapes, out
        inner, outer = self.weight.shape[1], self.weight.shape[0] // self.groups
        return max(inner, outer) * math.prod(self.weight.shape[2:]) + 1 + self.roundings


@dataclass(frozen=True, eq=False)
class Conv(Convolution):
    """Convolution with weight ``(out channels, in channels / groups, *kernel)`` and the same padding on both sides."""

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve."""
        convolve = CONVOLVE[len(self.stride)]
        return convolve(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Spread the coefficients by the transposed convolution."""
        extra = [
            size - ((out - 1) * stride - 2 * pad + gap * (kernel - 1) + 1)
            for size, out, stride, pad, gap, kernel in zip(
                shapes[0][2:],
                rows.shape[3:],
                self.stride,
                self.padding,
                self.dilation,
                self.weight.shape[2:],
                strict=True,
            )
        ]
        flat = rows.flatten(0, 1)
        if not any(self.padding) and not any(extra):
            pulled = spread(flat, self.weight, self.stride, self.dilation, self.groups)
        else:
            transposed = SPREAD[len(self.stride)]
            pulled = transposed(flat, self.weight, None, self.stride, self.padding, extra, self.groups, self.dilation)
        return (pulled.reshape(len(rows), *shapes[0]),)

    def reach(self, window: Window) -> list[tuple[int, int]]:
        """Return the ends of what a window of the result reads on each axis, the padding included."""
        steps = zip(window, self.stride, self.padding, self.dilation, self.weight.shape[2:], strict=True)
        return [
            (part.start * stride - pad, (part.stop - 1) * stride - pad + gap * (kernel - 1) + 1)
            for part, stride, pad, gap, kernel in steps
        ]

    def reads(self, window: Window, shapes: list[Shape]) -> list[Window]:
        """See ``Affine.reads``."""
        if len(window) != len(self.stride):
            return [()]
        ends = zip(self.reach(window), shapes[0][2:], strict=True)
        parts = tuple(slice(max(low, 0), min(high, size)) for (low, high), size in ends)
        return [parts if all(part.start < part.stop for part in parts) else ()]  # nothing but padding: all is as good

    def local(self, window: Window, shapes: list[Shape]) -> tuple[Affine, list[Window]] | None:
        """See ``Affine.local``: the padding is left to what it is given."""
        if not self.reads(window, shapes)[0]:
            return None
        reach = tuple(slice(low, high) for low, high in self.reach(window))
        return dataclasses.replace(self, padding=(0,) * len(self.padding)), [reach]

    def transpose_window(self, rows: Tensor, window: Window, shapes: list[Shape], out: Shape) -> tuple[Tensor, ...]:
        """See ``Affine.transpose_window``: spread without padding, and leave out what fell into it."""
        (read,) = self.reads(window, shapes)
        if not read:
            return self.transpose(place(rows, window, (), out), shapes)
        pulled = spread(rows.flatten(0, 1), self.weight, self.stride, self.dilation, self.groups)
        inside = [
            slice(part.start - low, part.stop - low) for part, (low, _) in zip(read, self.reach(window), strict=True)
        ]
        return (cut(pulled, tuple(inside)).unflatten(0, rows.shape[:2]).contiguous(),)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield one to three dimensions, strides that leave a remainder, dilation and groups."""
        draw = torch.Generator().manual_seed(0)

        def weights(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draw, dtype=torch.float64)

        yield Conv(weights(3, 2, 3, 3), weights(3), (2, 2), (1, 1), (1, 1)), [(1, 2, 6, 5)]
        yield Conv(weights(4, 1, 2, 3), weights(4), (1, 3), (0, 2), (1, 2), groups=2), [(3, 2, 4, 7)]
        yield Conv(weights(2, 3, 3), None, (2,), (1,), (1,)), [(2, 3, 6)]
        yield Conv(weights(2, 1, 2, 2, 2), weights(2), (1, 2, 1), (0, 1, 0), (1, 1, 1)), [(1, 1, 3, 4, 3)]
        yield Conv(weights(2, 1, 1, 1), None, (3, 3), (0, 0), (1, 1)), [(1, 1, 5, 6)]


@dataclass(frozen=True, eq=False)
class ConvTranspose(Convolution):
    """Transposed convolution with weight ``(in channels, out channels / groups, *kernel)``."""

    output_padding: Shape = ()

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Spread."""
        extra = self.output_padding or (0,) * len(self.stride)
        return SPREAD[len(self.stride)](x, weight, bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        """Gather the coefficients by the convolution; output padding can make it read past the operand's end."""
        convolve = CONVOLVE[len(self.stride)]
        flat = rows.flatten(0, 1)
        pulled = convolve(flat, self.weight, None, self.stride, self.padding, self.dilation, self.groups)
        for axis, size in enumerate(shapes[0][2:], start=2):
            pulled = pulled.narrow(axis, 0, size)
        return (pulled.reshape(len(rows), *shapes[0]),)

    def reads(self, window: Window, shapes: list[Shape]) -> list[Window]:
        """See ``Affine.reads``: the elements whose kernels overlap the window."""
        if len(window) != len(self.stride):
            return [()]
        steps = zip(window, self.stride, self.padding, self.dilation, self.weight.shape[2:], shapes[0][2:], strict=True)
        parts = tuple(
            slice(
                max(-((gap * (kernel - 1) - part.start - pad) // stride), 0),
                min((part.stop - 1 + pad) // stride + 1, size),
            )
            for part, stride, pad, gap, kernel, size in steps
        )
        return [parts if all(part.start < part.stop for part in parts) else ()]  # nothing at all: all is as good

    def transpose_window(self, rows: Tensor, window: Window, shapes: list[Shape], out: Shape) -> tuple[Tensor, ...]:
        """See ``Affine.transpose_window``: gather from all that the operand's window is spread to."""
        (read,) = self.reads(window, shapes)
        if not read:
            return self.transpose(place(rows, window, (), out), shapes)
        steps = zip(read, self.stride, self.padding, self.dilation, self.weight.shape[2:], strict=True)
        reached = tuple(
            slice(part.start * stride - pad, (part.stop - 1) * stride - pad + gap * (kernel - 1) + 1)
            for part, stride, pad, gap, kernel in steps
        )
        gather = CONVOLVE[len(self.stride)]
        flat = place(rows, window, reached, out).flatten(0, 1)
        pulled = gather(flat, self.weight, None, self.stride, 0, self.dilation, self.groups)
        return (pulled.unflatten(0, rows.shape[:2]),)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield strides, output padding, dilation and groups."""
        draw = torch.Generator().manual_seed(0)

        def weights(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draw, dtype=torch.float64)

        yield ConvTranspose(weights(2, 3, 3, 3), weights(3), (2, 2), (1, 1), (1, 1)), [(1, 2, 3, 4)]
        yield (
            ConvTranspose(weights(4, 1, 2, 3), weights(2), (3, 1), (0, 1), (1, 2), 2, output_padding=(2, 0)),
            [(2, 4, 2, 4)],
        )
        yield ConvTranspose(weights(2, 1, 2), None, (1,), (0,), (3,), 1, output_padding=(2,)), [(1, 2, 3)]
        yield ConvTranspose(weights(1, 2, 2, 1, 2), weights(2), (1, 1, 2), (0, 0, 1), (1, 1, 1)), [(1, 1, 2, 3, 3)]
