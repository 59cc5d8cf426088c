"""Optimised bounds: slopes (alpha), multipliers (beta) and row combinations by gradient ascent, keeping the best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.backward import LinearBound, Multiplier, backward
from verifier.bounds.schedule import Bounds, operands, undecided, unit_rows
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.ops.curves import Curve
from verifier.ops.op import Affine
from verifier.sets import Box, Enclosure


@dataclass(slots=True)
class Adam:
    """Gradient ascent with moments (Kingma and Ba, 2015), each tensor with its own rate."""

    parameters: list[Tensor]
    rates: list[float]
    decay: float = 0.98
    steps: int = 0
    first: list[Tensor] | None = None
    second: list[Tensor] | None = None

    @torch.no_grad()
    def step(self, gradients: list[Tensor | None]) -> None:
        """Move every parameter up its gradient."""
        if self.first is None or self.second is None:
            self.first = [torch.zeros_like(parameter) for parameter in self.parameters]
            self.second = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps += 1
        scale = math.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps) * self.decay ** (self.steps - 1)
        for parameter, rate, gradient, first, second in zip(
            self.parameters, self.rates, gradients, self.first, self.second, strict=True
        ):
            if gradient is not None:
                first.lerp_(gradient, 0.1)
                second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                parameter.addcdiv_(first, second.sqrt().add_(1e-12), value=rate * scale)


def relax_all(
    graph: Graph, boxes: dict[str, Box], alpha: dict[str, Tensor], exact: dict[str, Enclosure], start: str = OUTPUT
) -> dict[str, Enclosure]:
    """Enclose the nonlinear nodes above ``start`` with the given slopes; affine ones are taken from ``exact``."""
    enclosures: dict[str, Enclosure] = {}
    for name in graph.ancestors(start):
        node = graph.nodes[name]
        if isinstance(node.op, Affine):
            enclosures[name] = exact[name]
        elif node.op is not None:
            enclosures[name] = node.op.relax(*(boxes[parent] for parent in node.parents), alpha=alpha.get(name))
    return enclosures


def nonlinear(graph: Graph, start: str) -> list[str]:
    """Names of the curves above a node."""
    return [name for name in graph.ancestors(start) if isinstance(graph.nodes[name].op, Curve)]
