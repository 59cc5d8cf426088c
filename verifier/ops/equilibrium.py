"""Implicit layers: z with ``z = f(z W + x)``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.errors import UnsupportedError
from verifier.ops.curves import Curve
from verifier.ops.op import Op, Shape
from verifier.sets import Box, Enclosure


@dataclass(frozen=True, eq=False)
class Equilibrium(Op, register=False):
    """The solution z of ``z = curve(z @ weight + x)`` on the last axis; weight ``(n, n)``.

    There are no bounds of it over boxes: it is read for global Lipschitz bounds alone. ``forward`` averages,
    ``z <- z + step * (curve(z @ weight + x) - z)`` from 0, until nothing moves by more than ``tolerance``, or for
    ``most`` steps.
    """

    weight: Tensor
    curve: Curve
    step: float
    tolerance: float
    most: int

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``; approximate."""
        z = torch.zeros_like(x[0])
        for _ in range(self.most):
            move = self.step * (self.curve.forward(z @ self.weight + x[0]) - z)
            z = z + move
            if not (move.abs() > self.tolerance).any():
                break
        return z

    def interval(self, *x: Box) -> Box:
        """Refuse.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("an equilibrium has no bounds over boxes")

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """Refuse, as ``interval`` does."""
        raise UnsupportedError("an equilibrium has no bounds over boxes")

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield nothing: the conformance suite is of operators that have bounds."""
        yield from ()
