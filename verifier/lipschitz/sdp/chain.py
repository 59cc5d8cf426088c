"""GroupSort networks: a chain of small linear matrix inequalities, one a layer.

With multipliers T_i of the layers and S_i = T_i^-1, of the same structure, the conditions are

    S_i >= W_i S_{i-1} W_i'  for i < L,

with ``S_0 = q I`` and ``I >= W_L S_{L-1} W_L'`` for the norm 2, L = 1 / sqrt(q); for the norm inf and one row w,
``S_0 = diag(sigma)`` and L = (sum 1 / sigma + w S_{L-1} w') / 2. The blocks are as large as the layers, not as the
input. In a basis of the groups' means and of what is orthogonal to them, every S_i is diagonal with ties, and with
X and Y = Z^-1 the Newton system is made of elementwise products such as (X W) * (Y W), summed over ties.

Source: Pauli et al., ICLR 2024 (arXiv:2401.14033), without the multipliers that couple layers; the inverse form by
Schur complements.
"""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.lipschitz.sdp.constraints.groupsort import GroupSort
from verifier.lipschitz.sdp.interior import Interior
from verifier.lipschitz.sdp.newton import Blocks

INSIDE = 0.9
"""How near to the boundary the first point lies."""

ROUGH = 0.1
"""The gap to which the program for the norm 2 is solved where that for the norm inf starts from it."""

RANGE = 1e8
"""How far the numbers of a layer may be from what arrives at it, and those of a group from each other."""


