"""Points at which derivatives have signs that are certified, found by sampling and improved by random moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.graph.graph import OUTPUT, Graph
from verifier.sets import Box

BATCHES, POINTS, ELEMENTS = 4, 512, 1 << 23
"""Batches of points that are tried at first, the points of one at most, and numbers that its widest node may hold."""

CLIMBS = 8
"""Batches of points about the best one that are tried for each sign not met yet."""


@dataclass(frozen=True, slots=True, eq=False)
class Slope:
    """A derivative at a point ``(n,)``; its sign is certified."""

    point: npt.NDArray[np.float64]
    derivative: float


class Witnesses:
    """Points at which derivatives have certified signs.

    Attributes:
        rises: for each derivative, where it is positive; None if no such point was met.
        falls: likewise, where it is negative.
    """

    def __init__(self, entries: Graph, box: Box, seed: int) -> None:
        """Take the network of derivatives, and where its points may lie."""
        self.entries, self.box = entries, box
        self.generator = torch.Generator(box.lower.device).manual_seed(seed)
        widest = max(math.prod(node.shape) for node in entries.nodes.values())
        self.batch = max(1, min(POINTS, ELEMENTS // widest))
        count = entries.n_outputs
        self.rises: list[Slope | None] = [None] * count
        self.falls: list[Slope | None] = [None] * count
        self.best = {sign: torch.full((count,), -math.inf).double() for sign in (1, -1)}
        self.where = {sign: box.centre.repeat(count, 1) for sign in (1, -1)}

    def sample(self) -> None:
        """Try random points."""
        for _ in range(BATCHES):
            self.try_points(self.box.sample(self.batch, self.generator).flatten(0, 1))

    def climb(self, k: int) -> None:
        """Try points about those that come nearest to the signs of a derivative that were not met yet."""
        width, count = self.box.upper - self.box.lower, max(1, self.batch // 4)
        size = torch.logspace(-3, 0, count, dtype=torch.float64).unsqueeze(1).to(width)
        for sign, met in ((1, self.rises), (-1, self.falls)):
            for _ in range(CLIMBS):
                if met[k] is not None:
                    break
                shape = (count, width.shape[1])
                noise, kept = (
                    torch.rand(shape, generator=self.generator, dtype=torch.float64, device=width.device)
                    for _ in range(2)
                )
                self.try_points(self.where[sign][k] + (2 * noise - 1) * width * size * (kept < 0.5))

    def try_points(self, x: Tensor) -> None:
        """Evaluate all derivatives at points ``(B, n)``, as far as they lie in the box."""
        x = self.box.project(x.to(self.box.lower))
        if not len(x):
            return
        with torch.no_grad():
            values = self.entries(x).nan_to_num(nan=0.0).cpu()
        for sign, met in ((1, self.rises), (-1, self.falls)):
            most, place = (sign * values).max(0)
            for k in (most > self.best[sign]).nonzero().flatten().tolist():
                self.best[sign][k], self.where[sign][k] = most[k], x[place[k]]
                if most[k] > 0 and met[k] is None:
                    met[k] = self._certified(k, sign, x[place[k]])

    def _certified(self, k: int, sign: int, x: Tensor) -> Slope | None:
        """Bound a derivative at one point: slopes at a kink are all that there can be, so a sign there holds nearby."""
        point = x.unsqueeze(0)
        found = bound_nodes(self.entries, Box(point, point), INTERVAL).boxes[OUTPUT]
        lower, upper = float(found.lower[0, k]), float(found.upper[0, k])
        certain = lower > 0 if sign > 0 else upper < 0
        return Slope(x.cpu().numpy().copy(), lower if sign > 0 else upper) if certain else None
