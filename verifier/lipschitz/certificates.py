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
from torch import Tensor

from verifier.errors import ShapeError, UsageError
from verifier.graph.graph import Graph
from verifier.graph.onnx_import import load
from verifier.lipschitz.constants import Constants
from verifier.lipschitz.margins import margins
from verifier.search.bab import out_of_memory

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
    model: Graph | str | Path | onnx.ModelProto,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    norm: str = "2",
    *,
    method: str = "auto",
    solver: str = "auto",
    timeout: float | None = 60.0,
    watch: Callable[[CertifiedRadii], None] | None = None,
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
    graph, started = model if isinstance(model, Graph) else load(model), time.monotonic()
    points, labels = _data(x, y, graph)
    limit = math.inf if timeout is None else timeout
    constants = Constants(graph, norm, method, solver, started + limit)
    gaps = margins(graph.exact(), points, labels, SHARE * limit)

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

    try:
        reason = _improve(gaps, labels, constants, lambda: None if watch is None else watch(found("")))
    except KeyboardInterrupt:
        reason = "interrupted"
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        reason = "memory"
    return found(reason)


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


def _data(x: npt.ArrayLike, y: npt.ArrayLike, graph: Graph) -> tuple[Tensor, Tensor]:
    """Return points ``(N, n)`` and labels ``(N,)``.

    Raises:
        UsageError, ShapeError: with what is wrong of them.
    """
    points, labels = np.asarray(x), np.asarray(y)
    if points.dtype.kind not in "fiub":
        raise UsageError(f"points are real numbers, not {points.dtype}")
    if labels.dtype.kind not in "iu":
        raise UsageError(f"labels are whole numbers, not {labels.dtype}")
    if points.ndim < 2 or not len(points):
        raise ShapeError(f"points of shape {points.shape}: (N, {graph.n_inputs}) is needed, N at least 1")
    if labels.shape != (len(points),):
        raise ShapeError(f"{len(points)} points need as many labels, (N,), and there are some of shape {labels.shape}")
    _fits(points.shape[1:], graph)
    if graph.n_outputs < 2:
        raise UsageError("certified radii need at least 2 outputs to compare")
    flat = points.reshape(len(points), -1).astype(np.float64)
    bad = np.argwhere(~np.isfinite(flat))
    if len(bad):
        raise UsageError(f"point {bad[0][0]}: number {bad[0][1]} is {flat[tuple(bad[0])]}, which is not finite")
    strange = np.flatnonzero((labels < 0) | (labels >= graph.n_outputs))
    if strange.size:
        place = strange[0]
        raise UsageError(f"point {place}: there is no label {labels[place]}: the network has {graph.n_outputs} outputs")
    return torch.from_numpy(flat).to(graph.device), torch.from_numpy(labels.astype(np.int64)).to(graph.device)


def _fits(shape: tuple[int, ...], graph: Graph) -> None:
    """Refuse points whose axes are not those of the input: their order would be another one."""
    ports = [tuple(size for size in port.shape if size != 1) for port in graph.inputs]
    axes = tuple(size for size in shape if size != 1)
    if math.prod(shape) != graph.n_inputs or (len(axes) > 1 and [axes] != ports):
        there = " and ".join(str(tuple(port.shape)) for port in graph.inputs)
        raise ShapeError(f"points of shape {shape} do not fit the input {there}, {graph.n_inputs} numbers")
