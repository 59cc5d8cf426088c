"""What attacks minimise: by how much points miss the conditions of their cases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from verifier.balls import Ball
from verifier.graph.graph import Graph
from verifier.problem import Cases
from verifier.result import Counterexample
from verifier.search.bab import Witness
from verifier.sets import Box

MEMORY = 1 << 26
"""Elements of all nodes' values that are held at once: 256 MiB in float32."""


def project(x: Tensor, box: Box) -> Tensor:
    """Return points of sets near to given ones; all three of shape ``(B, n)``, or broadcastable to it."""
    if isinstance(box, Ball):
        return box.nearest(x)
    return torch.minimum(torch.maximum(x, box.lower), box.upper)


class Attack(Protocol):
    """A way to look for counterexamples. Property: what it returns is checked; finding nothing means nothing."""

    def run(
        self,
        problem: Objective,
        which: Tensor,
        checker: Witness,
        until: float,
        generator: torch.Generator,
        starts: Tensor | None = None,
    ) -> Counterexample | None:
        """Look for a counterexample.

        Args:
            problem: network and cases, in the dtype to compute in.
            which: indices of the cases to attack, ``(W,)``.
            checker: confirms what is found.
            until: value of ``time.monotonic()`` at which to stop.
            generator: of random draws, on the network's device.
            starts: optional points to begin at, ``(S, W, n)``: S for each case.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """A network with its cases, both of one dtype and on one device."""

    graph: Graph
    cases: Cases

    def padding(self, case: Tensor) -> Tensor:
        """Tell which rows of cases ``(B,)`` only fill up, ``(B, R)``."""
        cases = self.cases
        empty = (cases.y_rows[case] == 0).all(-1) & (cases.bound[case] == 0)
        return empty if cases.x_rows is None else empty & (cases.x_rows[case] == 0).all(-1)

    def excess(self, case: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return ``Cases.excess`` at points ``(B, n)``, shape ``(B, R)``, with ``-inf`` in rows that only fill up."""
        y = self.graph(x) if y is None else y
        return self.cases.excess(case, x, y).masked_fill(self.padding(case), -math.inf)

    def worst(self, case: Tensor, x: Tensor) -> Tensor:
        """Return the largest excess of each point, ``(B,)``, in pieces that fit into memory; without gradients."""
        with torch.no_grad():
            size = self.batch
            pieces = zip(case.split(size), x.split(size), strict=True)
            parts = [self.excess(some, points).amax(-1) for some, points in pieces]
        return torch.cat(parts) if parts else x.new_empty(0)

    def box(self, case: Tensor) -> Box:
        """Return the box of each case, ``(B, n)``."""
        return self.cases.boxes.take(self.cases.set_of[case])

    @property
    def batch(self) -> int:
        """How many points fit into memory."""
        held = sum(math.prod(node.shape) for node in self.graph.nodes.values())
        rows = self.cases.y_rows[:1].numel() + (0 if self.cases.x_rows is None else self.cases.x_rows[:1].numel())
        return max(1, MEMORY // max(1, held + rows))
