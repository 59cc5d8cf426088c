"""Signs that a network goes by: each is proved on the small part of the network that it reads.

Where a network counts pixels, or looks something up, a bound of the whole needs the signs of many values, and no one
relaxation of a jump is of use. Each of these values may read only a small part of the input. Bounding and splitting
that part costs a thousandth of what it costs with the whole network around it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.balls import Ball
from verifier.bounds.cone import Cone
from verifier.bounds.schedule import INTERVAL, bound_nodes, undecided
from verifier.graph.graph import INPUT
from verifier.ops.curves.jumps import TwoLevels
from verifier.problem import Cases
from verifier.result import Counterexample, Progress
from verifier.search.bab import Search
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.root import Root, rounded
from verifier.sets import Box, flat

SMALL = 0.05
"""Part of the network's work up to which a part of it is worth bounding for one sign."""

STEPS, ROUNDS = 8, 16
"""Steps of ascent for each sign, and rounds of its search."""

CLEAR = 1e-6
"""What is proved of a value, in units of the larger end of its box: that it is so far from 0."""

CHECKS = 0.1
"""Part of the time that telling whether enough is known, or may still become known, may take."""


def decide(root: Root, enough: Callable[[Root], bool], until: float, deadline: float = math.inf) -> Root:
    """Prove signs, those that look easiest first, as long as enough of them may become known.

    Args:
        root: bounds of the whole network on one box.
        enough: tells whether a root with known signs leaves nothing open.
        until: value of ``time.monotonic()`` after which no other sign is tried.
        deadline: the same, for raising TimeoutError on the way.

    Property: sound in floating point; no box is wider than the root's.
    """
    signs, found = list(open_signs(root)), list[Sign]()
    if not signs or not enough(known(root, signs)):
        return root
    failed, checked, cost = False, time.monotonic(), 0.0
    for k, sign in enumerate(signs):
        if (now := time.monotonic()) > until:
            break
        if k and cost <= CHECKS * (now - checked):
            if enough(known(root, found + signs[k:] if failed else found)) != failed:
                break
            failed, checked = False, time.monotonic()
            cost = checked - now
        if proved(root, sign, until, deadline):
            found.append(sign)
        else:
            failed = True
    return known(root, found)


@dataclass(frozen=True, slots=True, eq=False)
class Sign:
    """What is to be proved of an element of a node: that ``sign`` times it exceeds ``clear``, which is positive."""

    name: str
    element: int
    sign: int
    clear: float


def open_signs(root: Root) -> Iterator[Sign]:
    """Yield the undecided values of which nothing but the sign is read, by a small part of the network each.

    The sign is that of the middle of the box, and the narrower a box of the other sign's values, the sooner it comes.
    """
    graph, boxes, found = root.exact.graph, root.exact.boxes, list[tuple[float, Sign]]()
    if isinstance(root.box, Ball):
        return
    for name, node in graph.nodes.items():
        readers = graph.readers[name]
        if not readers or not all(isinstance(graph.nodes[reader].op, TwoLevels) for reader in readers):
            continue
        mask = undecided(graph, node, boxes, root.exact.relevant)
        elements = [] if mask is None else flat(mask)[0].nonzero().flatten().tolist()
        cone = Cone.of(graph, name, elements[len(elements) // 2]) if elements else None  # of one that is typical
        if cone is None or cone.graph.work > SMALL * graph.work:
            continue
        for element in elements:
            low, high = (float(flat(end)[0, element]) for end in (boxes[name].lower, boxes[name].upper))
            if 0 < high - low < math.inf:
                sign, size = (1, high) if low + high >= 0 else (-1, -low)
                found.append((min(-low, high) / (high - low), Sign(name, element, sign, CLEAR * size)))
    yield from (sign for _, sign in sorted(found, key=lambda item: item[0]))


def known(root: Root, signs: list[Sign]) -> Root:
    """Take over signs that are known."""
    boxes = dict[str, Box]()
    for name in {sign.name for sign in signs}:
        box = root.exact.boxes[name]
        lower, upper = flat(box.lower).clone(), flat(box.upper).clone()
        for sign in signs:
            if sign.name == name and sign.sign > 0:
                lower[0, sign.element] = max(sign.clear, float(lower[0, sign.element]))
            elif sign.name == name:
                upper[0, sign.element] = min(-sign.clear, float(upper[0, sign.element]))
        boxes[name] = Box(lower.view_as(box.lower), upper.view_as(box.upper))
    return root.knowing(boxes) if boxes else root


def proved(root: Root, sign: Sign, until: float, deadline: float) -> bool:
    """Try to prove a sign, by optimised bounds and a short search, which ends where the sign is another. Sound."""
    cone = Cone.of(root.exact.graph, sign.name, sign.element)
    if cone is None:  # not every element of a node need read a window where one does
        return False
    part = within(root, cone)
    row = part.box.lower.new_full((1, 1, 1), sign.sign)
    none = torch.zeros(1, dtype=torch.long, device=row.device)
    cases = Cases(part.box, none, row, None, row.new_full((1, 1), sign.clear))
    part = part.improve(row, cases.bound[0], STEPS, until, deadline)
    found = part.rows(row)
    least = found.minimum(part.box)[0] - sign.clear
    if least > 0:
        return True

    def refuted(case: Tensor, x: Tensor) -> Counterexample | None:
        y = cone.graph(x)
        at = (sign.sign * y[:, 0] <= sign.clear).nonzero().flatten().tolist()
        return Counterexample(x[at[0]].numpy(force=True), y[at[0]].numpy(force=True), 0) if at else None

    strategy = NeuronSplitting(part, cases, deadline)
    if not strategy.neurons.elements or refuted(none, found.minimiser(part.box)[0]):
        return False
    search = Search(strategy, refuted, Progress())
    search.enter(*strategy.bound(strategy.roots(none, least, none, none)))
    search.run(until, ROUNDS)
    return search.counterexample is None and not len(search.cases())


def within(root: Root, cone: Cone) -> Root:
    """Restrict bounds of a network to a part of it."""
    boxes = {name: root.exact.boxes[name].within(window) for name, window in cone.windows.items() if name != INPUT}
    exact = bound_nodes(cone.graph, root.box.columns(cone.inputs), INTERVAL, boxes)
    return Root(exact, rounded(exact), {})
