"""Operators that are wrong on purpose, one or more of each family."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.rules.instances import shifted
from verifier.ops import curves
from verifier.ops.adjoint import Adjoint
from verifier.ops.arithmetic import Scale, Sub, Translate
from verifier.ops.conv import Conv, ConvTranspose
from verifier.ops.curves.shifted import Shifted
from verifier.ops.gate import Gate
from verifier.ops.linear import Linear, MatMulConstant
from verifier.ops.op import Op, Shape
from verifier.ops.part import Part
from verifier.ops.pool import AveragePool
from verifier.ops.product import Product
from verifier.ops.reduce import CumSum, ReduceSum, SumOfOthers
from verifier.ops.select import Gather, Slice
from verifier.ops.shape import Transpose
from verifier.sets import Box, Diagonal, Enclosure, Planes


class ForgetsItsKink(curves.LeakyRelu, register=False):
    def kinks(self) -> tuple[float, ...]:
        return ()


class ForgetsItsJump(curves.Sign, register=False):
    def limits(self, kink: float) -> tuple[float, float] | None:
        return None


class JumpsTooLittle(curves.ThresholdedRelu, register=False):
    def limits(self, kink: float) -> tuple[float, float] | None:
        return (0.0, kink * (1 - 1e-12))


class KinkAtTheWrongPlace(curves.Clip, register=False):
    def kinks(self) -> tuple[float, ...]:
        return tuple(kink + 1e-9 for kink in super().kinks())


class ClaimsToBeExact(curves.LeakyRelu, register=False):
    exact = True


def moved(lines: Enclosure, up: float) -> Diagonal:
    assert isinstance(lines, Diagonal)
    assert lines.upper_offset is not None
    return Diagonal(lines.lower_slope, lines.lower_offset, lines.upper_slope, lines.upper_offset * up)


class ChordThroughZero(curves.Relu, register=False):
    def prepare(self, *x: Box) -> Callable[[Tensor | None], Enclosure]:
        plain = super().prepare(*x)
        return lambda alpha: moved(plain(alpha), 0.0)


class ChordALittleLow(curves.Relu, register=False):
    def prepare(self, *x: Box) -> Callable[[Tensor | None], Enclosure]:
        plain = super().prepare(*x)
        return lambda alpha: moved(plain(alpha), 1 - 1e-13)


class BendsTheOtherWay(curves.Sigmoid, register=False):
    curvature = (-1, 1)


class IsImprecise(curves.Tanh, register=False):
    def forward(self, *x: Tensor) -> Tensor:
        return x[0].tanh() * (1 + 1e-14)


class SlopesByHalf(curves.Atan, register=False):
    def slopes(self, x: Box) -> tuple[Tensor, Tensor]:
        least, most = super().slopes(x)
        return least, (least + most) / 2


class BendsWhereTanhSlopeDoes(curves.SigmoidSlope, register=False):
    bends = curves.TanhSlope.bends


class BendsWhereAsinhSlopeDoes(curves.AtanSlope, register=False):
    bends = curves.AsinhSlope.bends


class ForgetsToTurnOver(curves.Scaled, register=False):
    def _ordered(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return self.factor * low, self.factor * high


class Concave(curves.Exp, register=False):
    curvature = (-1,)


class BendsTooSoon(curves.Elu, register=False):
    bends = (-1e-3,)


class ConvexEverywhere(curves.Power, register=False):
    curvature = (1, 1)  # type: ignore[assignment]


class InflectionsTooNear(curves.Gelu, register=False):
    bends = (-1.4, 1.4)


class BendsWhereGeluDoes(curves.GatedSlope, register=False):
    bends = (-math.sqrt(2), 0.0, math.sqrt(2))  # type: ignore[assignment]


class KeepsToTheLeft(curves.HardSwishSlope, register=False):
    def meets(self, x: Box, piece: int) -> Tensor:
        return super().meets(Box(x.lower, x.lower), piece) | super().meets(Box(x.upper, x.upper), piece)


class TakesNoLimits(curves.EluSlope, register=False):
    def value(self, x: Tensor, piece: int) -> Tensor:
        return torch.where(x > 0, super().value(x, 1), super().value(x, 0))


class FallsOnBothSides(curves.Sinh, register=False):
    curvature = (-1, -1)


class OutOfPhase(curves.Sin, register=False):
    phase = 0.3


class MixesUpItsBranch(curves.Tan, register=False):
    curvature = (1, -1)

    def crests(self, x: Box, slope: Tensor, sign: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        return super().crests(x, slope, -sign)


class RoundsTheOtherWay(curves.Floor, register=False):
    def interval(self, *x: Box) -> Box:
        return Box(x[0].lower.ceil(), x[0].upper.ceil())


class StepsTooLow(curves.Ceil, register=False):
    level = 0.5


class ForgetsWhatItDoesNotKnow(Shifted, register=False):
    def actual(self, x: Box) -> Box:
        return Box(x.lower.double() + self.upper, x.upper.double() + self.upper)


class ForgetsACorner(Product, register=False):
    def interval(self, *x: Box) -> Box:
        a, b = x
        corners = torch.stack([a.lower * b.lower, a.upper * b.upper, a.lower * b.upper])
        return Box(corners.amin(0), corners.amax(0))


class MixesUpPlanes(Product, register=False):
    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        planes = super().relax(*x, alpha=alpha)
        assert isinstance(planes, Planes)
        return Planes(planes.lower_slopes, planes.upper_offset, planes.upper_slopes, planes.lower_offset)


class SmallTerms(Product, register=False):
    def offset_terms(self, *x: Box) -> Tensor:
        return x[0].radius * x[1].radius


class TooCloseTogether(Product, register=False):
    def parallel(self, *x: Box) -> tuple[Tensor, ...]:
        *slopes, low, high = super().parallel(*x)
        return *slopes, low, low + (high - low) / 2


class NotTransposed(Linear, register=False):
    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        return (rows @ self.weight,)


class ForgetsTheBias(Linear, register=False):
    def offset(self, shapes: list[Shape], like: Tensor) -> Tensor | None:
        return None


class SignedRadius(MatMulConstant, register=False):
    def interval(self, *x: Box) -> Box:
        centre, radius = self.forward(x[0].centre), self.forward(x[0].radius)
        return Box(centre - radius, centre + radius)


class SubtractsTheSameEnds(Sub, register=False):
    def interval(self, *x: Box) -> Box:
        return Box(x[0].lower - x[1].lower, x[0].upper - x[1].upper)


class KeepsItsEnds(Scale, register=False):
    def interval(self, *x: Box) -> Box:
        return Box(self.forward(x[0].lower), self.forward(x[0].upper))


class HasNoOffset(Translate, register=False):
    def offset(self, shapes: list[Shape], like: Tensor) -> Tensor | None:
        return None


class ReadsNoPadding(Conv, register=False):
    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        return tuple(part.roll(1, -1) for part in super().transpose(rows, shapes))


class RadiusOfTheBias(ConvTranspose, register=False):
    def interval(self, *x: Box) -> Box:
        centre, radius = self.forward(x[0].centre), self.forward(x[0].radius)
        return Box(centre - radius, centre + radius)


class SumsItsWindow(AveragePool, register=False):
    def forward(self, *x: Tensor) -> Tensor:
        return super().forward(*x) * 2


class ForgetsWhereItIs(Part, register=False):
    def offset(self, shapes: list[Shape], like: Tensor) -> Tensor | None:
        constant = self.op.offset(list(self.shapes), like)
        return None if constant is None else constant[..., : self.window[-1].stop - self.window[-1].start]


class AddsOnce(ReduceSum, register=False):
    def terms(self, shapes: list[Shape], out: Shape) -> int:
        return 1


class RunsBackwards(CumSum, register=False):
    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        return (self.linear(rows),)


class CountsItself(SumOfOthers, register=False):
    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        return (rows.sum(self.axis + 1, keepdim=True).expand(rows.shape),)


@dataclass(frozen=True, eq=False)
class PutsBackElsewhere(Slice, register=False):
    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        return (super().transpose(rows, shapes)[0].flip(-1),)


class KeepsTheLast(Gather, register=False):
    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        return (rows.new_zeros(len(rows), *shapes[0]).index_copy(self.axis + 1, self.indices, rows),)


class TurnsOnward(Transpose, register=False):
    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        return (rows.permute(0, *(axis + 1 for axis in self.perm)),)


class CountsTheValueBelow(curves.Heaviside, register=False):
    def knots(self, x: Box) -> Iterator[tuple[Tensor, Tensor]]:
        for point, _ in super().knots(x):
            yield point, self.forward(point)


class CrossesItsPlanes(Gate, register=False):
    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        planes = super().relax(*x, alpha=alpha)
        assert isinstance(planes, Planes)
        return Planes(planes.lower_slopes, planes.upper_offset, planes.upper_slopes, planes.lower_offset)


class PullsBackHalf(Adjoint, register=False):
    def magnitude(self, *x: Tensor) -> Tensor:
        return super().magnitude(*x) / 2


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


SQUARE = torch.tensor([[1.0, 2.0], [-0.5, 3.0]], dtype=torch.float64)
PAIR = torch.tensor([1.0, -2.0], dtype=torch.float64)
PLACED = shifted(curves.Sigmoid(), 0.1)
FLAT, SINGLE, TWICE = [(1, 7)], (1, 1), [(1, 7), (1, 7)]

MUTANTS: list[tuple[Op, list[Shape]]] = [
    *((op, FLAT) for op in (ForgetsItsKink(0.1), ForgetsItsJump(), JumpsTooLittle(), KinkAtTheWrongPlace(-1.0, 0.5))),
    *((op, FLAT) for op in (ClaimsToBeExact(0.1), ChordThroughZero(), ChordALittleLow(), BendsTheOtherWay())),
    *((op, FLAT) for op in (IsImprecise(), SlopesByHalf(), Concave(), BendsTooSoon(alpha=2.0), ConvexEverywhere(3.0))),
    *(
        (op, FLAT)
        for op in (
            InflectionsTooNear(),
            BendsWhereGeluDoes(curves.Gelu()),
            FallsOnBothSides(),
            OutOfPhase(),
            MixesUpItsBranch(),
        )
    ),
    *((op, FLAT) for op in (BendsWhereTanhSlopeDoes(), BendsWhereAsinhSlopeDoes())),
    (ForgetsToTurnOver(curves.Sigmoid(), -3.0), FLAT),
    *((op, FLAT) for op in (KeepsToTheLeft(), TakesNoLimits(alpha=0.5))),
    *((op, FLAT) for op in (RoundsTheOtherWay(), StepsTooLow(), CountsTheValueBelow())),
    (CrossesItsPlanes(), TWICE),
    (PullsBackHalf(Linear(SQUARE), 0, ((2,),)), [(3, 2)]),
    (ForgetsWhatItDoesNotKnow(PLACED.curve, PLACED.lower, PLACED.upper, PLACED.value), FLAT),
    *((op, TWICE) for op in (ForgetsACorner(), MixesUpPlanes(), SmallTerms(), TooCloseTogether())),
    (NotTransposed(SQUARE), [(2,)]),
    (ForgetsTheBias(SQUARE, PAIR), [(2,)]),
    (SignedRadius(SQUARE), [(3, 2)]),
    (SubtractsTheSameEnds(), [(4,), (4,)]),
    (KeepsItsEnds(PAIR), [(2,)]),
    (HasNoOffset(PAIR), [(2,)]),
    (ReadsNoPadding(normal(1, 1, 2, 2), None, SINGLE, SINGLE, SINGLE), [(1, 1, 3, 3)]),
    (RadiusOfTheBias(normal(1, 1, 2, 2), None, SINGLE, (0, 0), SINGLE), [(1, 1, 3, 3)]),
    (SumsItsWindow((2,), (2,)), [(1, 1, 4)]),
    (ForgetsWhereItIs(Translate(normal(1, 1, 4)), (slice(1, 3),), ((1, 1, 4),), (1, 1, 4)), [(1, 1, 2)]),
    (AddsOnce((0,)), [(3, 2)]),
    (RunsBackwards(0), [(4,)]),
    (CountsItself(0), [(4,)]),
    (PutsBackElsewhere(((0, 2, 1),)), [(5,)]),
    (KeepsTheLast(torch.tensor([1, 1, 0]), 0), [(2,)]),
    (TurnsOnward((1, 2, 0)), [(2, 2, 2)]),
]
