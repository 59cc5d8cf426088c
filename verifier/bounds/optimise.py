"""Optimised slopes (alpha-CROWN): gradient ascent on the bounds of output rows, through all intermediate bounds."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from verifier.bounds.backward import backward
from verifier.bounds.schedule import Bounds, Slopes, loose, operands_of, relax_all
from verifier.bounds.windows import Piece, Windows, inputs_within, pieces, sizes, volume
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.ops.elementwise import Elementwise
from verifier.sets import Box, cut, flat

PARAMETERS = 1 << 25
"""Slopes of intermediate rows kept one by one; beyond it the rows of a piece share theirs."""

FEW_STEPS, FAST_RATE, RATE = 30, 0.3, 0.1
"""An ascent that has time for few steps takes long ones: the first of this length, for slopes in [0, 1]."""

ACTIVATIONS = 1 << 29
"""Elements that one iteration may keep for its gradient: 2 GiB in float32."""


@dataclass(slots=True)
class Adam:
    """Gradient ascent with moments (Kingma and Ba, ICLR 2015), each tensor at its own rate, decaying."""

    parameters: list[Tensor]
    rates: list[float]
    decay: float = 0.98
    momentum: float = 0.9
    steps: int = 0
    first: list[Tensor] = field(default_factory=list)
    second: list[Tensor] = field(default_factory=list)

    @torch.no_grad()
    def step(self, gradients: tuple[Tensor | None, ...]) -> None:
        """Move every parameter up its gradient."""
        if not self.first:
            self.first = [torch.zeros_like(parameter) for parameter in self.parameters]
            self.second = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps += 1
        scale = math.sqrt(1 - 0.999**self.steps) / (1 - self.momentum**self.steps) * self.decay ** (self.steps - 1)
        moments = zip(self.parameters, self.rates, gradients, self.first, self.second, strict=True)
        for parameter, rate, gradient, first, second in moments:
            if gradient is not None:
                first.lerp_(gradient, 1 - self.momentum)
                second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                parameter.addcdiv_(first, second.sqrt().add_(1e-12), value=rate * scale)

    def take(self, parameters: list[Tensor], index: Tensor) -> None:
        """Go on with some entries of every parameter, by an index or a mask of their first axis."""
        self.parameters = parameters
        self.first = [moment[index] for moment in self.first]
        self.second = [moment[index] for moment in self.second]


def curves_above(graph: Graph, start: str, boxes: Mapping[str, Box]) -> list[str]:
    """Names of the nonlinear nodes above a node that are not affine on their boxes."""
    names = []
    for name in graph.ancestors(start):
        node = graph.nodes[name]
        if isinstance(node.op, Elementwise):
            masks = node.op.undecided_operands(*operands_of(graph, node, boxes))
            if any(mask.any() for mask in masks):
                names.append(name)
    return names


class _Steered(torch.autograd.Function):
    """The greater of two values, with the gradient of the second all over."""

    @staticmethod
    def forward(ctx: Any, known: Tensor, found: Tensor) -> Tensor:
        del ctx
        return torch.fmax(known, found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        del ctx
        return None, gradients[0]


def steered(known: Box, found: Box) -> Box:
    """Intersect two boxes; the gradient is that of the second all over.

    Slopes that do not yet bound as well as what is known could not learn to do better otherwise.
    """
    lower, upper = _Steered.apply(known.lower, found.lower), _Steered.apply(-known.upper, -found.upper)  # type: ignore[no-untyped-call]
    return Box(lower, -upper)


def paced(graph: Graph, parts: Sequence[Mapping[str, Tensor]]) -> tuple[list[Tensor], list[float]]:
    """List the parameters of nonlinear nodes, and the rates at which to move them."""
    pairs = [(value, graph.nodes[name].op) for part in parts for name, value in part.items()]
    return [value for value, _ in pairs], [RATE * op.pace for _, op in pairs if isinstance(op, Elementwise)]


def start_slopes(bounds: Bounds, names: list[str], rows: int, windows: Windows) -> dict[str, Tensor]:
    """Return the slopes of least area inside windows for each of a number of rows, as leaves for optimisation."""
    alpha = {}
    for name in names:
        start = cut(bounds.start(name), windows.get(name, ()))
        alpha[name] = start.expand(-1, -1, rows, *([-1] * (start.dim() - 3))).clone().requires_grad_()
    return alpha


class Climb(ABC):
    """Gradient ascent on the bounds of output rows.

    Attributes:
        adam: what moves the slopes.
        best: the best bounds met of the output rows, ``(S,)``.
    """

    adam: Adam
    best: Tensor

    @abstractmethod
    def evaluate(self) -> Tensor:
        """Bound everything with the present slopes; return the output rows' bounds ``(S,)``, differentiable."""

    @abstractmethod
    def keep(self, better: Tensor) -> None:
        """Remember the slopes of some output rows, by a mask ``(S,)``."""

    @abstractmethod
    def slopes(self) -> dict[str, Slopes]:
        """Return the best slopes met of the intermediate rows, for a certified pass."""

    @abstractmethod
    def output_slopes(self) -> dict[str, Tensor]:
        """Return the best slopes met of the output rows, ``(P, 1, S, *node)`` by curve."""

    def run(self, threshold: Tensor, iterations: int, until: float) -> None:
        """Ascend until every row exceeds its threshold ``(S,)``, or nothing improves any more.

        Rows that have reached their thresholds leave the objective.
        """
        stalled, seconds = 0, 0.0
        for _ in range(iterations):
            begun = time.monotonic()
            least = self.evaluate()
            value = least.detach()
            gain = float(torch.where(value > self.best, value - self.best, 0)[self.best < threshold].sum())
            better = value > self.best
            self.best = torch.where(better, value, self.best)
            self.keep(better)
            stalled = stalled + 1 if gain < 1e-4 * float((threshold - self.best).clamp(0, 1e30).sum()) else 0
            missing = ~(self.best > threshold)
            if not self.adam.parameters or not missing.any() or stalled >= 5 or time.monotonic() + seconds > until:
                return
            gradients = torch.autograd.grad(least[missing].sum(), self.adam.parameters, allow_unused=True)
            if seconds == 0 and until - begun < FEW_STEPS * (time.monotonic() - begun):
                self.adam.rates = [FAST_RATE / RATE * rate for rate in self.adam.rates]
            self.adam.step(gradients)
            with torch.no_grad():
                for parameter in self.adam.parameters:
                    parameter.clamp_(0, 1)
            seconds = time.monotonic() - begun


