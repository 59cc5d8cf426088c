"""Gated identities, x times a sigmoid: where their slope takes a value has to be searched for."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from verifier.ops.curves.curve import Curve
from verifier.ops.curves.searched import Searched
from verifier.ops.op import Op, Shape
from verifier.sets import Box

CUBIC = 0.044715
"""The coefficient in Gelu by tanh."""


FAR = 1e4
"""Operands beyond which a gate is open or shut to within the least number that there is."""


@dataclass(frozen=True, eq=False)
class Gated(Searched, register=False):
    """A function with two inflections, convex between them, whose slope has three."""

    curvature = (-1, 1, -1)
    halvings = 30
    turns: ClassVar[tuple[float, ...]]
    """The inflections of the slope: it is concave before the first, and convex behind it."""

    @abstractmethod
    def third(self, x: Tensor) -> Tensor:
        """Return about f'''."""


@dataclass(frozen=True, eq=False)
class GatedSlope(Searched):
    """The derivative of a gated identity, which overshoots on both of its sides."""

    curve: Gated

    curvature = (-1, 1, -1, 1)
    roundings = 24  # its terms cancel

    @property
    def bends(self) -> tuple[float, ...]:  # type: ignore[override]
        """See ``Smooth``."""
        return self.curve.turns

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return self.curve.derivative(x[0], 0)

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return self.curve.second(x)

    def second(self, x: Tensor) -> Tensor:
        """See ``Searched.second``."""
        return self.curve.third(x)

    def interval(self, *x: Box) -> Box:
        """See ``Op.interval``: what is far out is as good as infinitely far."""
        return super().interval(Box(x[0].lower.clamp(-FAR, FAR), x[0].upper.clamp(-FAR, FAR)))

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        for curve in (Gelu(), GeluTanh(), GeluTanh(0.0447), Silu(), Mish()):
            yield GatedSlope(curve), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Gelu(Gated):
    """y = x * Phi(x), with the normal distribution Phi."""

    bends = (-math.sqrt(2), math.sqrt(2))
    turns = (-2.0, 0.0, 2.0)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0] * phi(x[0])

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        return phi(x) + x * density(x)

    def second(self, x: Tensor) -> Tensor:
        """See ``Searched.second``."""
        return density(x) * (2 - x * x)

    def third(self, x: Tensor) -> Tensor:
        """See ``Gated.third``."""
        return density(x) * x * (x * x - 4)

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return GatedSlope(self)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Gelu(), [(1, 7)]


def phi(x: Tensor) -> Tensor:
    """Return the normal distribution function."""
    return 0.5 * torch.erfc(x * -math.sqrt(0.5))


def density(x: Tensor) -> Tensor:
    """Return the normal density."""
    return torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _zero(falling: Callable[[Tensor], Tensor], low: float, high: float) -> float:
    """Return where a function that is positive at ``low`` and negative at ``high`` is 0, by halving."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(torch.tensor(middle, dtype=torch.float64)) > 0 else (low, middle)
    return low


@dataclass(frozen=True, eq=False)
class GeluTanh(Gated):
    """y = x * sigmoid(2 sqrt(2 / pi) (x + cubic x^3)), the usual approximation of Gelu; files round the coefficient."""

    cubic: float = CUBIC

    @cached_property
    def bends(self) -> tuple[float, ...]:  # type: ignore[override]
        """The places where f'' is 0, by halving."""
        if self.cubic == CUBIC:
            return (-1.418504008790828, 1.418504008790828)
        place = _zero(self.second, 1.0, 2.0)
        return (-place, place)

    @cached_property
    def turns(self) -> tuple[float, ...]:  # type: ignore[override]
        """See ``Gated``; a half more than the slope is odd."""
        if self.cubic == CUBIC:
            return (-2.013480724624258, 0.0, 2.013480724624258)
        place = _zero(lambda x: -self.third(x), 1.5, 2.5)
        return (-place, 0.0, place)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0] * self._inner(x[0]).sigmoid()

    def _inner(self, x: Tensor) -> Tensor:
        return 2 * math.sqrt(2 / math.pi) * (x + self.cubic * x * x * x)

    def _inner_slope(self, x: Tensor) -> Tensor:
        return 2 * math.sqrt(2 / math.pi) * (1 + 3 * self.cubic * x * x)

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        inner = self._inner(x)
        gate = inner.sigmoid()
        return gate + x * gate * (-inner).sigmoid() * self._inner_slope(x)

    def second(self, x: Tensor) -> Tensor:
        """See ``Searched.second``."""
        inner, slope = self._inner(x), self._inner_slope(x)
        gate, other = inner.sigmoid(), (-inner).sigmoid()
        bend = 12 * math.sqrt(2 / math.pi) * self.cubic * x
        return gate * other * (2 * slope + x * bend + x * slope * slope * (other - gate))

    def third(self, x: Tensor) -> Tensor:
        """See ``Gated.third``."""
        inner, slope = self._inner(x), self._inner_slope(x)
        gate, other = inner.sigmoid(), (-inner).sigmoid()
        bell, tilt = gate * other, other - gate
        bend = 12 * math.sqrt(2 / math.pi) * self.cubic  # the inner second derivative is this times x, the third this
        rest = tilt * slope * (slope + bend * x * x)
        return bell * (3 * rest + x * slope**3 * (1 - 6 * bell) + 4 * bend * x)

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return GatedSlope(self)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield GeluTanh(), [(1, 7)]
        yield GeluTanh(0.0447), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Silu(Gated):
    """y = x * sigmoid(x)."""

    bends = (-2.3993572805154677, 2.3993572805154677)
    turns = (-3.4358409935351107, 0.0, 3.4358409935351107)

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0] * x[0].sigmoid()

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        gate = x.sigmoid()
        return gate + x * gate * (-x).sigmoid()

    def second(self, x: Tensor) -> Tensor:
        """See ``Searched.second``."""
        gate, other = x.sigmoid(), (-x).sigmoid()
        return gate * other * (2 + x * (other - gate))

    def third(self, x: Tensor) -> Tensor:
        """See ``Gated.third``."""
        gate, other = x.sigmoid(), (-x).sigmoid()
        bell = gate * other
        return bell * (3 * (other - gate) + x * (1 - 6 * bell))

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return GatedSlope(self)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Silu(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Mish(Gated):
    """y = x * tanh(log(1 + exp(x)))."""

    bends = (-2.256376396360793, 1.4905711794854284)
    turns = (-3.2673378465204046, -0.08793443131491421, 2.114842563020877)

    @staticmethod
    def _parts(x: Tensor) -> tuple[Tensor, Tensor]:
        """Return tanh(softplus(x)) and its derivative."""
        small = (-x.abs()).exp()
        square = torch.where(x > 0, small * small, 1.0)  # of exp(-x) for x > 0, exp(x) else, scaled alike
        grown = torch.where(x > 0, 1 + 2 * small, small * small + 2 * small)
        total = grown + torch.where(x > 0, 2 * square, 2.0)
        gate = grown / total
        slope = 4 * torch.where(x > 0, small + square, small) * torch.where(x > 0, small, 1 + small) / (total * total)
        return gate, slope

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0] * self._parts(x[0])[0]

    def derivative(self, x: Tensor, piece: int) -> Tensor:
        """See ``Smooth.derivative``."""
        del piece
        gate, slope = self._parts(x)
        return gate + x * slope

    def second(self, x: Tensor) -> Tensor:
        """See ``Searched.second``."""
        gate, slope = self._parts(x)
        sigmoid = x.sigmoid()
        return slope * (2 + x * ((1 - sigmoid) - 2 * gate * sigmoid))

    def third(self, x: Tensor) -> Tensor:
        """See ``Gated.third``."""
        gate, slope = self._parts(x)
        sigmoid = x.sigmoid()
        other = 1 - sigmoid
        tilt = other - 2 * gate * sigmoid
        change = -sigmoid * (other + 2 * slope + 2 * gate * other)
        return slope * (3 * tilt + x * (tilt * tilt + change))

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return GatedSlope(self)

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Mish(), [(1, 7)]
