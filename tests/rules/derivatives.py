"""Whether the bounds of a Jacobian hold what automatic differentiation gives at points of many boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.bounds.nets import Net, drawn, linear, normal
from tests.rules.boxes import draw_box, draw_points, kinks
from verifier.bounds.schedule import CROWN, INTERVAL, bound_nodes
from verifier.errors import UnsupportedError
from verifier.graph.graph import OUTPUT, Graph
from verifier.graph.jacobian import jacobian
from verifier.ops.curves import Curve, Power, Tan, Tanh
from verifier.ops.linear import Linear
from verifier.ops.op import Affine, Op, Shape
from verifier.ops.select import Slice
from verifier.ops.shape import Reshape
from verifier.sets import Box

BOXES, POINTS = 200, 50
"""Boxes of one network, and points in each of them."""

INPUTS, OUTPUTS = 4, 3
DIRECTIONS, MANY = 2, 16
"""Directions that derivatives are taken in, where inputs are many."""

PRECISION, LEAST = 1e-8, 1e-12
"""The error of automatic differentiation: relative next to a pole, and absolute."""

KNOWN = 0.2
"""The least part of bounds that have to be finite, and of derivatives."""

REACH, EDGE = 3.0, 1e-3
"""How far operands behind an affine layer are from 0 at most, and from the end of a domain at least."""

Rule = Callable[..., Graph]
"""What makes the network of a Jacobian of a network, and perhaps of directions."""


@dataclass(frozen=True)
class Trial:
    """A network in float64, boxes of its input, points ``(P, B, n)``, and which of their coordinates count."""

    graph: Graph
    box: Box
    points: Tensor
    counts: Tensor


def has_derivative(op: Op, shapes: list[Shape]) -> bool:
    try:
        jacobian(alone(op, shapes))
    except UnsupportedError:
        return False
    return True


def operands_of(net: Net, shapes: list[Shape]) -> list[str]:
    """Cut the last node, which is flat, into operands."""
    whole, begin, operands = net.nodes[-1].name, 0, []
    for shape in shapes:
        end = begin + math.prod(shape)
        net.add(Slice(((begin, end, 1),)), whole)
        operands.append(net.add(Reshape(tuple(shape))))
        begin = end
    return operands


def mixed(net: Net, generator: torch.Generator) -> None:
    """Add an affine layer."""
    size = math.prod(net.shapes[net.nodes[-1].name])
    net.add(Reshape((size,)))
    net.add(linear(generator, size, OUTPUTS))


def alone(op: Op, shapes: list[Shape]) -> Graph:
    """Build an operator on inputs of its own, with an affine layer behind."""
    net = Net(sum(math.prod(shape) for shape in shapes))
    net.add(op, *operands_of(net, shapes))
    mixed(net, drawn(0))
    return net.graph()


def alone_on_boxes(op: Op, shapes: list[Shape], dtype: torch.dtype, count: int = BOXES) -> Trial:
    """Draw boxes of all widths at, beside and across places where slopes bend, jump or end, and points beside these.

    A coordinate that does not vary does not count, unless the derivative is the same everywhere.
    """
    generator, slope = drawn(1), slope_of(op)
    boxes = [draw_box(slope, shape, count, dtype, generator) for shape in shapes]
    points = [draw_points(slope, box, POINTS, generator).flatten(2) for box in boxes]
    box = Box(*(torch.cat([end.flatten(1) for end in ends], 1) for ends in zip(*map(ends_of, boxes), strict=True)))
    x = torch.cat(points, 2)
    counts = (box.lower < box.upper).expand(x.shape) | isinstance(op, Affine)
    for place in (*kinks(op), *kinks(slope), 0.0):  # at 0, formulas are put together from two
        counts = counts & (x != place)
    return Trial(alone(op, shapes), box, x, counts)


def slope_of(op: Op) -> Op:
    """Return the derivative as a curve, where there is one, or about that, else the operator itself."""
    try:
        return op.slope_curve() if isinstance(op, Curve) else op
    except NotImplementedError:
        return Power(op.exponent - 1) if isinstance(op, Power) else op


def ends_of(box: Box) -> tuple[Tensor, Tensor]:
    return box.lower, box.upper


def range_of(op: Op) -> tuple[float, float]:
    """Return where a function and its derivative are bounded, and not far from 0."""
    domains = [getattr(curve, "domain", (-math.inf, math.inf)) for curve in (op, slope_of(op))]
    low, high = max(low for low, _ in domains), min(high for _, high in domains)
    if isinstance(op, Tan):
        low, high = -math.pi / 2, math.pi / 2
    if isinstance(op, Power) and op.exponent < 1 and op.exponent != 0:
        low = 0.1
    low = low + EDGE if math.isfinite(low) else max(low, -REACH)
    return low, high - EDGE if math.isfinite(high) else max(REACH, low + REACH)


def between(op: Op, shapes: list[Shape]) -> Graph:
    """Build an operator between affine layers, with a curve behind: what is pulled back depends on the input."""
    generator, net = drawn(2), Net(INPUTS)
    size, (low, high) = sum(math.prod(shape) for shape in shapes), range_of(op)
    weight = normal(generator, INPUTS, size)
    scaled = weight / weight.abs().sum(0) * (high - low) / 2
    net.add(Linear(scaled, torch.full((size,), (high + low) / 2, dtype=torch.float64)))
    net.add(op, *operands_of(net, shapes))
    mixed(net, generator)
    net.add(Tanh())
    mixed(net, generator)
    return net.graph()


def between_on_boxes(op: Op, shapes: list[Shape], dtype: torch.dtype, count: int = BOXES) -> Trial:
    """Draw boxes of all widths within [-1, 1], and points, many of them at ends."""
    generator = drawn(3)
    centre, width = (torch.rand(count, k, dtype=torch.float64, generator=generator) for k in (INPUTS, 1))
    ends = torch.stack([(2 * centre - 1 + side * 10 ** (4 * width - 4)).clamp(-1, 1) for side in (-1, 1)])
    lower, upper = ends.to(dtype)
    box = Box(lower, upper)
    x = Box(lower.double(), upper.double()).sample(POINTS, generator)
    return Trial(between(op, shapes), box, x, (lower < upper).expand(x.shape))


def derivative(graph: Graph, x: Tensor) -> Tensor:
    """Differentiate automatically at points ``(P, B, n)``; shape ``(P, B, m, n)``."""
    flat = x.flatten(0, 1).requires_grad_()
    rows = graph(flat).unbind(1)
    found = [torch.autograd.grad(row.sum(), flat, retain_graph=True, allow_unused=True)[0] for row in rows]
    whole = torch.stack([torch.zeros_like(flat) if row is None else row for row in found], 1)
    return whole.unflatten(0, x.shape[:2])


def bounds_of(slopes: Graph, box: Box) -> Iterator[tuple[str, Box]]:
    """Bound a Jacobian by intervals, and backward."""
    yield "intervals", bound_nodes(slopes, box, INTERVAL).boxes[OUTPUT]
    bounds = bound_nodes(slopes, box, CROWN)
    unit = torch.eye(slopes.n_outputs, dtype=slopes.dtype).expand(len(box.lower), -1, -1)
    yield "backward", Box(bounds.rows(unit).minimum(box), -bounds.rows(-unit).minimum(box))


def check(trial: Trial, rule: Rule = jacobian) -> None:
    """The bounds hold the derivatives at all points, and most of them say something."""
    graph, box, counts = trial.graph, trial.box, trial.counts
    expected = derivative(graph, trial.points)
    single = graph.to(box.lower.dtype)
    counts = counts.unsqueeze(2).expand(expected.shape)
    if graph.n_inputs > MANY:
        directions = normal(drawn(4), graph.n_inputs, DIRECTIONS)
        slopes, expected, counts = rule(single, directions=directions), expected @ directions, counts.all(3, True)
    else:
        slopes = rule(single)
    y, counts = expected.flatten(2), counts.expand(expected.shape).flatten(2) & expected.flatten(2).isfinite()
    assert counts.double().mean() > KNOWN, "hardly any derivatives"
    slack = PRECISION * y.abs() + LEAST
    for name, found in bounds_of(slopes, box):
        assert (found.lower.isfinite() & found.upper.isfinite()).double().mean() > KNOWN, f"hardly any {name}"
        assert not (counts & (y < found.lower.double() - slack)).any(), f"below the {name}"
        assert not (counts & (y > found.upper.double() + slack)).any(), f"above the {name}"
