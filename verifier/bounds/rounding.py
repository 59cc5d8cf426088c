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

from verifier.graph.graph import Graph, Node
from verifier.ops.curves import Curve
from verifier.ops.op import Affine
from verifier.sets import Box, summands

SAFETY = 4
"""Roundings per term that are not multiplications or additions of the sum itself: conversions of weights, the
accumulation over several consumers, and the evaluation of this bound."""


def gamma(count: int, dtype: torch.dtype) -> float:
    """Return gamma_n for n roundings; infinite where the bound does not hold any more."""
    product = (count + SAFETY) * torch.finfo(dtype).eps / 2
    return product / (1 - product) if product < 0.5 else math.inf


@dataclass(frozen=True, slots=True, eq=False)
class Rounding:
    """Rounding errors of one node, per unit of coefficient where backward; shape ``(B, *node)``.

    ``forward`` bounds the error of evaluating the node over its operands' boxes, ``backward`` that of one step of a
    backward pass across it: the coefficients' and the offset's.
    """

    forward: Tensor
    backward: Tensor


def rounding(graph: Graph, node: Node, operands: list[Box]) -> Rounding:
    """Bound the rounding errors at a node over its operands' boxes, and over any part of them."""
    op, dtype = node.op, graph.dtype
    assert op is not None
    tiny = torch.finfo(dtype).tiny
    sums = gamma(summands(math.prod(node.shape)), dtype)
    readers = max(len(graph.consumers[parent]) for parent in node.parents)  # their coefficients are added up
    if isinstance(op, Curve):
        forward = gamma(3 + readers, dtype) * op.absolute_terms(operands[0]) + tiny
        return Rounding(forward, forward + sums * op.offset_terms(operands[0]))
    assert isinstance(op, Affine)
    terms = op.magnitude(*(operand.magnitude for operand in operands))
    shapes = [graph.nodes[parent].shape for parent in node.parents]
    forward = gamma(op.terms(shapes, node.shape) + readers - 1, dtype) * terms + tiny
    offset = op.offset(shapes, terms)
    return Rounding(forward, forward if offset is None else forward + sums * offset.abs())


def input_scale(graph: Graph, box: Box) -> Tensor:
    """Return the scale of the last step of a backward pass, the minimum over the input box; shape ``(B, n)``."""
    return gamma(summands(graph.n_inputs) + 1, graph.dtype) * box.magnitude + torch.finfo(graph.dtype).tiny
