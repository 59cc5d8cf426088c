"""Certified radii of labelled points from global Lipschitz constants: how far each can move and keep its label."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from verifier.config import seconds
from verifier.errors import UsageError
from verifier.export import graph_of
from verifier.graph.graph import Graph
from verifier.labelled import example_of, labelled
from verifier.lipschitz.constants import Constants
from verifier.lipschitz.cut import CutShort
from verifier.lipschitz.equilibria import implicit
from verifier.lipschitz.margins import implicit_margins, margins
from verifier.sets import Box

if TYPE_CHECKING:
    import onnx

NORMS = ("2", "inf")

SHARE = 0.25
"""Part of the time that the constants of implicit layers may take, on which the margins rest."""


@dataclass(frozen=True, slots=True, eq=False)
class CertifiedRadii:
    """Radii within which points keep their labels.

    Attributes:
        radii: ``(N,)``, certified, rounding included; 0 where the label is not proved to be the only largest output;
            infinite where no distance changes it.
        labels: ``(N,)``.
        norm: ``2`` or ``inf``, of the distance.
        upper: the constant of all outputs together, from that norm to itself; in the norm inf the product of norms.
        pairs: constants of differences of outputs, of those pairs ``(j, k)``, j < k, that were bounded on their own.
        seconds: of the run.
        reason: why the run ended.
        certified: whether the constants are proved.
    """

    radii: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    norm: str
    upper: float
    pairs: dict[tuple[int, int], float]
    seconds: float
    reason: str
    certified: bool = True

    def accuracy(self, eps: float) -> float:
        """Return the part of the points that keep their labels wherever they move by at most ``eps``."""
        return float((self.radii > eps).mean())

    def quantile(self, part: float) -> float:
        """Return the radius of a point that so large a part of the others is below; none is interpolated."""
        return float(np.sort(self.radii)[int(part * (len(self.radii) - 1))])

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "norm": self.norm,
            "upper": self.upper,
            "pairs": {f"{j}-{k}": value for (j, k), value in sorted(self.pairs.items())},
            "certified": self.certified,
            "accuracy": self.accuracy(0.0),
            "radii": self.radii.tolist(),
            "labels": self.labels.tolist(),
            "reason": self.reason,
            "seconds": self.seconds,
        }


def certified_radii(
    model: Graph | str | Path | onnx.ModelProto | nn.Module,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    norm: str = "2",
    *,
    method: str = "auto",
    solver: str = "auto",
    timeout: float | None = 60.0,
    watch: Callable[[CertifiedRadii], None] | None = None,
    example_input: Any = None,
) -> CertifiedRadii:
    """Prove how far points can move before a network may give them another label.

    Where ``f_c - f_j`` is at least m > 0 at a point and changes at most ``L_cj`` times as fast as the input, no point
    nearer than ``m / L_cj`` has ``f_j >= f_c``; the radius is the least of these over all j. ``L_cj`` is the constant
    of the difference, or, while that is not bounded on its own, sqrt 2 times that of all outputs in the norm 2 (twice
    in the norm inf). The pairs that limit most points come first, and those that limit none are left out.

    Args:
        model: a network in float64, or what to read it from.
        x: points, ``(N, n)`` or ``(N, *input)``.
        y: their labels, whole numbers ``(N,)``, counted from 0.
        norm: of the distance, ``2`` or ``inf``.
        method: ``sdp`` or ``product``; ``auto`` is the former where it can be, see ``lipschitz``.
        solver: of semidefinite programs, see ``lipschitz``.
        timeout: seconds, or None for no limit; the margins, and the product of norms, are computed in any case.
        watch: called after every constant.
        example_input: of a torch module; one of the points by default.

    Returns:
        The radii. Timeouts, lack of memory and Ctrl-C end the run with the best so far.

    Raises:
        UsageError: no such norm, method, solver or label; no points, or ones that are not finite.
        ModelError: the model cannot be read.
        ShapeError: points or labels have another shape.
        UnsupportedError: an operator has no Lipschitz constant; it is named.

    Property: sound in floating point; not complete. Source: Tsuzuku et al., NeurIPS 2018 (arXiv:1802.04034).
    """
    if norm not in NORMS:
        raise UsageError(f"certified radii are there for the norms {' and '.join(NORMS)}, not {norm!r}")
    graph = graph_of(model, example_of(model, x) if example_input is None else example_input)
    started = time.monotonic()
    points, labels = labelled(x, y, graph)
    limit = seconds(timeout)
    constants = Constants(graph, norm, method, solver, started + limit)
    exact = graph.exact()
    if implicit(exact):
        gaps = implicit_margins(exact, points, labels, SHARE * limit)
    else:
        gaps = margins(exact, Box(points, points), labels)

    def found(reason: str) -> CertifiedRadii:
        radii, _ = _radii(gaps, labels, constants)
        spent = time.monotonic() - started
        return CertifiedRadii(
            radii.cpu().numpy(),
            labels.cpu().numpy(),
            norm,
            constants.upper,
            dict(constants.pairs),
            spent,
            reason,
            constants.certified,
        )

    reason = ""
    with CutShort() as cut:
        reason = _improve(gaps, labels, constants, lambda: None if watch is None else watch(found("")))
    return found(cut.reason or reason)


def _improve(gaps: Tensor, labels: Tensor, constants: Constants, note: Callable[[], None]) -> str:
    """Bound the constants that limit radii, one after the other, until all that do are bounded; say why it ended."""
    note()
    if constants.system is None:
        return f"one pass; no semidefinite bound: {constants.why_not}" if constants.why_not else "one pass"
    constants.bound_all()
    note()
    while True:
        radii, nearest = _radii(gaps, labels, constants)
        counts = (gaps > 0).all(1) & radii.isfinite()
        pairs = torch.stack([torch.minimum(labels, nearest), torch.maximum(labels, nearest)], 1)[counts]
        kinds, numbers = pairs.unique(dim=0, return_counts=True)
        ranked = [tuple(kinds[k].tolist()) for k in numbers.argsort(descending=True, stable=True).tolist()]
        left = [(j, k) for j, k in ranked if (j, k) not in constants.pairs]
        if not left:
            return "every constant that limits a radius is bounded"
        if constants.expired:
            return "timeout"
        constants.bound_pair(*left[0])
        note()


def _radii(gaps: Tensor, labels: Tensor, constants: Constants) -> tuple[Tensor, Tensor]:
    """Return radii ``(N,)``, rounded down, and which output limits each.

    Args:
        gaps: lower bounds of ``f_label - f_j``, ``(N, K)``; infinite for the label itself.
        labels: ``(N,)``.
        constants: of differences.
    """
    rates = constants.matrix()[labels]
    each = torch.nextafter(gaps / rates, torch.zeros_like(gaps)).where(rates > 0, math.inf)
    each = each.where(gaps > 0, 0).scatter(1, labels.unsqueeze(1), math.inf)
    least, nearest = each.min(1)
    return least, nearest
