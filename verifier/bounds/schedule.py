"""What to bound next, and how: a box for every node, the cheap way first, backward only where it helps."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from verifier.balls import Ball
from verifier.bounds.backward import LinearBound, backward
from verifier.bounds.forward import Form, columns_of, forward_step, input_form
from verifier.bounds.interval import interval_step
from verifier.bounds.rounding import Rounding, input_rounding, rounding
from verifier.bounds.windows import Piece, inputs_within, pieces, placed, scales_within, within
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node
from verifier.ops.elementwise import Elementwise
from verifier.ops.op import Affine, Exact
from verifier.sets import Box, Enclosure, Window


@dataclass(frozen=True, slots=True)
class Method:
    """Which bounds to combine; intervals are always among them.

    Backward bounds are left out at nodes with more than ``most`` undecided elements for each domain: there, narrower
    domains are worth more. ``coarse`` is the part of the backward bounds' width that margins for rounding may be.
    """

    forward: bool = False
    backward: bool = False
    most: float = math.inf
    coarse: float = math.inf
    named: int = 0


INTERVAL, FORWARD, CROWN = Method(), Method(forward=True), Method(backward=True)
BOTH = Method(forward=True, backward=True)


class CoarseError(ArithmeticError):
    """Margins for rounding are too large a part of a node's backward bounds; ``boxes`` are those found so far."""

    def __init__(self, boxes: dict[str, Box]) -> None:
        """Keep the boxes."""
        super().__init__("rounding outweighs the bounds")
        self.boxes = boxes


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Everything known of a network over boxes of its input, one per domain.

    ``boxes`` has a box ``(B, *node)`` for every node, ``enclosures`` and ``scales`` (rounding) likewise; ``forms`` has
    the forward linear forms, where they were computed and are still of use. After ``until`` no more boxes are tightened
    backward, and only for elements of nonlinear nodes that are ``relevant``, ``(1, *node)``; where nothing is said, all
    are. ``starts`` remembers what ``start`` has computed.
    """

    graph: Graph
    boxes: dict[str, Box] = field(default_factory=dict)
    enclosures: dict[str, Enclosure] = field(default_factory=dict)
    scales: dict[str, Rounding] = field(default_factory=dict)
    forms: dict[str, Form] = field(default_factory=dict)
    until: float = math.inf
    relevant: Mapping[str, Tensor] = field(default_factory=dict)
    starts: dict[str, Tensor] = field(default_factory=dict)

    def start(self, name: str) -> Tensor:
        """Return the parameters of least area of a nonlinear node, ``(P, B, 1, *node)``."""
        if name not in self.starts:
            node = self.graph.nodes[name]
            assert isinstance(node.op, Elementwise)
            self.starts[name] = node.op.start(*operands_of(self.graph, node, self.boxes))
        return self.starts[name]

    def rows(self, rows: Tensor, start: str = OUTPUT, record: dict[str, Tensor] | None = None) -> LinearBound:
        """Bound rows ``(B, S, *start)`` of a node from below, rounding included; see ``backward``."""
        return backward(self.graph, start, rows, self.enclosures, scales=self.scales, record=record)

    @property
    def late(self) -> bool:
        """Whether ``until`` has passed."""
        return time.monotonic() > self.until

    def take(self, index: Tensor) -> Bounds:
        """Select domains, repeated as often as the index says."""
        return Bounds(
            self.graph,
            {INPUT: self.boxes[INPUT].take(index)},
            {name: enclosure.take(index) for name, enclosure in self.enclosures.items()},
            {name: scale.take(index) for name, scale in self.scales.items()},
            until=self.until,
        )

    def within(self, piece: Piece) -> Bounds:
        """Keep what a backward pass for rows inside a piece's windows needs."""
        graph, windows = self.graph, piece.windows
        if not windows:
            return self
        enclosures = {name: within(graph, name, windows, self.enclosures[name]) for name in windows if name != INPUT}
        boxes = {INPUT: inputs_within(graph, windows, self.boxes[INPUT])}
        return Bounds(graph, boxes, enclosures, scales_within(graph, windows, self.scales), until=self.until)


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Slopes found by optimisation, for the rows of one node.

    ``elements`` (K,) are the node's elements that they bound, cut up into ``pieces``. ``alpha`` has for each piece of k
    elements, by nonlinear node, parameters ``(P, 1, 2 k, *window)``, lower ends first and upper ends after them, or
    ``(P, 1, 1, *window)`` where the piece's rows share them.
    """

    elements: Tensor
    pieces: list[Piece]
    alpha: list[dict[str, Tensor]]


def bound_nodes(
    graph: Graph,
    input_box: Box,
    method: Method,
    known: Mapping[str, Box] | None = None,
    slopes: Mapping[str, Slopes] | None = None,
    until: float = math.inf,
    relevant: Mapping[str, Tensor] | None = None,
    before: Bounds | None = None,
) -> Bounds:
    """Bound every node over boxes of the input.

    Args:
        graph: the network.
        input_box: shape ``(B, n)``, in the graph's dtype.
        method: what to use besides intervals. Forward bounds carry a column for each coordinate that varies.
        known: boxes ``(B or 1, *node)`` that are known to hold already, to intersect with.
        slopes: by node, for backward bounds with B = 1: other slopes than those of least area.
        until: value of ``time.monotonic()`` after which boxes are no longer tightened backward.
        relevant: masks ``(1, *node)`` of elements of nonlinear nodes; what only others read is not tightened backward.
        before: other bounds of the network, for what can be taken over where boxes are the same.

    Raises:
        CoarseError: rounding takes a larger part of some bounds than the method allows.

    Property: sound in floating point; not complete.
    """
    bounds = Bounds(graph, until=until, relevant=relevant or {})
    bounds.boxes[INPUT] = input_box
    bounds.scales[INPUT] = input_rounding(graph, input_box)
    forms, columns, most = bounds.forms, 0, 0
    if method.forward:
        forms[INPUT] = input_form(input_box, columns_of(input_box))
        columns = forms[INPUT].columns
        most = columns + method.named
    last = {parent: node.name for node in graph.nodes.values() for parent in node.parents}
    boxed = not isinstance(input_box, Ball)  # the coordinates of a ball are not independent
    independent, affine = ({INPUT}, {INPUT}) if boxed else (set[str](), set[str]())
    for node in graph.nodes.values():
        if node.op is None:
            continue
        operands = [bounds.boxes[parent] for parent in node.parents]
        error = rounding(graph, node, operands)
        bounds.scales[node.name] = error
        box = interval_step(node, operands, error.forward)
        exact = len(node.parents) == 1 and node.parents[0] in independent
        if exact and (isinstance(node.op, Elementwise) or (isinstance(node.op, Affine) and node.op.diagonal)):
            independent.add(node.name)
        if isinstance(node.op, Affine) and affine.issuperset(node.parents):
            affine.add(node.name)
            exact = exact or method.forward
        if method.forward:
            forms[node.name] = forward_step(graph, node, [forms[parent] for parent in node.parents], operands)
            box = box.intersect(forms[node.name].box())
            if columns < most and isinstance(node.op, Elementwise):
                forms[node.name] = forms[node.name].named(columns, most - columns)
                columns = max(columns, forms[node.name].columns)
            for parent in node.parents:
                if method.named and last[parent] == node.name:  # forms of many columns take much room
                    forms.pop(parent, None)
        if known is not None and node.name in known:
            box = box.intersect(known[node.name])
        bounds.enclosures[node.name] = _enclose(bounds, node, operands, before)
        if method.backward and not exact:
            if slopes is not None and node.name in slopes:
                box = refine_with(bounds, node, box, slopes[node.name])
            else:
                box = refine(bounds, node, box, method)
        bounds.boxes[node.name] = box
    return bounds


def _enclose(bounds: Bounds, node: Node, operands: list[Box], before: Bounds | None) -> Enclosure:
    if isinstance(node.op, Affine):
        return Exact(node.op, [bounds.graph.nodes[parent].shape for parent in node.parents])
    assert node.op is not None
    if before is not None and all(_same(box, before.boxes[p]) for box, p in zip(operands, node.parents, strict=True)):
        if node.name in before.starts and all(bounds.graph.sources[parent].name == parent for parent in node.parents):
            bounds.starts[node.name] = before.starts[node.name]
        return before.enclosures[node.name]
    return node.op.relax(*operands)


def _same(one: Box, other: Box) -> bool:
    """Tell whether two boxes are equal; NaN never is."""
    return one is other or (torch.equal(one.lower, other.lower) and torch.equal(one.upper, other.upper))


def undecided(graph: Graph, node: Node, boxes: Mapping[str, Box], relevant: Mapping[str, Tensor]) -> Tensor | None:
    """Tell which elements feed a nonlinearity that is not affine on their box, ``(B, *node)``; None if none can.

    Nonlinearities may read them through copies, which themselves have none. Those that are not ``relevant`` do not
    count. Boxes are those of the node and of all before it, at least.
    """
    found: Tensor | None = None
    for reader in graph.readers[node.name]:
        op, operands = graph.nodes[reader].op, graph.nodes[reader].parents
        assert isinstance(op, Elementwise)
        for k, parent in enumerate(operands):
            source = graph.sources[parent]
            if source.name == node.name:
                others = (graph.sources[other] for other in (*operands[:k], *operands[k + 1 :]))
                known = [
                    other.pick(boxes[other.name], graph.nodes[reader].shape) for other in others if other.name in boxes
                ]
                mask = op.undecided(source.pick(boxes[node.name], graph.nodes[parent].shape), *known)
                mask = mask & relevant[reader] if reader in relevant else mask
                mask = source.spread(mask, node.shape)
                found = mask if found is None else found | mask
    return found


def loose(graph: Graph, node: Node, boxes: Mapping[str, Box], relevant: Mapping[str, Tensor]) -> Tensor | None:
    """Tell which undecided elements of a node backward bounds may tighten, ``(B, *node)``; None if none.

    Lines of a function of one operand are no better than the function itself on a box of that operand that was bounded
    by the same lines.
    """
    found = undecided(graph, node, boxes, relevant)
    if found is None or not isinstance(node.op, Elementwise) or len(node.parents) > 1:
        return found
    return found & ~node.op.undecided(*operands_of(graph, node, boxes))


def operands_of(graph: Graph, node: Node, boxes: Mapping[str, Box]) -> list[Box]:
    """Return the boxes of a node's operands; where these are copies, the source's box counts."""
    found = []
    for parent in node.parents:
        source = graph.sources[parent]
        found.append(source.pick(boxes[source.name], graph.nodes[parent].shape))
    return found


def refine(bounds: Bounds, node: Node, box: Box, method: Method = CROWN) -> Box:
    """Tighten a node's undecided elements by backward bounds, if they are not too many for each domain.

    Raises:
        CoarseError: see ``bound_nodes``.
    """
    mask = loose(bounds.graph, node, {**bounds.boxes, node.name: box}, bounds.relevant)
    if mask is None or not 0 < int(mask.sum()) <= method.most * len(mask):
        return box
    domains = len(mask)
    flat = mask.reshape(domains, -1)
    lower, upper = box.lower.reshape(domains, -1).clone(), box.upper.reshape(domains, -1).clone()
    shared = flat.any(0).nonzero().flatten()
    if domains == 1 or 2 * int(flat.sum()) > domains * len(shared):  # the same rows for every domain
        for piece in pieces(bounds.graph, node, shared, domains):
            if bounds.late:
                break
            part = shared[piece.index]
            rows = piece.unit_rows(part, lower).unsqueeze(0)
            rows = rows.expand(domains, *rows.shape[1:])
            local = bounds.within(piece)
            found = local.rows(rows, node.name)
            least, negated = found.minimum(local.boxes[INPUT]).chunk(2, dim=1)
            if not _fine(found.error, least, negated, method.coarse):
                raise CoarseError(bounds.boxes)
            lower[:, part] = torch.fmax(lower[:, part], least)
            upper[:, part] = torch.fmin(upper[:, part], -negated)
    else:  # a domain for each undecided element
        pairs = flat.nonzero()
        for piece in pieces(bounds.graph, node, pairs[:, 1], 1):
            if bounds.late:
                break
            domain, element = pairs[piece.index].unbind(1)
            rows = torch.stack(piece.unit_rows(element, lower).chunk(2), dim=1)
            local = bounds.within(piece).take(domain)
            found = local.rows(rows, node.name)
            least, negated = found.minimum(local.boxes[INPUT]).unbind(1)
            if not _fine(found.error, least, negated, method.coarse):
                raise CoarseError(bounds.boxes)
            lower[domain, element] = torch.fmax(lower[domain, element], least)
            upper[domain, element] = torch.fmin(upper[domain, element], -negated)
    return Box(lower.view_as(box.lower), upper.view_as(box.upper))


def _fine(error: Tensor | None, least: Tensor, negated: Tensor, coarse: float) -> bool:
    """Tell whether margins for rounding are a small enough part of the widths of some bounds."""
    if error is None or math.isinf(coarse):
        return True
    return bool(error.sum() <= coarse * (-negated - least).sum())


def refine_with(bounds: Bounds, node: Node, box: Box, slopes: Slopes) -> Box:
    """Tighten the elements of a node (B = 1) that slopes were optimised for."""
    graph = bounds.graph
    lower, upper = box.lower.reshape(1, -1).clone(), box.upper.reshape(1, -1).clone()
    for piece, values in zip(slopes.pieces, slopes.alpha, strict=True):
        if bounds.late:
            break
        alpha = {name: value.to(graph.dtype) for name, value in values.items()}
        enclosures = relax_all(graph, bounds.boxes, alpha, bounds.enclosures, node.name, piece.windows)
        elements = slopes.elements[piece.index]
        rows = piece.unit_rows(elements, lower).unsqueeze(0)
        scales = scales_within(graph, piece.windows, bounds.scales)
        found = Bounds(graph, {}, enclosures, scales).rows(rows, node.name)
        seen = inputs_within(graph, piece.windows, bounds.boxes[INPUT])
        least, negated = found.minimum(seen).chunk(2, dim=1)
        lower[:, elements] = torch.fmax(lower[:, elements], least)
        upper[:, elements] = torch.fmin(upper[:, elements], -negated)
    return Box(lower.view_as(box.lower), upper.view_as(box.upper))


def relax_all(
    graph: Graph,
    boxes: Mapping[str, Box],
    alpha: Mapping[str, Tensor],
    enclosures: Mapping[str, Enclosure],
    start: str = OUTPUT,
    windows: Mapping[str, Window] | None = None,
) -> dict[str, Enclosure]:
    """Enclose the nonlinear nodes above ``start`` anew on boxes, with slopes where given; affine ones are kept.

    With ``windows``, the enclosures are those for rows that are zero outside of them, and slopes are given inside.
    """
    fresh: dict[str, Enclosure] = {}
    windows = windows or {}
    for name in graph.ancestors(start):
        node, window = graph.nodes[name], windows.get(name, ())
        if isinstance(node.op, Affine):
            fresh[name] = within(graph, name, windows, enclosures[name])
        elif isinstance(node.op, Elementwise):
            operands = (box.within(window) for box in operands_of(graph, node, boxes))
            relaxed = node.op.within(window, node.shape).relax(*operands, alpha=alpha.get(name))
            fresh[name] = placed(graph, name, windows, relaxed)
    return fresh
