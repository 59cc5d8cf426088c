"""Input splitting: domains are boxes of the input, bounded anew from the input on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from verifier.balls import Ball
from verifier.bounds.forward import columns_of
from verifier.bounds.quadratic import raised
from verifier.bounds.schedule import INTERVAL, Bounds, Method, bound_nodes
from verifier.graph.graph import INPUT, Graph
from verifier.half_spaces import HalfSpaces
from verifier.ops.elementwise import Elementwise
from verifier.problem import Cases
from verifier.search.contraction import contracted
from verifier.search.domains import Domains
from verifier.search.whole_inputs import WholeInputs
from verifier.sets import Box, flat

WORK = 10**10
"""Multiplications of one round of forward bounds."""

MOST, FULL = 2048, 512
"""Domains that a round takes at most, and up to which it makes more of few by splitting them several times."""

COUNTED = 64
"""Domains of one round while counting."""

LITTLE = 0.5
"""Part of a domain's volume; if less is left once no more can be cut off, it is bounded again before it is split."""

UNDECIDED = 100
"""Undecided neurons of a layer, for each domain, up to which they are bounded backward."""


@dataclass(frozen=True, eq=False)
class InputDomains(Domains):
    """Boxes of the input, ``lower`` and ``upper`` of shape ``(B, n)`` in float64, that hold what may be unsafe.

    ``influence`` ``(B, n)`` says how much each coordinate moves the bound per unit of width; -1 before it was bounded.
    A coordinate that the network rounds stands for the whole numbers in its range alone.
    """

    lower: Tensor
    upper: Tensor
    influence: Tensor

    @property
    def final(self) -> Tensor:
        """See ``Domains.final``: points that were bounded."""
        return ~(self.lower < self.upper).any(1) & (self.influence >= 0).all(1)


