"""Scores of neurons by how much the relaxation gives away at them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from verifier.ops.curves import Curve
from verifier.sets import Box


def intercept_scores(ops: Mapping[str, Curve], record: Mapping[str, Tensor], box: Box) -> Tensor:
    """Score the neurons of one node by the gap of their relaxations, weighted as the bound sees them.

    The gap of a curve is the height between its two chord-parallel lines; for ReLU that is the intercept of the upper
    line, as in BaBSR (Bunel et al., JMLR 2020, section 4.1). A lower line, whose slope is optimised, counts half.

    Args:
        ops: the curves that read the node's undecided elements.
        record: coefficients at their values, ``(B, K)``.
        box: of these elements, ``(B, K)``.

    Returns:
        Shape ``(B, K)``; -1 where a split does not help.
    """
    score = torch.zeros_like(box.lower)
    splittable = torch.zeros_like(box.lower, dtype=torch.bool)
    for name, op in ops.items():
        if name in record:
            _, low, high = op.parallel(box)
            score = score + (high - low) * (record[name].clamp(max=0).abs() + 0.5 * record[name].clamp(min=0))
            splittable = splittable | op.undecided(box)
    return torch.where(splittable, score, -1)
