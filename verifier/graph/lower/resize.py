"""Resizing: by picking elements (nearest), or by a matrix for each axis (linear, cubic)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from verifier.graph.lower.builder import Builder, Call, Operand, Variable, lowers, positive_axis, tensor
from verifier.graph.lower.windows import take
from verifier.graph.onnx_file import Array
from verifier.ops.linear import Linear

ROUNDING: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}
"""What ``nearest_mode`` means."""

KNOWN = {
    "mode": ("nearest", "linear", "cubic"),
    "coordinate_transformation_mode": (
        "half_pixel",
        "asymmetric",
        "align_corners",
        "pytorch_half_pixel",
        "half_pixel_symmetric",
    ),
    "nearest_mode": tuple(ROUNDING),
    "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
}
"""The values of attributes that are supported."""


@lowers("Upsample", "Resize")
def resize(b: Builder, call: Call) -> Operand:
    """Lower a resize of any number of axes."""
    x, mode = call.variable(), call.get("mode", "nearest")
    for name, known in KNOWN.items():
        if call.get(name, known[0]) not in known:
            raise call.unsupported(f"{name} = {call.get(name)!r}; supported are {', '.join(known)}")
    wanted = factors(call, x)
    smooth = bool(call.get("antialias", 0))
    if smooth:
        check_antialias(call, x, wanted)
    if any(scale != 1 for scale, _ in wanted) and all(
        length == size for (_, length), size in zip(wanted, x.shape, strict=True)
    ):
        raise call.unsupported("factors that leave every length as it is, which runtimes read differently")
    for axis, (scale, length) in enumerate(wanted):
        if length == x.shape[axis] and scale == 1:
            continue
        at = coordinates(call, x.shape[axis], scale, length)
        if mode == "nearest":
            x = take(b, x, axis, nearest(call, at, scale).clip(0, x.shape[axis] - 1))
        else:
            last = [*(k for k in range(x.rank) if k != axis), axis]
            if smooth:
                weights = antialiased(call, at, x.shape[axis], scale)
            else:
                weights = interpolation(at, x.shape[axis]) if mode == "linear" else cubic(call, at, x.shape[axis])
            exact = mode == "linear" and not smooth
            y = b.apply(Linear(tensor(weights), roundings=0 if exact else 8), b.transpose(x, last))
            x = b.transpose(y, np.argsort(last).tolist())
    return x


def check_antialias(call: Call, x: Variable, wanted: list[tuple[float, int]]) -> None:
    """Refuse antialiasing that onnxruntime does not compute, or otherwise than ONNX says."""
    mode = call.get("mode", "nearest")
    if mode == "nearest":
        raise call.unsupported("antialiasing with mode = 'nearest'; linear and cubic are supported")
    changed = [(scale, length == size) for (scale, length), size in zip(wanted, x.shape, strict=True) if scale != 1]
    if any(same for _, same in changed):
        raise call.unsupported(
            "antialiasing with a factor that leaves a length as it is, which runtimes read differently"
        )
    ranks = (2, 3, 4, 5) if mode == "linear" else (2, 4)
    if x.rank not in ranks or len(changed) > 2 + (x.rank in (3, 5)):
        raise call.unsupported(
            f"antialiasing of {len(changed)} of {x.rank} axes; two of 2 or 4 are supported, with linear three of 3 or 5"
        )


def factors(call: Call, x: Variable) -> list[tuple[float, int]]:
    """Return for each axis its factor and its new length."""
    where = [positive_axis(axis, x.rank) for axis in call.get("axes") or range(x.rank)]
    old = call.proto.op_type == "Upsample" or call.opset < 11
    scales = np.asarray(call.get("scales")) if call.get("scales") is not None else call.optional(1 if old else 2)
    sizes = None if old else call.optional(3)
    found = [(1.0, size) for size in x.shape]
    if scales is not None and scales.size:
        for axis, scale in zip(where, scales, strict=True):
            found[axis] = (float(scale), int(np.floor(np.float32(x.shape[axis]) * np.float32(scale))))
        return found
    if sizes is None:
        raise ValueError("neither scales nor sizes are given")
    ratios = [int(size) / x.shape[axis] for axis, size in zip(where, sizes, strict=True)]
    policy = call.get("keep_aspect_ratio_policy", "stretch")
    for axis, size, ratio in zip(where, sizes, ratios, strict=True):
        if policy == "stretch":
            found[axis] = (ratio, int(size))
        else:
            common = min(ratios) if policy == "not_larger" else max(ratios)
            found[axis] = (common, int(np.floor(common * x.shape[axis] + 0.5)))
    return found


def coordinates(call: Call, size: int, scale: float, length: int) -> Array:
    """Return where each new element lies in the old axis.

    In float32, as runtimes compute it: where a coordinate falls on the border between two elements, its rounding
    decides which one the model reads.
    """
    new, half, factor = np.arange(length, dtype=np.float32), np.float32(0.5), np.float32(scale)
    old = call.proto.op_type == "Upsample" or call.opset < 11
    mode = "asymmetric" if old else call.get("coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        return new / factor
    if mode == "half_pixel":
        return (new + half) / factor - half
    if mode == "pytorch_half_pixel":
        return (new + half) / factor - half if length > 1 else np.zeros(1)
    if mode == "align_corners":
        return new * np.float32(size - 1) / np.float32(length - 1) if length > 1 else np.zeros(length)
    adjusted = length / (scale * size)  # half_pixel_symmetric
    return size / 2 * (1 - adjusted) + (new + half) / factor - half


def nearest(call: Call, at: Array, scale: float) -> Array:
    """Round coordinates to whole positions."""
    old = call.proto.op_type == "Upsample" or call.opset < 11
    simple = "ceil" if scale < 1 else "floor"
    mode = simple if old else call.get("nearest_mode", "round_prefer_floor")
    return ROUNDING[mode](at).astype(np.int64)


def interpolation(at: Array, size: int) -> Array:
    """Return the matrix ``(size, len(at))`` of linear interpolation between neighbours."""
    at = at.astype(np.float64).clip(0, size - 1)
    low = np.minimum(np.floor(at).astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    weights = np.zeros((size, len(at)))
    columns = np.arange(len(at))
    np.add.at(weights, (low, columns), 1 - (at - low))
    np.add.at(weights, (high, columns), at - low)
    return weights


def cubic(call: Call, at: Array, size: int) -> Array:
    """Return the matrix ``(size, len(at))`` of cubic convolution over four neighbours; the border's are repeated."""
    outside, bend = bool(call.get("exclude_outside", 0)), bend_of(call)
    weights = spread(lambda far: keys(far, bend), np.floor(at.astype(np.float64)) - 1, 4, at, size, outside)
    return weights / weights.sum(0) if outside else weights


