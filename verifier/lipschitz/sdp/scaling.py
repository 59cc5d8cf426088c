"""Systems with the same Lipschitz constant whose numbers are better to compute with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from verifier.lipschitz.sdp.system import Block, Layer, Signal, System

TINY = torch.finfo(torch.float64).tiny


def balanced(system: System) -> tuple[System, int]:
    """Scale what each layer reads and gives by powers of two, so that its size for an input of 1 is about 1.

    Slopes are scaled by the ratio. Returns the system and the exponent of what was taken out of its output.

    Raises:
        OverflowError: numbers are so large or so small that the scaling would not be exact.
    """
    blocks = [block for signal in system.signals for block in signal.blocks.values()]
    if not all(bool(part.isfinite().all()) for block in blocks for part in (block.centre, block.radius)):
        raise OverflowError("numbers out of range")
    read, given = [0], [0]  # exponents of each group
    for k, layer in enumerate(system.layers):
        before = {group: block for group, block in layer.before.blocks.items() if group <= k}
        steepest = float(torch.maximum(layer.lower.abs(), layer.upper.abs()).max())
        read.append(_size(before, given))
        given.append(read[-1] + (round(math.log2(steepest)) if steepest > 0 else 0))
    layers = tuple(
        Layer(
            _scaled(layer.before, given, read[k]),
            _times(layer.lower, read[k] - given[k]),
            _times(layer.upper, read[k] - given[k]),
            layer.ties,
        )
        for k, layer in enumerate(system.layers, 1)
    )
    last = _size(system.output.blocks, given)
    return System(system.inputs, layers, _scaled(system.output, given, last)), last


def _size(blocks: Mapping[int, Block], given: list[int]) -> int:
    """Return the exponent of the size of a sum of blocks, given those of the groups that they read.

    Raises:
        OverflowError: it is out of range.
    """
    sizes = [float(torch.linalg.matrix_norm(block.centre, 2)) for block in blocks.values()]
    if not all(math.isfinite(size) for size in sizes):
        raise OverflowError("numbers out of range")
    parts = [math.log2(size) + given[group] for group, size in zip(blocks, sizes, strict=True) if size > 0]
    most = max(parts, default=0.0)
    return round(most + math.log2(sum(2 ** (part - most) for part in parts))) if parts else 0


def _scaled(signal: Signal, given: list[int], power: int) -> Signal:
    """Scale every block from the groups' exponents to that of the rows."""
    found = {}
    for group, block in signal.blocks.items():
        centre, exponent = _times(block.centre, given[group] - power), given[group] - power
        radius = _multiplied(block.radius, exponent) + TINY * (block.radius > 0)  # what underflowed
        found[group] = Block(centre, radius)
    return Signal(signal.rows, found)


def _multiplied(matrix: Tensor, exponent: int) -> Tensor:
    """Multiply by a power of two, in two steps because one alone may leave the range."""
    half = exponent // 2
    return matrix * math.ldexp(1.0, half) * math.ldexp(1.0, exponent - half)


def _times(matrix: Tensor, exponent: int) -> Tensor:
    """Multiply by a power of two exactly, or raise an error."""
    found = _multiplied(matrix, exponent)
    if not torch.equal(_multiplied(found, -exponent), matrix):
        raise OverflowError("numbers too far from 1")
    return found


def reduced(system: System) -> System:
    """Turn the input so that no more coordinates are left than there are rows that read it.

    For the norm 2 and up to rounding: ``A_k0 = R_k Q`` with orthonormal rows of Q. Radii are dropped. One coordinate is
    left where nothing reads the input.
    """
    reads = [signal for signal in system.signals if 0 in signal.blocks]
    if not reads:
        return System(1, system.layers, system.output)
    if sum(signal.rows for signal in reads) >= system.inputs:
        return system
    whole = torch.cat([signal.blocks[0].centre for signal in reads])
    triangle = torch.linalg.qr(whole.mT, mode="r")[1].mT
    pieces = iter(triangle.split([signal.rows for signal in reads]))

    def turned(signal: Signal) -> Signal:
        if 0 not in signal.blocks:
            return signal
        return Signal(signal.rows, {**signal.blocks, 0: Block.exact(next(pieces))})

    layers = tuple(Layer(turned(layer.before), layer.lower, layer.upper, layer.ties) for layer in system.layers)
    return System(triangle.shape[1], layers, turned(system.output))
