"""Global Lipschitz constants of all outputs and of their differences, bounded one by one as they are asked for."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from verifier.errors import UnsupportedError, UsageError
from verifier.graph.graph import Graph
from verifier.lipschitz.norms import Norm
from verifier.lipschitz.sdp import generic
from verifier.lipschitz.sdp.reader import read
from verifier.lipschitz.sdp.solve import solve
from verifier.lipschitz.sdp.system import System
from verifier.lipschitz.semidefinite import products, program_of, unfit

METHODS = ("auto", "sdp", "product")

SHARE = 0.5
"""Part of the time left that the constant of all outputs may take."""


@dataclass
class Constants:
    """Bounds so far.

    Attributes:
        graph: the network, in float64.
        norm: ``2`` or ``inf``, of the input.
        method: ``sdp``, ``product``, or ``auto``: the former where it can be.
        solver: of semidefinite programs.
        until: value of ``time.monotonic()`` at which to stop.
        upper: of all outputs, from the norm to itself.
        pairs: of the differences of two outputs.
        why_not: why there are no semidefinite bounds, if there are none.
        certified: whether all bounds are proved.
    """

    graph: Graph
    norm: str
    method: str = "auto"
    solver: str = "auto"
    until: float = math.inf
    pairs: dict[tuple[int, int], float] = field(default_factory=dict)
    certified: bool = True

    def __post_init__(self) -> None:
        """Begin with the product of norms.

        Raises:
            UsageError: no such method or solver.
            UnsupportedError: an operator has no Lipschitz constant.
        """
        if self.method not in METHODS:
            raise UsageError(
                f"there is no method {self.method!r} for certified radii; choose from {', '.join(METHODS)}"
            )
        generic.check(self.solver)
        self._norm = Norm.parse(self.norm)
        self.rows = torch.eye(self.graph.n_outputs, dtype=torch.float64)
        self.system: System | None = None
        self.why_not = unfit(self.graph, self._norm, self.rows) if self.method == "auto" else ""
        if self.method != "product" and not self.why_not:
            self._read()
        (self.upper,) = products(self.graph, self._norm, (self.rows,), None)

    def _read(self) -> None:
        try:
            self.system = read(self.graph)
        except UnsupportedError as error:
            if self.method == "sdp":
                raise
            self.why_not = str(error)

    @property
    def expired(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.until

    def bound_all(self) -> None:
        """Bound the constant of all outputs in the norm 2; in the norm inf it takes as many programs as outputs."""
        if self.norm == "2" and self.upper > 0:
            now = time.monotonic()
            self.upper = min(self.upper, self._solve(self.rows, SHARE * (self.until - now)))

    def bound_pair(self, j: int, k: int) -> None:
        """Bound the constant of the difference of two outputs, j < k."""
        row = (self.rows[j] - self.rows[k]).unsqueeze(0)
        self.pairs[j, k] = min(self._spread * self.upper, self._solve(row, self.until - time.monotonic()))

    def matrix(self) -> Tensor:
        """Return the constants of all differences ``(K, K)``."""
        count = len(self.rows)
        found = torch.full((count, count), self._spread * self.upper, dtype=torch.float64)
        for (j, k), value in self.pairs.items():
            found[j, k] = found[k, j] = value
        return found.minimum(torch.tensor(self._spread * self.upper, dtype=torch.float64)).to(self.graph.device)

    @property
    def _spread(self) -> float:
        """The constant of the difference of two numbers, from above."""
        return math.nextafter(math.sqrt(2), 2) if self.norm == "2" else 2.0

    def _solve(self, rows: Tensor, timeout: float) -> float:
        if self.system is None or timeout <= 0:
            return math.inf
        part = replace(self.system, output=self.system.output.after(rows))
        found = solve(part, program_of(self._norm), timeout=timeout, solver=self.solver)
        self.certified = self.certified and found.certified
        return found.upper
