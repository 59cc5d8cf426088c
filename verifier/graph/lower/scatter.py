"""Reading and writing at places that depend on the input, by one-hot codes of the places.

Slices at a place that depends on the input may end behind the axis: they are then shorter, and their size depends on
the input. Such a tensor is given its full size here, and numbers that do not exist become ``ABSENT``, which is no index
of anything: they may be moved, joined and used as indices to write at, and nothing else.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import replace

import numpy as np
import torch

from verifier.graph.graph import INPUT, Node
from verifier.graph.lower.arithmetic import between, times
from verifier.graph.lower.builder import Builder, Call, Operand, Variable, double, kind_of, lowers, positive_axis
from verifier.graph.lower.choice import guarded, one_hot
from verifier.graph.lower.fold import by_reference
from verifier.graph.lower.truth import at_least, conjunction, truth
from verifier.graph.lower.whole import Span
from verifier.graph.onnx_file import Array
from verifier.ops.arithmetic import Translate
from verifier.ops.curves import Clip, Within
from verifier.ops.op import Affine
from verifier.ops.reduce import ReduceSum
from verifier.ops.select import Concat, Gather, Pad

ABSENT = 4096.0
"""Added to numbers that do not exist: no axis that is written to may be so long. Larger ones would cost digits."""

LOST = 2.0**100
"""Numbers below this have no bounds where values are lost."""

MAY_BE_PARTIAL = {"Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Expand", "Add", "Sub"}
MAY_BE_PARTIAL |= {"Concat", "ScatterND", "Slice"}
"""Operators that read tensors whose size depends on the input."""


def check_partial(b: Builder, call: Call) -> bool:
    """Tell whether the size of a node's results depends on the input; refuse what such operands do not allow."""
    partial = [name in b.partial for name in call.proto.input]
    if not any(partial):
        return False
    kind = call.proto.op_type
    sliced_plainly = kind == "Slice" and not any(isinstance(call.arg(k), Variable) for k in (1, 2))
    if kind not in MAY_BE_PARTIAL or sliced_plainly or (kind == "ScatterND" and partial[0]):
        raise call.unsupported(PARTIAL)
    if kind in ("Add", "Sub"):
        shapes = [call.operand(k).shape for k in range(2)]
        pairs = itertools.zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
        # An axis that is shorter than its full size may be of length 1, and then broadcasts.
        if any(min(pair) > 1 for pair in pairs) or (kind == "Sub" and all(partial)):
            raise call.unsupported(PARTIAL)
    return kind != "ScatterND"


def sized(b: Builder, call: Call, *, folded: bool) -> bool:
    """Tell whether a node's results are numbers that depend on the size of a partial tensor.

    Here such a size is as large as it can be: good for the shape of another partial tensor, and for nothing else.
    """
    kind, names = call.proto.op_type, call.proto.input
    if kind in ("Shape", "Size"):
        return any(name in b.partial for name in names)
    places = [k for k, name in enumerate(names) if name in b.sized]
    if not places:
        return False
    if (kind, places) in (("Expand", [1]), ("Reshape", [1]), ("ConstantOfShape", [0])):
        b.partial.update(call.proto.output)
        return False
    if not folded:
        raise call.unsupported(PARTIAL)
    return True


PARTIAL = (
    "the size of an operand depends on the network's input; supported are elements written at such places, by "
    "ScatterND, and what computes these"
)


def gather_at(b: Builder, call: Call) -> Operand:
    """Read elements of an axis at places that depend on the input: one-hot codes times the elements."""
    data, index = call.operand(0), call.variable(1)
    rank = len(data.shape)
    axis = positive_axis(call.get("axis", 0), rank)
    size, places = data.shape[axis], index.shape
    code = one_hot(b, guarded(b, call, index, size), size, wrap=True)
    code = replace(b.reshape(code, (math.prod(places), size)), kind="f")
    rest = [k for k in range(rank) if k != axis]
    if isinstance(data, Variable):
        table = b.reshape(b.transpose(data, [axis, *rest]), (size, math.prod(data.shape[k] for k in rest)))
        y, kind, span = between(b, code, table), data.kind, data.span
    else:
        table_ = double(data).transpose([axis, *rest]).reshape(size, -1)
        y, kind, span = times(b, code, table_), kind_of(data), None
        if table_.size and (table_ == np.round(table_)).all():
            span = (float(table_.min()), float(table_.max()))
    y = b.reshape(replace(y, kind=kind, span=span), (*places, *(data.shape[k] for k in rest)))
    order = list(range(len(places), len(places) + axis)) + list(range(len(places)))
    return b.transpose(y, order + list(range(len(places) + axis, y.rank)))


def distance(b: Builder, start: Operand, end: Operand) -> int | None:
    """Return how far the end of a slice lies behind its start, if that does not depend on the input."""
    if not (isinstance(start, Variable) and isinstance(end, Variable)) or len({*start.shape, *end.shape} - {1}):
        return None
    one, other = trace(b, start), trace(b, end)
    gap = float((other[1] - one[1]).reshape(-1)[0])
    return int(gap) if one[0].reshape(-1)[0] == other[0].reshape(-1)[0] != "" and gap == int(gap) > 0 else None


