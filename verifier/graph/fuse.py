"""Functions that exporters spell out, as one operator each: Gelu, Silu, Mish, HardSwish, Sigmoid, Tanh, Softplus ...

One curve is enclosed far better than a product of two. Every rewriting is an identity of real functions up to the
rounding of new constants, which their operators count; and each proves itself, by agreeing with what it replaces at
random points. One that does not is dropped.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from verifier.graph.fuse_draft import Draft
from verifier.graph.fuse_rules import RULES
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node
from verifier.graph.lower.builder import result_shape
from verifier.ops.arithmetic import Add, Neg, Scale, Sub, Translate
from verifier.ops.curves import Curve
from verifier.ops.product import Product
from verifier.ops.reduce import ReduceSum
from verifier.ops.select import Expand
from verifier.ops.shape import Reshape, Transpose

POINTS = 24
"""Random points that a rewriting is tried at; of large tensors fewer, which have many elements each."""

TOLERANCE = 1e-9
"""What the results may differ by, relative to 1 and their size."""

MOST_VALUES = 2**20
"""How many random values there are at most, but for two points of any size."""

SHARED = (Add, Curve, Expand, Neg, Product, ReduceSum, Reshape, Scale, Sub, Translate, Transpose)
"""Operators of which equal ones on the same operands are one."""


def fuse(graph: Graph) -> Graph:
    """Return an equivalent graph, or the graph itself where nothing is spelled out."""
    unshared = share(graph)
    kept: dict[str, Node] = {}
    changed = False
    for node in unshared.values():
        kept[node.name] = node
        while not node.name.startswith(OUTPUT) and rewritten(kept, kept[node.name]):
            changed = True
    return Graph(needed(kept), graph.inputs, graph.outputs, graph.dtype, graph.device) if changed else graph


def share(graph: Graph) -> dict[str, Node]:
    """Return the nodes, those that do the same to the same operands as one."""
    stands_for: dict[str, str] = {}
    kept: dict[str, Node] = {}
    alike: dict[tuple[type, tuple[str, ...]], list[Node]] = {}
    for name, node in graph.nodes.items():
        node = Node(name, node.op, tuple(stands_for.get(parent, parent) for parent in node.parents), node.shape)
        others = alike.setdefault((type(node.op), node.parents), [])
        twin = next((other for other in others if same(node, other)), None)
        if twin is not None and isinstance(node.op, SHARED) and not name.startswith(OUTPUT):
            stands_for[name] = twin.name
            continue
        others.append(node)
        kept[name] = node
    return kept


def same(one: Node, other: Node) -> bool:
    """Tell whether two nodes, of one type and on the same operands, do the same."""
    if one.op is None or other.op is None or one.shape != other.shape:
        return False
    pairs = ((getattr(one.op, entry.name), getattr(other.op, entry.name)) for entry in dataclasses.fields(one.op))
    return all(
        a is b or (_equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else _plainly_equal(a, b))
        for a, b in pairs
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    """Compare two tensors."""
    return a.dtype == b.dtype and torch.equal(a, b)


def _plainly_equal(a: object, b: object) -> bool:
    """Compare what is not two tensors."""
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and type(a) is type(b) and a == b


def rewritten(nodes: dict[str, Node], node: Node) -> bool:
    """Apply the first rule that has something to say and proves right; nodes are in order, this one the last."""
    for rule in RULES:
        try:
            draft = rule(nodes, node)
        except OverflowError:  # a constant of the draft is no float64
            continue
        if draft is None:
            continue
        fresh = drafted(nodes, draft)
        if agree(nodes, node, fresh, draft.free):
            del nodes[node.name]
            nodes.update((new.name, new) for new in fresh)
            return True
    return False


def drafted(nodes: Mapping[str, Node], draft: Draft) -> list[Node]:
    """Return the nodes of a draft; the last takes the root's name, and the others get new ones."""
    root, count = draft.root, 0
    names: dict[str, str] = {}
    found: list[Node] = []
    shapes = {name: nodes[name].shape for _, operands in draft.steps for name in operands if name in nodes}
    for k, (op, operands) in enumerate(draft.steps, start=1):
        parents = tuple(names.get(name, name) for name in operands)
        name = root.name
        while k < len(draft.steps) and (name in nodes or name in shapes or name == root.name):
            count += 1
            name = f"{root.name}~f{count}"
        names[f"{root.name}~~{k}"] = name
        shapes[name] = result_shape(op, *(shapes[parent] for parent in parents))
        found.append(Node(name, op, parents, shapes[name]))
    return found


def agree(nodes: Mapping[str, Node], root: Node, fresh: list[Node], free: Collection[str] = ()) -> bool:
    """Compare a node and what may replace it at random points, as functions of what the latter reads and is free."""
    made = {node.name for node in fresh}
    sources = set(free) | {
        parent for node in fresh for parent in node.parents if parent not in made or parent == root.name
    }
    sources.update(free)
    if root.name in sources or fresh[-1].shape != root.shape:
        return False
    generator = torch.Generator().manual_seed(0)
    largest = max(math.prod(nodes[name].shape) for name in sources)
    count = max(2, min(POINTS, MOST_VALUES // max(largest, 1)))
    values = {name: drawn(nodes[name].shape, count, generator) for name in sorted(sources)}
    new = dict(values)
    for node in fresh:
        assert node.op is not None
        op = node.op.to(torch.float64, torch.device("cpu"))
        new[node.name] = op.forward(*(new[parent] for parent in node.parents))
    old = evaluated(nodes, root.name, values)
    if old is None:
        return False
    found, finite = new[root.name], old.isfinite()
    near = (found - old).abs() <= TOLERANCE * (1 + old.abs())
    return bool((near | ~finite).all()) and bool((finite | ~found.isfinite()).all()) and bool(finite.any())


def drawn(shape: tuple[int, ...], count: int, generator: torch.Generator) -> Tensor:
    """Draw points of several sizes, the latter half of them positive."""
    size = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64).repeat(count)[:count].reshape(-1, *[1] * len(shape))
    values = size * torch.randn(count, *shape, dtype=torch.float64, generator=generator)
    values[count // 2 :] = values[count // 2 :].abs()
    return values


def evaluated(nodes: Mapping[str, Node], root: str, values: Mapping[str, Tensor]) -> Tensor | None:
    """Evaluate a node from values of some that it depends on; None where they do not determine it."""
    known = dict(values)
    stack = [root]
    while stack:
        node = nodes[stack[-1]]
        if node.name in known:
            stack.pop()
            continue
        if node.op is None or node.name == INPUT:
            return None
        missing = [parent for parent in node.parents if parent not in known]
        if missing:
            stack.extend(missing)
        else:
            known[node.name] = node.op.to(torch.float64, torch.device("cpu")).forward(
                *(known[parent] for parent in node.parents)
            )
            stack.pop()
    return known[root]


def needed(nodes: Mapping[str, Node]) -> list[Node]:
    """Return the nodes that the output depends on, and the input."""
    wanted, kept = {OUTPUT, INPUT}, []
    for node in reversed(nodes.values()):  # type: ignore[call-overload]
        if node.name in wanted:
            wanted.update(node.parents)
            kept.append(node)
    return kept[::-1]
