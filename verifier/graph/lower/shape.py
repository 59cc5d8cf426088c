"""Operators that rename positions."""

from __future__ import annotations

import math

import numpy as np

from verifier.graph.lower.builder import Builder, Call, Operand, lowers
from verifier.ops.op import Shape


@lowers("Identity", "Dropout")
def identity(b: Builder, call: Call) -> Operand:
    """Drop an operator that does nothing at inference."""
    del b
    training = call.optional(2) if call.proto.op_type == "Dropout" else None
    if training is not None and training.any():
        raise call.unsupported("training mode; inference is supported")
    return call.variable()


@lowers("Reshape")
def reshape(b: Builder, call: Call) -> Operand:
    """Lower a reshape; 0 keeps a length, -1 fills up."""
    x = call.variable()
    wanted = [int(size) for size in call.constant(1).reshape(-1)]
    return b.reshape(x, resolved(x.shape, wanted, zero_is_zero=bool(call.get("allowzero", 0))))


def resolved(old: Shape, wanted: list[int], *, zero_is_zero: bool) -> Shape:
    """Return the shape that a reshape means."""
    shape = [old[k] if size == 0 and not zero_is_zero else size for k, size in enumerate(wanted)]
    if -1 in shape:
        known = math.prod(size for size in shape if size != -1)
        shape[shape.index(-1)] = math.prod(old) // known if known else 0
    if math.prod(shape) != math.prod(old) or min(shape, default=0) < 0:
        raise ValueError(f"shape {list(old)} cannot become {wanted}")
    return tuple(shape)


@lowers("Flatten")
def flatten(b: Builder, call: Call) -> Operand:
    """Lower a flattening to two axes."""
    x, axis = call.variable(), call.get("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    return b.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@lowers("Squeeze")
def squeeze(b: Builder, call: Call) -> Operand:
    """Drop axes of length 1."""
    x, axes = call.variable(), call.ints("axes", 1)
    gone = [k for k, size in enumerate(x.shape) if size == 1] if axes is None else [axis % x.rank for axis in axes]
    return b.reshape(x, [size for k, size in enumerate(x.shape) if k not in gone])


@lowers("Unsqueeze")
def unsqueeze(b: Builder, call: Call) -> Operand:
    """Add axes of length 1."""
    x, axes = call.variable(), call.ints("axes", 1) or []
    rank = x.rank + len(axes)
    new = {axis % rank for axis in axes}
    old = iter(x.shape)
    return b.reshape(x, [1 if k in new else next(old) for k in range(rank)])


@lowers("Transpose")
def transpose(b: Builder, call: Call) -> Operand:
    """Permute axes; by default reverse them."""
    x = call.variable()
    return b.transpose(x, call.get("perm") or range(x.rank)[::-1])


@lowers("Expand")
def expand(b: Builder, call: Call) -> Operand:
    """Broadcast to a shape."""
    x = call.variable()
    return b.expand(x, np.broadcast_shapes(x.shape, tuple(int(size) for size in call.constant(1))))


@lowers("DepthToSpace")
def depth_to_space(b: Builder, call: Call) -> Operand:
    """Move channels into blocks of positions."""
    x, block = call.variable(), call.get("blocksize")
    batch, channels, height, width = x.shape
    depth = channels // block**2
    if call.get("mode", "DCR") == "DCR":
        x = b.transpose(b.reshape(x, (batch, block, block, depth, height, width)), (0, 3, 4, 1, 5, 2))
    else:
        x = b.transpose(b.reshape(x, (batch, depth, block, block, height, width)), (0, 1, 4, 2, 5, 3))
    return b.reshape(x, (batch, depth, height * block, width * block))


@lowers("SpaceToDepth")
def space_to_depth(b: Builder, call: Call) -> Operand:
    """Move blocks of positions into channels."""
    x, block = call.variable(), call.get("blocksize")
    batch, channels, height, width = x.shape
    x = b.reshape(x, (batch, channels, height // block, block, width // block, block))
    x = b.transpose(x, (0, 3, 5, 1, 2, 4))
    return b.reshape(x, (batch, channels * block**2, height // block, width // block))