def slice_at(b: Builder, call: Call) -> Operand:
    """Take as many elements of a constant as always from a place that depends on the input."""
    data, start, end = call.operand(0), call.operand(1), call.operand(2)
    axes, steps = call.optional(3), call.optional(4)
    length = distance(b, start, end)
    supported = "constant tensors are sliced there, along one axis, with step 1 and an end that is start + constant"
    if isinstance(data, Variable) and length is not None and call.proto.input[0] in b.partial:
        return shape_only(b, call, data, length)
    if length is None or isinstance(data, Variable) or (steps is not None and (steps != 1).any()):
        raise call.unsupported(f"a slice at a place that depends on the input; {supported}")
    assert isinstance(start, Variable)
    if start.span is None:
        raise call.unsupported("a place that is not known to be a whole number; cast it first")
    axis = 0 if axes is None else positive_axis(int(axes.reshape(-1)[0]), data.ndim)
    size = data.shape[axis]
    if length > size:
        raise call.unsupported(
            f"a slice of {length} elements from an axis of {size}; slices that may fit are supported"
        )
    b.partial.add(call.proto.output[0])
    start = b.reshape(start, ())
    if start.span is not None and start.span[0] < 0:  # negative places count from the end, and slices end at it
        start = replace(b.apply(Within(low=-0.5), start), span=(0.0, start.span[1]))
    column = np.moveaxis(double(data), axis, 0)
    steps_ = np.diff(column, axis=0)
    rise = steps_[0] if len(steps_) else np.zeros(column.shape[1:])
    whole = (column >= 0) & (column == np.round(column))
    if not (steps_ == rise).all() or (rise < 0).any() or not whole.all():
        raise call.unsupported("a slice of these constants; whole numbers from 0 on, rising by one step, are supported")
    window = np.moveaxis(column[:length], 0, axis)
    shape = window.shape
    moved = b.scale(b.expand(b.reshape(start, (1,) * data.ndim), shape), np.expand_dims(rise, axis))
    offset = np.arange(length).reshape([-1 if k == axis else 1 for k in range(data.ndim)])
    gone = at_least(b, b.expand(b.reshape(start, (1,) * data.ndim), shape), double(size - offset) + np.zeros(shape))
    found = b.add(b.translate(moved, window), b.scale(gone, ABSENT))
    return replace(found, kind=kind_of(data))


def shape_only(b: Builder, call: Call, data: Variable, length: int) -> Variable:
    """Slice what is partial already: its values are lost, without any bounds, and only its shape may be used."""
    axes = call.optional(3)
    axis = 0 if axes is None else positive_axis(int(axes.reshape(-1)[0]), data.rank)
    b.partial.add(call.proto.output[0])
    piece = b.slice(data, axis, 0, min(length, data.shape[axis]))
    return replace(b.apply(Within(low=LOST), piece), span=None)


def trace(b: Builder, x: Variable) -> tuple[Array, Array]:
    """Say of which number each element of a tensor is a copy, by name ("" if of none), and what is added to it."""
    nodes = {node.name: node for node in b.nodes}
    names: list[str] = [""]

    def follow(node: Node) -> tuple[torch.Tensor, torch.Tensor]:
        op = node.op
        if isinstance(op, Translate):
            labels, sums = follow(nodes[node.parents[0]])
            return labels, op.forward(sums)
        if isinstance(op, Affine) and (op.copies or isinstance(op, (Concat, Pad))) and node.parents[0] != INPUT:
            parts = [follow(nodes[parent]) for parent in node.parents]
            return op.forward(*(part[0] for part in parts)), op.forward(*(part[1] for part in parts))
        count = math.prod(node.shape)
        labels = torch.arange(len(names), len(names) + count, dtype=torch.float64).view(1, *node.shape)
        known = known_names.setdefault(node.name, labels)
        if known is labels:
            names.extend(f"{node.name} {k}" for k in range(count))
        return known, torch.zeros(1, *node.shape, dtype=torch.float64)

    known_names: dict[str, torch.Tensor] = {}
    labels, sums = follow(nodes[x.name])
    return np.array(names)[labels[0].long().numpy()], sums[0].numpy()


@lowers("ScatterND", "ScatterElements", "Scatter")
def scatter(b: Builder, call: Call) -> Operand:
    """Write elements at constant places, or one number at places that depend on the input."""
    if call.get("reduction", "none") != "none":
        raise call.unsupported("a reduction; writing without one is supported")
    if not isinstance(call.operand(1), Variable):
        return scatter_at_constants(b, call)
    if call.proto.op_type != "ScatterND":
        raise call.unsupported("indices that depend on the input; constant ones are supported")
    return scatter_number(b, call)


