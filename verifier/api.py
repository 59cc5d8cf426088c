"""Bounds of a network's outputs over the input boxes of a property."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import specs
from specs import InputSet, Query, Spec
from verifier.balls import Ball, sets_of
from verifier.bounds.schedule import BOTH, CROWN, FORWARD, INTERVAL, Method, bound_nodes
from verifier.bounds.windows import CHUNK, pieces
from verifier.errors import ShapeError, UnsupportedError, UsageError
from verifier.export import graph_of
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.search.root import Root
from verifier.sets import Box

if TYPE_CHECKING:
    import onnx

FORWARD_INPUTS = 64
"""Varying inputs up to which CROWN takes forward bounds as well: they cost a column for each."""

ITERATIONS = 30
"""Steps of ascent that ``alpha`` takes for each box."""


@dataclass(frozen=True, slots=True, eq=False)
class OutputBounds:
    """What the outputs can be on one box: ``lower[j] <= f(x)[j] <= upper[j]`` for every x in ``box``.

    Both ends have shape ``(m,)``.
    """

    box: InputSet
    lower: npt.NDArray[np.float64]
    upper: npt.NDArray[np.float64]


def output_bounds(
    model: Graph | str | Path | onnx.ModelProto | nn.Module,
    region: Spec | InputSet | str | Path,
    method: str = "crown",
    *,
    example_input: Any = None,
) -> list[OutputBounds]:
    """Bound every output over each distinct input box of a property.

    Args:
        model: a network in float64, or what to read it from; or a torch module.
        region: a property, its file, or one set.
        method: ``interval``, ``forward``, ``crown`` or ``alpha``, from cheap to tight. Each is intersected with
            intervals; ``crown`` also with forward bounds where few inputs vary, and ``alpha`` with ``crown``.
        example_input: of a torch module; a row of zeros by default.

    Returns:
        One entry for each box, in the order of the property's cases.

    Raises:
        UsageError: there is no such method.
        ModelError, SpecError, ShapeError: the model or the property cannot be read, or they do not fit together.
        UnsupportedError: the property has input sets of different kinds.

    Property: sound in floating point; not complete.
    """
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}; choose from {', '.join(METHODS)}")
    property_ = specs.load(region) if isinstance(region, (str, Path)) else region
    size = property_.n_inputs if isinstance(property_, Spec) else property_.lower.size
    graph = graph_of(model, example_input, size)
    sets = distinct_boxes(property_, graph)
    widest = max(math.prod(node.shape) for node in graph.nodes.values())
    together = max(1, CHUNK[graph.device.type] // (2 * graph.n_outputs * widest))
    found: list[OutputBounds] = []
    with torch.no_grad():
        for start in range(0, len(sets), together):
            group = sets[start : start + together]
            outputs = METHODS[method](graph, sets_of(group, graph.device).to(graph.dtype))
            ends = zip(group, outputs.lower.cpu().numpy(), outputs.upper.cpu().numpy(), strict=True)
            found += [OutputBounds(*entry) for entry in ends]
    return found


def distinct_boxes(region: Spec | InputSet, graph: Graph) -> list[InputSet]:
    """Return the input boxes of a property, each once."""
    if isinstance(region, Query) and not region.plain:
        raise UnsupportedError(
            "the property speaks of several networks, hidden tensors, products or equated inputs: only verify reads it"
        )
    if isinstance(region, Spec):
        sets = list({id(case.inputs): case.inputs for case in region.cases}.values())
        sizes = [("input", region.n_inputs, graph.n_inputs), ("output", region.n_outputs, graph.n_outputs)]
    else:
        sets, sizes = [region], [("input", region.lower.size, graph.n_inputs)]
    for what, stated, there in sizes:
        if stated != there:
            raise ShapeError(f"the specification has {stated} {what} variables, the network has {there}")
    return sets


def _by_nodes(method: Method) -> Callable[[Graph, Box], Box]:
    """Bound forward only: the last node's box is the answer."""
    return lambda graph, box: bound_nodes(graph, box, method).boxes[OUTPUT]


def _crown(graph: Graph, box: Box) -> Box:
    """Bound the unit rows of the output, and their negatives, backward."""
    few = not isinstance(box, Ball) and int((box.lower < box.upper).any(0).sum()) <= FORWARD_INPUTS
    bounds = bound_nodes(graph, box, BOTH if few else CROWN)
    output, domains = graph.nodes[OUTPUT], len(box.lower)
    least, most = [], []
    for piece in pieces(graph, output, torch.arange(graph.n_outputs, device=graph.device), domains):
        rows = piece.unit_rows(piece.index, box.lower).unsqueeze(0).expand(domains, -1, -1)
        lower, negated = bounds.rows(rows).minimum(bounds.boxes[INPUT]).chunk(2, dim=1)
        least.append(lower)
        most.append(-negated)
    return Box(torch.cat(least, 1), torch.cat(most, 1)).intersect(bounds.boxes[OUTPUT])


def _alpha(graph: Graph, box: Box) -> Box:
    """Optimise all slopes for the unit rows of the output and their negatives, one box after the other."""
    plain, output = _crown(graph, box), graph.nodes[OUTPUT]
    lower, upper = plain.lower.clone(), plain.upper.clone()
    for k in range(len(box.lower)):
        root = Root.cheap(graph, box.take(torch.tensor([k], device=graph.device))).crown()
        if not root.neurons().elements:
            continue
        for piece in pieces(graph, output, torch.arange(graph.n_outputs, device=graph.device), 1):
            part, rows = piece.index, piece.unit_rows(piece.index, box.lower).unsqueeze(0)
            threshold = torch.cat([upper[k, part], -lower[k, part]])  # no lower bound can be above it
            with torch.enable_grad():
                better = root.improve(rows, threshold, ITERATIONS, until=math.inf)
            least, negated = better.rows(rows).minimum(root.box)[0].chunk(2)
            lower[k, part] = torch.fmax(lower[k, part], least)
            upper[k, part] = torch.fmin(upper[k, part], -negated)
    return Box(lower, upper)


METHODS: dict[str, Callable[[Graph, Box], Box]] = {
    "interval": _by_nodes(INTERVAL),
    "forward": _by_nodes(FORWARD),
    "crown": _crown,
    "alpha": _alpha,
}
"""How to bound the outputs over boxes ``(B, n)``, by name."""
