"""Signs of the values of a network over boxes, without rounding: sums of terms of one sign have that sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from verifier.graph.graph import Graph
from verifier.ops.adjoint import Adjoint
from verifier.ops.arithmetic import Neg, Scale
from verifier.ops.op import Affine
from verifier.ops.product import Product
from verifier.sets import Box

NOTHING = 1e-290
"""Size below which a coefficient that was rounded when it was computed may have had either sign."""

Parts = tuple[Affine | None, Affine | None]


@dataclass(frozen=True, slots=True, eq=False)
class Sign:
    """Where values are known to be >= 0, and where <= 0: masks ``(B, *node)``."""

    positive: Tensor
    negative: Tensor

    @staticmethod
    def of(box: Box) -> Sign:
        """Read the signs off a box."""
        return Sign(box.lower >= 0, box.upper <= 0)

    @property
    def zero(self) -> Tensor:
        """Where values are zero."""
        return self.positive & self.negative

    def flipped(self) -> Sign:
        """Return the signs of the negative values."""
        return Sign(self.negative, self.positive)

    def __or__(self, other: Sign) -> Sign:
        """Join what is known."""
        return Sign(self.positive | other.positive, self.negative | other.negative)

    def __and__(self, other: Sign) -> Sign:
        """Keep what is known of both."""
        return Sign(self.positive & other.positive, self.negative & other.negative)

    def times(self, other: Sign) -> Sign:
        """Return the signs of products."""
        same = (self.positive & other.positive) | (self.negative & other.negative)
        opposite = (self.positive & other.negative) | (self.negative & other.positive)
        none = self.zero | other.zero
        return Sign(same | none, opposite | none)


class Signs:
    """The signs of a network's values over boxes.

    Bounds that are widened for rounding miss zero by a little where zero is attained, as by the slope of a rectifier
    that is off; signs do not.

    Property: sound, whatever the dtype of the boxes.
    """

    def __init__(self, graph: Graph) -> None:
        """Take a network, in float64."""
        self.graph = graph
        self.parts: dict[str, Parts] = {}
        for node in graph.nodes.values():
            if isinstance(node.op, Affine) and not _moved(node.op):
                parts = _parts(node.op)
                if parts is not None:
                    self.parts[node.name] = parts

    def of(self, boxes: Mapping[str, Box]) -> dict[str, Sign]:
        """Find the signs of all nodes over boxes of them, masks ``(B, *node)``."""
        found: dict[str, Sign] = {}
        for node in self.graph.nodes.values():
            operands = [found[parent] for parent in node.parents]
            known, derived = Sign.of(boxes[node.name]), None
            if isinstance(node.op, Product):
                derived = operands[0].times(operands[1])
            elif node.name in self.parts:
                derived = self._sums(self.parts[node.name], operands)
            found[node.name] = known if derived is None else known | derived
        return found

    def _sums(self, parts: Parts, operands: list[Sign]) -> Sign:
        """Return the signs of sums: if no term may be negative, none of the sum's absolute terms is lost."""
        flipped = [operand.flipped() for operand in operands]
        found = None
        for part, signs in zip(parts, (operands, flipped), strict=True):
            if part is not None:
                lack = (
                    [(~mask).to(self.graph.dtype) for mask in masks]
                    for masks in ([sign.positive for sign in signs], [sign.negative for sign in signs])
                )
                sign = Sign(*(part.forward(*each) == 0 for each in lack))
                found = sign if found is None else found & sign
        assert found is not None
        return found


def _moved(op: Affine) -> bool:
    """Tell whether an operator may have a constant part."""
    try:
        linear = op.homogeneous()
    except NotImplementedError:
        return True
    return linear is not op and getattr(op, "bias", op) is not None


def _parts(op: Affine) -> Parts | None:
    """Split a linear operator into what has coefficients >= 0 and the negative of the rest; None if it does not say.

    Sums of terms >= 0 are computed as 0 only if all terms are 0.
    """
    if isinstance(op, Adjoint):
        try:
            inner = _parts(op.op.homogeneous())
        except NotImplementedError:
            return None
        if inner is None:
            return None
        below, above = (None if part is None else replace(op, op=part) for part in inner)
        return below, above
    if op.weights is not None:
        weight = getattr(op, op.weights)
        lost = weight.abs() < NOTHING if getattr(op, "roundings", 0) else torch.zeros_like(weight, dtype=torch.bool)
        one, other = (replace(op, **{op.weights: part.clamp(min=0).masked_fill(lost, 1)}) for part in (weight, -weight))
        return one, other
    if isinstance(op, Neg):
        return None, Scale(torch.ones((), dtype=torch.float64))
    return (op, None) if op.monotone else None
