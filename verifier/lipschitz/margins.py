"""How far an output is ahead of the others at points, from below and with all rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.graph.graph import INPUT, Graph
from verifier.sets import Box

NUMBERS = 1 << 22
"""That a batch of points may hold, for all their rows at the widest node."""


def margins(graph: Graph, points: Tensor, labels: Tensor) -> Tensor:
    """Bound ``f_label - f_j`` from below at points ``(N, n)``; infinite for the label itself.

    Property: sound in floating point: backward bounds over boxes that are points. NaN becomes minus infinity.
    """
    eye = torch.eye(graph.n_outputs, dtype=torch.float64, device=points.device)
    widest = max(math.prod(node.shape) for node in graph.nodes.values())
    batch = max(1, NUMBERS // (widest * graph.n_outputs))
    found = []
    with torch.no_grad():
        for x, label in zip(points.split(batch), labels.split(batch), strict=True):
            bounds = bound_nodes(graph, Box(x, x), INTERVAL)
            rows = eye[label].unsqueeze(1) - eye
            found.append(bounds.rows(rows).minimum(bounds.boxes[INPUT]))
    gaps = torch.cat(found).nan_to_num(nan=-math.inf, posinf=-math.inf, neginf=-math.inf)
    return gaps.scatter(1, labels.unsqueeze(1), math.inf)
