"""Products of a slope and what it is a slope of: the steps of the chain rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.op import Op, Shape
from verifier.ops.product import Product
from verifier.sets import Box


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
