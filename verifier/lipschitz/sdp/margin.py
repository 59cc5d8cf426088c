"""Multipliers that prove an implicit network well-posed, which is where its program can start.

With P(t) the part of ``- sum t_i F_i`` on the layers' variables: minimise sigma subject to ``P(t) + sigma I >= 0``,
``t >= 0`` and ``sum t <= 1``. A negative sigma, at any point on the way, is a proof.
"""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.lipschitz.sdp.interior import Interior
from verifier.lipschitz.sdp.newton import Blocks
from verifier.lipschitz.sdp.products import Products
from verifier.lipschitz.sdp.spectrum import eigenvalues
from verifier.lipschitz.sdp.stacked import Stacked
from verifier.lipschitz.sdp.system import Layer, Signal, System

ROUGH = 1e-2
"""The relative gap to which it is solved."""


def multipliers(system: System, seconds: float) -> Tensor | None:
    """Return t with P(t) > 0, or None if none is found."""
    model = Margin(system)
    found = Interior(gap=ROUGH, timeout=seconds).solve(model).y
    return found[1:] if float(found[0]) < 0 else None


class Margin:
    """The program; its variables are sigma and then t."""

    def __init__(self, system: System) -> None:
        """Leave the input out."""
        layers = tuple(Layer(_own(k.before), k.lower, k.upper, k.ties) for k in system.layers)
        self.form = Stacked.of(System(0, layers, Signal(1, {})))
        self.eye = torch.eye(self.form.size, dtype=torch.float64)

    @property
    def cost(self) -> Tensor:
        """Sigma alone."""
        cost = torch.zeros(1 + self.form.multipliers, dtype=torch.float64)
        cost[0] = 1
        return cost

    @property
    def tail(self) -> int:
        """None: every multiplier meets every other."""
        return 0

    def start(self) -> Tensor:
        """Return equal multipliers, and sigma as it needs to be."""
        count = self.form.multipliers
        t = torch.full((count,), 0.5 / count, dtype=torch.float64)
        spectrum = eigenvalues(_symmetric(self.form.quadratic(t)))
        assert spectrum is not None, "the numbers of a balanced system are finite"
        return torch.cat([(0.1 * spectrum.abs().max() - spectrum[0]).clamp(min=1e-3 / count).unsqueeze(0), t])

    def linear(self, y: Tensor) -> Blocks:
        """Return ``P(t) + sigma I``, t, and minus their sum."""
        matrix = self.form.quadratic(y[1:]) + y[0] * self.eye
        return [_symmetric(matrix).unsqueeze(0), y[1:].reshape(-1, 1, 1), -y[1:].sum().reshape(1, 1, 1)]

    def slack(self, y: Tensor) -> Blocks:
        """Return all blocks."""
        *blocks, rest = self.linear(y)
        return [*blocks, 1 + rest]

    def adjoint(self, x: Blocks) -> Tensor:
        """Return the inner products with all matrices."""
        t = self.form.tie(self.form.inner(x[0][0])) + x[1].flatten() - x[2].flatten()
        return torch.cat([x[0][0].trace().unsqueeze(0), t])

    def schur(self, x: Blocks, inverse: Blocks) -> Tensor:
        """Return the Newton system."""
        form = self.form
        left, right = (Products.of(form, block[0][0]) for block in (x, inverse))
        cross = form.tie(left.with_selectors(right, torch.arange(form.size)).sum(1))
        found = torch.empty(1 + form.multipliers, 1 + form.multipliers, dtype=torch.float64)
        found[1:, 1:] = form.tie(form.tie(left.with_each_other(right)).mT)
        found[1:, 1:].diagonal().add_((x[1] * inverse[1]).flatten())
        found[1:, 1:] += (x[2] * inverse[2]).flatten()
        found[0, 0] = (x[0] * inverse[0]).sum()
        found[0, 1:] = found[1:, 0] = cross
        return found


def _own(signal: Signal) -> Signal:
    """Leave out what is read of the input; the groups count from 0 still, that of the input being empty."""
    return Signal(signal.rows, {group: block for group, block in signal.blocks.items() if group})


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2
