"""Derivative rules that are wrong on purpose, one or more of each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor
from torch.nn import functional

from tests.rules.derivatives import Rule
from tests.rules.mutants import FLAT, ForgetsToTurnOver, normal
from verifier.graph.graph import Graph
from verifier.graph.jacobian import jacobian
from verifier.ops import curves
from verifier.ops.adjoint import Adjoint
from verifier.ops.conv import Conv
from verifier.ops.curves import Curve
from verifier.ops.gate import Gate
from verifier.ops.op import Op, Shape
from verifier.sets import Box, Enclosure


class HasTheSlopeOfTheSigmoid(curves.Tanh, register=False):
    def slope_curve(self) -> Curve:
        return curves.SigmoidSlope()


class HasTheSlopeOfTanh(curves.Tan, register=False):
    def slope_curve(self) -> Curve:
        return curves.TanhSlope()


class HasTheSlopeByTanh(curves.Gelu, register=False):
    def slope_curve(self) -> Curve:
        return curves.GatedSlope(curves.GeluTanh())


class ForgetsItsFactor(curves.Power, register=False):
    def slope_curve(self) -> Curve:
        return curves.Power(self.exponent - 1)


class StaysSteep(curves.Clip, register=False):
    def slope_curve(self) -> Curve:
        return curves.Levels((self.low,), (0.0, 1.0))


class BendsBesideItsKink(curves.Shrink, register=False):
    def slope_curve(self) -> Curve:
        return curves.Levels((-self.threshold, self.threshold * (1 + 1e-6)), (1.0, 0.0, 1.0))


class TakesOneSide(curves.Heaviside, register=False):
    def interval(self, *x: Box) -> Box:
        middle = self.forward(x[0].centre)
        return Box(middle, middle)


class TakesHalfTheRange(Gate, register=False):
    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        half = x[1].radius / 2
        return super().relax(x[0], Box(x[1].centre - half, x[1].centre + half), alpha=alpha)


class StartsFromHalfTheSlopes(Gate, register=False):
    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        slopes = Box(x[0].lower, x[0].lower + x[0].radius)
        return super().relax(slopes, x[1], alpha=alpha)


class ForgetsTheStride(Adjoint, register=False):
    def forward(self, *x: Tensor) -> Tensor:
        if not isinstance(self.op, Conv):
            return super().forward(*x)
        pulled = functional.conv_transpose2d(x[0].flatten(0, 2), self.op.weight)
        *_, height, width = self.shapes[0]
        missing = (0, width - pulled.shape[-1], 0, height - pulled.shape[-2])
        return functional.pad(pulled, missing).reshape(*x[0].shape[:2], *self.shapes[0])


def with_instead(kind: type[Op], wrong: Callable[..., Op]) -> Rule:
    """Make Jacobians in which operators of one kind are replaced."""

    def rule(graph: Graph, **given: Any) -> Graph:
        found = jacobian(graph, **given)
        nodes = [
            replace(node, op=wrong(*(getattr(node.op, field.name) for field in fields(node.op) if field.init)))
            if node.op is not None and type(node.op) is kind
            else node
            for node in found.nodes.values()
        ]
        return Graph(nodes, found.inputs, found.outputs, found.dtype, found.device)

    return rule


@dataclass(frozen=True)
class Wrong:
    """A rule, and an operator that it is wrong for, or one that states something wrong itself."""

    name: str
    op: Op
    shapes: list[Shape]
    rule: Rule = jacobian


STRIDED = Conv(normal(2, 1, 2, 2), None, (2, 2), (0, 0), (1, 1))
ON_FLAT: list[Curve] = [HasTheSlopeOfTheSigmoid(), HasTheSlopeOfTanh(), HasTheSlopeByTanh(), ForgetsItsFactor(3.0)]
ON_FLAT += [StaysSteep(-0.5, 0.5), BendsBesideItsKink(0.75, 0.75)]

WRONG = [
    *(Wrong(type(op).__name__, op, FLAT) for op in ON_FLAT),
    Wrong("TakesOneSide", curves.LeakyRelu(-0.5), FLAT, with_instead(curves.Heaviside, TakesOneSide)),
    Wrong("ForgetsToTurnOver", curves.Cos(), FLAT, with_instead(curves.Scaled, ForgetsToTurnOver)),
    Wrong("TakesHalfTheRange", curves.Tanh(), FLAT, with_instead(Gate, TakesHalfTheRange)),
    Wrong("StartsFromHalfTheSlopes", curves.Tanh(), FLAT, with_instead(Gate, StartsFromHalfTheSlopes)),
    Wrong("ForgetsTheStride", STRIDED, [(1, 1, 4, 4)], with_instead(Adjoint, ForgetsTheStride)),
]
