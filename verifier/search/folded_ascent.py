"""Alpha-CROWN on a folded network: the slopes of every row, with undecided neurons alone on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from verifier.bounds.optimise import Adam, Climb, copied, curves_above, paced, steered
from verifier.bounds.schedule import Bounds, Slopes
from verifier.bounds.windows import Piece, pieces, sizes
from verifier.graph.graph import OUTPUT
from verifier.search.folded import DENSE, Folded
from verifier.search.neurons import Neurons
from verifier.sets import Box, cut

KEPT = 1 << 26
"""Slopes that one ascent may have."""


class FoldedAscent(Climb):
    """What ``JointAscent`` does, by products with the folded network's matrices.

    Every row has slopes of its own. Heuristic: the slopes are to be used by a certified pass.
    """

    def __init__(self, bounds: Bounds, rows: Tensor, neurons: Neurons) -> None:
        """Start from bounds with B = 1 and output rows ``(1, S, m)``."""
        self.graph, self.bounds, self.rows = bounds.graph, bounds, rows
        self.folded, self.neurons = Folded(bounds, neurons), neurons
        self.boxes = neurons.ends(bounds.boxes)
        names = {start: set(curves_above(self.graph, start, bounds.boxes)) for start in [OUTPUT, *neurons.elements]}
        self.slopes_of = {start: self._start(rows.shape[1], names[start]) for start in [OUTPUT]}
        for start in reversed(self.folded.order):
            if names[start]:
                self.slopes_of[start] = self._start(2 * len(neurons.elements[start]), names[start])
        self.adam = Adam(*paced(self.graph, list(self.slopes_of.values())))
        self.best = rows.new_full(rows.shape[1:2], -torch.inf)
        self.reached = {
            start: rows.new_full((2 * len(neurons.elements[start]),), -torch.inf)
            for start in self.slopes_of
            if start != OUTPUT
        }
        self.best_slopes = {start: copied(part) for start, part in self.slopes_of.items()}

    def _start(self, rows: int, names: set[str]) -> dict[str, Tensor]:
        """Return the parameters of least area for each of a number of rows, ``(P, 1, rows, E)`` by reader."""
        starts = {
            name: reader.op.start(*reader.boxes(self.boxes))
            for name, reader in self.neurons.readers.items()
            if name in names
        }
        return {name: start.expand(-1, -1, rows, -1).clone().requires_grad_() for name, start in starts.items()}

    @staticmethod
    def pays(bounds: Bounds, neurons: Neurons) -> bool:
        """Tell whether a step is cheaper than one over the whole network, and its slopes fit into memory."""
        graph, before, links, kept, dense, plain = bounds.graph, 0, 0, 0, 0, 0.0
        each = graph.work / sum(math.prod(node.shape) for node in graph.nodes.values())
        for start, elements in neurons.elements.items():
            count = len(elements)
            kept += 2 * count * before
            dense += 2 * count * (links + count * before + (before + count) * graph.n_inputs)
            links, before = links + count * before, before + count
            for piece in pieces(graph, graph.nodes[start], elements, 1):
                plain += 2 * len(piece.index) * each * sum(sizes(graph, graph.nodes[start], piece.windows))
        return kept <= KEPT and dense <= DENSE * plain

    def evaluate(self) -> Tensor:
        """Bound everything with the present slopes; return the output rows' bounds ``(S,)``, differentiable."""
        boxes = dict(self.boxes)
        for start, slopes in self.slopes_of.items():
            if start == OUTPUT:
                continue
            found = self._bound(boxes, start, slopes)
            self._keep(start, found.detach())
            least, negated = found.unsqueeze(0).chunk(2, dim=1)
            boxes[start] = steered(self.boxes[start], Box(least, -negated))
            self.boxes[start] = Box(boxes[start].lower.detach(), boxes[start].upper.detach())
        return self._bound(boxes, OUTPUT, self.slopes_of[OUTPUT])

    def _bound(self, boxes: Mapping[str, Box], start: str, slopes: Mapping[str, Tensor]) -> Tensor:
        """Bound the output rows, or the undecided elements of a node and then their negatives, from below."""
        folded, place = self.folded, slice(*self.folded.place[start])

        def own(matrix: Tensor) -> Tensor:
            """Multiply the rows that are bounded with a matrix of the folded network."""
            part = matrix[place]
            return self.rows[0] @ part if start == OUTPUT else torch.cat([part, -part])

        names = folded.order if start == OUTPUT else folded.order[folded.order.index(start) + 1 :]
        parts: list[tuple[slice, Tensor]] = []
        least, spread = own(folded.constant), own(folded.spread)
        pulled: dict[str, Tensor] = {}
        for name in names:
            for key in (reader for reader, last in folded.last.items() if last == name and reader in slopes):
                rows = own(folded.links[key])
                for where, part in parts:
                    rows = torch.addmm(rows, part, folded.links[key][where])
                reader = self.neurons.readers[key]
                found, offset = reader.op.relax(*reader.boxes(boxes), alpha=slopes[key]).pullback(rows.unsqueeze(0))
                least = least + offset[0]
                for operand, part in zip(reader.operands, found, strict=True):
                    before = pulled.get(operand.name)
                    if before is None:
                        before = part.new_zeros(part.shape[1], len(self.neurons.elements[operand.name]))
                    pulled[operand.name] = operand.add(before, part[0])
            if name in pulled:
                where, here = slice(*folded.place[name]), pulled[name]
                parts.append((where, here))
                least = torch.addmv(least, here, folded.constant[where])
                spread = torch.addmm(spread, here, folded.spread[where])
        total: Tensor = least - torch.linalg.vector_norm(spread, 1, dim=1)
        return total

    @torch.no_grad()
    def _keep(self, start: str, found: Tensor) -> None:
        """Remember the slopes of rows that were not bounded as well before."""
        better = found > self.reached[start]
        self.reached[start] = torch.fmax(self.reached[start], found)
        for name, kept in self.best_slopes[start].items():
            kept[:, :, better] = self.slopes_of[start][name].detach()[:, :, better]

    @torch.no_grad()
    def keep(self, better: Tensor) -> None:
        """See ``Climb.keep``."""
        for name, kept in self.best_slopes[OUTPUT].items():
            kept[:, :, better] = self.slopes_of[OUTPUT][name].detach()[:, :, better]

    def slopes(self) -> dict[str, Slopes]:
        """See ``Climb.slopes``."""
        found = {}
        for start in self.reached:
            elements = self.neurons.elements[start]
            parts = list(pieces(self.graph, self.graph.nodes[start], elements, 1))
            found[start] = Slopes(elements, parts, [dict(self._within(start, piece)) for piece in parts])
        return found

    def _within(self, start: str, piece: Piece) -> Iterator[tuple[str, Tensor]]:
        """Yield the slopes of a piece's rows inside its windows, by name."""
        count = len(self.neurons.elements[start])
        index = torch.cat([piece.index, count + piece.index])
        for name, value in self.best_slopes[start].items():
            yield name, cut(self._whole(name, value[:, :, index]), piece.windows.get(name, ())).clone()

    def _whole(self, name: str, value: Tensor) -> Tensor:
        """Return parameters of all elements of a nonlinear node, from those of the ones that read neurons."""
        start = self.bounds.start(name)
        flat = start.reshape(*start.shape[:3], -1).expand(-1, -1, value.shape[2], -1)
        whole = flat.index_copy(3, self.neurons.readers[name].elements, value)
        return whole.reshape(*whole.shape[:3], *self.graph.nodes[name].shape)

    def output_slopes(self) -> dict[str, Tensor]:
        """See ``Climb.output_slopes``."""
        return {name: self._whole(name, value) for name, value in self.best_slopes[OUTPUT].items()}
