"""Fusing choices that are continuous: of p where s > 0 and else of q, where p - q is a multiple of s.

``Where(a > b, a, b)`` is a maximum, and ``Where(v'z > 0, z, z - 2 v v'z)`` a Householder reflection. They are lowered
to ``(p - q) * step(s) + q``, and the product is the same multiple of relu(s).
"""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor

from verifier.graph.forms import Nodes
from verifier.graph.fuse_draft import Draft
from verifier.graph.graph import Node
from verifier.ops.arithmetic import Add, Neg, Scale, Sub
from verifier.ops.curves import Relu, Step
from verifier.ops.linear import Linear
from verifier.ops.op import Affine, Op
from verifier.ops.product import Product

MOST_TERMS = 16
"""How many summands are told apart."""


def choice(nodes: Nodes, node: Node) -> Draft | None:
    """``g(s) * step(s)``, g linear at each place, is ``g(relu(s))``."""
    if not isinstance(node.op, Product):
        return None
    for gap, condition in (node.parents, node.parents[::-1]):
        path, step = followed(nodes, condition, None)
        if isinstance(nodes[step].op, Step):
            base = nodes[step].parents[0]
            found = by_multiples(nodes, node, gap, path, base)
            if found is None and not path:
                found = by_difference(nodes, node, gap, base)
            if found is not None:
                return found
    return None


def by_multiples(nodes: Nodes, node: Node, gap: str, path: list[Op], base: str) -> Draft | None:
    """The summands of g that do not cancel are multiples of s or -s, each at the places where the step is."""
    core, sign = base, 1
    while isinstance(nodes[core].op, Neg):
        core, sign = nodes[core].parents[0], -sign
    terms = summands(nodes, gap, core)
    if terms is None:
        return None
    draft = Draft(node, free=tuple(name for name, count in terms.items() if not count))
    place, total = places(path, nodes[core]), None
    relu = draft.apply(Relu(), core if sign > 0 else draft.apply(Neg(), core))
    for name, count in terms.items():
        if not count:
            continue
        chain, end = followed(nodes, name, core)
        if end != core or not torch.equal(places(chain, nodes[core]), place):
            return None
        part = relu
        for op in chain:
            part = draft.apply(op, part)
        total = added(draft, total, part, sign * count)
    return None if total is None else draft


def by_difference(nodes: Nodes, node: Node, gap: str, base: str) -> Draft | None:
    """The summands of g are those of s = a - b or a + b, or their negatives."""
    op, parents = nodes[base].op, nodes[base].parents
    terms = summands(nodes, gap, "")
    if terms is None or not isinstance(op, (Add, Sub)) or parents[0] == parents[1]:
        return None
    expected = {parents[0]: 1, parents[1]: 1 if isinstance(op, Add) else -1}
    found = {name: count for name, count in terms.items() if count}
    count = found.get(parents[0], 0)
    if abs(count) != 1 or found != {name: count * sign for name, sign in expected.items()}:
        return None
    draft = Draft(node, free=tuple(name for name, count in terms.items() if not count))
    added(draft, None, draft.apply(Relu(), draft.apply(op, *parents)), count)
    return draft


def summands(nodes: Nodes, name: str, stop: str) -> Counter[str] | None:
    """Return the nodes that a node is a sum of multiples of, and how often; None for too many."""
    found: Counter[str] = Counter()
    stack = [(name, 1)]
    while stack:
        name, count = stack.pop()
        op, parents = nodes[name].op, nodes[name].parents
        if name == stop or not isinstance(op, (Add, Sub, Neg)):
            found[name] += count
        elif isinstance(op, Neg):
            stack.append((parents[0], -count))
        else:
            stack += [(parents[0], count), (parents[1], count if isinstance(op, Add) else -count)]
        if len(found) + len(stack) > MOST_TERMS:
            return None
    return found


def followed(nodes: Nodes, name: str, end: str | None) -> tuple[list[Op], str]:
    """Go down through operators that give multiples of single elements (only copies, if no end is given).

    Returns:
        The operators, in the order in which they are applied, and where they begin.
    """
    chain: list[Op] = []
    while name != end:
        op = nodes[name].op
        if not (isinstance(op, Affine) and op.copies) and (end is None or not multiplies(op)):
            break
        assert op is not None
        chain.append(op)
        name = nodes[name].parents[0]
    return chain[::-1], name


def multiplies(op: Op | None) -> bool:
    """Tell whether each element of the result is a multiple of one element of the operand, at a place we can tell."""
    return isinstance(op, (Scale, Neg)) or (isinstance(op, Linear) and len(op.weight) == 1 and op.bias is None)


def places(chain: list[Op], base: Node) -> Tensor:
    """Return the flat numbers of the elements that the result of operators reads, of its shape."""
    index = torch.arange(math.prod(base.shape), dtype=torch.float64).reshape(1, *base.shape)
    for op in chain:
        if isinstance(op, Linear):
            index = index.expand(*index.shape[:-1], op.weight.shape[1])
        elif isinstance(op, Affine) and op.copies:
            index = op.forward(index)
    return index


def added(draft: Draft, total: str | None, part: str, count: int) -> str:
    """Add a multiple by a whole number."""
    for _ in range(abs(count)):
        if total is None:
            total = part if count > 0 else draft.apply(Neg(), part)
        else:
            total = draft.apply(Add() if count > 0 else Sub(), total, part)
    assert total is not None
    return total
