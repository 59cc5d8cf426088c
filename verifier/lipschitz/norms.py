"""Operator norms of Jacobians: as layers on top of a network of entries, of boxes of entries, and of matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.errors import UsageError
from verifier.graph.graph import OUTPUT, Graph, Node, Port
from verifier.ops.curves import Abs, Power, Relu
from verifier.ops.op import Op, Shape
from verifier.ops.reduce import ReduceSum
from verifier.ops.shape import Reshape
from verifier.sets import Box

ENTRIES = "<entries>"
"""Name of the node that holds the Jacobian, ``(S, d)``, below the layers of a norm."""

STEPS = 12
"""Of the ascent to the norm of a matrix, which gains little after the first few."""

ROW, COLUMN, BOTH = (1,), (0,), (0, 1)


@dataclass(frozen=True, slots=True)
class Norm:
    """The operator norm from ``p`` at the input to ``q`` at the output, each 1, 2 or infinity."""

    p: float
    q: float

    @staticmethod
    def parse(text: str) -> Norm:
        """Read ``inf``, ``2`` or ``1`` (that norm on both sides), or two of them as in ``inf,1``.

        Raises:
            UsageError: it is none of these.
        """
        orders = {"inf": math.inf, "2": 2.0, "1": 1.0}
        words = [word.strip() for word in text.lower().split(",")]
        if not 1 <= len(words) <= 2 or any(word not in orders for word in words):
            raise UsageError(f"there is no norm {text!r}; choose inf, 2 or 1, or two of them as in inf,1")
        return Norm(orders[words[0]], orders[words[-1]])

    def __str__(self) -> str:
        """Return what ``parse`` reads."""
        return ",".join("inf" if math.isinf(order) else str(int(order)) for order in (self.p, self.q))

    @property
    def rowwise(self) -> bool:
        """Whether it is the largest of the rows' own."""
        return math.isinf(self.q)

    @property
    def spectral(self) -> bool:
        """Whether it is the largest singular value."""
        return (self.p, self.q) == (2, 2)

    @property
    def squared(self) -> bool:
        """Whether the layers end with the square of the norm."""
        return (self.p, self.q) in ((1, 2), (2, 2), (2, math.inf), (math.inf, 2))

    def of_layers(self, value: float) -> float:
        """Return a bound of the norm, given one of the greatest output of the layers; rounded upward."""
        if not self.squared:
            return value
        return math.nextafter(math.sqrt(max(value, 0.0)), math.inf)

    def on_top(self, graph: Graph, rows: int) -> Graph:
        """Add layers to the network of a Jacobian of so many rows, whose greatest output is at least the norm.

        It is the norm itself, or its square, for one row and for all pairs but inf,1 and inf,2 and 2,1 and 2,2: there,
        absolute values are summed as if all could have their worst signs at once (and 2,2 is the Frobenius norm).
        """
        last, width = graph.nodes[OUTPUT], graph.n_outputs // rows
        layers: list[tuple[Op, Shape]] = [(Reshape((rows, width)), (rows, width))]
        if self.p == 2 or (self.p, self.q) == (1, 2):
            layers.append((Power(2.0), (rows, width)))
        else:
            layers.append((Abs(), (rows, width)))
        if (self.p, self.q) in ((math.inf, 1), (2, 2)):
            layers.append((ReduceSum(BOTH, keep=False), ()))
        elif self.p == 1:
            layers += [] if self.rowwise else [(ReduceSum(COLUMN, keep=False), (width,))]
        else:
            layers.append((ReduceSum(ROW, keep=False), (rows,)))
        if (self.p, self.q) == (math.inf, 2):
            layers += [(Power(2.0), (rows,)), (ReduceSum((0,), keep=False), ())]
        elif (self.p, self.q) == (2, 1):
            layers += [(Relu(), (rows,)), (Power(0.5), (rows,)), (ReduceSum((0,), keep=False), ())]
        size = math.prod(layers[-1][1])
        layers.append((Reshape((size,)), (size,)))
        nodes, below = [node for node in graph.nodes.values() if node.name != OUTPUT], last.parents[0]
        for k, (op, shape) in enumerate(layers):
            name = OUTPUT if k == len(layers) - 1 else f"<norm {k}>" if k else ENTRIES
            nodes.append(Node(name, op, (below,), shape))
            below = name
        return Graph(nodes, graph.inputs, (Port("norm", (size,), "float32"),), graph.dtype, graph.device)

    def of_boxes(self, entries: Box) -> Tensor:
        """Bound the norm of all matrices in boxes ``(B, S, d)``, in float64; shape ``(B,)``.

        What it is for a matrix of largest absolute values; for 2,2 see ``spectral``.
        """
        if self.spectral:
            return spectral(entries)
        scale = _scale(entries)
        size = entries.magnitude / scale
        if self.p == 1:
            found = _length(size, self.q, 1).amax(-1)
        elif self.p == 2 or self.rowwise:
            rows = _length(size, 2.0 if self.p == 2 else 1.0, 2)
            found = rows.amax(-1) if self.rowwise else rows.sum(-1)
        else:
            found = _length(size.sum(2), self.q, 1)
        return found * scale.flatten() * (1 + 2 * _gamma(size))

    def of_matrix(self, matrix: Tensor) -> Tensor:
        """Return the norms of matrices ``(B, S, d)`` from below, ``(B,)``: exact for 1,q and p,inf.

        Others are attained by a vector that an ascent finds, from the best direction of each row.
        """
        scale = _scale(Box(matrix, matrix))
        return self._of_matrix(matrix / scale) * scale.flatten()

    def _of_matrix(self, matrix: Tensor) -> Tensor:
        if self.p == 1:
            return _length(matrix, self.q, 1).amax(-1)
        if self.rowwise:
            return _length(matrix, 2.0 if self.p == 2 else 1.0, 2).amax(-1)
        x = self._steepest(matrix)  # (B, S, d): a vector for each row
        best = torch.zeros_like(matrix[:, 0, 0])
        for _ in range(STEPS):
            y = x @ matrix.mT
            best = torch.maximum(best, (_length(y, self.q, 2) / _length(x, self.p, 2).clamp(min=1e-300)).amax(-1))
            x = self._steepest((y if self.q == 2 else y.sign()) @ matrix)
        return best

    def _steepest(self, rows: Tensor) -> Tensor:
        """Return the vectors of length 1 that rows ``(B, S, d)`` grow along the fastest."""
        if math.isinf(self.p):
            return torch.where(rows < 0, -1.0, 1.0).to(rows)
        return rows / _length(rows, 2.0, 2).clamp(min=1e-300).unsqueeze(-1)


