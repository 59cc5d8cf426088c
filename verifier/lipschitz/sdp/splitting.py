"""Bounds of networks in pieces: the product of those of parts that follow each other.

A network can be cut at a group of activations through which all passes: no later layer reads earlier groups, and no
earlier layer reads later ones. Groups are what can be cut at, and not sums of them, so that a chain of layers or of
residual blocks that end in an activation falls apart, and a stream that passes all activations by does not.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from itertools import pairwise

import torch

from verifier.bounds.rounding import gamma
from verifier.config import seconds
from verifier.errors import UsageError
from verifier.lipschitz.sdp.bound import NORMS, bound
from verifier.lipschitz.sdp.gains import product
from verifier.lipschitz.sdp.result import SdpResult, summary
from verifier.lipschitz.sdp.system import Block, Layer, Signal, System


def cuts(system: System) -> list[int]:
    """Return the groups of activations through which all that follows passes."""
    count = len(system.layers)
    reads = [list(layer.before.blocks) for layer in system.layers]
    later = list(system.output.blocks)
    earliest, found = min(later, default=count), []
    for group in range(count, 0, -1):  # earliest: what is read behind this group
        if earliest >= group and all(read <= group for before in reads[:group] for read in before):
            found.append(group)
        earliest = min([earliest, *reads[group - 1]])
    return found[::-1]


def part(system: System, first: int, last: int | None) -> System:
    """Return what leads from a group to a later one, or to the output."""
    stop = len(system.layers) if last is None else last
    inputs = system.layers[first - 1].before.rows if first else system.inputs

    def moved(signal: Signal) -> Signal:
        return Signal(signal.rows, {group - first: block for group, block in signal.blocks.items()})

    layers = tuple(
        Layer(moved(layer.before), layer.lower, layer.upper, layer.ties) for layer in system.layers[first:stop]
    )
    if last is None:
        return System(inputs, layers, moved(system.output))
    rows = system.layers[last - 1].before.rows
    return System(inputs, layers, Signal(rows, {last - first: Block.exact(torch.eye(rows, dtype=torch.float64))}))


def parts(system: System, largest: int) -> list[System]:
    """Cut into pieces of at most so many variables, where that can be, and as few of them as a sweep finds."""
    places, found, begin = cuts(system), [], 0
    for here, following in pairwise([*places, None]):
        if here is not None and part(system, begin, following).size > largest:
            found.append(part(system, begin, here))
            begin = here
    return [*found, part(system, begin, None)]


def split(
    system: System, norm: str = "2", *, largest: int, timeout: float | None = 60.0, gap: float = 1e-8
) -> SdpResult:
    """Bound the Lipschitz constant by the product of the bounds of pieces.

    Args:
        system: the network.
        norm: see ``bound``; all pieces but the last are bounded from the norm 2 to 2, or inf to inf.
        largest: number of variables of a piece, its input included.
        timeout: seconds for all pieces, shared by the cubes of their sizes, or None for no limit.
        gap: see ``bound``.

    Returns:
        A certified bound, never above the product of the layers' gains; its multipliers are those of the pieces.

    Raises:
        UsageError: no such norm.

    Property: sound in floating point.
    """
    if norm not in NORMS:
        raise UsageError(f"there is no semidefinite bound for norm {norm!r}; choose one of {', '.join(NORMS)}")
    started = time.monotonic()
    pieces = parts(system, largest)
    inner, limit, found = "2" if norm == "2" else "inf", seconds(timeout), []
    costs = [float(piece.size) ** 3 for piece in pieces]
    for k, piece in enumerate(pieces):
        left = max(limit - (time.monotonic() - started), 0.0) * costs[k] / sum(costs[k:])
        found.append(bound(piece, norm if k == len(pieces) - 1 else inner, timeout=left, gap=gap))
    upper, whole = times([answer.upper for answer in found]), product(system, norm)
    numbers = [each for answer in found for each in answer.multipliers]
    result = summary(upper, whole, norm, found, numbers, time.monotonic() - started)
    return result if len(pieces) == 1 else replace(result, closed=False)


def times(bounds: list[float]) -> float:
    """Multiply non-negative bounds upward: infinite if one is, and 0 only if one is 0."""
    if 0.0 in bounds:
        return 0.0
    if math.inf in bounds:
        return math.inf
    mantissas, exponents = zip(*(math.frexp(value) for value in bounds), strict=True)
    found = 1.0
    for mantissa in mantissas:
        found = found * mantissa * (1 + gamma(2, torch.float64))
    try:
        scaled = math.ldexp(found, sum(exponents))
    except OverflowError:
        return math.inf
    return math.nextafter(max(scaled, torch.finfo(torch.float64).tiny), math.inf)
