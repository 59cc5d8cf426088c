"""What a fusing rule proposes: operators to put in place of a node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import torch

from verifier.graph.forms import Nodes
from verifier.graph.graph import Node
from verifier.ops.arithmetic import Scale, Translate
from verifier.ops.op import Op

ONE, LINEAR = Fraction(0), Fraction(1)
"""Degrees; LINEAR is the number 1, too."""


@dataclass(slots=True)
class Draft:
    """Operators to put in place of a node: each with its operands, nodes of the graph or earlier ones of the draft.

    ``free`` names nodes that the root is a function of in form alone: whatever their values are, they cancel.
    """

    root: Node
    steps: list[tuple[Op, tuple[str, ...]]] = field(default_factory=list)
    free: tuple[str, ...] = ()

    def apply(self, op: Op, *operands: str) -> str:
        """Add an operator; return the name of its result."""
        self.steps.append((op, operands))
        return f"{self.root.name}~~{len(self.steps)}"

    def scale(self, name: str, factor: Fraction) -> str:
        """Multiply by a number; none but rounding to float64 is lost."""
        return name if factor == 1 else self.apply(Scale(self.constant(factor), roundings(factor)), name)

    def translate(self, name: str, shift: Fraction) -> str:
        """Add a number."""
        return name if shift == 0 else self.apply(Translate(self.constant(shift), None, roundings(shift)), name)

    def curve(self, op: Op, base: str, inner: Fraction, outer: Fraction) -> Draft:
        """Put in ``outer * op(inner * base)``, and return the draft."""
        self.scale(self.apply(op, self.scale(base, inner)), outer)
        return self

    def constant(self, value: Fraction) -> torch.Tensor:
        """Return a number as a constant of the root's rank."""
        return torch.full((1,) * len(self.root.shape), float(value), dtype=torch.float64)


def roundings(value: Fraction) -> int:
    """Count the roundings of a constant: none if it is a float64, else those of its digits and its own."""
    return 0 if exact(value) else 2


def exact(value: Fraction) -> bool:
    """Tell whether a number is a float64."""
    try:
        return Fraction(float(value)) == value
    except OverflowError:
        return False


Rule = Callable[[Nodes, Node], "Draft | None"]
