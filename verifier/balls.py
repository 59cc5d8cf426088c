"""Input sets as tensors: boxes, and balls of l_p norms within boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from specs import InputSet
from verifier.errors import UnsupportedError, UsageError
from verifier.sets import Box

SLACK = 2
"""Units of rounding, times the number of coordinates, that norms and products are left in doubt by: a sum of n products
is wrong by at most half as many, and a norm by a few more than a quarter."""

INNER = 1e-7
"""How far inside of a ball points are moved, relative to its radius: they are rounded to float32 later."""


@dataclass(frozen=True, slots=True, eq=False)
class Ball(Box):
    """The points of a box ``(B, n)`` within a distance of a middle.

    Attributes:
        middle: ``(B, n)``; it may lie outside of the box.
        reach: the distance, ``(B, 1)``.
        order: of the norm: 1, 2 or infinity.
    """

    middle: Tensor
    reach: Tensor
    order: float

    def least(self, rows: Tensor) -> Tensor:
        """See ``Box.least``: by Hoelder's inequality about the middle, or over the box, whichever is greater."""
        dual = {1.0: math.inf, 2.0: 2.0}.get(self.order, 1.0)
        spread = torch.linalg.vector_norm(rows, dual, dim=2) * self.reach
        middle = self.middle.unsqueeze(1)
        count, kind = rows.shape[2], torch.finfo(rows.dtype)
        with torch.no_grad():
            lost = SLACK * (count + 8) * kind.eps * ((rows.abs() * (middle.abs() + self.reach.unsqueeze(1))).sum(2))
            lost = lost + count * math.sqrt(kind.tiny) * (1 + self.reach)  # squares that are too small for the dtype
        centred: Tensor = (rows * middle).sum(2) - spread - lost
        return torch.maximum(super(Ball, self).least(rows), centred)

    def project(self, x: Tensor) -> Tensor:
        """See ``Box.project``; points that miss the set even when they are drawn to the middle are left out."""
        away = super(Ball, self).project(x) - self.middle
        size = torch.linalg.vector_norm(away, self.order, dim=1, keepdim=True)
        drawn: Tensor = self.middle + away * (self.reach * (1 - 1e-9) / size.clamp(min=1e-300)).clamp(max=1)
        inside: Tensor = ((drawn >= self.lower) & (drawn <= self.upper)).all(1)
        return drawn[inside]

    def take(self, index: Tensor) -> Ball:
        """See ``Box.take``."""
        return Ball(self.lower[index], self.upper[index], self.middle[index], self.reach[index], self.order)

    def expand(self, domains: int) -> Ball:
        """See ``Box.expand``."""
        n = self.lower.shape[1]
        lower, upper, middle = (end.expand(domains, n) for end in (self.lower, self.upper, self.middle))
        return Ball(lower, upper, middle, self.reach.expand(domains, 1), self.order)

    def columns(self, index: Tensor) -> Ball:
        """See ``Box.columns``: no coordinates are farther from the middle without the others."""
        return Ball(self.lower[:, index], self.upper[:, index], self.middle[:, index], self.reach, self.order)

    def to(self, dtype: torch.dtype) -> Box:
        """See ``Box.to``: the middle is rounded, and the distance grows by what it moves, and more."""
        if dtype == self.lower.dtype:
            return self
        box, middle = Box(self.lower, self.upper).to(dtype), self.middle.to(dtype)
        moved = torch.linalg.vector_norm(middle.to(self.middle.dtype) - self.middle, 1, dim=1, keepdim=True)
        reach = ((self.reach + moved) * (1 + 1e-6)).to(dtype)
        return Ball(box.lower, box.upper, middle, reach, self.order)

    def nearest(self, x: Tensor) -> Tensor:
        """Move points ``(B, n)`` into the box and then towards the middle, into the ball but for rounding.

        They are the nearest points for the norms 2 and infinity without a box. Where the middle lies outside of the
        box, they may miss it.
        """
        away = x.clamp(self.lower, self.upper) - self.middle
        size = torch.linalg.vector_norm(away, self.order, dim=1, keepdim=True)
        shrunk: Tensor = self.middle + away * (self.reach * (1 - INNER) / size.clamp(min=1e-300)).clamp(max=1)
        return shrunk.clamp(self.lower, self.upper)

    def part(self, box: Box) -> Ball:
        """Return the parts of balls in boxes ``(B, n)`` inside of their own."""
        return Ball(box.lower, box.upper, self.middle, self.reach, self.order)

    def misses(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Tell which boxes ``(B, n)`` have no point in common with their balls, ``(B,)``; never one that has."""
        away = torch.maximum(lower - self.middle, self.middle - upper).clamp(min=0)
        away = away - 4 * torch.finfo(away.dtype).eps * (away + self.middle.abs() + lower.abs() + upper.abs())
        size = torch.linalg.vector_norm(away.clamp(min=0), self.order, dim=1, keepdim=True)
        missed: Tensor = (size * (1 - 1e-9) > self.reach * (1 + 1e-9)) & size.isfinite()  # squares may be too large
        return missed.squeeze(1)


def sets_of(inputs: Sequence[InputSet], device: torch.device | str = "cpu") -> Box:
    """Turn input sets of one kind into boxes or balls ``(K, n)``, in float64.

    Raises:
        UsageError: a ball lies outside of the range of data.
        UnsupportedError: the sets are of different kinds.
    """

    def stack(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(parts)).to(device)

    balls = [one.ball for one in inputs if one.ball is not None and not math.isinf(one.ball.p)]
    if balls and (len(balls) < len(inputs) or len({ball.p for ball in balls}) > 1):
        raise UnsupportedError(
            "input sets of different kinds in one property: boxes, or balls of one norm, are supported"
        )
    lower, upper = [one.lower for one in inputs], [one.upper for one in inputs]
    for k, one in enumerate(inputs):
        if one.ball is not None:  # rounded outward
            lower[k] = np.maximum(lower[k], np.nextafter(one.ball.center - one.ball.radius, -np.inf))
            upper[k] = np.minimum(upper[k], np.nextafter(one.ball.center + one.ball.radius, np.inf))
            if (lower[k] > upper[k]).any():
                raise UsageError("the region is empty: the ball lies outside of the range of data")
    if not balls:
        return Box(stack(lower), stack(upper))
    reach = torch.tensor([[ball.radius] for ball in balls], dtype=torch.float64, device=device)
    return Ball(stack(lower), stack(upper), stack([ball.center for ball in balls]), reach, balls[0].p)
