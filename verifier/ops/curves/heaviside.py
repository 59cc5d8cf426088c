"""The derivative of a function that bends at 0, as a set: what a Clarke Jacobian has in its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.curves.curve import is_single
from verifier.ops.curves.jumps import TwoLevels
from verifier.ops.op import Op, Shape
from verifier.sets import Box


@dataclass(frozen=True, eq=False)
class Heaviside(TwoLevels):
    """One constant below 0, another one above, and everything between them at 0.

    Over a box that only begins or ends at 0, bounds hold for the constant from within; see ``Curve.slope_curve``.
    """

    levels: tuple[float, float] = (0.0, 1.0)  # type: ignore[misc]

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``: at 0, the constant below."""
        return self._level(x[0] > 0, x[0])

    def _level(self, above: Tensor, like: Tensor) -> Tensor:
        """Return the constants of some sides."""
        low, high = (torch.full_like(like, level) for level in self.levels)
        return torch.where(above, high, low)

    @property
    def exact(self) -> bool:
        """See ``Elementwise.exact``: constants that float32 has."""
        return all(is_single(level) for level in self.levels)

    @property
    def height(self) -> float:
        """See ``TwoLevels.height``; levels may fall, and have a size of their own."""
        return max(abs(self.levels[1] - self.levels[0]), *map(abs, self.levels))

    def knots(self, x: Box) -> Iterator[tuple[Tensor, Tensor]]:
        """See ``Piecewise.knots``; a box that is nothing but 0 has both constants."""
        point = x.lower == x.upper
        first = self._level((x.lower > 0) | ((x.lower == 0) & ~point), x.lower)
        last = self._level((x.upper > 0) | ((x.upper == 0) & point), x.lower)
        kink = torch.zeros_like(x.lower).clamp(x.lower, x.upper)
        yield from ((x.lower, first), (x.upper, last), (kink, first), (kink, last))

    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        """See ``Curve.slopes``: of the sign of the jump."""
        flat, steep = torch.zeros_like(x.lower), self.steepest(x)
        return (flat, steep) if self.levels[0] <= self.levels[1] else (-steep, flat)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Heaviside(), [(1, 7)]
        yield Heaviside((-1.0, 1.0)), [(1, 7)]
        yield Heaviside((2.1, -0.7)), [(3, 2)]
