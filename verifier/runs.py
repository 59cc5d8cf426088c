"""Runs of ``lipschitz`` and ``monotone`` as options name them; what an interrupt cuts short leaves what came before."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifier import report
from verifier.cluster.connect import ClusterError
from verifier.errors import VerifierError
from verifier.interrupts import Interrupts

if TYPE_CHECKING:
    import numpy.typing as npt

    from specs import InputSet
    from specs.sets import Array
    from verifier.graph.graph import Graph
    from verifier.lipschitz.certificates import CertifiedRadii
    from verifier.lipschitz.monotone import MonotoneResult
    from verifier.lipschitz.radius import RadiusResult, Trial
    from verifier.lipschitz.result import LipschitzResult, Step

LEAST_TIMEOUT = 1e-3
"""Seconds that a run gets where start-up used up the time limit."""


def check_files(options: argparse.Namespace, *outputs: Path | None) -> None:
    """Refuse files that cannot be read or written.

    Raises:
        UsageError: with the path.
    """
    data = getattr(options, "certify", None)
    given = [path for path in (options.spec, options.center, data, options.model) if path is not None]
    report.check_outputs((options.json, *outputs), given)
    report.check_inputs(given)


def network_and_boxes(options: argparse.Namespace, interrupts: Interrupts) -> tuple[Graph, list[Any]]:
    """Read the set of inputs, which is quick to fail, then the network; return it and the boxes, or None for all.

    Raises:
        VerifierError, SpecError: they cannot be read, or do not fit together.
    """
    with interrupts.held():
        from verifier.regions import region_of
    region = region_of(options)
    with interrupts.held():
        from specs import Spec
        from verifier.api import distinct_boxes
        from verifier.graph.onnx_import import load
        from verifier.lipschitz import api, monotone  # noqa: F401  (what comes next)
    try:
        graph = load(options.model)
        return graph, distinct_boxes(region, graph) if isinstance(region, Spec) else [region]
    except VerifierError as error:
        raise located(error, options.model, options.spec or options.center) from error


def constant(
    options: argparse.Namespace,
    graph: Graph,
    box: InputSet | None,
    timeout: float,
    show: Callable[[Step], None] | None,
    interrupts: Interrupts,
) -> LipschitzResult:
    """Bound one constant."""
    from verifier.lipschitz.api import lipschitz
    from verifier.lipschitz.result import LipschitzResult

    steps: list[Step] = []
    started = time.monotonic()
    extra = {
        "method": options.method,
        "solver": options.solver,
        "inputs": options.inputs,
        "gap": options.gap,
        "seed": options.seed,
    }
    try:
        watch = noting(steps, show)
        return lipschitz(graph, box, options.norm, options.output, timeout=timeout, watch=watch, **extra)
    except VerifierError as error:
        raise located(error, options.model, options.spec or options.center) from error
    except (Exception, KeyboardInterrupt):
        if not interrupts.code:
            raise
    ends = (steps[-1].upper, steps[-1].lower, steps[-1].method) if steps else (math.inf, None, "none")
    upper, lower, method = ends
    spent, output = time.monotonic() - started, options.output or "all"
    return LipschitzResult(upper, lower, options.norm, output, method, spent, False, "interrupted", steps=tuple(steps))


def radius(
    options: argparse.Namespace,
    center: Array,
    timeout: float,
    show: Callable[[Trial], None] | None,
    interrupts: Interrupts,
) -> RadiusResult:
    """Find a radius about a point."""
    from verifier.lipschitz.radius import RadiusResult, robust_radius

    steps: list[Trial] = []
    started = time.monotonic()
    label, ball = None if options.output is None else int(options.output), options.ball or "inf"
    extra = {"timeout": timeout, "seed": options.seed}
    try:
        return robust_radius(options.model, center, label, ball, options.clip, watch=noting(steps, show), **extra)
    except VerifierError as error:
        raise located(error, options.model, options.center) from error
    except (Exception, KeyboardInterrupt):
        if not interrupts.code:
            raise
    found = steps[-1].radius if steps else 0.0
    return RadiusResult(found, label, tuple(steps), ball, "interrupted", time.monotonic() - started)


def certified(
    options: argparse.Namespace,
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    timeout: float,
    show: Callable[[CertifiedRadii], None] | None,
    interrupts: Interrupts,
) -> CertifiedRadii:
    """Find radii about labelled points."""
    from verifier.lipschitz.certificates import certified_radii

    steps: list[CertifiedRadii] = []
    extra = {"method": options.method, "solver": options.solver, "timeout": timeout}
    try:
        return certified_radii(options.model, x, y, options.norm, watch=noting(steps, show), **extra)
    except VerifierError as error:
        raise located(error, options.model, options.certify) from error
    except Exception:
        if not (interrupts.code and steps):
            raise
    return replace(steps[-1], reason="interrupted")


def directions(
    options: argparse.Namespace,
    graph: Graph,
    box: InputSet,
    timeout: float,
    show: Callable[[MonotoneResult], None],
    interrupts: Interrupts,
) -> None:
    """Decide how an output depends on inputs."""
    from verifier.lipschitz.monotone import monotone_inputs

    extra = {"timeout": timeout, "seed": options.seed}
    try:
        monotone_inputs(graph, box, options.input, options.output, watch=show, **extra)
    except VerifierError as error:
        raise located(error, options.model, options.spec or options.center) from error
    except (Exception, KeyboardInterrupt):
        if not interrupts.code:
            raise


def share(timeout: float, started: float, parts: int) -> float:
    """Return a part of the time left; never nothing."""
    return max((timeout - (time.monotonic() - started)) / parts, LEAST_TIMEOUT)


def keep(path: Path | None, data: dict[str, Any]) -> None:
    """Write JSON, if that was asked for."""
    if path is not None:
        report.write(path, report.to_json(data))


def noting(steps: list[Any], show: Callable[[Any], None] | None) -> Callable[[Any], None]:
    """Return what keeps steps, and shows them."""

    def watch(step: Any) -> None:
        steps.append(step)
        if show is not None:
            show(step)

    return watch


def located(error: VerifierError, *paths: Path | None) -> VerifierError:
    """Name the files in an error that names none of them, and may be about them."""
    if isinstance(error, ClusterError):
        return error
    files = [str(path) for path in paths if path is not None]
    if any(name in str(error) for name in files):
        return error
    return type(error)(f"{', '.join(files)}: {error}")
