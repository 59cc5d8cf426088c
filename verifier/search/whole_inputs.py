"""Inputs that a network reads only after rounding them to whole numbers: few values stand for all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.balls import Ball
from verifier.graph.graph import INPUT, Graph
from verifier.ops.curves.stairs import Stairs
from verifier.ops.op import Affine
from verifier.problem import Cases
from verifier.sets import Box

LARGEST = 2.0**31
"""Numbers up to which inputs are counted through: float64 has all whole ones."""


@dataclass(frozen=True, slots=True, eq=False)
class WholeInputs:
    """Coordinates of the input that matter only by the whole number they are rounded to, ``(n,)`` and by ``rounders``.

    Rounding one a second time changes nothing, so that the network takes the same values on a box as on the whole
    numbers between its rounded ends: a domain of such a coordinate stands for whole numbers, and can be cut between
    two of them, where nothing lies. In a ball there are none: what a point is rounded to may lie outside of it.
    """

    mask: Tensor
    rounders: list[tuple[Stairs, Tensor]]

    @staticmethod
    def of(graph: Graph, cases: Cases) -> WholeInputs:
        """Follow each coordinate through copies to what reads it."""
        n = graph.n_inputs
        labels = {INPUT: torch.arange(n)}
        rounded: dict[type[Stairs], tuple[Stairs, Tensor]] = {}
        otherwise = torch.full((n,), isinstance(cases.boxes, Ball))
        for name, node in graph.nodes.items():
            known = [labels[parent] for parent in node.parents if parent in labels]
            if node.op is None or not known:
                continue
            if isinstance(node.op, Affine) and node.op.copies:
                shape = graph.nodes[node.parents[0]].shape
                numbers = known[0].double().view(1, *shape).to(graph.device)
                labels[name] = node.op.forward(numbers).reshape(-1).long().cpu()
            elif isinstance(node.op, Stairs):
                _, mask = rounded.setdefault(type(node.op), (node.op, torch.zeros(n, dtype=torch.bool)))
                mask[known[0]] = True
            else:
                for index in known:
                    otherwise[index] = True
        if cases.x_rows is not None:
            otherwise |= (cases.x_rows != 0).any(0).any(0).cpu()
        count = sum((mask.long() for _, mask in rounded.values()), torch.zeros(n, dtype=torch.long))
        small = cases.lower.abs().amax(0).cpu() < LARGEST if len(cases.lower) else otherwise
        small &= cases.upper.abs().amax(0).cpu() < LARGEST if len(cases.lower) else otherwise
        whole = (count == 1) & ~otherwise & small
        rounders = [(op, (mask & whole).to(graph.device)) for op, mask in rounded.values()]
        return WholeInputs(whole.to(graph.device), rounders)

    def between(self, box: Box) -> Box:
        """Replace ends of boxes ``(B, n)`` by the whole numbers that they are rounded to."""
        lower, upper = box.lower, box.upper
        for op, mask in self.rounders:
            lower = torch.where(mask, op.forward(lower), lower)
            upper = torch.where(mask, op.forward(upper), upper)
        return Box(lower, upper)

    def cut(self, axis: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return where to end the lower and begin the upper half of ``low ... high`` along coordinates; all alike."""
        middle = low + (high - low) / 2
        whole = self.mask[axis] & (high > low)
        first = torch.where(whole, middle.floor(), middle)
        return first, torch.where(whole, first + 1, middle)
