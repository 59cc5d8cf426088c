"""Lipschitz constants of a model: what a user asks for, turned into a network, a box, a norm and rows."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import specs
from specs import InputSet, Spec
from verifier.balls import sets_of
from verifier.config import seconds
from verifier.errors import ShapeError, UnsupportedError, UsageError
from verifier.export import graph_of
from verifier.graph.graph import Graph
from verifier.lipschitz.cut import CutShort
from verifier.lipschitz.local import LocalLipschitz
from verifier.lipschitz.norms import Norm
from verifier.lipschitz.product import product
from verifier.lipschitz.result import LipschitzResult, Step
from verifier.lipschitz.semidefinite import Semidefinite, unfit
from verifier.sets import Box

if TYPE_CHECKING:
    import onnx

METHODS = ("auto", "clarke", "product", "sdp")

GAP = 1e-4
"""Relative width of a bracket that is narrow enough."""


def lipschitz(
    model: Graph | str | Path | onnx.ModelProto | nn.Module,
    region: InputSet | Spec | str | Path | None = None,
    norm: str = "inf",
    output: int | str | None = None,
    *,
    method: str = "auto",
    solver: str = "auto",
    inputs: Sequence[int] | None = None,
    timeout: float | None = 60.0,
    gap: float = GAP,
    seed: int = 0,
    watch: Callable[[Step], None] | None = None,
    example_input: Any = None,
) -> LipschitzResult:
    """Bound the Lipschitz constant of a network, on a box or everywhere.

    Args:
        model: a network in float64, or what to read it from; or a torch module.
        region: a box, a ball within one, a property that has one input set, or its file; without one the constant
            holds everywhere.
        norm: at the input and at the output: ``inf``, ``2`` or ``1``, or two of them as in ``inf,1``.
        output: an index, ``"3-7"`` for the difference of two, or None for all.
        method: ``clarke`` bounds the Clarke Jacobian and needs a region; ``sdp`` solves semidefinite programs, for the
            norms 2, inf and inf,1, and of one output 2 or inf at the input; ``product`` multiplies the layers' norms.
            ``auto`` is ``clarke`` with a region; without one ``sdp``, or ``product`` where that is not for the norm,
            the size or an operator of the network.
        solver: of semidefinite programs: ``auto``, ``barrier``, ``first-order``, or one of cvxpy's as in
            ``cvxpy:CLARABEL``.
        inputs: indices of those that may change, if not all; the others only range.
        timeout: seconds, or None for no limit.
        gap: relative width of the bracket at which to stop.
        seed: of the points that are sampled.
        watch: called with every improvement.
        example_input: of a torch module; with a region, a row of zeros by default.

    Returns:
        A bracket: the upper end certified, the lower one attained by a gradient. Timeouts, lack of memory and Ctrl-C
        end the run with the best so far; they are reasons, not exceptions.

    Raises:
        UsageError: no such norm, output, input or method.
        ModelError, SpecError, ShapeError: the model or the region cannot be read, or they do not fit together.
        UnsupportedError: an operator has no derivative; it is named.

    Property: sound in floating point. In the norms that are row or column norms, and in 2,2, complete in the limit for
    piecewise linear networks, but for activation patterns that occur without an interior: these count as well.
    Source: Shi et al., NeurIPS 2022 (arXiv:2210.07394); of semidefinite bounds see ``sdp``.
    """
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}; choose from {', '.join(METHODS)}")
    if method == "clarke" and region is None:
        raise UsageError("the method clarke needs a region: a property, or a centre and a radius")
    region = specs.load(region) if isinstance(region, (str, Path)) else region
    wanted, graph = Norm.parse(norm), graph_of(model, example_input, size_of(region))
    rows = output_rows(output, graph.n_outputs).to(graph.device)
    if method == "product":
        return _product(graph, wanted, rows, output)
    why_not = unfit(graph, wanted, rows) if region is None and method == "auto" else ""
    if why_not:
        return _product(graph, wanted, rows, output, why_not)
    box = None if region is None else box_of(region, graph)
    mask = None if inputs is None else input_mask(inputs, graph.n_inputs).to(graph.device)
    limit = seconds(timeout)

    def start() -> LocalLipschitz | Semidefinite:
        if box is None or method == "sdp":
            return Semidefinite(graph, box, wanted, rows, mask, gap, limit, seed, watch, solver)
        return LocalLipschitz(graph, box, wanted, rows, mask, gap, limit, seed, watch)

    try:
        return _finished(start, wanted, named(output))
    except UnsupportedError as error:
        if method != "auto" or box is not None:
            raise
        return _product(graph, wanted, rows, output, str(error))


def _finished(start: Callable[[], LocalLipschitz | Semidefinite], norm: Norm, output: str) -> LipschitzResult:
    """Start a run and let it end, by itself or otherwise."""
    run, reason, closed, begun = None, "", False, time.monotonic()
    with CutShort() as cut:
        run = start()
        reason, closed = run.run()
    if run is None:
        return LipschitzResult(math.inf, None, str(norm), output, "none", time.monotonic() - begun, False, cut.reason)
    return run.result(output, cut.reason or reason, closed)


def _product(graph: Graph, norm: Norm, rows: Tensor, output: int | str | None, why_alone: str = "") -> LipschitzResult:
    """Multiply the norms of the layers; say why there is nothing better."""
    started = time.monotonic()
    if norm.p != norm.q:
        raise UsageError(f"the product of norms is there for inf, 2 and 1, not for {norm}")
    upper = product(graph, norm.p, None if output is None else rows)
    spent = time.monotonic() - started
    reason = f"one pass; no semidefinite bound: {why_alone}" if why_alone else "one pass"
    return LipschitzResult(upper, None, str(norm), named(output), "product", spent, False, reason)


def size_of(region: InputSet | Spec | None) -> int | None:
    """Return how many inputs a region has, if there is one."""
    if region is None:
        return None
    return region.n_inputs if isinstance(region, Spec) else region.lower.size


def named(output: int | str | None) -> str:
    """Return the word for an output."""
    return "all" if output is None else str(output)


def output_rows(output: int | str | None, count: int) -> Tensor:
    """Return combinations of outputs ``(S, m)``: all one by one, one, or a difference.

    Raises:
        UsageError: there is no such output.
    """
    eye = torch.eye(count, dtype=torch.float64)
    if output is None:
        return eye
    match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", str(output))
    if match is None:
        raise UsageError(f"output {output!r} is neither an index nor a difference as in 3-7")
    places = [int(word) for word in match.groups() if word is not None]
    for place in places:
        if place >= count:
            raise UsageError(f"there is no output {place}: the network has {count}, counted from 0")
    row = eye[places[0]] if len(places) == 1 else eye[places[0]] - eye[places[1]]
    return row.unsqueeze(0)


def input_mask(inputs: Sequence[int], count: int) -> Tensor:
    """Return a mask ``(n,)`` of some inputs.

    Raises:
        UsageError: there is no such input, or none at all.
    """
    mask = torch.zeros(count, dtype=torch.bool)
    for place in inputs:
        if not 0 <= place < count:
            raise UsageError(f"there is no input {place}: the network has {count}, counted from 0")
        mask[place] = True
    if not mask.any():
        raise UsageError("no inputs are left that may change")
    return mask


def box_of(region: InputSet | Spec | str | Path, graph: Graph) -> Box:
    """Return a region's box ``(1, n)``, or what of it lies in a ball.

    Raises:
        UsageError: a property has several input sets.
        ShapeError: the region has another number of inputs.
    """
    found = specs.load(region) if isinstance(region, (str, Path)) else region
    if isinstance(found, Spec):
        sets = {id(case.inputs): case.inputs for case in found.cases}
        if len(sets) != 1:
            raise UsageError(f"the property has {len(sets)} input sets; a Lipschitz constant is one of a single set")
        (found,) = sets.values()
    if found.lower.size != graph.n_inputs:
        raise ShapeError(f"the region has {found.lower.size} input variables, the network has {graph.n_inputs}")
    return sets_of([found], graph.device)