def antialiased(call: Call, at: Array, size: int, scale: float) -> Array:
    """Return the matrix ``(size, len(at))`` of a triangle or of cubic convolution, as wide as what is left out.

    Where the axis becomes shorter, the filter is stretched by how many old elements there are for each new one; weights
    are divided by their sum, and the border's elements are repeated.
    """
    mode, bend, shrink = call.get("mode"), bend_of(call), min(scale, 1.0)
    reach = (1 if mode == "linear" else 2) / shrink
    first = np.floor(at.astype(np.float64) - reach)

    def height(far: Array) -> Array:
        return np.clip(1 - shrink * far, 0, None) if mode == "linear" else keys(shrink * far, bend)

    weights = spread(height, first, math.ceil(2 * reach) + 2, at, size, bool(call.get("exclude_outside", 0)))
    found: Array = weights / weights.sum(0)
    return found


def spread(height: Callable[[Array], Array], first: Array, count: int, at: Array, size: int, outside: bool) -> Array:
    """Weigh ``count`` places from ``first`` on by their distance.

    Places outside of the axis count for the border's, or, with ``outside``, not at all.
    """
    at, columns = at.astype(np.float64), np.arange(len(at))
    weights = np.zeros((size, len(at)))
    for place in (first.astype(np.int64) + k for k in range(count)):
        part = height(np.abs(at - place))
        if outside:
            part = np.where((place >= 0) & (place < size), part, 0.0)
        np.add.at(weights, (place.clip(0, size - 1), columns), part)
    return weights


def bend_of(call: Call) -> float:
    """Return the free coefficient of cubic convolution."""
    return float(call.get("cubic_coeff_a", np.float32(-0.75)))


def keys(far: Array, bend: float) -> Array:
    """Return the kernel of cubic convolution at distances.

    Source: Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29, 1981.
    """
    near = ((bend + 2) * far - (bend + 3)) * far * far + 1
    return np.where(far <= 1, near, np.where(far < 2, ((far - 5) * far + 8) * far * bend - 4 * bend, 0.0))
