"""Alpha-CROWN on a folded network: the slopes of every row, with undecided neurons alone on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from verifier.bounds.optimise import RATE, Adam, Climb, copied, curves_above
from verifier.bounds.schedule import Bounds, Slopes
from verifier.bounds.windows import Piece, pieces, sizes
from verifier.graph.graph import OUTPUT
from verifier.search.folded import DENSE, Folded
from verifier.sets import Box, cut, flat

KEPT = 1 << 26
"""Slopes that one ascent may have."""


class FoldedAscent(Climb):
    """What ``JointAscent`` does, by products with the folded network's matrices.

    Every row has slopes of its own. Heuristic: the slopes are to be used by a certified pass.
    """

    def __init__(self, bounds: Bounds, rows: Tensor, unstable: Mapping[str, Tensor], curves: Mapping[str, str]) -> None:
        """Start from bounds with B = 1 and output rows ``(1, S, m)``."""
        self.graph, self.bounds, self.rows = bounds.graph, bounds, rows
        self.folded = Folded(bounds, unstable, curves)
        self.boxes = {name: self._ends(name) for name in self.folded.order}
        names = {start: set(curves_above(self.graph, start, bounds.boxes)) for start in [OUTPUT, *unstable]}
        self.slopes_of = {start: self._start(rows.shape[1], names[start]) for start in [OUTPUT]}
        for start in reversed(self.folded.order):
            if names[start]:
                self.slopes_of[start] = self._start(2 * len(unstable[start]), names[start])
        parameters = [value for part in self.slopes_of.values() for value in part.values()]
        self.adam = Adam(parameters, [RATE] * len(parameters))
        self.best = rows.new_full(rows.shape[1:2], -torch.inf)
        self.reached = {
            start: rows.new_full((2 * len(unstable[start]),), -torch.inf) for start in self.slopes_of if start != OUTPUT
        }
        self.best_slopes = {start: copied(part) for start, part in self.slopes_of.items()}

    def _ends(self, name: str) -> Box:
        box, index = self.bounds.boxes[name], self.folded.unstable[name]
        return Box(flat(box.lower)[:, index], flat(box.upper)[:, index])

    def _start(self, rows: int, names: set[str]) -> dict[str, Tensor]:
        """Return the slopes of least area for each of a number of rows, ``(P, 1, rows, K)`` by curve."""
        starts = {
            curve: op.start(self.boxes[self.folded.curves[curve]])
            for curve, op in self.folded.ops.items()
            if curve in names
        }
        return {curve: start.expand(-1, -1, rows, -1).clone().requires_grad_() for curve, start in starts.items()}

    @staticmethod
    def pays(bounds: Bounds, unstable: Mapping[str, Tensor]) -> bool:
        """Tell whether a step is cheaper than one over the whole network, and its slopes fit into memory."""
        graph, before, links, kept, dense, plain = bounds.graph, 0, 0, 0, 0, 0.0
        each = graph.work / sum(math.prod(node.shape) for node in graph.nodes.values())
        for start in (name for name in graph.nodes if name in unstable):
            count = len(unstable[start])
            kept += 2 * count * before
            dense += 2 * count * (links + count * before + (before + count) * graph.n_inputs)
            links, before = links + count * before, before + count
            for piece in pieces(graph, graph.nodes[start], unstable[start], 1):
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
            box = self.boxes[start]
            boxes[start] = Box(torch.fmax(box.lower, least), torch.fmin(box.upper, -negated))
            self.boxes[start] = Box(boxes[start].lower.detach(), boxes[start].upper.detach())
        return self._bound(boxes, OUTPUT, self.slopes_of[OUTPUT])

    def _bound(self, boxes: Mapping[str, Box], start: str, slopes: Mapping[str, Tensor]) -> Tensor:
        """Bound the output rows, or the undecided elements of a node and then their negatives, from below."""
        folded = self.folded
        parts: list[tuple[slice, Tensor]] = []
        if start == OUTPUT:
            parts.append((slice(*folded.place[OUTPUT]), self.rows[0]))
            names = folded.order
        else:
            unit = torch.eye(len(folded.unstable[start]), dtype=self.rows.dtype, device=self.rows.device)
            parts.append((slice(*folded.place[start]), torch.cat([unit, -unit])))
            names = folded.order[folded.order.index(start) + 1 :]
        least = parts[0][1] @ folded.constant[parts[0][0]]
        spread = parts[0][1] @ folded.spread[parts[0][0]]
        for name in names:
            here: Tensor | None = None
            for curve, operand in folded.curves.items():
                if operand != name or curve not in slopes:
                    continue
                rows = sum(part @ folded.links[curve][where] for where, part in parts)
                assert isinstance(rows, Tensor)
                enclosure = folded.ops[curve].relax(boxes[name], alpha=slopes[curve])
                (pulled,), offset = enclosure.pullback(rows.unsqueeze(0))
                here = pulled[0] if here is None else here + pulled[0]
                least = least + offset[0]
            if here is not None:
                where = slice(*folded.place[name])
                parts.append((where, here))
                least, spread = least + here @ folded.constant[where], spread + here @ folded.spread[where]
        total: Tensor = least - torch.linalg.vector_norm(spread, 1, dim=1)
        return total

    @torch.no_grad()
    def _keep(self, start: str, found: Tensor) -> None:
        """Remember the slopes of rows that were not bounded as well before."""
        better = found > self.reached[start]
        self.reached[start] = torch.fmax(self.reached[start], found)
        for curve, kept in self.best_slopes[start].items():
            kept[:, :, better] = self.slopes_of[start][curve].detach()[:, :, better]

    @torch.no_grad()
    def keep(self, better: Tensor) -> None:
        """See ``Climb.keep``."""
        for curve, kept in self.best_slopes[OUTPUT].items():
            kept[:, :, better] = self.slopes_of[OUTPUT][curve].detach()[:, :, better]

    @torch.no_grad()
    def project(self) -> None:
        """See ``Climb.project``."""
        for part in self.slopes_of.values():
            for curve, value in part.items():
                value.copy_(self.folded.ops[curve].project(value, self.boxes[self.folded.curves[curve]]))

    def slopes(self) -> dict[str, Slopes]:
        """See ``Climb.slopes``."""
        found = {}
        for start in self.reached:
            elements = self.folded.unstable[start]
            parts = list(pieces(self.graph, self.graph.nodes[start], elements, 1))
            found[start] = Slopes(elements, parts, [dict(self._within(start, piece)) for piece in parts])
        return found

    def _within(self, start: str, piece: Piece) -> Iterator[tuple[str, Tensor]]:
        """Yield the slopes of a piece's rows inside its windows, by curve."""
        count = len(self.folded.unstable[start])
        index = torch.cat([piece.index, count + piece.index])
        for curve, value in self.best_slopes[start].items():
            yield curve, cut(self._whole(curve, value[:, :, index]), piece.windows.get(curve, ())).clone()

    def _whole(self, curve: str, value: Tensor) -> Tensor:
        """Return slopes of all elements of a curve, from those of its undecided ones."""
        operand = self.folded.curves[curve]
        op, shape = self.graph.nodes[curve].op, self.graph.nodes[operand].shape
        start = op.start(self.bounds.boxes[operand]).flatten(3).expand(-1, -1, value.shape[2], -1)  # type: ignore
        whole: Tensor = start.index_copy(3, self.folded.unstable[operand], value).unflatten(3, shape)
        return whole

    def output_slopes(self) -> dict[str, Tensor]:
        """See ``Climb.output_slopes``."""
        return {curve: self._whole(curve, value) for curve, value in self.best_slopes[OUTPUT].items()}
