"""How far an output is ahead of the others at points, from below and with all rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.graph.graph import INPUT, Graph
from verifier.lipschitz.equilibria import Enclosures, implicit
from verifier.sets import Box

NUMBERS = 1 << 22
"""That a batch of points may hold, for all their rows at the widest node."""


def margins(graph: Graph, points: Tensor, labels: Tensor, timeout: float) -> Tensor:
    """Bound ``f_label - f_j`` from below at points ``(N, n)``; infinite for the label itself.

    Only implicit layers may take time before, so many seconds at most for each.

    Property: sound in floating point: backward bounds over boxes that are points, or intervals in implicit
    networks. Where nothing is known, it is minus infinity.
    """
    eye = torch.eye(graph.n_outputs, dtype=torch.float64, device=points.device)
    widest = max(math.prod(node.shape) for node in graph.nodes.values())
    batch = max(1, NUMBERS // (widest * graph.n_outputs))
    enclosures = Enclosures(graph, timeout) if implicit(graph) else None
    found = []
    with torch.no_grad():
        for x, label in zip(points.split(batch), labels.split(batch), strict=True):
            if enclosures is None:
                bounds = bound_nodes(graph, Box(x, x), INTERVAL)
                rows = eye[label].unsqueeze(1) - eye
                found.append(bounds.rows(rows).minimum(bounds.boxes[INPUT]))
            else:
                outputs = enclosures.outputs(x)
                own = outputs.lower.gather(1, label.unsqueeze(1))
                found.append(torch.nextafter(own - outputs.upper, torch.full_like(own, -math.inf)))
    gaps = torch.cat(found).nan_to_num(nan=-math.inf, posinf=-math.inf, neginf=-math.inf)
    return gaps.scatter(1, labels.unsqueeze(1), math.inf)
