"""Products of a slope and what it is a slope of: the steps of the chain rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.op import Op, Shape
from verifier.ops.product import Product
from verifier.sets import Box, Enclosure, Planes


@dataclass(frozen=True, eq=False)
class Gate(Product):
    """z = x * y, with the mixtures of McCormick's planes to start from that depend on x the least.

    For x in [0, 1] and y of both signs they are the chords ``y_l (y_u - y) / (y_u - y_l) <= z`` and
    ``z <= y_u (y - y_l) / (y_u - y_l)``.
    Source: Shi et al., NeurIPS 2022 (arXiv:2210.07394), section 3.2.
    """

    def start(self, *x: Box) -> Tensor:
        """See ``Elementwise.start``."""
        low, high = x[1].lower, x[1].upper
        width = high - low
        part = torch.where(width > 0, high / torch.where(width > 0, width, 1), 0.5).clamp(0, 1)
        return torch.stack([part, 1 - part]).unsqueeze(2)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Gate(), [(1, 7), (1, 7)]
        yield Gate(), [(2, 3), (2, 3)]


@dataclass(frozen=True, eq=False)
class ConstantGate(Gate):
    """z = x * y between multiples of y where y has one sign, and between constants where it has both.

    Looser than ``Gate``, for comparison.
    Source: Zhang et al., "RecurJac", AAAI 2019 (arXiv:1810.11783).
    """

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """See ``Op.relax``; there is nothing to choose."""
        del alpha
        slope, rows = x
        hull, none, known = self.interval(*x), torch.zeros_like(slope.lower), slope.lower == slope.upper
        positive, negative = rows.lower >= 0, rows.upper <= 0
        below = torch.where(negative & ~positive, slope.upper, slope.lower)
        above = torch.where(negative & ~positive, slope.lower, slope.upper)
        mixed = ~(positive | negative | known)
        planes = (none, torch.where(mixed, none, below)), torch.where(mixed, hull.lower, none)
        others = (none, torch.where(mixed, none, above)), torch.where(mixed, hull.upper, none)
        parts = [part.unsqueeze(1) for (steep, rise), offset in (planes, others) for part in (steep, rise, offset)]
        return Planes((parts[0], parts[1]), parts[2], (parts[3], parts[4]), parts[5])

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield ConstantGate(), [(1, 7), (1, 7)]
