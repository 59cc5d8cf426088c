"""Products of two variables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from verifier.ops.elementwise import Elementwise
from verifier.ops.op import Op, Shape
from verifier.sets import Box, Enclosure, Planes


@dataclass(frozen=True, eq=False)
class Product(Elementwise):
    """z = x * y, elementwise. Two parameters in [0, 1]: which mixture of McCormick's planes bounds it below and above.

    Below, the two planes are ``y_l x + x_l y - x_l y_l`` and ``y_u x + x_u y - x_u y_u``; above, they are
    ``y_u x + x_l y - x_l y_u`` and ``y_l x + x_u y - x_u y_l``; parameter 1 is the first of the two. All mixtures have
    the same volume. The even ones have the same slopes, and lie ``2 r_x r_y`` apart for radii r.

    Source: McCormick, Mathematical Programming 10, 1976; mixtures: Shi et al., TACAS 2025 (arXiv:2405.21063).
    """

    parameters: ClassVar[int] = 2
    roundings: ClassVar[int] = 4

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0] * x[1]

    def interval(self, *x: Box) -> Box:
        """See ``Op.interval``: the extremes are at corners; 0 times infinity is 0 there, for values are finite."""
        pairs = [(a, b) for a in (x[0].lower, x[0].upper) for b in (x[1].lower, x[1].upper)]
        corners = torch.stack([torch.where((a == 0) | (b == 0), 0, a * b) for a, b in pairs])
        return Box(corners.amin(0), corners.amax(0))

    def start(self, *x: Box) -> Tensor:
        """See ``Elementwise.start``: the even mixtures."""
        return torch.full_like(x[0].lower, 0.5).expand(2, *x[0].lower.shape).unsqueeze(2)

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """See ``Op.relax``."""
        below, above = self.start(*x) if alpha is None else alpha.clamp(0, 1)
        a, b = (Box(box.lower.unsqueeze(1), box.upper.unsqueeze(1)) for box in x)
        return Planes(
            (_mix(below, b.lower, b.upper), _mix(below, a.lower, a.upper)),
            -_mix(below, a.lower * b.lower, a.upper * b.upper),
            (_mix(above, b.upper, b.lower), _mix(above, a.lower, a.upper)),
            -_mix(above, a.lower * b.upper, a.upper * b.lower),
        )

    def parallel(self, *x: Box) -> tuple[Tensor, ...]:
        """See ``Elementwise.parallel``: the even mixtures."""
        a, b = x
        low, high = -(a.lower * b.lower + a.upper * b.upper) / 2, -(a.lower * b.upper + a.upper * b.lower) / 2
        return b.centre, a.centre, low, high

    def absolute_terms(self, *x: Box) -> Tensor:
        """See ``Elementwise.absolute_terms``: no slope is larger than the other operand."""
        return 3 * self.offset_terms(*x)

    def offset_terms(self, *x: Box) -> Tensor:
        """See ``Elementwise.offset_terms``."""
        return x[0].magnitude * x[1].magnitude

    def branch_point(self, x: Box) -> Tensor:
        """See ``Elementwise.branch_point``: the middle, while the box is not too narrow to matter."""
        return torch.where(self.undecided(x), x.centre, torch.nan)

    def undecided(self, x: Box, *others: Box) -> Tensor:
        """See ``Elementwise.undecided``: a multiple of one operand is exact."""
        return x.wide & others[0].wide if others else x.wide

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Product(), [(1, 7), (1, 7)]
        yield Product(), [(2, 3), (2, 3)]


def _mix(weight: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Weigh two tensors by a number in [0, 1]; each end is exact."""
    return weight * one + (1 - weight) * other
