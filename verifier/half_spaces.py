"""Conditions on inputs alone: half-spaces that a case's counterexamples lie in, beside its box."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.problem import Cases
from verifier.sets import Box

SWEEPS = 3
"""How often all half-spaces of a case are gone through."""


@dataclass(frozen=True, slots=True, eq=False)
class HalfSpaces:
    """``normals[c, r] . x <= bound[c, r]`` for all counterexamples of case c.

    Attributes:
        normals: ``(C, R, n)``; zero where a case has fewer.
        bound: ``(C, R)``.
    """

    normals: Tensor
    bound: Tensor

    @staticmethod
    def of(cases: Cases) -> HalfSpaces | None:
        """Collect the rows that read no output; None if there are none."""
        if cases.x_rows is None:
            return None
        alone = (cases.y_rows == 0).all(-1) & (cases.x_rows != 0).any(-1)
        if not alone.any():
            return None
        kept = alone.any(0)
        normals = cases.x_rows.masked_fill(~alone.unsqueeze(-1), 0)[:, kept]
        return HalfSpaces(normals, cases.bound.masked_fill(~alone, 0)[:, kept])

    def project(self, case: Tensor, x: Tensor, box: Box) -> Tensor:
        """Move points ``(B, n)`` of cases ``(B,)`` towards their half-spaces, one after the other, and into boxes.

        Aims a little further inside than the border, so that a point survives rounding.
        Source: alternating projections; Bregman, "The method of successive projection", 1965.
        """
        normals, bound = self.normals[case], self.bound[case]
        squares = (normals * normals).sum(-1)
        room = 8 * torch.finfo(x.dtype).eps * (bound.abs() + (normals.abs() * box.magnitude.unsqueeze(1)).sum(-1))
        for _ in range(SWEEPS):
            for r in range(normals.shape[1]):
                missed = ((normals[:, r] * x).sum(-1) - bound[:, r] + room[:, r]).clamp(min=0)
                x = x - (missed / squares[:, r].clamp(min=1e-30)).unsqueeze(-1) * normals[:, r]
            x = box.project(x)
        return x

    def tighten(self, case: Tensor, box: Box) -> tuple[Box, Tensor]:
        """Return boxes ``(B, n)`` of all points that are in the half-spaces of cases ``(B,)`` as well, in float64.

        A row bounds each coordinate, with the others where they make the row least.

        Returns:
            The boxes, inside the given ones; and which of them are empty, ``(B,)``, which are as they were.

        Property: sound in floating point; cost: a few passes over ``(B, R, n)``.
        Source: interval constraint propagation of linear inequalities; Cleary, "Logical arithmetic", 1987.
        """
        normals, bound = self.normals[case], self.bound[case].unsqueeze(-1)
        positive, negative = normals.clamp(min=0), normals.clamp(max=0)
        eps, tiny, terms = torch.finfo(normals.dtype).eps, torch.finfo(normals.dtype).tiny, normals.shape[-1] + 8
        lower, upper = box.lower, box.upper
        for _ in range(SWEEPS):
            parts = positive * lower.unsqueeze(1) + negative * upper.unsqueeze(1)
            error = 2 * terms * (eps * (parts.abs().sum(-1, keepdim=True) + bound.abs()) + tiny)
            room = bound - (parts.sum(-1, keepdim=True) - parts) + error
            limit = room / normals
            limit = limit + (2 * eps * limit.abs() + tiny) * normals.sign()
            most = torch.where((normals > 0) & limit.isfinite(), limit, math.inf).amin(1)
            least = torch.where((normals < 0) & limit.isfinite(), limit, -math.inf).amax(1)
            lower, upper = torch.maximum(lower, least), torch.minimum(upper, most)
        empty = (lower > upper).any(1)
        kept = empty.unsqueeze(1)
        return Box(torch.where(kept, box.lower, lower), torch.where(kept, box.upper, upper)), empty