def scatter_at_constants(b: Builder, call: Call) -> Operand:
    """Pick each element from the old ones or from those written: the operator itself, on their numbers, says which."""
    given = [call.operand(0), call.operand(2)]
    sizes = [math.prod(value.shape) for value in given]
    numbers = [np.arange(sizes[0]).reshape(given[0].shape), sizes[0] + np.arange(sizes[1]).reshape(given[1].shape)]
    chosen = by_reference(call, (numbers[0], call.constant(1), numbers[1]))[0]
    fixed: Array = np.zeros(chosen.shape)
    parts: list[Variable] = []
    for value, first, size in zip(given, (0, sizes[0]), sizes, strict=True):
        here = (chosen >= first) & (chosen < first + size)
        index = np.where(here, chosen - first, 0).reshape(-1)
        if not isinstance(value, Variable):
            fixed = np.where(here, double(value).reshape(-1)[index].reshape(chosen.shape), fixed) if size else fixed
        elif here.any():
            y = b.apply(Gather(torch.as_tensor(index), 0), b.reshape(value, (size,)))
            parts.append(b.scale(b.reshape(y, chosen.shape), here.astype(float)))
    if not parts:
        raise call.unsupported("writing over everything that depends on the input")
    span = functools.reduce(joined, (part.span for part in parts)) if not fixed.any() else None
    return replace(b.translate(functools.reduce(b.add, parts), fixed), span=span)


def joined(one: Span | None, other: Span | None) -> Span | None:
    """Return a range of the whole numbers in two others, and of 0."""
    if one is None or other is None:
        return None
    return min(one[0], other[0], 0.0), max(one[1], other[1], 0.0)


def scatter_number(b: Builder, call: Call) -> Operand:
    """Write one number wherever indices point: ``data + (number - data) * hit``, where hit is a truth value.

    Each component of the indices is a constant or a number that depends on the input, and all choices of the latter
    occur with the same constants, so that hit is a product of one condition for each axis.
    """
    data, index, updates = call.operand(0), call.variable(1), call.constant(2)
    supported = "supported is one number for all of them, at all combinations of one set of places for each axis"
    depth = index.shape[-1]
    numbers = np.unique(double(updates))
    names, sums = (part.reshape(-1, depth) for part in trace(b, index))
    constant = [bool((names[:, k] == "").all()) for k in range(depth)]
    mixed = any((names[:, k] == "").any() and not constant[k] for k in range(depth))
    if index.span is None or len(numbers) != 1 or mixed or depth > len(data.shape):
        raise call.unsupported(f"elements written at places that depend on the input; {supported}")
    keys = [[f"{name}+{shift:g}" for name, shift in zip(names[:, k], sums[:, k], strict=True)] for k in range(depth)]
    rows = set(zip(*keys, strict=True))
    if len(rows) != math.prod(len(set(column)) for column in keys):
        raise call.unsupported(f"elements written at places that depend on the input; {supported}")
    hit: Operand = np.ones((1,) * len(data.shape))
    flat = b.reshape(index, (len(names), depth))
    for k in range(depth):
        hit = combined(b, hit, along(b, call, flat, k, sums[:, k] if constant[k] else None, keys[k]))
    number = float(numbers[0])
    assert isinstance(hit, Variable)
    if isinstance(data, Variable):
        kept = b.multiply(b.subtract(np.array(number), data), hit)
        return replace(b.add(data, kept), kind=data.kind)
    return replace(b.add(b.multiply(number - double(data), hit), double(data)), kind=kind_of(data))


def along(b: Builder, call: Call, flat: Variable, k: int, places: Array | None, keys: list[str]) -> Operand:
    """Tell which positions of axis k are written to, in the data's rank: constant ``places``, or different indices."""
    data = call.operand(0)
    size = data.shape[k]
    shape = tuple(size if axis == k else 1 for axis in range(len(data.shape)))
    if places is not None:
        if ((places < -size) | (places >= size)).any():
            raise ValueError(f"an index is out of range for an axis of {size}")
        mask = np.zeros(size)
        mask[places.astype(np.int64) % size] = 1
        return mask.reshape(shape)
    first = [keys.index(key) for key in sorted(set(keys))]
    column = b.reshape(b.slice(flat, 1, k, k + 1), (flat.shape[0],))
    index = b.apply(Gather(torch.as_tensor(first), 0), column)
    if call.proto.input[1] in b.partial and size >= ABSENT:
        raise call.unsupported(f"an axis of {size}; at places that may not exist, axes below {ABSENT:g} are supported")
    if call.proto.input[1] not in b.partial:
        index = guarded(b, call, index, size)
    code = one_hot(b, index, size, wrap=True)
    hits = truth(b.reshape(code, (size,))) if len(first) == 1 else several(b, code)
    return b.reshape(hits, shape)


def several(b: Builder, code: Variable) -> Variable:
    """Tell where at least one of several codes ``(N, size)`` is 1."""
    return truth(b.apply(Clip(0.0, 1.0), b.apply(ReduceSum((0,), keep=False), code)))


def combined(b: Builder, x: Operand, y: Operand) -> Operand:
    """Tell where both hold, on axes that broadcast."""
    if isinstance(x, Variable) or isinstance(y, Variable):
        return conjunction(b, x, y)
    return x * y
