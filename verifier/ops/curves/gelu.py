"""Gated identities, x times a sigmoid: where their slope takes a value has to be searched for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from verifier.ops.curves.searched import Searched
from verifier.ops.op import Op, Shape

CUBIC = 0.044715
"""The coefficient in Gelu by tanh."""


@dataclass(frozen=True, eq=False)
class Gated(Searched, register=False):
    """A function with two inflections, convex between them."""

    curvature = (-1, 1, -1)


@dataclass(frozen=True, eq=False)
class Gelu(Gated):
    """y = x * Phi(x), with the normal distribution Phi."""

    bends = (-math.sqrt(2), math.sqrt(2))

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


@dataclass(frozen=True, eq=False)
class GeluTanh(Gated):
    """y = x * sigmoid(2 sqrt(2 / pi) (x + cubic x^3)), the usual approximation of Gelu; files round the coefficient."""

    cubic: float = CUBIC

    @cached_property
    def bends(self) -> tuple[float, ...]:  # type: ignore[override]
        """The places where f'' is 0, by halving."""
        if self.cubic == CUBIC:
            return (-1.418504008790828, 1.418504008790828)
        low, high = torch.tensor(1.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.second(middle) > 0 else (low, middle)
        return (-low.item(), low.item())

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

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield GeluTanh(), [(1, 7)]
        yield GeluTanh(0.0447), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Silu(Gated):
    """y = x * sigmoid(x)."""

    bends = (-2.3993572805154677, 2.3993572805154677)

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

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Silu(), [(1, 7)]


@dataclass(frozen=True, eq=False)
class Mish(Gated):
    """y = x * tanh(log(1 + exp(x)))."""

    bends = (-2.256376396360793, 1.4905711794854284)

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

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Mish(), [(1, 7)]
