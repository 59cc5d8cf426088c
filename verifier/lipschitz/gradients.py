"""Lower bounds of local Lipschitz constants: norms of Jacobians at points that are sampled and improved."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from verifier.balls import Ball
from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.lipschitz.norms import Norm
from verifier.ops.curves import Heaviside
from verifier.ops.curves.setvalued import SetValued
from verifier.sets import Box, flat

ELEMENTS, FIRST, MOST = 1 << 24, 16, 1024
"""Numbers that one batch may hold at its widest node; points of the first one, and of any."""

SHORT = 0.05
"""Seconds of a batch after which the next one may be larger."""

CLOSE = 1e-9
"""Relative distance of an operand from a kink below which the slope that is computed may be none."""

STILL = 1e-200
"""Width of an operand's box up to which it does not vary: then its derivative is zero, and a kink there no matter."""

ROUNDING = 1e-10
"""Part of a norm that is left out for the rounding of its evaluation in float64."""


class Gradients:
    """The largest norm of a Jacobian met so far, over a box ``(1, n)``.

    Attributes:
        best: the norm; 0 before any point was looked at.
        point: where, ``(n,)``.
    """

    def __init__(self, graph: Graph, rows: int, norm: Norm, box: Box, seed: int = 0) -> None:
        """Take the network of a Jacobian of so many rows, in float64."""
        self.graph, self.rows, self.norm, self.box = graph, rows, norm, box
        self.best, self.point = 0.0, box.middle[0] if isinstance(box, Ball) else box.centre[0]
        self.generator = torch.Generator(box.lower.device).manual_seed(seed)
        widest = max(math.prod(node.shape) for node in graph.nodes.values())
        self.batch = max(1, min(FIRST, ELEMENTS // widest))
        self.most = max(1, min(MOST, ELEMENTS // widest))
        self.smooth = not any(isinstance(node.op, Heaviside) for node in graph.nodes.values())
        boxes = bound_nodes(graph, box, INTERVAL).boxes
        self.still = {name: flat(box.upper - box.lower) <= STILL for name, box in boxes.items()}

    def try_points(self, x: Tensor) -> None:
        """Evaluate at points ``(B, n)``, once they are moved into the box."""
        inside = self.box.project(x.to(self.box.lower))[: None if self.graph.n_outputs else 0]
        for part in inside.split(self.batch) if len(inside) else ():
            begun = time.monotonic()
            with torch.no_grad():
                self._enter(part, self.graph.values(part))
            if time.monotonic() - begun < SHORT:
                self.batch = min(self.most, 2 * self.batch)

    def sample(self) -> None:
        """Try a batch of random points."""
        self.try_points(self.box.sample(self.batch, self.generator).flatten(0, 1))

    def climb(self) -> None:
        """Try points about the best one: along the gradient of the norm where there is one, and random changes."""
        count = max(1, self.batch // 4)
        size = torch.logspace(-3, 0, count, dtype=torch.float64).unsqueeze(1).to(self.point)
        width = self.box.upper - self.box.lower
        shape = (count, self.point.numel())
        noise = torch.rand(shape, generator=self.generator, dtype=torch.float64).to(self.point) - 0.5
        kept = torch.rand(shape, generator=self.generator, dtype=torch.float64).to(self.point) < 0.5
        moves = noise * width * size * kept
        if self.smooth and self.graph.n_outputs:
            moves = torch.cat([moves, self._uphill() * width * size])
        self.try_points(self.point + moves)

    def _uphill(self) -> Tensor:
        """Return the signs of the gradient of the norm at the best point, ``(1, n)``."""
        with torch.enable_grad():
            x = self.point.unsqueeze(0).clone().requires_grad_()
            value = self.norm.of_matrix(self._entries(self.graph.values(x)))
            slope: Tensor = torch.autograd.grad(value.sum(), x)[0]
        return slope.sign()

    def _entries(self, values: dict[str, Tensor]) -> Tensor:
        found: Tensor = values[OUTPUT].unflatten(1, (self.rows, -1))
        return found

    def _enter(self, x: Tensor, values: dict[str, Tensor]) -> None:
        """Compare the norms at points with the best one."""
        found = self.norm.of_matrix(self._entries(values)) * (1 - ROUNDING)
        found = torch.where(self._regular(values) & found.isfinite(), found, 0)
        place = int(found.argmax())
        if float(found[place]) > self.best:
            self.best, self.point = float(found[place]), x[place]

    def _regular(self, values: dict[str, Tensor]) -> Tensor:
        """Tell at which points no operand lies on a kink: there, slopes are derivatives, ``(B,)``."""
        found = torch.ones(len(values[INPUT]), dtype=torch.bool, device=self.box.lower.device)
        for node in self.graph.nodes.values():
            jumps = node.op.bends if isinstance(node.op, SetValued) else ()
            jumps = node.op.kinks() if isinstance(node.op, Heaviside) else jumps
            for kink in jumps:
                z = flat(values[node.parents[0]])
                found &= (((z - kink).abs() > CLOSE * (1 + abs(kink))) | self.still[node.parents[0]]).all(1)
        return found