class JointAscent(Climb):
    """Alpha-CROWN over a network at one input box: the slopes of every row, intermediate rows included.

    Heuristic by itself (it runs without rounding margins): ``slopes`` are to be used by a certified pass.
    Source: Xu et al., ICLR 2021 (arXiv:2011.13824), with intermediate bounds optimised for the final objective.
    """

    def __init__(self, bounds: Bounds, rows: Tensor) -> None:
        """Start from bounds with B = 1 and output rows ``(1, S, m)``."""
        graph = bounds.graph
        self.graph, self.bounds, self.rows = graph, bounds, rows
        self.boxes = dict(bounds.boxes)
        self.elements = self._starts()
        names = curves_above(graph, OUTPUT, bounds.boxes)
        self.alpha = start_slopes(bounds, names, rows.shape[1], {})
        self.inner: dict[str, list[dict[str, Tensor]]] = {}
        room = PARAMETERS
        for start in self.elements:
            names = curves_above(graph, start, bounds.boxes)
            counts = [2 * len(piece.index) for piece in self.pieces[start]]
            size = sum(
                count * self._size(names, piece) for count, piece in zip(counts, self.pieces[start], strict=True)
            )
            shared = size > room
            room -= 0 if shared else size
            self.inner[start] = [
                start_slopes(bounds, names, 1 if shared else count, piece.windows)
                for count, piece in zip(counts, self.pieces[start], strict=True)
            ]
        parts = [self.alpha, *(part for inner in self.inner.values() for part in inner)]
        self.adam = Adam(*paced(graph, parts))
        self.best = rows.new_full(rows.shape[1:2], -torch.inf)
        self.best_alpha = copied(self.alpha)
        self.reached = {
            start: [rows.new_full((1, 2, len(piece.index)), -torch.inf) for piece in cut]
            for start, cut in self.pieces.items()
        }
        self.best_inner = {start: [copied(part) for part in inner] for start, inner in self.inner.items()}

    def _starts(self) -> dict[str, Tensor]:
        """Choose the intermediate nodes to optimise, all that fit into memory, cheapest first; cut them up."""
        costs = {}
        for name, node in self.graph.nodes.items():
            mask = loose(self.graph, node, self.bounds.boxes, self.bounds.relevant)
            above = curves_above(self.graph, name, self.bounds.boxes)
            if mask is not None and mask.any() and above:
                elements = mask.flatten().nonzero().flatten()
                cut = list(pieces(self.graph, node, elements, 1))
                kept = sum(len(piece.index) * sum(sizes(self.graph, node, piece.windows)) for piece in cut)
                costs[name] = (6 * kept, elements, cut)
        room, chosen = ACTIVATIONS, set()
        for name, (cost, _, _) in sorted(costs.items(), key=lambda item: item[1][0]):
            if cost < room:
                room -= cost
                chosen.add(name)
        self.pieces = {name: costs[name][2] for name in chosen}
        return {name: costs[name][1] for name in self.graph.nodes if name in chosen}

    def evaluate(self) -> Tensor:
        """Bound everything with the present slopes; return the output rows' bounds ``(S,)``, differentiable."""
        boxes = dict(self.boxes)
        for start, elements in self.elements.items():
            sides = zip(self.pieces[start], self.inner[start], strict=True)
            parts = [self._bound(boxes, start, piece, alpha) for piece, alpha in sides]
            self._keep(start, parts)
            least, negated = torch.cat(parts, dim=2).unbind(1)
            elements = elements[torch.cat([piece.index for piece in self.pieces[start]])]
            lower, upper = flat(self.boxes[start].lower), flat(self.boxes[start].upper)
            ends = steered(Box(lower[:, elements], upper[:, elements]), Box(least, -negated))
            lower, upper = lower.index_copy(1, elements, ends.lower), upper.index_copy(1, elements, ends.upper)
            shape = self.boxes[start].lower.shape
            boxes[start] = Box(lower.view(shape), upper.view(shape))
            self.boxes[start] = Box(boxes[start].lower.detach(), boxes[start].upper.detach())
        enclosures = relax_all(self.graph, boxes, self.alpha, self.bounds.enclosures)
        return backward(self.graph, OUTPUT, self.rows, enclosures).minimum(boxes[INPUT])[0]

    def _bound(self, boxes: dict[str, Box], start: str, piece: Piece, alpha: dict[str, Tensor]) -> Tensor:
        """Bound some elements of a node, and their negatives, from below, ``(1, 2, K)``."""
        elements = self.elements[start]
        enclosures = relax_all(self.graph, boxes, alpha, self.bounds.enclosures, start, piece.windows)
        rows = piece.unit_rows(elements[piece.index], self.rows).unsqueeze(0)
        seen = inputs_within(self.graph, piece.windows, boxes[INPUT])
        return backward(self.graph, start, rows, enclosures).minimum(seen).reshape(1, 2, -1)

    @torch.no_grad()
    def _keep(self, start: str, parts: list[Tensor]) -> None:
        """Remember the slopes of the rows of a node that have not been bounded ``(1, 2, K)`` as well before."""
        for k, found in enumerate(parts):
            better = (found > self.reached[start][k]).flatten()
            self.reached[start][k] = torch.fmax(self.reached[start][k], found)
            for name, kept in self.best_inner[start][k].items():
                value = self.inner[start][k][name]
                kept.copy_(
                    torch.where(better.view(-1, *[1] * (value.dim() - 3)), value, kept) if kept.shape[2] > 1 else value
                )

    def _size(self, names: list[str], piece: Piece) -> int:
        """Count the elements of some nodes inside a piece's windows."""
        shapes = ((self.graph.nodes[name].shape, piece.windows.get(name, ())) for name in names)
        return sum(volume(shape, window) for shape, window in shapes)

    def keep(self, better: Tensor) -> None:
        """See ``Climb.keep``."""
        for name, kept in self.best_alpha.items():
            kept[:, :, better] = self.alpha[name].detach()[:, :, better]

    def output_slopes(self) -> dict[str, Tensor]:
        """See ``Climb.output_slopes``."""
        return self.best_alpha

    def slopes(self) -> dict[str, Slopes]:
        """See ``Climb.slopes``."""
        return {
            start: Slopes(elements, self.pieces[start], self.best_inner[start])
            for start, elements in self.elements.items()
        }


def copied(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors without their gradients."""
    return {name: value.detach().clone() for name, value in values.items()}
