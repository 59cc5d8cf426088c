"""Interval bound propagation, widened by its own rounding."""

from __future__ import annotations

import math

from torch import Tensor

from verifier.graph.graph import Node
from verifier.sets import Box


def interval_step(node: Node, operands: list[Box], error: Tensor) -> Box:
    """Enclose one node's values over its operands' boxes, rounding included, shape ``(B, *node)``.

    Where it overflows, there is no bound.

    Args:
        node: not the input.
        operands: a box for each operand.
        error: of evaluating the node on these boxes, from ``rounding``.

    Property: sound; not complete. Source: Gowal et al., 2018 (arXiv:1810.12715), section 3.
    """
    assert node.op is not None
    box = node.op.interval(*operands)
    return Box(
        (box.lower - error).nan_to_num(nan=-math.inf, neginf=-math.inf, posinf=-math.inf),
        (box.upper + error).nan_to_num(nan=math.inf, neginf=math.inf, posinf=math.inf),
    )
