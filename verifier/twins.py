"""Proofs about a network at two inputs, by its derivatives between them.

Of ``f(x) - f(x')`` bounds that know nothing of f being one network see two; where the inputs may coincide, the
difference is 0, which no bound with a margin excludes. By Lebourg's mean value theorem it is ``J (x - x')`` for some J
of the Clarke Jacobians on the segment, so signs of derivatives prove monotonicity, strictly or not, and bounds of
derivatives prove that little changes where the inputs differ little.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from specs import Case, Query
from specs.query import Network
from verifier.errors import UnsupportedError
from verifier.graph.graph import Graph
from verifier.lipschitz.monotone import Derivatives
from verifier.sets import Box

TINY = 1e-300
"""What products that may have underflowed are taken for, below zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Twins:
    """A network that a query declares twice.

    Attributes:
        load: reads it.
        first, second: indices of the two inputs among the query's, ``(n,)`` each.
        outputs: where the outputs of both begin among the query's, and how many there are.
    """

    query: Query
    load: Callable[[], Graph]
    first: np.ndarray
    second: np.ndarray
    outputs: tuple[int, int, int]

    @staticmethod
    def of(query: Query, load: Callable[[], Graph]) -> Twins | None:
        """Look for such a network; None unless the query is about one network and its twin."""
        if len(query.networks) != 2 or (query.networks[1].relation or ("", ""))[0] != "equal-to":
            return None
        one, two = query.networks

        def inputs(network: Network) -> np.ndarray:
            return np.concatenate([query.shared[entry.part] for entry in network.inputs])

        size = sum(entry.size for entry in one.outputs)
        return Twins(query, load, inputs(one), inputs(two), (one.outputs[0].start, two.outputs[0].start, size))

    def excluded(self, cases: list[int], until: float) -> set[int]:
        """Return those of some cases that no two inputs satisfy.

        Property: sound in floating point.
        """
        found: set[int] = set()
        graph: Graph | None = None
        for k, number in enumerate(cases):
            case = self.query.cases[number]
            for row, direction in self._differences(case):
                now = time.monotonic()
                if now >= until or number in found:
                    break
                try:
                    graph = self.load() if graph is None else graph
                    if self._excludes(graph, case, row, direction, (until - now) / (len(cases) - k)):
                        found.add(number)
                except UnsupportedError:
                    return found
        return found

    def _differences(self, case: Case) -> list[tuple[int, np.ndarray]]:
        """Return the rows that are about a difference of outputs of the two, with their coefficients ``(m,)``."""
        one, two, size = self.outputs
        found = []
        for row, coefficients in enumerate(case.rows.y):
            rest = coefficients.copy()
            rest[one : one + size] = rest[two : two + size] = 0
            direction = coefficients[one : one + size]
            if not rest.any() and direction.any() and np.array_equal(direction, -coefficients[two : two + size]):
                found.append((row, direction))
        return found

    def _excludes(self, graph: Graph, case: Case, row: int, direction: np.ndarray, seconds: float) -> bool:
        """Tell whether a row cannot hold, as ``c (f(x) - f(x'))`` is at least the sum of ``J_i d_i``."""
        lower, upper = self._apart(case)
        moving = ((lower != 0) | (upper != 0)).nonzero()[0].tolist()
        bound, strict = float(case.rows.bound[row]), bool(case.rows.strict[row])
        parts = [self._least_of_inputs(case, row)]
        if moving:
            sides = [(end[self.first], end[self.second]) for end in (case.inputs.lower, case.inputs.upper)]
            hull = Box(
                torch.from_numpy(np.minimum(*sides[0])).unsqueeze(0),
                torch.from_numpy(np.maximum(*sides[1])).unsqueeze(0),
            )
            rows = torch.from_numpy(direction).unsqueeze(0)
            run = Derivatives(graph, hull, rows, moving, seconds, "difference", 0)
            for k in range(len(moving)):
                run.work(k)
            parts += [
                _least(float(run.lower[k]), float(run.upper[k]), lower[i], upper[i]) for k, i in enumerate(moving)
            ]
        lost = 1e-15 * (len(parts) + 4) * math.fsum(map(abs, parts))
        total = math.fsum(parts) - lost
        return total > bound or (strict and total >= bound)

    def _apart(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """Bound ``x_i - x'_i``, by the boxes and by conditions on such differences."""
        ends = case.inputs.lower, case.inputs.upper
        low = ends[0][self.first] - ends[1][self.second]
        high = ends[1][self.first] - ends[0][self.second]
        low, high = (np.where(end == 0, 0.0, np.nextafter(end, side)) for end, side in ((low, -np.inf), (high, np.inf)))
        same = self.first == self.second
        low[same] = high[same] = 0
        if case.rows.x is None:
            return low, high
        for x, y, bound in zip(case.rows.x, case.rows.y, case.rows.bound, strict=True):
            places = x.nonzero()[0]
            if y.any() or len(places) != 2:
                continue
            for i in ((self.first == places[0]) | (self.first == places[1])).nonzero()[0]:
                c, other = x[self.first[i]], self.second[i]
                if other in places and other != self.first[i] and x[other] == -c:
                    limit = bound / abs(c)
                    limit = limit if bound == 0 or abs(c) == 1 else np.nextafter(limit, np.inf)
                    if c > 0:
                        high[i] = min(high[i], limit)
                    else:
                        low[i] = max(low[i], -limit)
        return low, high

    @staticmethod
    def _least_of_inputs(case: Case, row: int) -> float:
        """Bound what a row adds of inputs from below."""
        if case.rows.x is None or not case.rows.x[row].any():
            return 0.0
        x = case.rows.x[row]
        terms = np.where(x > 0, x * case.inputs.lower, x * case.inputs.upper)
        return float(terms.sum() - 1e-15 * len(x) * np.abs(terms).sum())


def _least(low: float, high: float, start: float, end: float) -> float:
    """The least product of numbers of two intervals; zero times infinity is zero, for numbers are finite."""
    pairs = [(a, b) for a in (low, high) for b in (start, end)]
    return min(0.0 if 0 in (a, b) else a * b if abs(a * b) > TINY else -TINY for a, b in pairs)
