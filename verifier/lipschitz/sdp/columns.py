"""Affine operators on signals: the columns of a block are values of the operand, one for each variable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.errors import UnsupportedError
from verifier.lipschitz.sdp.system import Block, Signal
from verifier.ops.arithmetic import Neg, Translate
from verifier.ops.op import Affine, Shape
from verifier.ops.shape import Movement

LARGEST = 1 << 27
"""Numbers of the largest matrix, of 1 GiB."""

SMALLEST = 1e-140
"""Numbers below are taken as 0 with a radius, so that no product is too small to be a float64."""


def exact(op: Affine) -> bool:
    """Tell whether the linear part rounds nothing: each element is one of the operands', its negative, or 0."""
    return op.copies or isinstance(op, (Movement, Neg, Translate))


def check_size(rows: int, size: int) -> None:
    """Refuse a matrix that is too large.

    Raises:
        UnsupportedError: it is.
    """
    if rows * size > LARGEST:
        raise UnsupportedError(f"its matrix has {rows} x {size} numbers; {LARGEST} are supported")


def image(op: Affine, operands: list[Signal], shapes: list[Shape], out: Shape) -> Signal:
    """Apply the linear part of an affine operator.

    Args:
        op: in float64.
        operands: flattened, of the lengths of ``shapes``.
        shapes: of the operands, without the domain axis.
        out: shape of the result.

    Returns:
        The result, flattened; its radii cover the rounding, and those of the operands.

    Raises:
        UnsupportedError: a matrix would be too large, or a constant is too small.

    Property: sound in floating point (Higham, 2nd ed., section 3.1).
    """
    linear, rows, found = op.homogeneous(), math.prod(out), {}
    if op.weights is not None:
        weight = getattr(op, op.weights).abs()
        if bool(((weight > 0) & (weight < SMALLEST)).any()):
            raise UnsupportedError(f"a weight is below {SMALLEST:g}")
    for group in sorted({group for operand in operands for group in operand.blocks}):
        blocks = [_flushed(operand.blocks.get(group)) for operand in operands]
        size = next(block.centre.shape[1] for block in blocks if block is not None)
        check_size(rows, size)
        centres, radii = (
            [_columns(None if block is None else getattr(block, part), size, shape) for block, shape in pairs]
            for part, pairs in ((part, list(zip(blocks, shapes, strict=True))) for part in ("centre", "radius"))
        )
        centre = _rows(linear.forward(*centres), rows)
        if exact(op):
            radius = _rows(linear.forward(*radii), rows).abs()
        else:
            unit = gamma(op.terms(shapes, out) + 4, torch.float64)
            inside = [r + unit * c.abs() for c, r in zip(centres, radii, strict=True)]
            radius = _rows(linear.magnitude(*inside), rows) * (1 + 4 * unit)
        if bool(centre.any()) or bool(radius.any()):
            found[group] = Block(centre, radius)
    return Signal(rows, found)


def take(signal: Signal, index: Tensor) -> Signal:
    """Keep some rows, by their numbers or a mask."""
    blocks = {group: Block(block.centre[index], block.radius[index]) for group, block in signal.blocks.items()}
    count = int(index.sum()) if index.dtype == torch.bool else len(index)
    return Signal(count, blocks)


def scaled(signal: Signal, factor: Tensor, error: Tensor) -> Signal:
    """Multiply each row by a number ``(rows,)`` that is within an error of the true one."""
    found, unit = {}, gamma(4, torch.float64)
    plain = ((factor == 0) | (factor.abs() == 1)) & (error == 0)
    wrong = torch.where(plain, 0.0, error + unit * factor.abs()).unsqueeze(1)
    lost = torch.where(plain, 0.0, torch.finfo(torch.float64).tiny).unsqueeze(1)
    for group, block in signal.blocks.items():
        size = block.centre.abs() + block.radius
        centre = factor.unsqueeze(1) * block.centre
        radius = (factor.abs().unsqueeze(1) * block.radius + wrong * size) * (1 + unit) + 4 * lost * (size > 0)
        if bool(centre.any()) or bool(radius.any()):
            found[group] = Block(centre, radius)
    return Signal(signal.rows, found)


def _flushed(block: Block | None) -> Block | None:
    """Replace numbers that are too small."""
    if block is None:
        return None
    centre, radius = block.centre, block.radius
    small = (centre != 0) & (centre.abs() < SMALLEST)
    tiny = (radius > 0) & (radius < SMALLEST)
    if not bool((small | tiny).any()):
        return block
    return Block(centre.masked_fill(small, 0), torch.where(small | tiny, 2 * (radius + SMALLEST), radius))


def _columns(matrix: Tensor | None, size: int, shape: Shape) -> Tensor:
    """Return the columns of a matrix ``(rows, size)`` as values of a node, ``(size, *shape)``."""
    if matrix is None:
        return torch.zeros(size, *shape, dtype=torch.float64)
    return matrix.mT.contiguous().reshape(size, *shape)


def _rows(columns: Tensor, rows: int) -> Tensor:
    """Return values of a node as columns of a matrix."""
    return columns.reshape(len(columns), rows).mT.contiguous()
