"""Sums of products whose operands depend on the same inputs, as one quadratic form of the input.

McCormick's even planes bound a product by its tangent plane ``a0 b + b0 a - a0 b0`` at the middle (a0, b0) of its
box, and the rest ``(a - a0) (b - b0)`` by the radii alone. With forward forms ``a - a0 = A . e + stray``, e in
[-1, 1]^d, the weighted sum of the rests of many products is a quadratic form ``e . S e``, up to the strays: what is
convex in it costs nothing, and products may cancel each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from verifier.bounds.backward import LinearBound
from verifier.bounds.forward import Form
from verifier.bounds.rounding import gamma
from verifier.bounds.schedule import Bounds
from verifier.graph.graph import INPUT
from verifier.ops.product import Product
from verifier.sets import Box, flat

PIVOT = 0.3
"""Least pivot of an elimination, as a part of the sum of the entries beside it: smaller ones are raised, at a price."""


def raised(bounds: Bounds, found: LinearBound, record: Mapping[str, Tensor]) -> LinearBound:
    """Raise the result of a backward pass by what the even planes of products gave away.

    Args:
        bounds: with forward forms; products are enclosed by their even planes.
        found: what ``bounds.rows`` returned for some rows.
        record: the coefficients ``(B, S, *node)`` that it met at the nonlinear nodes.

    Property: sound in floating point; not below ``found`` by more than a rounding error.
    """
    offset, error = found.offset, found.error
    assert error is not None
    if not bounds.forms[INPUT].columns:  # points are no forms of anything
        return found
    for name, rows in record.items():
        node = bounds.graph.nodes[name]
        if isinstance(node.op, Product):
            a, b = (Spread.of(bounds.forms[parent], bounds.boxes[parent]) for parent in node.parents)
            offset = offset + gain(rows.reshape(*rows.shape[:2], -1), a, b)
            error = error + torch.finfo(offset.dtype).eps * offset.abs()
    return LinearBound(found.coefficients, offset, error)


class Spread:
    """How far the values of a node are from the middle of its box: ``|value - middle - slopes . e| <= stray``.

    Attributes:
        slopes: ``(B, d, M)`` for M elements.
        reach: the most that ``slopes . e`` can be, ``(B, M)``.
        stray: ``(B, M)``.
        radius: of the box, which holds too, ``(B, M)``.
    """

    def __init__(self, slopes: Tensor, stray: Tensor, radius: Tensor) -> None:
        """Take the parts."""
        self.slopes, self.stray, self.radius, self.reach = slopes, stray, radius, slopes.abs().sum(1)

    @staticmethod
    def of(form: Form, box: Box) -> Spread:
        """Compare a node's forward form with its box; the two may have other middles."""
        middle = box.centre
        dtype = torch.finfo(middle.dtype)
        rounding = 4 * dtype.eps * (middle.abs() + form.centre.abs()) + dtype.tiny
        stray = form.error + (form.centre - middle).abs() + rounding
        slopes = form.slopes.reshape(*form.slopes.shape[:2], -1)
        return Spread(slopes, flat(stray), flat(box.radius))


def gain(rows: Tensor, a: Spread, b: Spread) -> Tensor:
    """Bound from below how much more the rests of products are than their even planes take them for.

    Args:
        rows: coefficients of the products, ``(B, S, M)``.
        a: the first operand.
        b: the second.

    Returns:
        Shape ``(B, S)``, not negative; 0 where nothing is gained.
    """

    def total(values: Tensor) -> Tensor:
        return (rows.abs() @ values.unsqueeze(-1)).squeeze(-1)

    form = (rows.unsqueeze(2) * a.slopes.unsqueeze(1)) @ b.slopes.mT.unsqueeze(1)  # (B, S, d, d)
    least, terms = least_on_cube((form + form.mT) / 2)
    planes, strays = total(a.radius * b.radius), total(a.stray * b.radius + a.reach * b.stray)
    roundings = rows.shape[2] + form.shape[-1] ** 2 + 8
    sizes = 1 + sum((side.radius + side.reach + side.stray).sum(1, keepdim=True) for side in (a, b))
    sizes = sizes * (1 + rows.abs().sum(-1))
    lost = gamma(roundings, rows.dtype) * (terms + planes + strays + total(a.reach * b.reach))
    lost = lost + torch.finfo(rows.dtype).tiny * roundings**2 * sizes
    found = planes + least - strays - lost
    return torch.where((found > 0) & found.isfinite(), found, 0)


def least_on_cube(form: Tensor) -> tuple[Tensor, Tensor]:
    """Bound symmetric quadratic forms ``e . S e`` from below over e in [-1, 1]^d, up to rounding.

    By elimination ``S = sum_k p_k l_k l_k' - D + R``, where the diagonal D of price ``sum D`` keeps all pivots p
    positive, and R is what rounding leaves of S, which is paid for too.

    Args:
        form: ``(..., d, d)``.

    Returns:
        The bounds, and the absolute terms that their rounding errors are relative to, ``(...)`` each.

    Source: modified Cholesky factorisation, Gill, Murray and Wright, "Practical Optimization", 1981, section 4.4.2.
    """
    left, lines = form.clone(), torch.zeros_like(form)
    pivots, price = torch.zeros_like(form[..., 0]), torch.zeros_like(form[..., 0])
    for k in range(form.shape[-1]):
        diagonal, beside = left[..., k, k], left[..., k, k + 1 :]
        pivot = torch.maximum(diagonal, PIVOT * beside.abs().sum(-1)).clamp(min=torch.finfo(form.dtype).tiny)
        line = beside / pivot.unsqueeze(-1)
        left[..., k + 1 :, k + 1 :] -= line.unsqueeze(-1) * beside.unsqueeze(-2)
        lines[..., k, k], lines[..., k, k + 1 :] = 1, line
        pivots[..., k], price[..., k] = pivot, pivot - diagonal
    rest = form + torch.diag_embed(price) - lines.mT @ (pivots.unsqueeze(-1) * lines)
    terms = form.abs().sum((-2, -1)) + price.sum(-1) + (pivots * lines.abs().sum(-1) ** 2).sum(-1)
    return -price.sum(-1) - rest.abs().sum((-2, -1)), terms
