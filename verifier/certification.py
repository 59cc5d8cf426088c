"""Certification of labelled points: which keep their labels wherever they move by at most a radius."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from specs.builders import Clip, neighbourhood, robustness
from verifier.balls import sets_of
from verifier.bounds.schedule import CROWN
from verifier.config import Config, seconds
from verifier.errors import UsageError
from verifier.export import as_onnx
from verifier.graph.onnx_import import load
from verifier.labelled import example_of, labelled
from verifier.lipschitz.margins import margins
from verifier.machine import device_of
from verifier.pipeline import verify
from verifier.result import Reason, Verdict

if TYPE_CHECKING:
    import onnx

NORMS = {"inf": math.inf, "2": 2.0, "1": 1.0}

EACH = 10.0
"""Seconds for a point by default."""


class Standing(enum.Enum):
    """What is known of a point: ``falsified`` comes with a point nearby that has another label, or its own label is."""

    VERIFIED = "verified"
    FALSIFIED = "falsified"
    UNKNOWN = "unknown"


_STANDING = {
    Verdict.UNSAT: Standing.VERIFIED,
    Verdict.SAT: Standing.FALSIFIED,
    Verdict.UNKNOWN: Standing.UNKNOWN,
}


@dataclass(frozen=True, slots=True, eq=False)
class Certified:
    """What is known of every point.

    Attributes:
        standings: one for each point; points that were not reached are unknown.
        counterexamples: by the number of the point, an input ``(n,)`` with another label; of the falsified ones.
        reasons: by the number of the point, why nothing is known; of the unknown ones.
        seconds: of the run.
    """

    standings: tuple[Standing, ...]
    counterexamples: dict[int, npt.NDArray[np.float64]]
    reasons: dict[int, str]
    seconds: float

    def count(self, standing: Standing) -> int:
        """Return how many points stand like this."""
        return self.standings.count(standing)

    def __str__(self) -> str:
        """One line for a person."""
        parts = ", ".join(f"{self.count(standing)} {standing.value}" for standing in Standing)
        return f"{parts} of {len(self.standings)} in {self.seconds:.1f} s"


def certify(
    model: str | Path | onnx.ModelProto | nn.Module,
    x: npt.ArrayLike | Tensor,
    y: npt.ArrayLike | Tensor,
    eps: float,
    *,
    norm: str = "inf",
    clip: Clip | None = None,
    timeout: float | None = EACH,
    config: Config = Config(),  # noqa: B008  (immutable)
    example_input: Any = None,
    progress: bool = False,
    watch: Callable[[int, Standing], None] | None = None,
) -> Certified:
    """Decide for each point whether all inputs within a radius have its label as their only largest output.

    All points are bounded together first, which decides most; each of the others is verified on its own.

    Args:
        model: path of an ONNX file, a model in memory, or a torch module.
        x: points, ``(N, n)`` or ``(N, *input)``.
        y: their labels, whole numbers ``(N,)``, counted from 0.
        eps: the radius.
        norm: of the distance, ``inf``, ``2`` or ``1``.
        clip: lowest and highest valid input, numbers or shape ``(n,)``; only valid inputs count.
        timeout: seconds for each point that is verified on its own, or None for no limit.
        config: other options; its own timeout is for all points together.
        example_input: of a torch module; one of the points by default.
        progress: whether to show a bar on stderr.
        watch: called with the number and the standing of each point that is decided or given up.

    Returns:
        A standing for each point. Timeouts, lack of memory and Ctrl-C leave points unknown; they are no exceptions.

    Raises:
        UsageError: no such norm or label; points are not finite, or none are given.
        ModelError: the model cannot be read.
        ShapeError: points or labels have another shape.
        SpecError: no part of a point's ball is valid.

    Property: as ``verify``: sound in floating point, counterexamples are replayed.
    """
    if norm not in list(NORMS):
        raise UsageError(f"there is no norm {norm!r}; choose from {', '.join(NORMS)}")
    begun = time.monotonic()
    source = as_onnx(model, example_of(model, x) if example_input is None else example_input)
    graph = load(source, device=device_of(config))
    points, labels = labelled(x, y, graph)
    inputs = [neighbourhood(point, eps, clip, NORMS[norm]) for point in points.cpu().numpy()]
    found: list[Standing | None] = [None] * len(points)
    counterexamples: dict[int, npt.NDArray[np.float64]] = {}
    reasons: dict[int, str] = {}
    until = begun + seconds(config.timeout)
    with suppress(KeyboardInterrupt), _shown(len(points), progress, watch) as note:
        gaps = margins(graph, sets_of(inputs, graph.device), labels, CROWN)
        for k in (gaps.amin(1) > 0).nonzero().flatten().tolist():
            found[k] = Standing.VERIFIED
            note(k, Standing.VERIFIED)
        for k in [number for number, standing in enumerate(found) if standing is None]:
            left = min(seconds(timeout), until - time.monotonic())
            if left <= 0:
                reasons[k] = Reason.TIMEOUT.value
                found[k] = Standing.UNKNOWN
                note(k, Standing.UNKNOWN)
                continue
            spec = robustness(points[k].cpu().numpy(), eps, int(labels[k]), graph.n_outputs, clip, NORMS[norm])
            result = verify(source, spec, replace(config, timeout=None if math.isinf(left) else left))
            if result.counterexample is not None:
                counterexamples[k] = result.counterexample.x
            if result.reason is not None:
                reasons[k] = ": ".join(part for part in (result.reason.value, result.detail) if part)
            found[k] = _STANDING[result.verdict]
            note(k, _STANDING[result.verdict])
            if result.reason is Reason.INTERRUPTED:
                break
    for k, standing in enumerate(found):
        if standing is None:
            reasons[k] = Reason.INTERRUPTED.value
    standings = tuple(Standing.UNKNOWN if standing is None else standing for standing in found)
    return Certified(standings, counterexamples, reasons, time.monotonic() - begun)


@contextmanager
def _shown(
    count: int, progress: bool, watch: Callable[[int, Standing], None] | None
) -> Iterator[Callable[[int, Standing], None]]:
    """Tell of each point that is decided, with a bar on stderr if one is wanted."""
    if progress:
        from rich.console import Console
        from rich.progress import Progress

        bar = Progress(console=Console(stderr=True))
        task = bar.add_task("points", total=count)
    else:
        bar = None

    def note(number: int, standing: Standing) -> None:
        if bar is not None:
            bar.advance(task)
        if watch is not None:
            watch(number, standing)

    with nullcontext() if bar is None else bar:
        yield note
