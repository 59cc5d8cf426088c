"""Which elements of a network are multiples of each other, exactly: a - b and b - a, however they are spelled.

Every element of a node is a power of two, or its negative, times something that has a number; what has one number has
one value at every input. Nothing here is rounded: what would be is not seen as equal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from verifier.graph.graph import Graph, Node
from verifier.ops.arithmetic import Add, Neg, Scale, Sub, Translate
from verifier.ops.conv import Conv
from verifier.ops.linear import Linear
from verifier.ops.op import Affine
from verifier.ops.shape import Movement

ZERO = 0
"""The number of what is 0 at every input."""


class Twins:
    """Numbers the elements of the nodes of a graph, in their order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.count = ZERO + 1
        self.known: dict[tuple[float, ...], int] = {}
        self.found: dict[str, tuple[Tensor, Tensor]] = {}
        for node in graph.nodes.values():
            self.found[node.name] = self._of(node)

    def __getitem__(self, name: str) -> tuple[Tensor, Tensor]:
        """Return factors and numbers of a node's elements, flat, in float64."""
        factors, numbers = self.found[name]
        return factors.reshape(-1), numbers.reshape(-1)

    def _of(self, node: Node) -> tuple[Tensor, Tensor]:
        """Return factors and numbers, of the node's shape."""
        op, operands = node.op, [self.found[parent] for parent in node.parents]
        if isinstance(op, Affine) and (op.copies or isinstance(op, Movement)):
            factors, numbers = (
                op.forward(*(part.unsqueeze(0) for part in parts)).squeeze(0) for parts in zip(*operands, strict=True)
            )
            return factors, numbers
        if isinstance(op, Neg):
            return -operands[0][0], operands[0][1]
        if isinstance(op, Scale) and not op.roundings:
            return self._scaled(*operands[0], op.constant.expand(node.shape))
        if isinstance(op, (Add, Sub)):
            other = 1.0 if isinstance(op, Add) else -1.0
            return self._summed(*operands[0], other * operands[1][0], operands[1][1])
        if isinstance(op, Translate) and not op.roundings and op.constant_terms is None:
            return self._moved(*operands[0], op.constant.expand(node.shape))
        factors, numbers = torch.ones(node.shape, dtype=torch.float64), self._fresh(node.shape)
        if isinstance(op, (Linear, Conv)) and not op.roundings and op.bias_terms is None:
            weight, axis = (op.weight.mT, -1) if isinstance(op, Linear) else (op.weight.flatten(1), 1)
            matrix = weight if op.bias is None else torch.cat([weight, op.bias.unsqueeze(1)], 1)
            first, sign = like_rows(matrix, op.groups if isinstance(op, Conv) else 1)
            shape = [1] * len(node.shape)
            shape[axis] = len(sign)
            return sign.reshape(shape).expand(node.shape), numbers.index_select(axis, first)
        return factors, numbers

    def _fresh(self, shape: tuple[int, ...]) -> Tensor:
        """Return numbers that nothing has yet."""
        size = math.prod(shape)
        self.count += size
        return torch.arange(self.count - size, self.count, dtype=torch.float64).reshape(shape)

    def _scaled(self, factors: Tensor, numbers: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
        scaled = factors * constant
        powers = (constant.frexp().mantissa.abs() == 0.5) & scaled.isfinite() & (scaled != 0)
        fresh = self._fresh(tuple(numbers.shape))
        return torch.where(powers, scaled, 1.0), torch.where(powers | (numbers == ZERO), numbers, fresh)

    def _summed(self, first: Tensor, one: Tensor, second: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Number sums of two multiples by what is added, in either order and of either sign."""
        factors, numbers = [], []
        parts = (part.reshape(-1).tolist() for part in (first, one, second, other))
        for a, m, b, n in zip(*parts, strict=True):
            if ZERO in (m, n):
                factor, number = (b, n) if m == ZERO else (a, m)
            else:
                a, m, b, n = (a, m, b, n) if m < n else (b, n, a, m)
                factor, number = a, self._ratio((m, n), b, a)
            factors.append(factor)
            numbers.append(number)
        return self._tensors(factors, numbers, first)

    def _moved(self, factors: Tensor, numbers: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
        """Number multiples that a constant is added to."""
        found = []
        parts = (part.reshape(-1).tolist() for part in (factors, numbers, constant))
        for a, n, shift in zip(*parts, strict=True):
            if n == ZERO and shift:
                found.append((1.0, self._number(shift)))
            else:
                found.append((a, self._ratio((n,), shift, a) if shift else n))
        return self._tensors([a for a, _ in found], [n for _, n in found], factors)

    def _ratio(self, key: tuple[float, ...], part: float, factor: float) -> int:
        """Return the number of a sum of what a key describes and a part, without a factor; a new one if that rounds."""
        ratio = part / factor
        if ratio * factor == part:
            return self._number(*key, ratio)
        self.count += 1
        return self.count - 1

    def _number(self, *key: float) -> int:
        """Return the number of what a key describes."""
        if key not in self.known:
            self.known[key] = self.count
            self.count += 1
        return self.known[key]

    @staticmethod
    def _tensors(factors: list[float], numbers: list[float], like: Tensor) -> tuple[Tensor, Tensor]:
        made = (torch.tensor(part, dtype=torch.float64).reshape(like.shape) for part in (factors, numbers))
        return next(made), next(made)


def like_rows(matrix: Tensor, groups: int = 1) -> tuple[Tensor, Tensor]:
    """Return for each row of a matrix the first that it equals up to the sign, and the sign ``(rows,)``.

    Rows fall into groups of one length, in order, and each is compared with those of its own.
    """
    height, found = len(matrix) // groups, [_like_rows(part) for part in matrix.tensor_split(groups)]
    first = torch.cat([own + k * height for k, (own, _) in enumerate(found)])
    return first, torch.cat([sign for _, sign in found])


def _like_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    leading = matrix.gather(1, (matrix != 0).int().argmax(1, keepdim=True))
    signs = torch.where(leading < 0, -1.0, 1.0).double()
    _, group = torch.unique(matrix * signs, dim=0, return_inverse=True)
    first = torch.full((len(matrix),), len(matrix)).scatter_reduce(0, group, torch.arange(len(matrix)), "amin")[group]
    signs = signs.squeeze(1)
    return first, signs * signs[first]
