"""Backward linear bound propagation (CROWN): one step for every operator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.rounding import Rounding, gamma
from verifier.graph.graph import INPUT, Graph
from verifier.ops.op import Affine
from verifier.sets import Box, Enclosure, dot, summands


@dataclass(frozen=True, slots=True, eq=False)
class LinearBound:
    """Linear functions of the input that bound rows from below: ``rows . f(x) >= coefficients . x + offset - error``.

    ``coefficients`` has shape ``(B, S, n)``, ``offset`` and ``error`` ``(B, S)``; ``error`` bounds the rounding.
    """

    coefficients: Tensor
    offset: Tensor
    error: Tensor | None

    def minimum(self, box: Box) -> Tensor:
        """Return the least value over boxes ``(B, n)``, less the error; shape ``(B, S)``.

        What is not finite says nothing: it becomes minus infinity.
        """
        least = box.least(self.coefficients) + self.offset
        least = least if self.error is None else least - self.error
        return torch.where(least.isfinite(), least, -torch.inf)

    def reshape(self, domains: int, rows: int) -> LinearBound:
        """Regroup B * S rows, domain by domain."""
        shape = (domains, rows)
        error = None if self.error is None else self.error.reshape(shape)
        return LinearBound(self.coefficients.reshape(*shape, -1), self.offset.reshape(shape), error)

    def minimiser(self, box: Box) -> Tensor:
        """Return where the least value is attained, shape ``(B, S, n)``."""
        return torch.where(self.coefficients > 0, box.lower.unsqueeze(1), box.upper.unsqueeze(1))


@dataclass(frozen=True, slots=True, eq=False)
class Multiplier:
    """Lagrangian multipliers of ``lower <= z <= upper`` at a node.

    A positive entry prices the lower end, a negative entry the upper one. For any ``values`` of shape
    ``(B, 1, *node)`` and z in the box, ``values . z >= offset``; subtracting the left side from the rows at z and
    adding the right side to the offset keeps a lower bound. A split is the case where an end of the box is the
    branching point (beta-CROWN: Wang et al., NeurIPS 2021, arXiv:2103.06624, section 3).
    """

    values: Tensor
    offset: Tensor
    box: Box

    @staticmethod
    def of(values: Tensor, box: Box) -> Multiplier:
        """Price the ends of a box ``(B, *node)`` by values ``(B, 1, *node)``."""
        least = dot(values.clamp(min=0), box.lower.unsqueeze(1)) + dot(values.clamp(max=0), box.upper.unsqueeze(1))
        return Multiplier(values, least, box)

    def error(self) -> Tensor:
        """Bound the rounding error of ``offset``, shape ``(B, 1)``."""
        size, dtype = math.prod(self.values.shape[2:]), self.values.dtype
        terms = dot(self.values.abs(), self.box.magnitude.unsqueeze(1))
        return gamma(summands(size) + 1, dtype) * terms + 2 * size * torch.finfo(dtype).tiny


def backward(
    graph: Graph,
    start: str,
    rows: Tensor,
    enclosures: Mapping[str, Enclosure],
    multipliers: Mapping[str, Multiplier] | None = None,
    scales: Mapping[str, Rounding] | None = None,
    record: dict[str, Tensor] | None = None,
) -> LinearBound:
    """Bound linear functions of a node from below by linear functions of the input.

    Args:
        graph: the network.
        start: name of the node that the rows apply to.
        rows: coefficients, shape ``(B, S, *start)``.
        enclosures: of every nonlinear and affine node above ``start``.
        multipliers: optional Lagrangian multipliers by node.
        scales: from ``rounding``; with them the result bounds the rounding error of this pass as well.
        record: if given, receives the coefficients at every nonlinear node, ``(B, S, *node)``.

    Property: sound in exact arithmetic, and with ``scales`` in floating point too; not complete. Differentiable in
    the enclosures and the multipliers.
    Source: Zhang et al., NeurIPS 2018 (arXiv:1811.00866); on graphs: Xu et al., NeurIPS 2020 (arXiv:2002.12920).
    """
    unit = torch.finfo(rows.dtype).eps / 2
    offset, error = rows.new_zeros(rows.shape[:2]), rows.new_zeros(rows.shape[:2])
    pending = {start: rows}
    for name in reversed(graph.ancestors(start)):
        here = pending.pop(name, None)
        if here is None:
            continue
        if multipliers and name in multipliers:
            here = here - multipliers[name].values
            offset = offset + multipliers[name].offset
            if scales is not None:
                error = error + scales[name].error(multipliers[name].values)
                error = error + multipliers[name].error() + unit * offset.abs()
        if scales is not None:
            error = error + scales[name].error(here)
        if name == INPUT:
            return LinearBound(here, offset, None if scales is None else error)
        if record is not None and not isinstance(graph.nodes[name].op, Affine):
            record[name] = here
        parts, constant = enclosures[name].pullback(here)
        offset = offset + constant
        if scales is not None:
            error = error + unit * offset.abs()
        for parent, part in zip(graph.nodes[name].parents, parts, strict=True):
            pending[parent] = pending[parent] + part if parent in pending else part
    return LinearBound(rows.new_zeros(*rows.shape[:2], graph.n_inputs), offset, None if scales is None else error)
