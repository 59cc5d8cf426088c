"""How much the layers of a system stretch at most, by the norms of their matrices alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.lipschitz.norms import spectral
from verifier.lipschitz.sdp.system import Block, Layer, System
from verifier.sets import Box

SMALL = 1e-290
"""What positive products are at least taken for: they may underflow."""

GROW = 1 + gamma(8, torch.float64)


def gains(system: System, order: float) -> list[float]:
    """Bound the norms of order 2 or infinity of all groups for an input of norm 1; that of the input is 1.

    ``|v_k| <= m_k |z_k| <= m_k sum_j |A_kj| |v_j|``. A layer that reads itself has ``|v_k|`` on both sides, and a bound
    if ``m_k |A_kk| < 1``: then it is a contraction, and well-posed. Infinite where a layer reads later ones.

    Property: sound in floating point, for all matrices within their radii.
    """
    found = [1.0]
    for k, layer in enumerate(system.layers, 1):
        steepness, total, own = _steepness(layer, order), 0.0, 0.0
        for group, block in layer.before.blocks.items():
            norm = matrix_norm(block, order)
            if group == k:
                own = times(steepness, norm)
            else:
                total += times(found[group], norm) if group < k else math.inf
        found.append(contraction(times(steepness, total * GROW), own))
    return found


def product(system: System, norm: str) -> float:
    """Bound the Lipschitz constant, norm ``2``, ``inf`` or ``inf,1``, by the layers' gains.

    Property: sound in floating point, as ``gains`` is.
    """
    reach = gains(system, 2 if norm == "2" else math.inf)
    if not all(math.isfinite(gain) for gain in reach):
        return math.inf  # perhaps not well-posed, whatever reads it
    total = 0.0
    for group, block in system.output.blocks.items():
        total += times(reach[group], answer_norm(block, norm))
    return total * (1 + gamma(len(system.output.blocks) + 8, torch.float64))


def acyclic(system: System) -> bool:
    """Tell whether every layer reads earlier groups alone."""
    return all(group < k for k, layer in enumerate(system.layers, 1) for group in layer.before.blocks)


def _steepness(layer: Layer, order: float) -> float:
    """Return m with ``|v| <= m |z|``: of each tie, the largest ``|c| + r``, with c the middle and r half the length.

    For tied neurons, ``|v - c z| <= |r z|`` in the norm 2 over the tie, which is between the norm inf and that times
    the root of their number.
    """
    count = int(layer.ties.max()) + 1
    middle, radius = (layer.upper + layer.lower).abs() / 2, (layer.upper - layer.lower) / 2
    most = [torch.zeros(count).double().scatter_reduce(0, layer.ties, part, "amax") for part in (middle, radius)]
    found = float((most[0] + most[1]).max()) * GROW
    largest = int(layer.ties.bincount().max())
    return found * (math.sqrt(largest) * GROW if math.isinf(order) else 1.0)


def matrix_norm(block: Block, order: float) -> float:
    """Bound the norm of order 2 or infinity of all matrices within the radii."""
    if math.isinf(order):
        return _upward(_rows(block).max())
    lower, upper = (
        torch.where(block.radius > 0, end.nextafter(torch.full_like(end, away)), end)
        for end, away in ((block.centre - block.radius, -math.inf), (block.centre + block.radius, math.inf))
    )
    return float(spectral(Box(lower.unsqueeze(0), upper.unsqueeze(0))))


def answer_norm(block: Block, norm: str) -> float:
    """Bound the norm ``2``, ``inf`` or ``inf,1`` of all matrices within the radii."""
    if norm == "inf,1":
        return _upward(_rows(block).sum()) * (1 + gamma(len(block.centre), torch.float64))
    return matrix_norm(block, 2.0 if norm == "2" else math.inf)


def contraction(read: float, own: float) -> float:
    """Bound v where ``v <= read + own v``; infinite unless own < 1."""
    room = 1 - own
    return read / room * GROW if room > 0 else math.inf


def times(one: float, other: float) -> float:
    """Multiply bounds of norms upward."""
    if one == 0 or other == 0:
        return 0.0
    return max(one * other * GROW, SMALL)


def _upward(value: Tensor) -> float:
    """Return a bound, infinite where numbers left the range."""
    return float(value.nan_to_num(nan=math.inf, posinf=math.inf))


def _rows(block: Block) -> Tensor:
    """Bound the sums of the rows' absolute values."""
    return (block.centre.abs() + block.radius).sum(1) * (1 + gamma(block.centre.shape[1] + 4, torch.float64))
