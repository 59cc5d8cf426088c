"""How far an output is ahead of the others, from below and with all rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from verifier.bounds.schedule import INTERVAL, Method, bound_nodes
from verifier.graph.graph import INPUT, Graph
from verifier.lipschitz.equilibria import Enclosures
from verifier.sets import Box

NUMBERS = 1 << 22
"""That a batch of points may hold, for all their rows at the widest node."""


def margins(graph: Graph, sets: Box, labels: Tensor, method: Method = INTERVAL) -> Tensor:
    """Bound ``f_label - f_j`` from below over sets ``(N, n)``, which may be points; infinite for the label itself.

    ``method`` bounds what comes before the outputs, which are bounded backward.

    Property: sound in floating point. Where nothing is known, it is minus infinity.
    """
    eye = torch.eye(graph.n_outputs, dtype=torch.float64, device=labels.device)
    widest = max(math.prod(node.shape) for node in graph.nodes.values())
    batch = max(1, NUMBERS // (widest * (widest if method.backward else graph.n_outputs)))
    found = []
    with torch.no_grad():
        for index in torch.arange(len(labels), device=labels.device).split(batch):
            bounds = bound_nodes(graph, sets.take(index), method)
            rows = eye[labels[index]].unsqueeze(1) - eye
            found.append(bounds.rows(rows).minimum(bounds.boxes[INPUT]))
    return _apart(found, labels)


def implicit_margins(graph: Graph, points: Tensor, labels: Tensor, timeout: float) -> Tensor:
    """Bound the same at points ``(N, n)`` of a network with implicit layers; each takes so many seconds at most before.

    Property: sound in floating point, by intervals. Where nothing is known, it is minus infinity.
    """
    widest = max(math.prod(node.shape) for node in graph.nodes.values())
    enclosures, found = Enclosures(graph, timeout), []
    with torch.no_grad():
        for x, label in zip(*(part.split(max(1, NUMBERS // widest)) for part in (points, labels)), strict=True):
            outputs = enclosures.outputs(x)
            own = outputs.lower.gather(1, label.unsqueeze(1))
            found.append(torch.nextafter(own - outputs.upper, torch.full_like(own, -math.inf)))
    return _apart(found, labels)


def _apart(found: list[Tensor], labels: Tensor) -> Tensor:
    gaps = torch.cat(found).nan_to_num(nan=-math.inf, posinf=-math.inf, neginf=-math.inf)
    return gaps.scatter(1, labels.unsqueeze(1), math.inf)
