"""The best bound for given multipliers, by eliminating one group of variables after the other.

Let ``G = C' diag(1/mu) C + sum_i t_i F_i``, see ``program`` (mu = 1 for the norm 2). For given t and mu, the least rho
with ``rho E_0' diag(d) E_0 >= G`` is the largest eigenvalue, relative to diag(d), of what is left of G on the input
when its other groups are maximised over, which takes ``-G > 0`` on them: a Schur complement. They are eliminated from
the last to the first by Cholesky factors of the size of one group; blocks between groups that never meet stay zero, so
a chain costs no more than its layers. With eigenvectors u extended to xi = (u, v) by the maximisers, and X the mean of
xi xi' with the eigenvalues' weights in a soft maximum, ``<F_i, X>`` is its derivative by t_i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.lipschitz.sdp.system import Signal, System

NEGLIGIBLE = 1e-9
"""The weight of eigenvectors that are left out."""

Grid = dict[tuple[int, int], Tensor]
"""Blocks (i, j), i >= j, of a symmetric matrix; those that are missing are zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """What multipliers give.

    Attributes:
        rho: the largest relative eigenvalue.
        soft: its soft maximum, never below rho.
        by_t, by_mu, by_d: the derivatives of ``soft``.
    """

    rho: float
    soft: float
    by_t: Tensor
    by_mu: Tensor
    by_d: Tensor


class Elimination:
    """The elimination for a system in which every layer reads earlier groups alone."""

    def __init__(self, system: System) -> None:
        """Number the multipliers of all layers as ``program`` does."""
        self.system, self.ties, count = system, [], 0
        for layer in system.layers:
            self.ties.append(layer.ties + count)
            count += int(layer.ties.max()) + 1
        self.count = count

    def level(self, t: Tensor, mu: Tensor, d: Tensor, temperature: float) -> Level | None:
        """Return what multipliers give, or None where they are not feasible.

        Args:
            t: positive, of all multipliers.
            mu: positive, of the outputs.
            d: positive, of the inputs.
            temperature: of the soft maximum, the norm of order 1 / temperature of the positive eigenvalues.
        """
        grid, factors = self._grid(t, mu), []
        for group in range(len(self.system.layers), 0, -1):
            factor, info = torch.linalg.cholesky_ex(grid.pop((group, group)))
            if int(info) or not bool(factor.isfinite().all()):
                return None
            rows = {
                j: torch.linalg.solve_triangular(factor, grid.pop((group, j)), upper=False)
                for j in range(group)
                if (group, j) in grid
            }
            for i, left in rows.items():
                for j, right in rows.items():
                    if i >= j:
                        _add(grid, i, j, left.mT @ right, -1.0)
            factors.append((factor, rows))
        root = d.rsqrt()
        try:
            values, vectors = torch.linalg.eigh(root.unsqueeze(1) * -grid[0, 0] * root)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return None
        rho = float(values[-1])
        if not 0 < rho < math.inf:
            return None
        logs = values.clamp(min=1e-300).log() / temperature
        soft = math.exp(temperature * float(torch.logsumexp(logs, 0)))
        shares = torch.softmax(logs, 0)
        kept = (shares > NEGLIGIBLE) & (values > 0)
        weights, inputs = soft * shares[kept] / values[kept], root.unsqueeze(1) * vectors[:, kept]
        parts = self._extended(inputs, factors[::-1])
        answer = self._read(self.system.output, parts) / mu.unsqueeze(1)
        return Level(
            rho=rho,
            soft=soft,
            by_t=self._slopes(parts, weights),
            by_mu=-(answer.square() @ weights),
            by_d=-(inputs.square() @ (weights * values[kept])),
        )

    def _grid(self, t: Tensor, mu: Tensor) -> Grid:
        """Return the blocks of -G."""
        grid: Grid = {(0, 0): t.new_zeros(self.system.inputs, self.system.inputs)}
        for group, (layer, ties) in enumerate(zip(self.system.layers, self.ties, strict=True), 1):
            each = t[ties]
            _add(grid, group, group, torch.diag(2 * each))
            mixed, square = (layer.lower + layer.upper) * each, 2 * layer.lower * layer.upper * each
            if bool(mixed.any()):
                for j, block in layer.before.blocks.items():
                    _add(grid, group, j, mixed.unsqueeze(1) * block.centre, -1.0)
            if bool(square.any()):
                _add_square(grid, layer.before, square)
        _add_square(grid, self.system.output, -1 / mu)
        return grid

    def _extended(self, inputs: Tensor, factors: list[tuple[Tensor, dict[int, Tensor]]]) -> list[Tensor]:
        """Return the maximisers of all groups, one a column, given those of the input."""
        parts = [inputs]
        for factor, rows in factors:
            reads = [row @ parts[j] for j, row in rows.items()]
            total = torch.stack(reads).sum(0) if reads else inputs.new_zeros(len(factor), inputs.shape[1])
            parts.append(-torch.linalg.solve_triangular(factor.mT, total, upper=True))
        return parts

    def _slopes(self, parts: list[Tensor], weights: Tensor) -> Tensor:
        """Return ``<F_i, X>`` of all multipliers."""
        found = weights.new_zeros(self.count)
        for v, layer, ties in zip(parts[1:], self.system.layers, self.ties, strict=True):
            z = self._read(layer.before, parts)
            below, above = v - layer.lower.unsqueeze(1) * z, layer.upper.unsqueeze(1) * z - v
            found.index_add_(0, ties, 2 * (below * above) @ weights)
        return found

    @staticmethod
    def _read(signal: Signal, parts: list[Tensor]) -> Tensor:
        """Return what a signal is, given all groups."""
        found = parts[0].new_zeros(signal.rows, parts[0].shape[1])
        for group, block in signal.blocks.items():
            found = found + block.centre @ parts[group]
        return found


def _add(grid: Grid, i: int, j: int, block: Tensor, sign: float = 1.0) -> None:
    """Add to the block of two groups, or to that of them in the other order."""
    at, block = ((i, j), block) if i >= j else ((j, i), block.mT)
    grid[at] = grid[at].add(block, alpha=sign) if at in grid else sign * block


def _add_square(grid: Grid, signal: Signal, weights: Tensor) -> None:
    """Add ``A' diag(weights) A``."""
    for j, right in signal.blocks.items():
        scaled = weights.unsqueeze(1) * right.centre
        for i, left in signal.blocks.items():
            if i >= j:
                _add(grid, i, j, left.centre.mT @ scaled)
