"""A system as matrices over all its variables, with what a semidefinite program needs of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from verifier.lipschitz.sdp.system import Signal, System


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What a layer reads, ``(rows, width)``, from the variables ``start .. start + width - 1``; entries and radii."""

    centre: Tensor
    radius: Tensor
    start: int

    @property
    def part(self) -> slice:
        """The variables."""
        return slice(self.start, self.start + self.centre.shape[1])

    @staticmethod
    def of(signal: Signal, parts: list[slice]) -> Rows:
        """Write its blocks next to each other."""
        groups = [parts[group] for group in signal.blocks]
        start, stop = min((part.start for part in groups), default=0), max((part.stop for part in groups), default=0)
        centre, radius = (torch.zeros(signal.rows, stop - start, dtype=torch.float64) for _ in range(2))
        for group, block in signal.blocks.items():
            at = slice(parts[group].start - start, parts[group].stop - start)
            centre[:, at], radius[:, at] = block.centre, block.radius
        return Rows(centre, radius, start)


@dataclass(frozen=True, slots=True, eq=False)
class Stacked:
    """Matrices over ``size`` variables, the input's ``inputs`` first.

    Attributes:
        layers: what each layer reads.
        output: C, ``(outputs, size)``, and ``wobble``, the radii of its entries.
        lower, upper: of the slopes of all neurons.
        ties: numbers of their multipliers, of which there are ``multipliers``.
    """

    inputs: int
    size: int
    layers: list[Rows]
    output: Tensor
    wobble: Tensor
    lower: Tensor
    upper: Tensor
    ties: Tensor
    multipliers: int

    @staticmethod
    def of(system: System) -> Stacked:
        """Stack the matrices of a system."""
        ends = [0, system.inputs]
        for layer in system.layers:
            ends.append(ends[-1] + layer.before.rows)
        parts = [slice(a, b) for a, b in pairwise(ends)]
        output = Rows.of(system.output, parts)
        whole, wobble = (torch.zeros(system.output.rows, ends[-1], dtype=torch.float64) for _ in range(2))
        whole[:, output.part], wobble[:, output.part] = output.centre, output.radius
        ties, count = [torch.zeros(0, dtype=torch.int64)], 0
        for layer in system.layers:
            ties.append(layer.ties + count)
            count += layer.multipliers
        empty = torch.zeros(0, dtype=torch.float64)
        return Stacked(
            inputs=system.inputs,
            size=ends[-1],
            layers=[Rows.of(layer.before, parts) for layer in system.layers],
            output=whole,
            wobble=wobble,
            lower=torch.cat([empty, *(layer.lower for layer in system.layers)]),
            upper=torch.cat([empty, *(layer.upper for layer in system.layers)]),
            ties=torch.cat(ties),
            multipliers=count,
        )

    def rows(self, matrix: Tensor) -> Tensor:
        """Multiply a matrix of so many rows as there are variables by A from the left."""
        empty = torch.zeros(0, matrix.shape[1], dtype=torch.float64)
        return torch.cat([empty, *(layer.centre @ matrix[layer.part] for layer in self.layers)])

    def tie(self, rows: Tensor) -> Tensor:
        """Sum rows, one a neuron, over the neurons of every multiplier."""
        if self.multipliers == len(rows):
            return rows if bool((self.ties.diff() == 1).all()) else rows[self.ties.argsort()]
        return torch.zeros(self.multipliers, *rows.shape[1:], dtype=torch.float64).index_add(0, self.ties, rows)

    def inner(self, matrix: Tensor) -> Tensor:
        """Return ``-<F_i, X>`` of all neurons, for symmetric X."""
        rows, past = self.rows(matrix[:, : self.size]), matrix.diagonal()[self.inputs : self.size]
        mixed = rows[:, self.inputs :].diagonal()
        own, start = torch.empty_like(past), 0
        for layer in self.layers:
            stop = start + len(layer.centre)
            own[start:stop] = (rows[start:stop, layer.part] * layer.centre).sum(1)
            start = stop
        return 2 * (past + self.lower * self.upper * own - (self.lower + self.upper) * mixed)

    def quadratic(self, t: Tensor) -> Tensor:
        """Return ``- sum t_i F_i``, ``(size, size)``, for one t a multiplier."""
        z = torch.zeros(self.size, self.size, dtype=torch.float64)
        each, start = t[self.ties], self.inputs
        square, mixed = self.lower * self.upper * each, (self.lower + self.upper) * each
        for layer in self.layers:
            stop, part = start + len(layer.centre), layer.part
            here = slice(start - self.inputs, stop - self.inputs)
            if bool(square[here].any()):
                z[part, part] += 2 * (layer.centre.mT @ (square[here].unsqueeze(1) * layer.centre))
            if bool(mixed[here].any()):
                cross = mixed[here].unsqueeze(1) * layer.centre
                z[start:stop, part] -= cross
                z[part, start:stop] -= cross.mT
            z[start:stop, start:stop].diagonal().add_(2 * each[here])
            start = stop
        return z
