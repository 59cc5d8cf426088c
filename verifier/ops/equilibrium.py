"""Implicit layers: z with ``z = f(z W + x)``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.ops.curves import Curve
from verifier.ops.unbounded import Unbounded


@dataclass(frozen=True, eq=False)
class Equilibrium(Unbounded):
    """The solution z of ``z = curve(z @ weight + x)`` on the last axis; weight ``(n, n)``.

    ``forward`` averages,
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
