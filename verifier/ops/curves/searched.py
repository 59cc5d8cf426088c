"""Functions that have no formula for where their slope takes a value: it is searched for."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.curves.smooth import Smooth
from verifier.sets import Box

NEWTON = 12
"""Steps of the search."""


@dataclass(frozen=True, eq=False)
class Searched(Smooth, register=False):
    """A function with a second derivative; on each piece the first one is monotone."""

    halvings = 12  # each takes a search

    @abstractmethod
    def second(self, x: Tensor) -> Tensor:
        """Return about f''."""

    def root(self, slope: Tensor, piece: int, within: Box) -> Tensor:
        """See ``Smooth.root``: Newton's steps, kept inside a bracket that shrinks."""
        rising = self.curvature[piece] > 0
        low, high = torch.broadcast_tensors(within.lower, slope)[0], torch.broadcast_tensors(within.upper, slope)[0]
        place = low + (high - low) / 2
        for _ in range(NEWTON):
            missing = self.derivative(place, piece) - slope
            beyond = (missing > 0) == rising
            low, high = torch.where(beyond, low, place), torch.where(beyond, place, high)
            step = place - missing / self.second(place)
            inside = (step >= low) & (step <= high)
            place = torch.where(inside, step, low + (high - low) / 2)
        found: Tensor = place
        return found
