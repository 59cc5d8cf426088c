"""Convolutions and pooling: windows that slide over the spatial axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from verifier.graph.lower.builder import Builder, Call, Operand, Variable, double, lowers, tensor
from verifier.graph.lower.piecewise import maximum_of
from verifier.graph.onnx_file import Array
from verifier.ops.conv import CONVOLVE, Conv, ConvTranspose
from verifier.ops.op import Shape
from verifier.ops.pool import AveragePool
from verifier.ops.reduce import ReduceMean
from verifier.ops.select import Gather, Pad


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows over one spatial axis: ``count`` of them, at ``stride * j - begin + dilation * k`` for ``k < kernel``."""

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int
    count: int

    @property
    def extent(self) -> int:
        """Number of positions from a window's first to its last."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def positions(self) -> Array:
        """Positions in the operand, ``(count, kernel)``; some lie outside."""
        return self.stride * np.arange(self.count)[:, None] - self.begin + self.dilation * np.arange(self.kernel)

    @property
    def behind(self) -> int:
        """Zeros needed behind the operand for the last window to fit; negative where positions stay unused."""
        return self.stride * (self.count - 1) - self.begin + self.extent - self.size


def windows(call: Call, space: Shape, kernel: Shape) -> list[Windows]:
    """Resolve strides, dilations, pads, ``auto_pad`` and ``ceil_mode`` for each spatial axis."""
    rank = len(space)
    strides, dilations = call.get("strides") or [1] * rank, call.get("dilations") or [1] * rank
    pads, mode = call.get("pads") or [0] * 2 * rank, call.get("auto_pad", "NOTSET")
    found = []
    for axis in range(rank):
        size, width, stride, gap = space[axis], kernel[axis], strides[axis], dilations[axis]
        extent = gap * (width - 1) + 1
        begin, end = pads[axis], pads[axis + rank]
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
            end = total - begin
        elif mode == "VALID":
            begin = end = 0
        room = size + begin + end - extent
        count = (-(-room // stride) if call.get("ceil_mode", 0) else room // stride) + 1
        if call.get("ceil_mode", 0) and (count - 1) * stride >= size + begin:
            count -= 1  # a window must not start in the padding behind
        if count < 1:
            raise ValueError(f"a window of {extent} does not fit into an axis of {size}")
        found.append(Windows(size, width, stride, gap, begin, end, count))
    return found


@lowers("Conv")
def conv(b: Builder, call: Call) -> Operand:
    """Lower a convolution; uneven padding becomes a node of its own."""
    x, (weight, bias) = call.variable(), of_one_type(call.constant(1), call.optional(2))
    if x.rank - 2 not in CONVOLVE:
        raise call.unsupported(f"{x.rank - 2} spatial axes; 1 to 3 are supported")
    slides = windows(call, x.shape[2:], weight.shape[2:])
    padding = tuple(slide.begin for slide in slides)
    if any(slide.begin != slide.end or slide.begin < 0 for slide in slides):
        x = b.apply(Pad(((0, 0), (0, 0), *((slide.begin, slide.end) for slide in slides))), x)
        padding = (0,) * len(slides)
    strides, dilations = tuple(slide.stride for slide in slides), tuple(slide.dilation for slide in slides)
    shift = None if bias is None else tensor(bias)
    return b.apply(Conv(tensor(weight), shift, strides, padding, dilations, call.get("group", 1)), x)


def of_one_type(weight: Array, bias: Array | None) -> tuple[Array, Array | None]:
    """Return weight and bias in one precision; one of them may have been computed, and so be float64."""
    return (weight, bias) if bias is None or bias.dtype == weight.dtype else (double(weight), double(bias))


@lowers("ConvTranspose")
def conv_transpose(b: Builder, call: Call) -> Operand:
    """Lower a transposed convolution; padding that the operator cannot have is cut off or added behind it."""
    x, (weight, bias) = call.variable(), of_one_type(call.constant(1), call.optional(2))
    rank = x.rank - 2
    if rank not in CONVOLVE:
        raise call.unsupported(f"{rank} spatial axes; 1 to 3 are supported")
    stride, dilation = tuple(call.get("strides") or [1] * rank), tuple(call.get("dilations") or [1] * rank)
    extra = tuple(call.get("output_padding") or [0] * rank)
    begin, end = spread_pads(call, x.shape[2:], weight.shape[2:], stride, dilation, extra)
    groups = call.get("group", 1)
    shift = None if bias is None else tensor(bias)
    fits = all(more < max(step, gap) for more, step, gap in zip(extra, stride, dilation, strict=True))
    if begin == end and min(begin) >= 0 and fits:
        return b.apply(ConvTranspose(tensor(weight), shift, stride, begin, dilation, groups, output_padding=extra), x)
    y = b.apply(ConvTranspose(tensor(weight), None, stride, (0,) * rank, dilation, groups), x)
    change = [(-first, more - last) for first, last, more in zip(begin, end, extra, strict=True)]
    y = b.apply(Pad(((0, 0), (0, 0), *change)), y)
    return y if bias is None else b.translate(y, bias.reshape(-1, *[1] * rank))


def spread_pads(
    call: Call, space: Shape, kernel: Shape, stride: Shape, dilation: Shape, extra: Shape
) -> tuple[Shape, Shape]:
    """Return what a transposed convolution cuts off before and behind each axis."""
    rank, mode = len(space), call.get("auto_pad", "NOTSET")
    wanted = call.get("output_shape")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * step for size, step in zip(space, stride, strict=True)]
    if wanted is None:
        pads = [0] * 2 * rank if mode == "VALID" else (call.get("pads") or [0] * 2 * rank)
        return tuple(pads[:rank]), tuple(pads[rank:])
    wanted = wanted[-rank:]
    total = [stride[k] * (space[k] - 1) + extra[k] + dilation[k] * (kernel[k] - 1) + 1 - wanted[k] for k in range(rank)]
    if call.get("output_shape") is None and min(total) < 0:
        raise call.unsupported(f"auto_pad {mode} of windows shorter than their strides, which runtimes make smaller")
    small, large = tuple(pad // 2 for pad in total), tuple(pad - pad // 2 for pad in total)
    return (small, large) if mode == "SAME_UPPER" else (large, small)


@lowers("AveragePool")
def average_pool(b: Builder, call: Call) -> Operand:
    """Lower average pooling to padding, means of whole windows, and a correction where a window is cut."""
    x = call.variable()
    slides = windows(call, x.shape[2:], tuple(call.get("kernel_shape")))
    if len(slides) not in CONVOLVE:
        raise call.unsupported(f"{len(slides)} spatial axes; 1 to 3 are supported")
    kernel, stride = tuple(slide.kernel for slide in slides), tuple(slide.stride for slide in slides)
    pads = tuple((slide.begin, max(slide.behind, 0)) for slide in slides)
    if any(pad != (0, 0) for pad in pads):
        x = b.apply(Pad(((0, 0), (0, 0), *pads)), x)
    if all(slide.dilation == 1 for slide in slides):
        y = b.apply(AveragePool(kernel, stride), x)
    else:
        channels = x.shape[1]
        weight = torch.full((channels, 1, *kernel), 1 / math.prod(kernel), dtype=torch.float64)
        dilation = tuple(slide.dilation for slide in slides)
        y = b.apply(Conv(weight, None, stride, (0,) * len(slides), dilation, channels), x)
    ratio = np.ones(())
    for slide in slides:
        at = slide.positions
        padded = bool(call.get("count_include_pad", 0))
        first, behind = (-slide.begin, slide.size + slide.end) if padded else (0, slide.size)
        inside = ((at >= first) & (at < behind)).sum(1)
        ratio = np.multiply.outer(ratio, slide.kernel / inside)
    return b.scale(y, ratio)


@lowers("GlobalAveragePool")
def global_average_pool(b: Builder, call: Call) -> Operand:
    """Lower a mean over all positions."""
    x = call.variable()
    return b.apply(ReduceMean(tuple(range(2, x.rank))), x)


@lowers("MaxPool")
def max_pool(b: Builder, call: Call) -> Operand:
    """Lower max pooling, one axis after the other, to maxima of strided pieces.

    A position outside the operand is replaced by one of the same window inside it, which leaves the maximum as it is.
    """
    x = call.variable()
    if call.gives(1):
        raise call.unsupported("the output of indices; only the values are supported")
    for axis, slide in enumerate(windows(call, x.shape[2:], tuple(call.get("kernel_shape"))), start=2):
        x = maximum_of(b, pieces(b, x, axis, slide))
    return x


def pieces(b: Builder, x: Variable, axis: int, slide: Windows) -> list[Variable]:
    """Return, for each place in a window, the elements of all windows at that place."""
    at = slide.positions
    inside = (at >= 0) & (at < slide.size)
    if not inside.any(1).all():
        raise ValueError("a window lies in the padding alone")
    nearest = np.abs(np.arange(slide.kernel)[:, None] - np.arange(slide.kernel))
    found: list[Array] = []
    for k in range(slide.kernel):
        closest = np.where(inside, nearest[k], slide.kernel).argmin(1)
        column = at[np.arange(slide.count), closest]
        if not any((column == other).all() for other in found):
            found.append(column)
    return [take(b, x, axis, column) for column in found]


def take(b: Builder, x: Variable, axis: int, indices: Array) -> Variable:
    """Pick elements of an axis: as a slice where the indices are evenly spaced and rise."""
    if not len(indices):
        return b.slice(x, axis, 0, 0)
    step = int(indices[1] - indices[0]) if len(indices) > 1 else 1
    if step > 0 and (np.diff(indices) == step).all():
        return b.slice(x, axis, int(indices[0]), int(indices[-1]) + 1, step)
    return b.apply(Gather(torch.as_tensor(indices.astype(np.int64)), axis), x)
