"""Operators that are wrong on purpose, one or more of each family: the conformance suite has to notice every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.rules import test_conformance as suite
from verifier.ops.curves import Clip, Exp, Floor, Gelu, LeakyRelu, Power, Relu, Sigmoid, Sign, Sin
from verifier.ops.linear import Linear
from verifier.ops.op import Affine, Op, Shape
from verifier.ops.product import Product
from verifier.ops.reduce import ReduceSum
from verifier.ops.select import Slice
from verifier.sets import Box, Diagonal, Enclosure, Planes


class ForgetsItsKink(LeakyRelu, register=False):
    def kinks(self) -> tuple[float, ...]:
        return ()


class ForgetsItsJump(Sign, register=False):
    def limits(self, kink: float) -> tuple[float, float] | None:
        return None


class KinkAtTheWrongPlace(Clip, register=False):
    def kinks(self) -> tuple[float, ...]:
        return tuple(kink + 0.1 for kink in super().kinks())


class ChordThroughZero(Relu, register=False):
    def prepare(self, *x: Box) -> Callable[[Tensor | None], Enclosure]:
        plain = super().prepare(*x)

        def enclose(alpha: Tensor | None) -> Enclosure:
            lines = plain(alpha)
            assert isinstance(lines, Diagonal)
            return Diagonal(lines.lower_slope, None, lines.upper_slope, torch.zeros_like(lines.upper_slope))

        return enclose


class BendsTheOtherWay(Sigmoid, register=False):
    curvature = (-1, 1)


class Concave(Exp, register=False):
    curvature = (-1,)


class ConvexEverywhere(Power, register=False):
    curvature = (1, 1)  # type: ignore[assignment]


class InflectionsTooNear(Gelu, register=False):
    bends = (-1.0, 1.0)


class OutOfPhase(Sin, register=False):
    phase = 0.3


class RoundsTheOtherWay(Floor, register=False):
    def interval(self, *x: Box) -> Box:
        return Box(x[0].lower.ceil(), x[0].upper.ceil())


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


class NotTransposed(Linear, register=False):
    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        return (rows @ self.weight,)


class ForgetsTheBias(Linear, register=False):
    def offset(self, shapes: list[Shape], like: Tensor) -> Tensor | None:
        return None


class AddsOnce(ReduceSum, register=False):
    def terms(self, shapes: list[Shape], out: Shape) -> int:
        return 1


@dataclass(frozen=True, eq=False)
class PutsBackElsewhere(Slice, register=False):
    def transpose(self, rows: Tensor, shapes: list[Shape]) -> tuple[Tensor, ...]:
        return (super().transpose(rows, shapes)[0].flip(-1),)


SQUARE = torch.tensor([[1.0, 2.0], [-0.5, 3.0]], dtype=torch.float64)

MUTANTS: list[tuple[Op, list[Shape]]] = [
    (ForgetsItsKink(0.1), [(1, 7)]),
    (ForgetsItsJump(), [(1, 7)]),
    (KinkAtTheWrongPlace(-1.0, 0.5), [(1, 7)]),
    (ChordThroughZero(), [(1, 7)]),
    (BendsTheOtherWay(), [(1, 7)]),
    (Concave(), [(1, 7)]),
    (ConvexEverywhere(3.0), [(1, 7)]),
    (InflectionsTooNear(), [(1, 7)]),
    (OutOfPhase(), [(1, 7)]),
    (RoundsTheOtherWay(), [(1, 7)]),
    (ForgetsACorner(), [(1, 7), (1, 7)]),
    (MixesUpPlanes(), [(1, 7), (1, 7)]),
    (SmallTerms(), [(1, 7), (1, 7)]),
    (NotTransposed(SQUARE), [(2,)]),
    (ForgetsTheBias(SQUARE, torch.tensor([1.0, -2.0], dtype=torch.float64)), [(2,)]),
    (AddsOnce((0,)), [(3, 2)]),
    (PutsBackElsewhere(((0, 2, 1),)), [(5,)]),
]


def conforms(op: Op, shapes: list[Shape]) -> bool:
    """Whether an operator passes all of the suite's checks that are meant for it."""
    checks = [suite.test_interval_encloses_the_values, suite.test_pullback_is_a_lower_bound]
    tunable = [suite.test_pullback_is_a_lower_bound_for_any_alpha, suite.test_parallel_planes_enclose]
    affine = [suite.test_affine_parts_fit_together, suite.test_affine_claims_are_true]
    try:
        for seed in range(3):
            for check in [*checks, *([] if isinstance(op, Affine) else tunable)]:
                check(op, shapes, seed)
        for single in affine if isinstance(op, Affine) else [suite.test_absolute_terms_cover_every_plane]:
            single(op, shapes)  # type: ignore[arg-type]
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(("op", "shapes"), MUTANTS, ids=[type(op).__name__ for op, _ in MUTANTS])
def test_every_mutant_is_caught(op: Op, shapes: list[Shape]) -> None:
    assert not conforms(op, shapes)


@pytest.mark.parametrize(("op", "shapes"), MUTANTS, ids=[type(op).__bases__[0].__name__ for op, _ in MUTANTS])
def test_what_they_were_made_of_is_right(op: Op, shapes: list[Shape]) -> None:
    (parent,) = type(op).__bases__
    fields = {name: value for name, value in vars(op).items() if name in parent.__dataclass_fields__}
    assert conforms(parent(**fields), shapes)
