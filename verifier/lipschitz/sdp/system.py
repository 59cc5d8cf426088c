"""A network as a linear map in feedback with its activations, which is all that a semidefinite bound needs to know.

The variables are the differences of the input (group 0) and of what each layer of activations gives (groups 1, 2, ..).
What a layer reads and what the network answers are linear in them:

    z_k = sum_j A_kj v_j,    v_0 = dx,    v_k related to z_k by slopes,    dy = sum_j C_j v_j.

Feed-forward, convolutional and residual networks, skips and pooling have A_kj = 0 for j >= k; a layer of an implicit
network reads itself. Matrices that are products of weights are rounded, so each carries a radius.

GroupSort and Householder are slopes as well, once what they do not change is passed by: sorting keeps the mean of a
group, a reflection what is orthogonal to its vector. The rest of a sorted group has ``|v| <= |z|``, which is the sum of
the constraints of slopes in [-1, 1] with one multiplier for all of the group; a reflection's rest is an absolute value.
No multiplier for what is kept could do better than leaving it out of the variables (Finsler's lemma).

Source: Pauli et al., ICLR 2024 (arXiv:2401.14033) for the constraints; the elimination is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.errors import ShapeError


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A matrix ``(rows, size)`` that is within ``radius``, entry by entry, of the true one."""

    centre: Tensor
    radius: Tensor

    @staticmethod
    def exact(matrix: Tensor) -> Block:
        """Wrap a matrix that is not rounded."""
        return Block(matrix, torch.zeros_like(matrix))

    def __add__(self, other: Block) -> Block:
        """Add, with the rounding."""
        centre = self.centre + other.centre
        unit = gamma(4, torch.float64)
        return Block(centre, (self.radius + other.radius + unit * centre.abs()) * (1 + unit))

    def after(self, weight: Tensor | Block) -> Block:
        """Multiply by a matrix from the left, exact or within a radius, with the rounding."""
        left = Block.exact(weight) if isinstance(weight, Tensor) else weight
        unit = gamma(left.centre.shape[1] + 4, torch.float64)
        radius = left.centre.abs() @ (self.radius + unit * self.centre.abs())
        if bool(left.radius.any()):
            radius = radius + left.radius @ (self.radius + self.centre.abs())
        touched = (left.centre != 0).double() @ ((self.centre != 0) | (self.radius != 0)).double()
        lost = touched * torch.finfo(torch.float64).tiny  # products too small for float64
        return Block(left.centre @ self.centre, radius * (1 + 2 * unit) + lost)


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """A vector of ``rows`` values that is linear in the variables: one block for each group that it reads."""

    rows: int
    blocks: Mapping[int, Block]

    def __add__(self, other: Signal) -> Signal:
        """Add.

        Raises:
            ShapeError: the vectors are not of one length.
        """
        if self.rows != other.rows:
            raise ShapeError(f"vectors of {self.rows} and {other.rows} values cannot be added")
        found = dict(self.blocks)
        for group, block in other.blocks.items():
            found[group] = found[group] + block if group in found else block
        return Signal(self.rows, found)

    def after(self, weight: Tensor | Block) -> Signal:
        """Multiply by a matrix ``(out, rows)`` from the left, exact or within a radius.

        Raises:
            ShapeError: it does not fit.
        """
        shape = tuple((weight if isinstance(weight, Tensor) else weight.centre).shape)
        if len(shape) != 2 or shape[1] != self.rows:
            raise ShapeError(f"weights of shape {shape} do not fit a vector of {self.rows} values")
        return Signal(shape[0], {group: block.after(weight) for group, block in self.blocks.items()})


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Activations with ``v = diag(s) z`` for some slopes s in ``[lower, upper]``, or ties of such.

    Attributes:
        before: what is read, z.
        lower, upper: of the slopes, ``(rows,)``.
        ties: numbers of multipliers ``(rows,)``, counted from 0: neurons of one number share theirs, and only the sum
            of their constraints needs to hold.
    """

    before: Signal
    lower: Tensor
    upper: Tensor
    ties: Tensor

    @property
    def multipliers(self) -> int:
        """How many there are."""
        return int(self.ties.max()) + 1 if len(self.ties) else 0


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """A network: how many inputs, its layers (that of index k makes group k + 1), and what it answers."""

    inputs: int
    layers: tuple[Layer, ...]
    output: Signal

    @property
    def size(self) -> int:
        """The number of variables."""
        return self.inputs + sum(layer.before.rows for layer in self.layers)

    @property
    def multipliers(self) -> int:
        """How many multipliers its layers have."""
        return sum(layer.multipliers for layer in self.layers)

    @property
    def signals(self) -> list[Signal]:
        """All that is read."""
        return [*(layer.before for layer in self.layers), self.output]


class Builder:
    """Composes a system, layer by layer."""

    def __init__(self, inputs: int) -> None:
        """Begin with the input alone."""
        self.inputs = inputs
        self.layers: list[Layer] = []

    @property
    def input(self) -> Signal:
        """The input."""
        return self._group(0, self.inputs)

    def slopes(self, before: Signal, lower: Tensor, upper: Tensor, ties: Tensor | None = None) -> Signal:
        """Put activations with slopes in intervals behind a signal; by default each has a multiplier of its own."""
        ties = torch.arange(before.rows) if ties is None else ties
        self.layers.append(Layer(before, lower, upper, ties))
        return self._group(len(self.layers), before.rows)

    def finish(self, output: Signal) -> System:
        """Return the system."""
        return System(self.inputs, tuple(self.layers), output)

    @staticmethod
    def _group(number: int, size: int) -> Signal:
        return Signal(size, {number: Block.exact(torch.eye(size, dtype=torch.float64))})
