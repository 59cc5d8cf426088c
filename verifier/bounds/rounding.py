"""A-priori bounds on the rounding error of a bounding pass.

A pass computes sums of products. Each is wrong by at most gamma_n times the sum of the absolute terms, with
gamma_n = n u / (1 - n u), n the number of roundings on the way and u the unit roundoff, whatever the order of
summation (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., section 3.1). At a node v the absolute
terms are at most M_v on the boxes at hand; with the scale ``gamma_n(v) * M_v`` an interval or forward step is widened,
and a backward pass with coefficients A_v is wrong by at most ``sum_v <|A_v|, scale_v>``, beside the sums of its own.
A scale for a box serves every part of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.errors import UnsupportedError
from verifier.graph.graph import OUTPUT, Graph, Node
from verifier.ops.elementwise import Elementwise
from verifier.ops.op import Affine
from verifier.sets import Box, Window, cut, dot, flat, summands

SAFETY = 4
"""Roundings per term that are not multiplications or additions of the sum itself: conversions of weights, the
accumulation over several consumers, and the evaluation of this bound."""


def gamma(count: int, dtype: torch.dtype) -> float:
    """Return gamma_n for n roundings; infinite where the bound does not hold any more."""
    product = (count + SAFETY) * torch.finfo(dtype).eps / 2
    bound = product / (1 - product) if product < 0.25 else math.inf
    return bound * (1 + 2 * bound)  # the absolute terms are computed with such errors too


@dataclass(frozen=True, slots=True, eq=False)
class Rounding:
    """Rounding errors of one node.

    Attributes:
        forward: error of evaluating the node over its operands' boxes, ``(B, *node)``.
        backward: error of one step of a backward pass across it, the coefficients' and the offset's, for each unit of
            coefficient, ``(B, *node)``.
        underflow: what such a step may lose besides, for one row, by numbers too small for the dtype, ``(B,)``.
    """

    forward: Tensor
    backward: Tensor
    underflow: Tensor

    def take(self, index: Tensor) -> Rounding:
        """Select domains."""
        return Rounding(self.forward[index], self.backward[index], self.underflow[index])

    def within(self, window: Window) -> Rounding:
        """Keep the elements of a window alone, for coefficients that are zero outside."""
        return Rounding(cut(self.forward, window), cut(self.backward, window), self.underflow)

    def columns(self, index: Tensor) -> Rounding:
        """Keep some elements of a flat node alone, for rows that have no others."""
        return Rounding(self.forward[:, index], self.backward[:, index], self.underflow)

    def error(self, rows: Tensor) -> Tensor:
        """Bound the error of a step for coefficients ``(B, S, *node)``, shape ``(B, S)``."""
        return dot(rows.abs(), self.backward.unsqueeze(1)) + self.underflow.unsqueeze(1)


def rounding(graph: Graph, node: Node, operands: list[Box]) -> Rounding:
    """Bound the rounding errors at a node over its operands' boxes, and over any part of them."""
    op, dtype = node.op, graph.dtype
    assert op is not None
    tiny, size = torch.finfo(dtype).tiny, math.prod(node.shape)
    sums = gamma(summands(size), dtype)
    readers = max(len(graph.consumers[parent]) for parent in node.parents)  # their coefficients are added up
    reach = 1 + torch.stack([flat(operand.magnitude).sum(1) for operand in operands]).sum(0)  # (B,)
    if isinstance(op, Elementwise):
        fan, terms = len(operands), op.absolute_terms(*operands)
        forward = gamma(2 + fan + op.roundings + readers, dtype) * terms
        backward = forward + sums * op.offset_terms(*operands)
    else:
        if not isinstance(op, Affine):
            raise UnsupportedError(
                f"node {node.name!r} ({type(op).__name__}) has no bounds over boxes, only a global Lipschitz bound"
            )
        shapes = [graph.nodes[parent].shape for parent in node.parents]
        fan, terms = op.terms(shapes, node.shape), op.magnitude(*(operand.magnitude for operand in operands))
        forward = gamma(fan + readers - 1, dtype) * terms
        offset = op.offset(shapes, terms)
        backward = forward if offset is None else forward + sums * offset.abs()
    lost = tiny * (fan + 1) * reach
    spread = lost.reshape(-1, *[1] * len(node.shape))
    underflow = lost + 2 * tiny * size
    if node.name == OUTPUT:
        underflow = underflow + tiny * flat(terms).sum(1)
    exact = op.copies if isinstance(op, Affine) else isinstance(op, Elementwise) and op.exact
    return Rounding(torch.zeros_like(forward) if exact else forward + spread, backward + spread, underflow)


def input_rounding(graph: Graph, box: Box) -> Rounding:
    """Bound the errors of the last step of a backward pass, the minimum over the input boxes ``(B, n)``."""
    tiny = torch.finfo(graph.dtype).tiny
    scale = gamma(summands(graph.n_inputs) + 1, graph.dtype) * box.magnitude + tiny
    return Rounding(scale, scale, 2 * tiny * (1 + box.magnitude.sum(1) + graph.n_inputs))
