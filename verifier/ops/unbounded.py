"""Operators without bounds over boxes: they are read for global Lipschitz bounds alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from verifier.errors import UnsupportedError
from verifier.ops.op import Op, Shape
from verifier.sets import Box, Enclosure


@dataclass(frozen=True, eq=False)
class Unbounded(Op, register=False):
    """An operator that can be evaluated, and no more; it is not in the registry of those that have bounds."""

    def interval(self, *x: Box) -> Box:
        """Refuse.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(f"{type(self).__name__} has no bounds over boxes")

    def relax(self, *x: Box, alpha: Tensor | None = None) -> Enclosure:
        """Refuse, as ``interval`` does."""
        raise UnsupportedError(f"{type(self).__name__} has no bounds over boxes")

    @staticmethod
    def samples() -> Iterator[tuple[Op, list[Shape]]]:
        """Yield nothing: the conformance suite is of operators that have bounds."""
        yield from ()
