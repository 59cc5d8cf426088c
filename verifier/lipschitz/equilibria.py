"""Values of implicit networks at points, enclosed: by a residual and the Lipschitz constant of the equilibrium."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from verifier.bounds.interval import interval_step
from verifier.bounds.rounding import rounding
from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node, Port
from verifier.lipschitz.sdp.bound import bound
from verifier.lipschitz.sdp.reader import read
from verifier.ops.equilibrium import Equilibrium
from verifier.ops.linear import Linear
from verifier.sets import Box

TOLERANCE, MOST, SIZES = 1e-14, 2000, tuple(2.0**-k for k in range(1, 7))
"""Of averaging to an approximate equilibrium, and the lengths of steps tried; what it lacks is in the box."""

GROW = 1 + 1e-12
"""More than the relative rounding of a norm of some thousand numbers."""


def implicit(graph: Graph) -> bool:
    """Tell whether a network has implicit layers."""
    return any(isinstance(node.op, Equilibrium) for node in graph.nodes.values())


class Enclosures:
    """Boxes of the outputs of a network with implicit layers at points.

    For ``z = f(z W + u)`` and any approximation z', ``q = f(z' W + u')`` is the equilibrium for
    ``u' + (z' - q) W``: so the true one for u is within ``L (|u - u'| + |(z' - q) W|)`` of q, norm 2, where L bounds
    the Lipschitz constant of the equilibrium with respect to u.
    """

    def __init__(self, graph: Graph, timeout: float) -> None:
        """Bound the constants of the implicit layers, each in so many seconds at most.

        Raises:
            UnsupportedError: an activation has no bounded slope.
        """
        self.graph = graph
        self.stretches = {
            node.name: bound(read(_layer(node.op)), timeout=timeout).upper
            for node in graph.nodes.values()
            if isinstance(node.op, Equilibrium)
        }

    def outputs(self, points: Tensor) -> Box:
        """Enclose the outputs at points ``(N, n)``; without a limit where an equilibrium is not proved to exist.

        Property: sound in floating point.
        """
        boxes = {INPUT: Box(points, points)}
        for node in self.graph.nodes.values():
            if isinstance(node.op, Equilibrium):
                boxes[node.name] = _equilibrium(node.op, boxes[node.parents[0]], self.stretches[node.name])
            elif node.op is not None:
                operands = [boxes[parent] for parent in node.parents]
                boxes[node.name] = interval_step(node, operands, rounding(self.graph, node, operands).forward)
        return boxes[OUTPUT]


def _equilibrium(op: Equilibrium, before: Box, stretch: float) -> Box:
    """Enclose the solutions for all of a box ``(N, .., n)``."""
    shape = before.lower.shape
    given = Box(before.lower.flatten(0, -2), before.upper.flatten(0, -2))
    middle = given.centre
    near = _approximate(op, middle)
    both = torch.cat([near, middle], 1)
    image = bound_nodes(_step(op), Box(both, both), INTERVAL).boxes[OUTPUT]
    lack = torch.maximum(image.upper - near, near - image.lower) * GROW
    width = torch.maximum(given.upper - middle, middle - given.lower) * GROW
    shifted = (lack @ op.weight.abs()) * GROW + width
    reach = shifted.norm(dim=1, keepdim=True) * (stretch * GROW) * GROW
    reach = torch.where(shifted.any(1, keepdim=True), reach, 0).nan_to_num(nan=math.inf)
    far = torch.full_like(middle, math.inf)
    return Box(
        torch.nextafter(image.lower - reach, -far).reshape(shape),
        torch.nextafter(image.upper + reach, far).reshape(shape),
    )


def _approximate(op: Equilibrium, u: Tensor) -> Tensor:
    """Return approximate equilibria ``(N, n)``, each by the steps that came nearest."""
    best, least = torch.zeros_like(u), torch.full_like(u[:, :1], math.inf)
    for size in SIZES:
        z = replace(op, step=size, tolerance=TOLERANCE, most=MOST).forward(u)
        lack = (op.curve.forward(z @ op.weight + u) - z).abs().amax(1, keepdim=True)
        best = torch.where(lack < least, z, best)
        least = torch.fmin(least, lack)
        if bool((least <= 10 * TOLERANCE * (1 + best.abs().amax(1, keepdim=True))).all()):
            break
    return best


def _layer(op: Equilibrium) -> Graph:
    """Return the network from u to its equilibrium."""
    size = len(op.weight)
    nodes = [Node(INPUT, None, (), (size,)), Node("z", op, (INPUT,), (size,))]
    return _graph(nodes, size, size)


def _step(op: Equilibrium) -> Graph:
    """Return the network from (z, u) to ``f(z W + u)``."""
    size = len(op.weight)
    linear = Linear(torch.cat([op.weight, torch.eye(size).to(op.weight)]))
    nodes = [Node(INPUT, None, (), (2 * size,)), Node("sum", linear, (INPUT,), (size,))]
    return _graph([*nodes, Node("image", op.curve, ("sum",), (size,))], 2 * size, size)


def _graph(nodes: list[Node], inputs: int, outputs: int) -> Graph:
    """Let the last node be the output."""
    last = replace(nodes[-1], name=OUTPUT)
    ports = Port("x", (inputs,), "float64"), Port("y", (outputs,), "float64")
    return Graph([*nodes[:-1], last], (ports[0],), (ports[1],))
