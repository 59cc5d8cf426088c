"""Networks of activations with slopes in intervals, as one semidefinite program: LipSDP for any linear map in feedback.

Over the variables ``xi = (dx, v_1, v_2, ..)`` of a system, with A_i the row that feeds neuron i, B_i what selects it
and slopes in [a_i, b_i], let u_i = B_i - a_i A_i, w_i = b_i A_i - B_i and ``F_i = u_i w_i' + w_i u_i'``: the constraint
of a neuron is ``xi' F_i xi >= 0``. For the norm 2, with E_0 what selects the input,

    minimise rho  subject to  t >= 0,  Z = rho E_0' E_0 - C' C - sum_i t_i F_i >= 0,    L = sqrt(rho);

from the norm inf to the sum of the outputs' absolute values, L = (sum tau + sum mu) / 2,

    minimise L  subject to  t, tau, mu >= 0,  Z = [[E_0' diag(tau) E_0 - sum_i t_i F_i, -C'], [-C, diag(mu)]] >= 0.

Neurons that are tied share their t. All matrices of t have rank 2 (times the neurons of a tie), so that with X and
Y = Z^-1 the Newton system is a sum of elementwise products of (U X U'), (U X W'), (W X W') and the same of Y; and those
are made of A X, A X A' and parts of X, where the rows of a layer touch only the groups that it reads.

Source: Fazlyab et al., NeurIPS 2019 (arXiv:1906.04893); for the norm inf, Pauli et al., ICLR 2024 (arXiv:2401.14033).
"""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.lipschitz.sdp.newton import Blocks
from verifier.lipschitz.sdp.products import Products
from verifier.lipschitz.sdp.stacked import Stacked
from verifier.lipschitz.sdp.system import System


class Program:
    """The program of a system whose numbers are about 1: rho, or tau and mu; then the multipliers."""

    def __init__(self, system: System, infinite: bool, first: Tensor) -> None:
        """Lay the variables out, and take a strictly feasible point."""
        self.infinite, self.first = infinite, first
        self.form = form = Stacked.of(system)
        self.size = form.size + (len(form.output) if infinite else 0)
        ends = torch.arange(form.size, self.size)
        self.diagonal = torch.cat([torch.arange(form.inputs), ends])
        self.head = len(self.diagonal) if infinite else 1
        self.count = self.head + form.multipliers

    @property
    def cost(self) -> Tensor:
        """Rho, or half the sum of tau and mu."""
        cost = torch.zeros(self.count, dtype=torch.float64)
        cost[: self.head] = 0.5 if self.infinite else 1
        return cost

    @property
    def tail(self) -> int:
        """None: every multiplier meets every other."""
        return 0

    def start(self) -> Tensor:
        """Return a strictly feasible point."""
        return self.first

    def linear(self, y: Tensor) -> Blocks:
        """Return the part of Z that is linear in the variables, and these themselves."""
        z = torch.zeros(self.size, self.size, dtype=torch.float64)
        z[: self.form.size, : self.form.size] = self.form.quadratic(y[self.head :])
        z[self.diagonal, self.diagonal] += y[: self.head]
        return [z.unsqueeze(0), y.reshape(-1, 1, 1)]

    def slack(self, y: Tensor) -> Blocks:
        """Return Z, and the variables."""
        z, own = self.linear(y)
        size, output = self.form.size, self.form.output
        if self.infinite:
            z[0, size:, :size] -= output
            z[0, :size, size:] -= output.mT
        else:
            z[0] -= output.mT @ output
        return [z, own]

    def adjoint(self, x: Blocks) -> Tensor:
        """Return the inner products with all matrices."""
        matrix, form = x[0][0], self.form
        heads = matrix.diagonal()[self.diagonal]
        found = form.tie(form.inner(matrix))
        return torch.cat([heads if self.infinite else heads.sum().unsqueeze(0), found]) + x[1].flatten()

    def schur(self, x: Blocks, inverse: Blocks) -> Tensor:
        """Return the Newton system."""
        form, head, at = self.form, self.head, self.diagonal
        left, right = (Products.of(form, block[0][0]) for block in (x, inverse))
        cross = left.with_selectors(right, at)
        corner = x[0][0][at.unsqueeze(1), at] * inverse[0][0][at.unsqueeze(1), at]
        if not self.infinite:
            cross, corner = cross.sum(1, keepdim=True), corner.sum().reshape(1, 1)
        found = torch.empty(self.count, self.count, dtype=torch.float64)
        found[head:, head:] = form.tie(form.tie(left.with_each_other(right)).mT)
        found[head:, :head] = form.tie(cross)
        found[:head, head:] = found[head:, :head].mT
        found[:head, :head] = corner
        found.diagonal().add_((x[1] * inverse[1]).flatten())
        return found
