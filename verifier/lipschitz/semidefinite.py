"""Semidefinite bounds of Lipschitz constants, on the whole space or between the points of a region, at any time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from verifier.bounds.schedule import CROWN, bound_nodes
from verifier.errors import UnsupportedError, UsageError
from verifier.graph.graph import Graph
from verifier.graph.jacobian import jacobian
from verifier.lipschitz.gradients import Gradients
from verifier.lipschitz.norms import Norm
from verifier.lipschitz.product import product
from verifier.lipschitz.result import LipschitzResult, Step, lower_end
from verifier.lipschitz.sdp import generic
from verifier.lipschitz.sdp.reader import read
from verifier.lipschitz.sdp.solve import solve
from verifier.lipschitz.sdp.system import Block, Signal, System
from verifier.ops.curves import Curve
from verifier.ops.unbounded import Unbounded
from verifier.sets import Box

PRODUCT, SDP = "product", "sdp"

NEURONS, NUMBERS = 3000, 1 << 26
"""Neurons, and numbers of the widest matrix, up to which a semidefinite bound is tried unasked."""

SAMPLING = 0.05
"""Part of the time that may go into gradients for the lower end, in batches of points."""

BATCHES = 12
"""Of points, at most."""


def unfit(graph: Graph, norm: Norm, rows: Tensor) -> str:
    """Say why a semidefinite bound is not worth trying, or nothing."""
    if not fits(norm, rows):
        return f"there is none for the norm {norm}"
    neurons = sum(
        math.prod(node.shape) for node in graph.sorts().nodes.values() if isinstance(node.op, (Curve, Unbounded))
    )
    if neurons > NEURONS:
        return f"{neurons} neurons are more than {NEURONS}"
    widest = max(math.prod(node.shape) for node in graph.nodes.values())
    if widest * max(graph.n_inputs, neurons) > NUMBERS:
        return "its matrices are too large"
    return ""


def fits(norm: Norm, rows: Tensor) -> bool:
    """Tell whether there is a program for a norm and combinations of outputs ``(S, m)``."""
    if len(rows) == 1 or norm.rowwise:
        return norm.p != 1
    return (norm.p, norm.q) in ((2, 2), (math.inf, 1))


def program_of(norm: Norm) -> str:
    """Return the name of the program for a norm that ``fits``; of one output, inf,1 is inf."""
    return "2" if norm.p == 2 else "inf,1"


@dataclass
class Semidefinite:
    """A run under way: the product of norms first, then a program for each group of rows.

    The bound holds between any two points of the region, where the activations' slopes are those that they have on the
    bounds of what they read.

    Attributes:
        graph: the network, in float64.
        box: the region ``(1, n)``, or None for the whole space; inputs of zero width do not count.
        norm: of inputs and outputs.
        rows: combinations of outputs, ``(S, m)``.
        inputs: mask ``(n,)`` of those that count, if not all do.
        gap: relative width of the bracket that is narrow enough.
        timeout: seconds.
        seed: of the points that are sampled.
        watch: called with every step.
        solver: see ``sdp.bound``.
    """

    graph: Graph
    box: Box | None
    norm: Norm
    rows: Tensor
    inputs: Tensor | None = None
    gap: float = 1e-4
    timeout: float = math.inf
    seed: int = 0
    watch: Callable[[Step], None] | None = None
    solver: str = "auto"
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Bound by the product of norms.

        Raises:
            UsageError: there is no program for the norm, or no such solver.
        """
        self.started = time.monotonic()
        generic.check(self.solver)
        if not fits(self.norm, self.rows):
            raise UsageError(f"there is no semidefinite bound for the norm {self.norm}: use 2, inf or inf,1")
        self.measure = Norm(self.norm.p, math.inf) if len(self.rows) == 1 else self.norm
        self.groups = self.rows.split(1) if self.measure.rowwise else (self.rows,)
        self.gradients: Gradients | None = None
        self.certified = True
        until = self.started + self.timeout
        self.boxes = None if self.box is None else bound_nodes(self.graph, self.box, CROWN, until=until).boxes
        mask = self._mask()
        moves = mask is None or bool(mask.any())
        self.bounds = products(self.graph, self.measure, self.groups, self.boxes) if moves else [0.0] * len(self.groups)
        self.methods = [PRODUCT] * len(self.groups)
        self._note()

    def run(self) -> tuple[str, bool]:
        """Solve the programs, the worst first, until all that count are solved or the time is up; say why it ended."""
        until = self.started + self.timeout
        self._sample(self.started + SAMPLING * self.timeout)
        system = self._system()
        open_ones, reasons = set(range(len(self.groups))), []
        while (worst := max(range(len(self.groups)), key=self.bounds.__getitem__)) in open_ones:
            if self.bounds[worst] == 0:
                break
            left = until - time.monotonic()
            if left <= 0:
                return "timeout", self.closed
            part = replace(system, output=system.output.after(self.groups[worst]))
            found = solve(part, program_of(self.measure), timeout=left, solver=self.solver)
            open_ones.remove(worst)
            if found.reason != "converged":
                reasons.append(found.reason)
            if found.upper < self.bounds[worst]:
                self.bounds[worst], self.methods[worst] = found.upper, SDP
                self.certified = self.certified and found.certified
            self._note()
        return (reasons[0] if reasons else "the program is solved"), self.closed

    @property
    def upper(self) -> float:
        """The upper bound."""
        return max(self.bounds)

    @property
    def lower(self) -> float | None:
        """The greatest norm of a gradient that was met, or None without gradients."""
        return None if self.gradients is None else lower_end(self.gradients.best, self.upper)

    @property
    def closed(self) -> bool:
        """Whether the bracket is narrow enough."""
        return self.lower is not None and self.upper <= self.lower * (1 + self.gap)

    def result(self, output: str, reason: str, closed: bool) -> LipschitzResult:
        """Return the bracket as it stands."""
        point = None if self.gradients is None else self.gradients.point.numpy()
        spent = time.monotonic() - self.started
        return LipschitzResult(
            self.upper,
            self.lower,
            str(self.norm),
            output,
            self.methods[self.bounds.index(self.upper)],
            spent,
            closed,
            reason,
            self.certified,
            point,
            tuple(self.steps),
        )

    def _system(self) -> System:
        """Read the network, without the inputs that do not change."""
        system, mask = read(self.graph, boxes=self.boxes), self._mask()
        return system if mask is None else varying(system, mask)

    def _mask(self) -> Tensor | None:
        """Return the mask of the inputs that count, unless all do."""
        mask = torch.ones(self.graph.n_inputs, dtype=torch.bool) if self.inputs is None else self.inputs
        if self.box is not None:
            mask = mask & (self.box.lower < self.box.upper)[0]
        return None if bool(mask.all()) else mask

    def _sample(self, until: float) -> None:
        """Look for steep gradients, where the network has a Jacobian."""
        mask, ones = self._mask(), torch.ones(1, self.graph.n_inputs, dtype=torch.float64)
        directions = None if mask is None else torch.eye(self.graph.n_inputs, dtype=torch.float64)[:, mask]
        box = Box(-ones, ones) if self.box is None else self.box
        try:
            entries = jacobian(self.graph, self.rows, directions)
            self.gradients = Gradients(entries, len(self.rows), self.measure, box, self.seed)
        except UnsupportedError:
            return
        for k in range(BATCHES):
            if not k or time.monotonic() < until:
                self.gradients.climb() if k % 3 else self.gradients.sample()
        self._note()

    def _note(self) -> None:
        """Keep a record."""
        method = self.methods[self.bounds.index(self.upper)]
        self.steps.append(Step(time.monotonic() - self.started, self.lower or 0.0, self.upper, method))
        if self.watch is not None:
            self.watch(self.steps[-1])


def products(graph: Graph, norm: Norm, groups: tuple[Tensor, ...], boxes: dict[str, Box] | None) -> list[float]:
    """Bound the constants of groups of rows ``(S, m)`` by the product of norms; infinite where it is not known."""
    try:
        whole = product(graph, norm.p, None, boxes)
    except UnsupportedError:
        whole = math.inf
    spread = [float(norm.of_boxes(Box(rows.unsqueeze(0), rows.unsqueeze(0)))) for rows in groups]
    return [whole * factor * (1 + 1e-15) if factor else 0.0 for factor in spread]


def varying(system: System, mask: Tensor) -> System:
    """Return a system for differences in which only some inputs ``(n,)`` change."""

    def cut(signal: Signal) -> Signal:
        blocks = dict(signal.blocks)
        if 0 in blocks:
            blocks[0] = Block(blocks[0].centre[:, mask], blocks[0].radius[:, mask])
        return Signal(signal.rows, blocks)

    layers = tuple(replace(layer, before=cut(layer.before)) for layer in system.layers)
    return System(int(mask.sum()), layers, cut(system.output))