def spectral(entries: Box) -> Tensor:
    """Bound the largest singular value of all matrices in boxes ``(B, S, d)``, in float64; shape ``(B,)``.

    The least of these, with M the largest absolute values, C the centre and R the radius: ``sqrt(|M|_1 |M|_inf)``, the
    Frobenius norm of M, ``|M|_2`` and ``|C|_2 + |R|_2``. Norms of matrices without negative entries are certified by
    Collatz and Wielandt's quotient ``max_i (M'M v)_i / v_i``, which bounds their square for every v > 0; that of C is
    the root of the greatest row sum of ``|V (C C') V' - D| + |D|`` for a rotation V that nearly diagonalises C C', with
    what V lacks of a rotation.
    """
    if entries.lower.shape[1] > entries.lower.shape[2]:  # the same, by smaller squares
        entries = Box(entries.lower.mT, entries.upper.mT)
    scale = _scale(entries)
    known = (entries.lower.isfinite() & entries.upper.isfinite()).all(2).all(1)
    entries = Box(*((end / scale).where(known[:, None, None], 0) for end in (entries.lower, entries.upper)))
    size, centre = entries.magnitude, entries.centre
    radius = torch.maximum(entries.upper - centre, centre - entries.lower)
    crossed = (_length(size, 1.0, 1).amax(-1) * _length(size, 1.0, 2).amax(-1)).sqrt()
    frobenius = _length(size.flatten(1), 2.0, 1)
    middle = _signed(centre) + _positive(radius) + gamma(4, torch.float64) * frobenius
    found = torch.stack([crossed, frobenius, _positive(size), middle]).amin(0) * scale.flatten()
    return torch.where(known, found * (1 + 4 * _gamma(size)), math.inf)


def _scale(entries: Box) -> Tensor:
    """Return the largest absolute value of an entry, ``(B, 1, 1)``, or 1 where there is none: squares may underflow."""
    most = entries.magnitude.amax((1, 2), keepdim=True)
    return torch.where((most > 0) & most.isfinite(), most, 1)


def _positive(matrix: Tensor) -> Tensor:
    """Bound the largest singular value of matrices ``(B, S, d)`` without negative entries from above."""
    square = matrix @ matrix.mT
    v = torch.ones_like(square[..., 0]).unsqueeze(-1)
    best = torch.full_like(square[:, 0, 0], math.inf)
    for _ in range(STEPS):
        image = square @ v
        best = torch.minimum(best, (image / v).amax((1, 2)))
        v = image / image.amax(1, keepdim=True).clamp(min=1e-300) + 1e-9  # any v > 0 will do
    return (best * (1 + 4 * _gamma(matrix))).sqrt()


def _signed(matrix: Tensor) -> Tensor:
    """Bound the largest singular value of matrices ``(B, S, d)`` from above."""
    square = matrix @ matrix.mT
    terms = _length(matrix.flatten(1), 2.0, 1).square()
    _, basis = torch.linalg.eigh(square)
    rotated = basis.mT @ square @ basis
    rotation = basis.mT @ basis - torch.eye(square.shape[1], dtype=square.dtype, device=square.device)
    lack = rotation.abs().sum(-1).amax(-1)  # singular values of the basis are at least sqrt(1 - lack)
    lost = 16 * square.shape[1] * _gamma(matrix)
    lack = lack + lost
    greatest = rotated.abs().sum(-1).amax(-1) + lost * terms
    return torch.where(lack < 0.5, (greatest / (1 - lack.clamp(max=0.5))).sqrt(), terms.sqrt() * (1 + lost))


def _length(values: Tensor, order: float, axis: int) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(values, order, dim=axis)
    return found


def _gamma(matrix: Tensor) -> float:
    """Bound the relative error of sums over matrices ``(B, S, d)``."""
    return gamma(matrix.shape[1] * matrix.shape[2] + 4, torch.float64)