class Chain:
    """The program for weights ``(out, in)`` whose norms are about 1.

    The variables are q or sigma, then the numbers of S_1 .. S_{L-1}, then for the norm inf the reciprocals of sigma.
    """

    def __init__(self, weights: list[Tensor], constraint: GroupSort, infinite: bool) -> None:
        """Turn the weights into the basis in which all is diagonal."""
        self.infinite, self.original, self.constraint = infinite, weights, constraint
        *inner, last = weights
        bases = [constraint.basis(len(weight)) for weight in inner]
        first = inner[0]
        if not infinite and first.shape[1] > first.shape[0]:
            first = torch.linalg.qr(first.mT, mode="r")[1].mT  # its product with its transpose is all that counts
        before = [first, *(weight @ basis for weight, basis in zip(inner[1:], bases, strict=False))]
        self.weights = [basis.mT @ weight for basis, weight in zip(bases, before, strict=True)]
        self.last = last @ bases[-1]
        width = first.shape[1]
        root = torch.eye(width) if infinite else torch.ones(width, 1)
        self.ties = [root.double(), *(constraint.ties(len(weight)) for weight in inner)]
        sizes = [tie.shape[1] for tie in self.ties]
        self.count = sum(sizes)
        ends = torch.tensor(sizes).cumsum(0).tolist()
        self.parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self.total = self.count + (width if infinite else 0)

    @property
    def cost(self) -> Tensor:
        """Minus q, or the sum for the norm inf."""
        cost = torch.zeros(self.total, dtype=torch.float64)
        if self.infinite:
            cost[self.parts[-1]] = self.last.square()[0] @ self.ties[-1]
            cost[self.count :] = 1
        else:
            cost[0] = -1
        return cost

    @property
    def tail(self) -> int:
        """The reciprocals of sigma."""
        return self.total - self.count

    def start(self) -> Tensor:
        """Return multiples of unit matrices, each a little inside the next; or for the norm inf, start from 2."""
        if self.infinite:
            return self._warm()
        norms = [float(torch.linalg.matrix_norm(weight, 2)) ** 2 for weight in [*self.weights, self.last]]
        y, scale = torch.zeros(self.total, dtype=torch.float64), INSIDE
        for part, norm in zip(reversed(self.parts), reversed(norms), strict=True):
            scale *= INSIDE / max(norm, 1e-12)
            y[part] = scale
        return y

    def _warm(self) -> Tensor:
        """Solve roughly for the norm 2: with sigma = q, its chain is one for the norm inf; then scale it."""
        model = Chain(self.original, self.constraint, infinite=False)
        found = Interior(gap=ROUGH).solve(model).y
        y = torch.zeros(self.total, dtype=torch.float64)
        y[self.parts[0]] = found[0]
        y[self.parts[0].stop : self.count] = found[1:]
        level = torch.sqrt((1 / y[self.parts[0]]).sum() / (self.cost @ y).clamp(min=1e-12))
        y = y * level
        y[self.count :] = 1.5 / y[self.parts[0]]
        return y

    def linear(self, y: Tensor) -> Blocks:
        """Return the part of all blocks that is linear in the variables."""
        diagonals = [tie @ y[part] for tie, part in zip(self.ties, self.parts, strict=True)]
        blocks = [
            (torch.diag(after) - (weight * before) @ weight.mT).unsqueeze(0)
            for weight, before, after in zip(self.weights, diagonals, diagonals[1:], strict=False)
        ]
        if self.infinite:
            pairs = torch.stack([y[self.count :], y[self.parts[0]]], 1)
            return [*blocks, torch.diag_embed(pairs)]
        return [*blocks, -((self.last * diagonals[-1]) @ self.last.mT).unsqueeze(0)]

    def slack(self, y: Tensor) -> Blocks:
        """Return all blocks."""
        *blocks, end = self.linear(y)
        if self.infinite:
            return [*blocks, end + torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=y.dtype)]
        return [*blocks, end + torch.eye(end.shape[1], dtype=y.dtype)]

    def adjoint(self, x: Blocks) -> Tensor:
        """Return the inner products with all matrices."""
        found = torch.zeros(self.total, dtype=torch.float64)
        weights = self.weights if self.infinite else [*self.weights, self.last]
        for k, weight in enumerate(weights):
            found[self.parts[k]] -= ((x[k][0] @ weight) * weight).sum(0) @ self.ties[k]
            if k + 1 < len(self.parts):
                found[self.parts[k + 1]] += x[k][0].diagonal() @ self.ties[k + 1]
        if self.infinite:
            found[self.parts[0]] += x[-1][:, 1, 1]
            found[self.count :] += x[-1][:, 0, 0]
        return found

    def schur(self, x: Blocks, inverse: Blocks) -> Tensor:
        """Return the Newton system, block tridiagonal in the layers."""
        found = torch.zeros(self.total, self.total, dtype=torch.float64)
        weights = self.weights if self.infinite else [*self.weights, self.last]
        for k, weight in enumerate(weights):
            left, right, here, tie = x[k][0], inverse[k][0], self.parts[k], self.ties[k]
            past = (left @ weight, right @ weight)
            square = (weight.mT @ past[0]) * (weight.mT @ past[1])
            found[here, here] += square if self.infinite and not k else tie.mT @ square @ tie
            if k + 1 < len(self.parts):
                above, over = self.parts[k + 1], self.ties[k + 1]
                found[above, above] += over.mT @ (left * right) @ over
                cross = over.mT @ (past[0] * past[1])
                cross = cross if self.infinite and not k else cross @ tie
                found[above, here] -= cross
                found[here, above] -= cross.mT
        if self.infinite:
            one = torch.arange(self.parts[0].stop)
            two = one + self.count
            found[one, one] += x[-1][:, 1, 1] * inverse[-1][:, 1, 1]
            found[two, two] += x[-1][:, 0, 0] * inverse[-1][:, 0, 0]
            cross = x[-1][:, 0, 1] * inverse[-1][:, 0, 1]
            found[one, two] += cross
            found[two, one] += cross
        return found

    def numbers(self, y: Tensor) -> list[Tensor]:
        """Return the numbers of S_0 .. S_{L-1}, without extremes that would only cost the proof digits.

        Where nothing is read, a number may grow without limit, and where nothing arrives, shrink to nothing.
        """
        found = [y[part] for part in self.parts]
        before = self.ties[0] @ found[0]
        for k, weight in enumerate(self.weights):
            need = float((weight.square() @ before).max())
            pairs = found[k + 1].clamp(need / RANGE, need * RANGE).reshape(-1, min(2, self.constraint.size))
            found[k + 1] = pairs.minimum(RANGE * pairs.amin(1, keepdim=True)).flatten()
            before = self.ties[k + 1] @ found[k + 1]
        return found
