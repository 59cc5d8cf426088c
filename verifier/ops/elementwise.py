"""Nonlinear operators whose result at a place depends on the operands at that place alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from verifier.ops.op import Op, Shape
from verifier.sets import Box, Enclosure, Window


@dataclass(frozen=True, eq=False)
class Elementwise(Op, register=False):
    """A nonlinear function of one or several operands of the result's shape.

    Its relaxation can be chosen by ``parameters`` numbers in [0, 1] for each element: where slopes lie in the range of
    useful ones, or how planes are mixed. ``alpha`` has shape ``(parameters, B, S, *node)``. Every choice is sound, and
    numbers outside of [0, 1] count as its ends.
    """

    parameters: ClassVar[int]
    pace: ClassVar[float] = 1.0
    """How fast ascents move the parameters, relative to those of a rectifier, which jump between their ends."""
    roundings: ClassVar[int] = 0
    """How many units of rounding, in ``absolute_terms``, an evaluation may be wrong by, besides the usual few."""

    @property
    def exact(self) -> bool:
        """Whether each value is an operand's or a constant, in any dtype, and so are the ends of ``interval``."""
        return False

    def outside(self, *x: Box) -> Tensor:
        """Tell where boxes leave the domain of the function: there are no bounds; shape ``(B, *node)``."""
        return torch.zeros_like(x[0].lower, dtype=torch.bool)

    @abstractmethod
    def start(self, *x: Box) -> Tensor:
        """Return the parameters of least area, shape ``(parameters, B, 1, *node)``."""

    def prepare(self, *x: Box) -> Callable[[Tensor | None], Enclosure]:
        """Do what ``relax`` does for any parameters on fixed boxes once; return the rest as a function of them."""
        return lambda alpha: self.relax(*x, alpha=alpha)

    def at(self, elements: Tensor, shape: Shape) -> Self:
        """Return the operator of some elements of a node alone, by their flat indices: that of a node ``(K,)``."""
        del elements, shape
        return self

    def within(self, window: Window, shape: Shape) -> Self:
        """Return the operator of the elements in a window of a node alone."""
        del window, shape
        return self

    @abstractmethod
    def parallel(self, *x: Box) -> tuple[Tensor, ...]:
        """Return two planes of the same slopes that enclose the function, each tensor ``(B, *node)``.

        The order is a slope for each operand, the lower offset, the upper offset.
        """

    def gap(self, *x: Box) -> Tensor:
        """Return the height between the two planes of ``parallel``, shape ``(B, *node)``."""
        *_, low, high = self.parallel(*x)
        return high - low

    @abstractmethod
    def absolute_terms(self, *x: Box) -> Tensor:
        """Bound the absolute terms of ``slopes . x + offset``, added up, over any part of the boxes.

        They are those of every plane that ``relax`` may use on any part of them.
        """

    def offset_terms(self, *x: Box) -> Tensor:
        """Bound ``|offset|`` over the boxes for every plane that ``relax`` may use on any part of them."""
        return self.absolute_terms(*x)

    @abstractmethod
    def branch_point(self, x: Box) -> Tensor:
        """Return where to split each element of an operand, ``(B, *node)``; NaN where a split does not help."""

    def undecided(self, x: Box, *others: Box) -> Tensor:
        """Tell where tighter bounds of an operand help, given those of other operands as far as they are known.

        Shape ``(B, *node)``.
        """
        del others
        return ~self.branch_point(x).isnan()

    def undecided_operands(self, *x: Box) -> list[Tensor]:
        """Tell for each operand where tighter bounds help, ``(B, *node)``."""
        return [self.undecided(box, *x[:k], *x[k + 1 :]) for k, box in enumerate(x)]