class InputSplitting:
    """Split the coordinate that moves the bound most; bound every part by a whole pass, and cut off what is safe.

    Where all coordinates that vary stand for whole numbers, the search is ``counting``: it comes down to points, which
    cheap bounds in float64 decide.

    Property: sound; complete in the limit for continuous networks, up to counterexamples on the border.
    """

    def __init__(self, graph: Graph, cases: Cases, batch: int | None = None, *, double: bool = False) -> None:
        """Search for cases (float64), in a float32 twin of the network as well unless ``double``.

        By default a round takes as many domains as keep it short.
        """
        self.exact = (graph.to(torch.float64), cases)
        self.fast = (graph.to(torch.float32), cases.to(torch.float32))
        self.batch = min(MOST, max(8, WORK // ((varying(cases) + 6) * graph.work))) if batch is None else batch
        self.double = double
        self.whole = WholeInputs.of(graph, cases)
        self.half_spaces = HalfSpaces.of(cases)
        self.method = Method(forward=True, backward=True, most=UNDECIDED)
        self.counting = len(cases) > 0 and not bool(((cases.lower < cases.upper) & ~self.whole.mask).any())
        if self.counting and batch is None:
            self.batch = min(self.batch, COUNTED)

    def roots(self, case: Tensor, bound: Tensor) -> InputDomains:
        """Make a domain of each of the listed cases."""
        box = self.whole.between(self.exact[1].boxes.take(self.exact[1].set_of[case]))
        weight = torch.full_like(bound, 1 / max(1, len(self.exact[1])))
        return InputDomains(case, bound, weight, box.lower, box.upper, -torch.ones_like(box.lower))

    def split(self, domains: InputDomains) -> InputDomains:
        """Halve each box along one coordinate, or along several while the batch has room.

        A box that was never bounded is left whole, to learn first what moves its bound.
        """
        new = (domains.influence < 0).all(1)
        whole, parts = domains.take(new), domains.take(~new)
        while len(parts):
            parts = self._halve(parts)
            if len(whole) + 2 * len(parts) > min(self.batch, FULL):
                break
        return InputDomains.cat([whole, parts])

    def _halve(self, domains: InputDomains) -> InputDomains:
        width = domains.upper - domains.lower
        score = width * domains.influence
        axis = torch.where(score.amax(1) > 0, score.argmax(1), width.argmax(1)).unsqueeze(1)
        domains = replace(domains, weight=domains.weight / 2)
        low, high = domains.lower.gather(1, axis), domains.upper.gather(1, axis)
        end, begin = self.whole.cut(axis, low, high)
        left = replace(domains, upper=domains.upper.scatter(1, axis, end))
        right = replace(domains, lower=domains.lower.scatter(1, axis, begin))
        return self._feasible(InputDomains.cat([left, right]))

    def _feasible(self, domains: InputDomains) -> InputDomains:
        """Cut off what conditions on inputs alone exclude, and leave out boxes of which nothing is left."""
        boxes = self.exact[1].boxes
        if isinstance(boxes, Ball):
            domains = domains.take(~boxes.take(self.exact[1].set_of[domains.case]).misses(domains.lower, domains.upper))
        if self.half_spaces is None:
            return domains
        box, empty = self.half_spaces.tighten(domains.case, Box(domains.lower, domains.upper))
        return replace(domains, lower=box.lower, upper=box.upper).take(~empty)

    def bound(self, domains: InputDomains) -> tuple[InputDomains, Tensor]:
        """Bound in float32, and again in float64 where only the rounding margin is in the way."""
        if not len(domains):
            return domains, domains.lower
        if self.counting:
            return self._count(domains)
        if self.double:
            return self._bound(domains, *self.exact, self.method)[:2]
        bounded, points, unsure = self._bound(domains, *self.fast, self.method)
        if unsure.any():
            again, better, _ = self._bound(domains.take(unsure), *self.exact, self.method)
            points[unsure] = better
            place = unsure.nonzero().flatten()
            order = torch.cat([(~unsure).nonzero().flatten(), place]).argsort()
            bounded = InputDomains.cat([bounded.take(~unsure), again]).take(order)
            self.double = int(unsure.sum()) > len(domains) // 4
        return bounded, points

    def _count(self, domains: InputDomains) -> tuple[InputDomains, Tensor]:
        """Bound by intervals, and with all that helps where a point is left open."""
        bounded, points, _ = self._bound(domains, *self.exact, INTERVAL)
        hard = ~(bounded.bound > 0) & ~(domains.lower < domains.upper).any(1)
        if hard.any():
            again, _, _ = self._bound(domains.take(hard), *self.exact, self.method)
            bounded.bound[hard] = torch.fmax(bounded.bound[hard], again.bound)
        return bounded, points

    def _bound(
        self, domains: InputDomains, graph: Graph, cases: Cases, method: Method
    ) -> tuple[InputDomains, Tensor, Tensor]:
        """Bound; return also candidates, and where the margin for rounding alone keeps a domain open."""
        box = Box(domains.lower, domains.upper).to(graph.dtype)
        bounds = bound_nodes(graph, box, method)
        record: dict[str, Tensor] = {}
        found = bounds.rows(cases.y_rows[domains.case], record=record)
        if method.forward:
            found = raised(bounds, found, record)
        full, least = cases.close(domains.case, found, box)
        assert full.error is not None
        corner = least
        if isinstance(cases.boxes, Ball):  # its part in the box
            least = torch.fmax(least, full.minimum(cases.boxes.take(cases.set_of[domains.case]).part(box)))
        best, row = least.max(1)
        pick = row[:, None, None].expand(-1, 1, box.lower.shape[1])
        influence = gap_by_coordinate(bounds, record, row) if method.forward else torch.ones_like(box.lower)
        points = full.minimiser(box).gather(1, pick).squeeze(1)
        unsure = ~(best > 0) & (((least + full.error).amax(1) > 0) | ~best.isfinite())
        bounded = replace(domains, bound=best.double(), influence=influence.double().nan_to_num(nan=0.0))
        if method.forward:
            bounded = self._contract(bounded, contracted(full, corner, box))
        return bounded, points.double(), unsure

    def _contract(self, domains: InputDomains, box: Box) -> InputDomains:
        """Shrink open domains to smaller boxes that hold all their counterexamples, or close them if these are empty.

        If little is left of a domain, that is as good as new: what moves its bound is to be learned again.
        """
        width = domains.upper - domains.lower
        lower, upper = torch.fmax(domains.lower, box.lower), torch.fmin(domains.upper, box.upper)
        empty = (lower > upper).any(1)
        bound = torch.where(empty & ~(domains.bound > 0), torch.finfo(width.dtype).tiny, domains.bound)
        fixed = (bound > 0).unsqueeze(1) | self.whole.mask
        lower, upper = torch.where(fixed, domains.lower, lower), torch.where(fixed, domains.upper, upper)
        left = torch.where(width > 0, (upper - lower) / width, 1).prod(1)
        influence = domains.influence.masked_fill((left < LITTLE).unsqueeze(1), -1)
        return InputDomains(domains.case, bound, domains.weight * left, lower, upper, influence)


def gap_by_coordinate(bounds: Bounds, record: dict[str, Tensor], row: Tensor) -> Tensor:
    """Share the gaps of all relaxations, as one row of each domain sees them, among the coordinates that cause them.

    The gap at a neuron is split in proportion to how much each coordinate moves its operand (by the forward form).

    Args:
        bounds: with forward forms.
        record: coefficients at the nonlinear nodes, ``(B, S, *node)``.
        row: which row counts, ``(B,)``.

    Returns:
        Shape ``(B, n)``, per unit of width.
    """
    box = bounds.boxes[INPUT]
    width = box.upper - box.lower
    varying = columns_of(box)
    blame = torch.zeros_like(width)
    if not len(varying):
        return blame
    for name, rows in record.items():
        node = bounds.graph.nodes[name]
        if isinstance(node.op, Elementwise):
            gap = node.op.gap(*(bounds.boxes[operand] for operand in node.parents))
            seen = flat(rows[torch.arange(len(rows)), row].abs()) * flat(gap)
            for operand in node.parents:
                form = bounds.forms[operand]
                slopes = form.slopes.reshape(*form.slopes.shape[:2], -1).abs()
                part = seen / (slopes.sum(1) + flat(form.error)).clamp(min=1e-30)
                blame[:, varying] += (slopes @ part.unsqueeze(-1)).squeeze(-1)
    return torch.where(width > 0, blame / torch.where(width > 0, width, 1), 0)


def varying(cases: Cases) -> int:
    """Count the coordinates that vary in some input box."""
    return int((cases.lower < cases.upper).any(0).sum()) if len(cases) else 0
