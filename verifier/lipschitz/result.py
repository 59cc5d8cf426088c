"""What a Lipschitz run answers: a bracket, how it came about, and where the lower end is attained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from verifier.errors import ContradictionError

SLACK = 1e-6
"""How far a gradient may be above a certified bound by rounding, relative; one that is further contradicts it."""


def lower_end(found: float, upper: float) -> float:
    """Return the lower end of a bracket: the norm of a gradient, which rounding may have raised above the upper end.

    Raises:
        ContradictionError: it is so far above that the bound must be wrong.
    """
    if found > upper * (1 + SLACK) + SLACK * torch.finfo(torch.float32).tiny:
        raise ContradictionError(
            f"a gradient of norm {found:.9g} contradicts the certified bound {upper:.9g}: this is a defect of the "
            "verifier, please report it with the model"
        )
    return min(found, upper)


@dataclass(frozen=True, slots=True)
class Step:
    """A moment of a run: ``lower <= constant <= upper`` after so many seconds, by a method."""

    seconds: float
    lower: float
    upper: float
    method: str


@dataclass(frozen=True, slots=True, eq=False)
class LipschitzResult:
    """A bracket of a Lipschitz constant: ``lower <= constant <= upper``.

    Attributes:
        upper: certified, rounding included; infinite if nothing is known.
        lower: the norm of the Jacobian at ``point``, or None where no point was looked at.
        norm: ``p,q``, or ``p`` for both.
        output: which outputs, as they were asked for; ``all`` if nothing was said.
        method: what gave the upper bound.
        seconds: of the run.
        closed: whether the bracket is as narrow as was asked for.
        reason: why the run ended.
        certified: whether ``upper`` is proved.
        point: flat input ``(n,)``.
        steps: how the bracket narrowed, in time.
    """

    upper: float
    lower: float | None
    norm: str
    output: str
    method: str
    seconds: float
    closed: bool
    reason: str
    certified: bool = True
    point: npt.NDArray[np.float64] | None = None
    steps: tuple[Step, ...] = field(default_factory=tuple)

    @property
    def gap(self) -> float | None:
        """The relative width of the bracket, ``upper / lower - 1``."""
        return self.upper / self.lower - 1 if self.lower else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "upper": self.upper,
            "lower": self.lower,
            "gap": self.gap,
            "norm": self.norm,
            "output": self.output,
            "method": self.method,
            "certified": self.certified,
            "closed": self.closed,
            "reason": self.reason,
            "seconds": self.seconds,
            "point": None if self.point is None else self.point.tolist(),
            "steps": [[step.seconds, step.lower, step.upper, step.method] for step in self.steps],
        }
