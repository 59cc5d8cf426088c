"""Networks of activations with slopes in [a, b], one multiplier a neuron: LipSDP-Neuron, from the norm 2 to the norm 2.

Over differences (dx, dphi_1 .. dphi_{L-1}), with A_i the row of weights that feeds neuron i and B_i what selects it,

    minimise rho  subject to  t >= 0,  Z = rho E - C' C - sum_i t_i (u_i v_i' + v_i u_i') >= 0,

where u_i = B_i - a A_i, v_i = b A_i - B_i, E selects the input and C is the last layer; L = sqrt(rho). All matrices of
t have rank 2, so that with X and Y = Z^-1 the Newton system is a sum of elementwise products of (U X U'), (U X V'),
(V X V') and the same of Y; and those are made of A X, A X A' and parts of X, A being block sparse.

Source: Fazlyab et al., NeurIPS 2019 (arXiv:1906.04893).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from verifier.lipschitz.sdp.constraints.slopes import Slopes
from verifier.lipschitz.sdp.interior import Blocks

INSIDE = 1.05
"""How much more than is needed each layer of the first point gets."""


class Neuron:
    """The program for weights ``(out, in)`` whose norms are about 1; the variables are rho and then t."""

    def __init__(self, weights: list[Tensor], constraint: Slopes) -> None:
        """Take the weights of all layers."""
        *self.inner, last = weights
        self.lower, self.upper = constraint.lower, constraint.upper
        self.width = weights[0].shape[1]
        ends = torch.tensor([self.width, *(len(weight) for weight in self.inner)]).cumsum(0).tolist()
        self.parts = [slice(0, self.width), *(slice(a, b) for a, b in pairwise(ends))]
        self.size, self.count = ends[-1], ends[-1] - self.width
        self.last = weights[-1]
        self.output = last.mT @ last

    @property
    def cost(self) -> Tensor:
        """Rho alone."""
        cost = torch.zeros(1 + self.count, dtype=torch.float64)
        cost[0] = 1
        return cost

    @property
    def tail(self) -> int:
        """None: every multiplier meets every other."""
        return 0

    def start(self) -> Tensor:
        """Return one multiplier a layer, and rho a little above the product of the norms.

        With c and r the middle and half the length of [a, b], a layer that is to supply s |dphi|^2 needs at most
        ``2 t r^2 + s c^2 2 t / (2 t - s)`` times |dz|^2 for any 2 t > s; 2 t = s (1 + |c| / r) is best.
        """
        middle, radius = (self.upper + self.lower) / 2, (self.upper - self.lower) / 2
        supply = INSIDE * _norm(self.last)
        found = []
        for weight in reversed(self.inner):
            twice = supply * (1 + max(abs(middle), 0.1 * radius) / radius)
            found.append(torch.full((len(weight),), twice / 2, dtype=torch.float64))
            need = twice * radius**2 + supply * middle**2 * twice / (twice - supply)
            supply = INSIDE * need * _norm(weight)
        return torch.cat([torch.tensor([supply], dtype=torch.float64), *reversed(found)])

    def linear(self, y: Tensor) -> Blocks:
        """Return ``rho E - sum t_i F_i``, and t."""
        z = torch.zeros(self.size, self.size, dtype=torch.float64)
        here = self.parts[0]
        z[here, here].diagonal().add_(y[0])
        for k, weight in enumerate(self.inner):
            before, after = self.parts[k], self.parts[k + 1]
            t = y[1 + after.start - self.width : 1 + after.stop - self.width]
            scaled = t.unsqueeze(1) * weight
            if self.lower * self.upper:
                z[before, before] += 2 * self.lower * self.upper * (weight.mT @ scaled)
            z[after, before] -= (self.lower + self.upper) * scaled
            z[before, after] -= (self.lower + self.upper) * scaled.mT
            z[after, after].diagonal().add_(2 * t)
        return [z.unsqueeze(0), y[1:].reshape(-1, 1, 1)]

    def slack(self, y: Tensor) -> Blocks:
        """Return Z and t."""
        z, t = self.linear(y)
        end = self.parts[-1]
        z[0, end, end] -= self.output
        return [z, t]

    def adjoint(self, x: Blocks) -> Tensor:
        """Return the inner products with all matrices."""
        matrix = x[0][0]
        crossed = [weight @ matrix[self.parts[k]] for k, weight in enumerate(self.inner)]  # rows of A X
        found = torch.empty(1 + self.count, dtype=torch.float64)
        found[0] = matrix.diagonal()[self.parts[0]].sum()
        for k, (weight, row) in enumerate(zip(self.inner, crossed, strict=True)):
            before, after = self.parts[k], self.parts[k + 1]
            own = (row[:, before] * weight).sum(1)
            mixed = row[:, after].diagonal()
            single = matrix.diagonal()[after]
            value = 2 * (single + self.lower * self.upper * own - (self.lower + self.upper) * mixed)
            found[1 + after.start - self.width : 1 + after.stop - self.width] = value
        found[1:] += x[1].flatten()
        return found

    def schur(self, x: Blocks, inverse: Blocks) -> Tensor:
        """Return the Newton system."""
        left, right = self._products(x[0][0]), self._products(inverse[0][0])
        found = torch.empty(1 + self.count, 1 + self.count, dtype=torch.float64)
        half = left.uv * right.uv.mT
        found[1:, 1:] = half + half.mT + left.uu * right.vv + left.vv * right.uu
        found[1:, 1:].diagonal().add_((x[1] * inverse[1]).flatten())
        found[0, 0] = (x[0][0, : self.width, : self.width] * inverse[0][0, : self.width, : self.width]).sum()
        found[0, 1:] = -((left.v * right.u).sum(1) + (left.u * right.v).sum(1))
        found[1:, 0] = found[0, 1:]
        return found

    def _products(self, matrix: Tensor) -> _Products:
        """Multiply with U and V from both sides."""
        a, b = self.lower, self.upper
        ax = torch.cat([weight @ matrix[part] for weight, part in zip(self.inner, self.parts, strict=False)])
        aa = torch.cat([ax[:, part] @ weight.mT for weight, part in zip(self.inner, self.parts, strict=False)], 1)
        ab, bb, bx = ax[:, self.width :], matrix[self.width :, self.width :], matrix[self.width :]
        return _Products(
            u=(bx - a * ax)[:, : self.width],
            v=(b * ax - bx)[:, : self.width],
            uu=bb - a * (ab + ab.mT) + a * a * aa,
            uv=b * ab.mT - bb - a * b * aa + a * ab,
            vv=b * b * aa - b * (ab + ab.mT) + bb,
        )


class _Products:
    """What a matrix X becomes between U and V: ``U X E``, ``V X E``, ``U X U'``, ``U X V'``, ``V X V'``."""

    __slots__ = ("u", "uu", "uv", "v", "vv")

    def __init__(self, u: Tensor, v: Tensor, uu: Tensor, uv: Tensor, vv: Tensor) -> None:
        self.u, self.v, self.uu, self.uv, self.vv = u, v, uu, uv, vv


def _norm(weight: Tensor) -> float:
    """Return the square of the largest singular value, approximately."""
    return max(float(torch.linalg.matrix_norm(weight, 2)) ** 2, 1e-12)
