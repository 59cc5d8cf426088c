"""Counterexamples from linear programs: they see past the local minima in which gradients end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verifier.attack.affine_maps import Array, is_relu_network
from verifier.attack.objective import Objective
from verifier.attack.relaxation import Relaxation, Signs
from verifier.ops.curves.relu import Relu
from verifier.result import Counterexample
from verifier.search.bab import Witness
from verifier.sets import Box

ELEMENTS = 20_000
"""Input elements and neurons beyond which a program is too large to be of use."""


@dataclass(frozen=True, slots=True)
class Lp:
    """Solves the triangle relaxation of a case, then dives: fixes the surest neurons as they are at the point found.

    It repeats that until all neurons are fixed. Then the program is exact, and its optimum the best point of a linear
    region; from the best point met it goes on to neighbouring regions while they are better.

    Attributes:
        max_unstable: neurons of either sign up to which the program is tried.
        keep: part of the open neurons that stays open in each step of a dive.
        regions: linear regions to visit after a dive.

    Property: what it returns is checked; finding nothing means nothing. Cost: about 10 linear programs for each case.
    """

    max_unstable: int = 2000
    keep: float = 0.5
    regions: int = 20

    def accepts(self, problem: Objective, boxes: Mapping[str, Box]) -> bool:
        """Tell whether a network is one of ReLUs, and small enough on given boxes."""
        if not is_relu_network(problem.graph):
            return False
        operands = [node.parents[0] for node in problem.graph.nodes.values() if isinstance(node.op, Relu)]
        if any(name not in boxes for name in operands):
            return False
        size = problem.graph.n_inputs + sum(boxes[name].lower[0].numel() for name in operands)
        unstable = sum(int(((boxes[name].lower < 0) & (boxes[name].upper > 0)).sum()) for name in operands)
        return size <= ELEMENTS and unstable <= self.max_unstable

    def run(
        self, problem: Objective, boxes: Mapping[str, Box], which: Tensor, checker: Witness, until: float
    ) -> Counterexample | None:
        """Look for a counterexample.

        Args:
            problem: network and cases in float64, on the CPU; ``accepts`` it.
            boxes: of the input and of every operand of a ReLU, ``(1, *node)``; all cases listed share this input box.
            which: indices of cases, ``(W,)``, tried in this order; each has its share of the time.
            checker: confirms what is found.
            until: value of ``time.monotonic()`` at which to stop; building the first program is not interrupted.
        """
        if not len(which) or time.monotonic() >= until:
            return None
        relaxation = Relaxation(problem.graph, boxes)
        for k, index in enumerate(which.tolist()):
            case, now = torch.tensor([index]), time.monotonic()
            for x in self.candidates(problem, relaxation, case, now + (until - now) / (len(which) - k)):
                found = checker(case, x)
                if found is not None:
                    return found
        return None

    def candidates(self, problem: Objective, relaxation: Relaxation, case: Tensor, until: float) -> Iterator[Tensor]:
        """Yield points ``(1, n)`` for a case ``(1,)``; none if the relaxation excludes a counterexample."""
        _aim(problem, relaxation, case)
        relaxation.release()
        solved = relaxation.solve(until)
        if solved is None or solved[0] > 0:
            return
        x = torch.from_numpy(solved[1]).unsqueeze(0)
        yield x
        best, best_x = float(problem.worst(case, x)), x
        free = sum(int(layer.unstable.sum()) for layer in relaxation.layers)
        while free:
            free = int(self.keep * free)
            relaxation.fix(_signs(problem, relaxation, x, free))
            solved = relaxation.solve(until)
            if solved is None:
                break
            x = torch.from_numpy(solved[1]).unsqueeze(0)
            yield x
            worst = float(problem.worst(case, x))
            if worst < best:
                best, best_x = worst, x
        x = best_x
        for _ in range(self.regions):
            relaxation.fix(_signs(problem, relaxation, x, 0))
            solved = relaxation.solve(until)
            if solved is None:
                return
            x = torch.from_numpy(solved[1]).unsqueeze(0)
            yield x
            worst = float(problem.worst(case, x))
            if not worst < best - 1e-6 * abs(best):
                return
            best = worst


def _aim(problem: Objective, relaxation: Relaxation, case: Tensor) -> None:
    """Set the relaxation's case."""
    cases, index = problem.cases, int(case)
    rows = ~problem.padding(case)[0]
    x_rows = None if cases.x_rows is None else cases.x_rows[index][rows].numpy()
    relaxation.target(cases.y_rows[index][rows].numpy(), x_rows, cases.bound[index][rows].numpy())


def _signs(problem: Objective, relaxation: Relaxation, x: Tensor, free: int) -> dict[str, Signs]:
    """Take the neurons' signs at a point ``(1, n)``, 0 for the ``free`` unstable ones nearest to 0 for their width."""
    with torch.no_grad():
        values = problem.graph.values(x)
    signs: dict[str, Signs] = {}
    places: list[tuple[str, int]] = []
    sureness: list[Array] = []
    for layer in relaxation.layers:
        z = values[layer.operand].flatten().numpy()
        signs[layer.operand] = np.where(z > 0, 1, -1).astype(np.int8)
        open_ = layer.elements[layer.unstable]
        sureness.append(np.abs(z[open_]) / (layer.upper - layer.lower)[layer.unstable])
        places += [(layer.operand, int(element)) for element in open_]
    for k in np.concatenate(sureness).argsort()[:free] if sureness else ():
        operand, element = places[k]
        signs[operand][element] = 0
    return signs
