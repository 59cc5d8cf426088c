"""Sorting a whole axis, as one operator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verifier.ops.unbounded import Unbounded


@dataclass(frozen=True, eq=False)
class Sort(Unbounded):
    """The elements of an axis (counted without the domain axis) in order.

    Bounds over boxes are those of a network of comparators, which is what sorts are lowered to for them.
    """

    axis: int
    descending: bool = False

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].sort(self.axis + 1, descending=self.descending).values
