"""Powers of quadratic functions: the derivatives of inverse trigonometric and hyperbolic functions."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from verifier.ops.curves.bells import Bump
from verifier.ops.curves.searched import Searched
from verifier.ops.op import Op, Shape

APART = 2.0**-20
"""How near to a pole there are bounds."""


@dataclass(frozen=True, eq=False)
class InverseQuadratic(Searched, register=False):
    """y = q(x) ** -order, with q(x) = constant + square * x * x, both 1 or -1."""

    order: ClassVar[float]
    constant: ClassVar[int]
    square: ClassVar[int]

    @abstractmethod
    def quadratic(self, x: Tensor) -> Tensor:
        """Return q(x) without cancellation."""

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return self.quadratic(x[0]) ** -self.order

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return -2 * self.order * self.square * x * self.quadratic(x) ** (-self.order - 1)

    def second(self, x: Tensor) -> Tensor:
        """See ``Searched.second``."""
        bend = self.constant - (2 * self.order + 1) * self.square * x * x
        return -2 * self.order * self.square * bend * self.quadratic(x) ** (-self.order - 2)


@dataclass(frozen=True, eq=False)
class AtanSlope(Bump, InverseQuadratic):
    """y = 1 / (1 + x * x)."""

    bends = (-math.sqrt(1 / 3), math.sqrt(1 / 3))
    curvature = (1, -1, 1)
    order, constant, square = 1.0, 1, 1

    def quadratic(self, x: Tensor) -> Tensor:
        """See ``InverseQuadratic.quadratic``."""
        return 1 + x * x

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield AtanSlope(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class AsinhSlope(Bump, InverseQuadratic):
    """y = 1 / sqrt(1 + x * x)."""

    bends = (-math.sqrt(0.5), math.sqrt(0.5))
    curvature = (1, -1, 1)
    order, constant, square = 0.5, 1, 1

    def quadratic(self, x: Tensor) -> Tensor:
        """See ``InverseQuadratic.quadratic``."""
        return 1 + x * x

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield AsinhSlope(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class AsinSlope(InverseQuadratic):
    """y = 1 / sqrt(1 - x * x), for x between -1 and 1; very near to 1 there are no bounds."""

    curvature = (1,)
    domain = (APART - 1, 1 - APART)
    order, constant, square = 0.5, 1, -1

    def quadratic(self, x: Tensor) -> Tensor:
        """See ``InverseQuadratic.quadratic``."""
        return (1 - x) * (1 + x)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield AsinSlope(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class AcoshSlope(InverseQuadratic):
    """y = 1 / sqrt(x * x - 1), for x > 1; very near to 1 there are no bounds."""

    curvature = (1,)
    domain = (1 + APART, math.inf)
    order, constant, square = 0.5, -1, 1

    def quadratic(self, x: Tensor) -> Tensor:
        """See ``InverseQuadratic.quadratic``."""
        return (x - 1) * (x + 1)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield AcoshSlope(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class AtanhSlope(InverseQuadratic):
    """y = 1 / (1 - x * x), for x between -1 and 1; very near to 1 there are no bounds."""

    curvature = (1,)
    domain = (APART - 1, 1 - APART)
    order, constant, square = 1.0, 1, -1

    def quadratic(self, x: Tensor) -> Tensor:
        """See ``InverseQuadratic.quadratic``."""
        return (1 - x) * (1 + x)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield AtanhSlope(), [(1, 7)]
