"""The product of the layers' norms: a global Lipschitz bound that any network has, and what others are compared with.

Every node gets a constant: an affine operator passes on its norm times those of its operands, a curve the greatest
slope that it has anywhere. Where paths join, the constants of the operands enter one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.errors import UnsupportedError
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node
from verifier.lipschitz.norms import spectral
from verifier.lipschitz.sdp.gains import SMALL, times
from verifier.ops.curves import Curve
from verifier.ops.linear import Linear
from verifier.ops.op import Affine, Shape
from verifier.ops.product import Product
from verifier.sets import Box

SLACK = 1e-9
"""More than the relative rounding of a greatest slope."""

LARGE = 1 << 24
"""Entries up to which the largest singular value of a matrix is bounded."""


def product(graph: Graph, order: float, rows: Tensor | None = None, boxes: Mapping[str, Box] | None = None) -> float:
    """Bound the Lipschitz constant of a network from the norm of an order (1, 2 or infinity) to the same.

    Args:
        graph: in float64.
        order: of the norm.
        rows: combinations of outputs ``(S, m)``, if not the outputs themselves.
        boxes: of all nodes, ``(1, *node)``, for the constant on the input's; without them it holds everywhere.

    Returns:
        The bound; infinite where a product of variables has no bounds.

    Raises:
        UnsupportedError: a node has no Lipschitz constant; it is named.

    Property: sound in floating point.
    """
    found = {INPUT: 1.0}
    for node in graph.nodes.values():
        if node.op is not None:
            found[node.name] = _constant(graph, node, order, [found[parent] for parent in node.parents], boxes)
    if rows is None:
        return found[OUTPUT]
    last = Linear(rows.T.contiguous())
    return _scaled_norm(last, [tuple(rows.shape[1:])], order, [found[OUTPUT]])


def _constant(graph: Graph, node: Node, order: float, before: list[float], boxes: Mapping[str, Box] | None) -> float:
    """Bound the constant of a node, given those of its operands."""
    op, shapes = node.op, [graph.nodes[parent].shape for parent in node.parents]
    grow = 1 + gamma(16, torch.float64)
    if isinstance(op, Affine):
        return _scaled_norm(op, shapes, order, before)
    if isinstance(op, Product):
        if boxes is None:
            return math.inf if any(before) else 0.0
        sizes = [float(boxes[parent].magnitude.max()) for parent in node.parents]
        return (sizes[1] * before[0] + sizes[0] * before[1]) * grow
    if isinstance(op, Curve):
        return times(_steepness(op, node, None if boxes is None else boxes[node.parents[0]]), before[0])
    raise UnsupportedError(f"node {node.name!r} ({type(op).__name__}) has no Lipschitz constant that is known")


def _steepness(op: Curve, node: Node, box: Box | None) -> float:
    """Return the greatest absolute slope of a curve on a box, or anywhere."""
    try:
        slope = op.slope_curve()
    except NotImplementedError as error:
        raise UnsupportedError(f"node {node.name!r}: {error}") from None
    everywhere = torch.full((1, *node.shape), math.inf, dtype=torch.float64)
    found = float(slope.interval(Box(-everywhere, everywhere) if box is None else box).magnitude.max())
    return math.inf if math.isnan(found) else found * (1 + SLACK)


def _scaled_norm(op: Affine, shapes: list[Shape], order: float, before: list[float]) -> float:
    """Bound the norm of an affine operator on operands that are each scaled, however small or large the scales are."""
    most = max(before)
    if not 0 < most < math.inf:
        found = _norm(op, shapes, order, before)
        return math.inf if math.isnan(found) else found
    return times(most, _norm(op, shapes, order, [max(each / most, SMALL) if each else 0.0 for each in before]))


def _norm(op: Affine, shapes: list[Shape], order: float, before: list[float]) -> float:
    """Bound the norm of an affine operator on operands that are each scaled."""
    linear = op.homogeneous()
    operands = [
        torch.full((1, *shape), scale, dtype=torch.float64) for shape, scale in zip(shapes, before, strict=True)
    ]
    grow = 1 + gamma(op.terms(shapes, tuple(op.forward(*operands).shape[1:])) + 16, torch.float64)
    rows = float(linear.magnitude(*operands).max()) * grow
    if math.isinf(order):
        return rows
    with torch.enable_grad():
        ones = [torch.ones(1, *shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
        columns = torch.autograd.grad(linear.magnitude(*ones).sum(), ones)
    sums = [float(column.max()) * grow * scale for column, scale in zip(columns, before, strict=True)]
    if order == 1:
        return sum(sums)
    if isinstance(op, Linear) and op.weight.numel() <= LARGE:
        matrix = op.weight.to(torch.float64).unsqueeze(0)
        return float(spectral(Box(matrix, matrix))) * before[0] * grow
    single = []
    for k, scale in enumerate(before):
        alone = [operand if k == j else torch.zeros_like(operand) for j, operand in enumerate(operands)]
        single.append(math.sqrt(float(linear.magnitude(*alone).max()) * grow * sums[k]) if scale else 0.0)
    return sum(single) * grow
