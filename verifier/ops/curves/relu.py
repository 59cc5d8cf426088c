"""The rectifier, by its own rule: it is the commonest curve, and the only one whose relaxation must be fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from verifier.ops.curves.curve import Curve
from verifier.ops.curves.heaviside import Heaviside
from verifier.ops.op import Op, Shape
from verifier.sets import Box, Diagonal, Enclosure


@dataclass(frozen=True, eq=False)
class Relu(Curve):
    """y = max(x, 0), elementwise. One parameter: the slope of the lower line, in [0, 1]; the upper line is the chord.

    Source: Zhang et al., "Efficient Neural Network Robustness Certification with General Activation Functions",
    NeurIPS 2018 (arXiv:1811.00866); optimised slopes: Xu et al., ICLR 2021 (arXiv:2011.13824).
    """

    parameters: ClassVar[int] = 1

    @property
    def exact(self) -> bool:
        """See ``Elementwise.exact``."""
        return True

    def forward(self, *x: Tensor) -> Tensor:
        """See ``Op.forward``."""
        return x[0].clamp(min=0)

    def kinks(self) -> tuple[float, ...]:
        """Return the place of the kink."""
        return (0.0,)

    def interval(self, *x: Box) -> Box:
        """See ``Op.interval``; monotone."""
        return Box(x[0].lower.clamp(min=0), x[0].upper.clamp(min=0))

    def start(self, *x: Box) -> Tensor:
        """See ``Curve.start``: 1 or 0, whichever triangle is smaller."""
        (box,) = x
        return (box.upper > -box.lower).to(box.lower)[None, :, None]

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """See ``Op.relax``."""
        return self.prepare(x[0])(alpha)

    def prepare(self, *x: Box) -> Callable[[Tensor | None], Enclosure]:
        """See ``Curve.prepare``: only the lower slopes of unstable neurons vary."""
        (box,) = x
        lower, upper = box.lower.unsqueeze(1), box.upper.unsqueeze(1)
        unstable = (lower < 0) & (upper > 0)
        active = (lower >= 0).to(lower)
        chord = torch.where(unstable, upper / torch.where(unstable, upper - lower, 1), active)
        offset = torch.where(unstable, -chord * lower, 0)

        def enclose(alpha: Tensor | None) -> Enclosure:
            slope = (self.start(box) if alpha is None else alpha.clamp(0, 1))[0]
            return Diagonal(torch.where(unstable, slope, active), None, chord, offset)

        return enclose

    def parallel(self, *x: Box) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Curve.parallel``."""
        (box,) = x
        unstable = (box.lower < 0) & (box.upper > 0)
        chord = torch.where(
            unstable, box.upper / torch.where(unstable, box.upper - box.lower, 1), (box.lower >= 0).to(box.lower)
        )
        return chord, torch.zeros_like(chord), torch.where(unstable, -chord * box.lower, 0)

    def steepest(self, x: Box) -> Tensor:
        """See ``Curve.steepest``."""
        return torch.ones_like(x.lower)

    def offset_terms(self, *x: Box) -> Tensor:
        """See ``Curve.offset_terms``: that of the chord, which shrinks with the box."""
        (box,) = x
        return torch.where(self.undecided(box), torch.minimum(box.upper, -box.lower), 0)

    def branch_point(self, x: Box) -> Tensor:
        """See ``Curve.branch_point``: the kink, where it lies inside."""
        return torch.where(self.undecided(x), 0.0, torch.nan)

    def undecided(self, x: Box, *others: Box) -> Tensor:
        """See ``Curve.undecided``."""
        del others
        return (x.lower < 0) & (x.upper > 0)

    def slope_curve(self) -> Curve:
        """See ``Curve.slope_curve``."""
        return Heaviside()

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """See ``Op.samples``."""
        yield Relu(), [(1, 7)]
        yield Relu(), [(2, 3)]
