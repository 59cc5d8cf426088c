"""Scores of neurons by how much the relaxation gives away at them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from verifier.graph.graph import Graph
from verifier.ops.curves import Curve
from verifier.sets import Box


def intercept_scores(
    graph: Graph, record: Mapping[str, Tensor], operand: str, boxes: Mapping[str, Box], curves: Mapping[str, str]
) -> Tensor:
    """Score the neurons of one node by the gap of their relaxations, weighted as the bound sees them.

    The gap of a curve is the height between its two chord-parallel lines; for ReLU that is the intercept of the upper
    line, as in BaBSR (Bunel et al., JMLR 2020, section 4.1). A lower line, whose slope is optimised, counts half.

    Args:
        graph: the network.
        record: coefficients at the nonlinear nodes, ``(B, 1, *node)``.
        operand: the node that is scored.
        boxes: of the operands, ``(B, *node)``.
        curves: operand of each curve.

    Returns:
        Shape ``(B, *operand)``; -1 where a split does not help.
    """
    box = boxes[operand]
    score = torch.zeros_like(box.lower)
    splittable = torch.zeros_like(box.lower, dtype=torch.bool)
    for name, parent in curves.items():
        op = graph.nodes[name].op
        if parent == operand and isinstance(op, Curve) and name in record:
            _, low, high = op.parallel(box)
            rows = record[name].squeeze(1)
            score = score + (high - low) * (rows.clamp(max=0).abs() + 0.5 * rows.clamp(min=0))
            splittable = splittable | op.undecided(box)
    return torch.where(splittable, score, -1)
