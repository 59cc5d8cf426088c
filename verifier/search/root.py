"""The root of a search by neurons: certified bounds of one input box, in float64 and in a float32 twin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.backward import LinearBound, backward
from verifier.bounds.optimise import JointAscent
from verifier.bounds.schedule import CROWN, INTERVAL, Bounds, Method, bound_nodes, relax_all, undecided
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.sets import Box


@dataclass(frozen=True, eq=False)
class Root:
    """Certified bounds of a network over one input box (B = 1).

    ``exact`` is in float64, and ``fast`` its float32 twin for the search, on the same boxes rounded outward.
    ``alpha`` are the slopes of the output rows that were optimised last, ``(P, 1, S, *node)`` by node.
    """

    exact: Bounds
    fast: Bounds
    alpha: dict[str, Tensor]

    @staticmethod
    def of(graph: Graph, box: Box, method: Method = CROWN, until: float = math.inf) -> Root:
        """Bound a network over a box ``(1, n)``, both in float64, by plain bounds in float32.

        Raises:
            TimeoutError: time ran out.
        """
        fast = bound_nodes(graph.to(torch.float32), box.to(torch.float32), method, until=until)
        exact = bound_nodes(graph, box, INTERVAL, known=_known(fast.boxes, torch.float64))
        return Root(exact, rounded(exact), {})

    def improve(
        self, rows: Tensor, threshold: Tensor, iterations: int, until: float, deadline: float = math.inf
    ) -> Root:
        """Optimise all slopes for output rows ``(1, S, m)`` to exceed thresholds ``(S,)``, and certify the outcome.

        Raises:
            TimeoutError: the deadline passed (``until`` only ends the optimisation).
        """
        ascent = JointAscent(self.fast, rows.to(torch.float32))
        ascent.run(threshold.to(torch.float32), iterations, until)
        exact = self.exact
        known = _known(exact.boxes, torch.float64)
        better = bound_nodes(exact.graph, exact.boxes[INPUT], CROWN, known=known, slopes=ascent.slopes(), until=deadline)
        return Root(better, rounded(better), ascent.best_alpha)

    def rows(self, rows: Tensor) -> LinearBound:
        """Bound output rows ``(1, S, m)`` from below with the optimised slopes, if they are for as many rows."""
        alpha = {
            name: value.to(rows.dtype) for name, value in self.alpha.items() if value.shape[2] in (1, rows.shape[1])
        }
        enclosures = relax_all(self.exact.graph, self.exact.boxes, alpha, self.exact.enclosures)
        return backward(self.exact.graph, OUTPUT, rows, enclosures, scales=self.exact.scales)

    def unstable(self) -> dict[str, Tensor]:
        """Return the flat indices of the elements that feed a nonlinearity undecided on the boxes, by node."""
        found = {}
        for name, node in self.exact.graph.nodes.items():
            mask = undecided(self.exact.graph, node, self.fast.boxes[name])
            if mask is not None and mask.any():
                found[name] = mask.flatten().nonzero().flatten()
        return found


def rounded(exact: Bounds) -> Bounds:
    """Return the float32 twin of certified bounds, on boxes rounded outward."""
    graph, box = exact.graph.to(torch.float32), exact.boxes[INPUT].to(torch.float32)
    return bound_nodes(graph, box, INTERVAL, known=_known(exact.boxes, torch.float32))


def _known(boxes: dict[str, Box], dtype: torch.dtype) -> dict[str, Box]:
    return {name: box.to(dtype) for name, box in boxes.items() if name != INPUT}
