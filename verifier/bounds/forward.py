"""Forward linear bounds: cheap when the input has few dimensions."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.graph.graph import Graph, Node
from verifier.ops.elementwise import Elementwise
from verifier.ops.op import Affine
from verifier.sets import Box, flat

NEGLIGIBLE = 1e-3
"""Part of the largest error of a node below which errors are not worth a coordinate of their own."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """Values as an affine function of normalised input coordinates e in [-1, 1]^d, up to an error of either sign.

    ``|value - centre - sum_k e_k slopes[:, k]| <= error``; slopes ``(B, d, *node)``, centre and error ``(B, *node)``.
    """

    slopes: Tensor
    centre: Tensor
    error: Tensor

    @property
    def columns(self) -> int:
        """Count of the coordinates, d."""
        return self.slopes.shape[1]

    def box(self) -> Box:
        """Return the values' range."""
        radius = self.slopes.abs().sum(1) + self.error
        return Box(self.centre - radius, self.centre + radius)

    def padded(self, columns: int) -> Form:
        """Add coordinates that the values do not depend on, up to so many."""
        missing = columns - self.columns
        if not missing:
            return self
        zeros = self.slopes.new_zeros(len(self.slopes), missing, *self.slopes.shape[2:])
        return Form(torch.cat([self.slopes, zeros], 1), self.centre, self.error)

    def named(self, first: int, most: int) -> Form:
        """Let errors be coordinates of their own, from number ``first`` on, unless they are more than ``most``.

        Errors that later sums meet twice, with coefficients of different signs, then cancel instead of adding up.
        Source: zonotopes, as in Singh et al., NeurIPS 2018, "Fast and effective robustness certification".
        """
        size = flat(self.error).amax(0)
        element = (size > NEGLIGIBLE * size.amax()).nonzero().flatten()
        if not 0 < len(element) <= most:
            return self
        slopes = self.padded(first + len(element)).slopes
        joined, rest = slopes.reshape(*slopes.shape[:2], -1), flat(self.error).clone()
        places = first + torch.arange(len(element), device=element.device)
        joined[:, places, element] = rest[:, element]
        rest[:, element] = 0
        return Form(joined.reshape(slopes.shape), self.centre, rest.reshape(self.error.shape))


def columns_of(box: Box) -> Tensor:
    """List the coordinates ``(d,)`` that get a column of their own: those that vary in some box ``(B, n)``.

    A number that rounding outward has made a box of, narrower than a few units in its last place, gets none.
    """
    width = box.upper - box.lower
    return (width > 4 * torch.finfo(width.dtype).eps * box.magnitude).any(0).nonzero().flatten()


def input_form(box: Box, coordinates: Tensor) -> Form:
    """Start from boxes ``(B, n)``, with a column for each of the listed coordinates; others go into the error."""
    radius = box.radius
    slopes = radius.new_zeros(len(radius), len(coordinates), radius.shape[1])
    slopes[:, torch.arange(len(coordinates)), coordinates] = radius[:, coordinates]
    error = radius.clone()
    error[:, coordinates] = 0
    slack = 4 * torch.finfo(radius.dtype).eps * box.magnitude
    return Form(slopes, box.centre, error + slack)


def forward_step(graph: Graph, node: Node, forms: list[Form], operands: list[Box]) -> Form:
    """Carry forms over one node, whose operands are known to lie in boxes.

    Property: sound in floating point; not complete. Source: the same-slope relaxation of Weng et al., ICML 2018
    (arXiv:1804.09699), with the input's coordinates as symbols and everything else in the error term.
    """
    op, columns = node.op, max(form.columns for form in forms)
    forms = [form.padded(columns) for form in forms]
    if isinstance(op, Elementwise):
        *steepness, low, high = op.parallel(*operands)
        pairs = list(zip(steepness, forms, strict=True))
        # A form may be wider than the box.
        sizes = [form.centre.abs() + form.error + form.slopes.abs().sum(1) for form in forms]
        terms = op.absolute_terms(*operands)
        for slope, size in zip(steepness, sizes, strict=True):
            terms = terms + slope.abs() * size
        count = 3 + op.roundings + len(forms) + columns
        slack = gamma(count, graph.dtype) * terms + underflow(len(forms), sizes, len(node.shape))
        return Form(
            functools.reduce(torch.add, (slope.unsqueeze(1) * form.slopes for slope, form in pairs)),
            functools.reduce(torch.add, (slope * form.centre for slope, form in pairs), (high + low) / 2),
            functools.reduce(torch.add, (slope.abs() * form.error for slope, form in pairs), (high - low) / 2 + slack),
        )
    if isinstance(op, Affine):
        moved = op.linear(*(form.slopes.flatten(0, 1) for form in forms))
        core = op.interval(*(Box(form.centre - form.error, form.centre + form.error) for form in forms))
        sizes = [form.centre.abs() + form.error + form.slopes.abs().sum(1) for form in forms]
        terms = op.magnitude(*sizes)
        count = op.terms([graph.nodes[parent].shape for parent in node.parents], node.shape) + columns
        slack = gamma(count, graph.dtype) * terms + underflow(count, sizes, len(node.shape))
        return Form(moved.reshape(len(core.lower), columns, *node.shape), core.centre, core.radius + slack)
    raise NotImplementedError(f"no forward bounds for {type(op).__name__}")


def underflow(fan: int, sizes: list[Tensor], axes: int) -> Tensor:
    """Bound what a step may lose by numbers too small for the dtype, ``(B, 1, ...)`` with so many axes."""
    reach = 1 + torch.stack([flat(size).sum(1) for size in sizes]).sum(0)
    return (torch.finfo(sizes[0].dtype).tiny * (fan + 1) * reach).reshape(-1, *[1] * axes)
