"""Which method a network's size and the time allow, by models of their cost.

Costs are multiplications of dense matrices. An interior-point step takes some ``25 N^3`` operations for N variables
and as many multipliers, a point of the first-order method some ``4`` times those of its elimination; both factors were
measured, rates are of this machine. Steps that are too many for the time are no error: all methods can be stopped.
"""

from __future__ import annotations

import functools
import math
import os
import time
from typing import Literal

import torch

from verifier.config import seconds
from verifier.lipschitz.sdp.gains import acyclic
from verifier.lipschitz.sdp.splitting import cuts, parts
from verifier.lipschitz.sdp.system import System

Method = Literal["barrier", "first-order", "split", "product"]

STEPS, STEP = 20, 25.0
"""Of the interior-point method: how many, and operations of each by the cube of the size."""

POINTS, POINT = 150, 4.0
"""Of the first-order method: how many, and operations of each by those of the elimination."""

MATRICES = 20
"""As large as the variables, which an interior-point step holds."""

SMALLEST = 64
"""Variables of pieces below which cutting further is not worth it."""


def choose(system: System, norm: str = "2", timeout: float | None = 60.0) -> Method:
    """Return the tightest method that ends in time: the barrier, the first-order method, pieces, or the product.

    Implicit networks are for the barrier alone. For the norm ``inf`` there is a program for each output.
    """
    limit = seconds(timeout)
    if not system.layers or limit <= 0:
        return "product"
    count = system.output.rows if norm == "inf" else 1
    if not acyclic(system) or (count * barrier(system, norm) <= limit and fits(system, norm)):
        return "barrier"
    if count * first_order(system, norm) <= limit:
        return "first-order"
    return "split" if cuts(system) and largest(system, norm, limit) is not None else "product"


def barrier(system: System, norm: str) -> float:
    """Return the seconds that the interior-point method takes, roughly."""
    return STEPS * STEP * _order(system, norm) ** 3 / rate()


def first_order(system: System, norm: str) -> float:
    """Return the seconds that the first-order method takes, roughly."""
    widths = [_inputs(system, norm), *(layer.before.rows for layer in system.layers)]
    meets: list[set[int]] = [set() for _ in widths]  # of each group, the earlier ones
    for group, layer in enumerate(system.layers, 1):
        meets[group] |= set(layer.before.blocks)
        if bool((layer.lower * layer.upper).any()):
            _join(meets, set(layer.before.blocks))
    _join(meets, set(system.output.blocks))
    total = 10.0 * widths[0] ** 3  # eigenvectors
    for group in range(len(system.layers), 0, -1):
        across = sum(widths[other] for other in meets[group])
        total += widths[group] ** 3 / 3 + widths[group] ** 2 * across + widths[group] * across**2
        _join(meets, meets[group])
    return POINTS * POINT * total / rate()


def _join(meets: list[set[int]], groups: set[int]) -> None:
    """Let some groups meet each other."""
    for group in groups:
        meets[group] |= {other for other in groups if other < group}


def largest(system: System, norm: str, limit: float) -> int | None:
    """Return the size of pieces whose interior-point methods end in time, or None if none is small enough."""
    most = system.size
    while most >= SMALLEST:
        pieces = parts(system, most)
        rows = [piece.output.rows if norm != "2" else 1 for piece in pieces]
        if sum(count * barrier(piece, norm) for count, piece in zip(rows, pieces, strict=True)) <= limit:
            return most
        most //= 2
    return None


def fits(system: System, norm: str) -> bool:
    """Tell whether half of the machine's memory holds what the interior-point method needs."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 8 * MATRICES * _order(system, norm) ** 2 <= whole / 2


@functools.cache
def rate() -> float:
    """Return the operations a second of products of matrices here, of two that are timed."""
    matrix = torch.eye(512, dtype=torch.float64)
    best = math.inf
    for _ in range(3):
        started = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - started)
    return float(2 * 512**3 / max(best, 1e-9))


def _order(system: System, norm: str) -> int:
    """Return the size of the matrix of the program."""
    return _inputs(system, norm) + system.size - system.inputs + (0 if norm == "2" else system.output.rows)


def _inputs(system: System, norm: str) -> int:
    """Return how many coordinates of the input are left: for the norm 2, no more than rows read it."""
    if norm != "2":
        return system.inputs
    return min(system.inputs, sum(signal.rows for signal in system.signals if 0 in signal.blocks))
