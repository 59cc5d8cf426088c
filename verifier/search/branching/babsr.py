"""Scores of neurons by how much the relaxation gives away at them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from verifier.search.neurons import Reader
from verifier.sets import Box


def intercept_scores(
    readers: Mapping[str, Reader], record: Mapping[str, Tensor], ends: Mapping[str, Box]
) -> dict[str, Tensor]:
    """Score neurons by the gaps of the relaxations that read them, weighted as the bound sees them.

    The gap of a curve is the height between its two chord-parallel lines; for ReLU that is the intercept of the upper
    line, as in BaBSR (Bunel et al., JMLR 2020, section 4.1). A lower line, whose slope is optimised, counts half.

    Args:
        readers: the nonlinear nodes.
        record: coefficients at their elements' values, ``(B, E)``.
        ends: boxes of the neurons, ``(B, K)`` by node.

    Returns:
        ``(B, K)`` by node; -1 where a split does not help.
    """
    score = {name: torch.zeros_like(box.lower) for name, box in ends.items()}
    splittable = {name: torch.zeros_like(box.lower) for name, box in ends.items()}
    for name, reader in readers.items():
        if name not in record:
            continue
        boxes = reader.boxes(ends)
        lost = reader.op.gap(*boxes) * (record[name].clamp(max=0).abs() + 0.5 * record[name].clamp(min=0))
        for operand, mask in zip(reader.operands, reader.op.undecided_operands(*boxes), strict=True):
            score[operand.name] = operand.add(score[operand.name], lost)
            splittable[operand.name] = operand.add(splittable[operand.name], mask.to(lost))
    return {name: torch.where(splittable[name] > 0, score[name], -1) for name in score}
