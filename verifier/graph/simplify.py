"""Passes that make a graph smaller without changing its function, up to the rounding of constants.

Two neighbours are merged where nothing else reads the tensor between them. The merged node keeps the second one's name,
so every name that is left stands for the tensor it stood for, and outputs keep theirs. Constants merge in float64: a
product's error is relative to it, and a sum carries its absolute terms, so that rounding margins cover both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from verifier.graph.graph import OUTPUT, Graph, Node, unused
from verifier.graph.lower.builder import result_shape
from verifier.graph.merge import merge, merge_exactly
from verifier.ops.op import Op, Shape
from verifier.ops.shape import Reshape, Transpose

Rule = Callable[[Op, Op, Shape, Shape], "tuple[Op, ...] | None"]


def simplify_exactly(graph: Graph) -> Graph:
    """Return an equivalent graph: no-ops dropped, reshapes collapsed, neighbours merged that round no constant."""
    return merge_neighbours(drop_no_ops(plain_reshapes(graph)), merge_exactly)


def plain_reshapes(graph: Graph) -> Graph:
    """Turn transpositions that move only axes of length 1 into reshapes."""

    def rewritten(node: Node) -> Node:
        if not isinstance(node.op, Transpose):
            return node
        before = graph.nodes[node.parents[0]].shape
        moved = [axis for axis in node.op.perm if before[axis] != 1]
        return Node(node.name, Reshape(node.shape), node.parents, node.shape) if moved == sorted(moved) else node

    return rebuilt(graph, {name: rewritten(node) for name, node in graph.nodes.items()})


def drop_no_ops(graph: Graph) -> Graph:
    """Drop reshapes to the same shape, but not the output."""
    stands_for: dict[str, str] = {}
    kept: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        parents = tuple(stands_for.get(parent, parent) for parent in node.parents)
        if isinstance(node.op, Reshape) and name != OUTPUT and kept[parents[0]].shape == node.shape:
            stands_for[name] = parents[0]
        else:
            kept[name] = Node(name, node.op, parents, node.shape)
    return rebuilt(graph, kept)


def merge_neighbours(graph: Graph, rule: Rule = merge) -> Graph:
    """Apply a rule to every node and its only operand, from the input on, until it applies nowhere.

    The rule gets both operators and the shapes before and behind them; it returns one operator that replaces the two,
    or two that replace them in order (the first of them is looked at again), or None.
    """
    kept: dict[str, Node] = {}
    readers = Counter(parent for node in graph.nodes.values() for parent in node.parents)

    def merged(node: Node) -> tuple[Op, ...] | None:
        if node.op is None or len(node.parents) != 1 or node.name.startswith(OUTPUT):
            return None
        parent = kept[node.parents[0]]
        if parent.op is None or len(parent.parents) != 1 or readers[parent.name] != 1:
            return None
        return rule(parent.op, node.op, kept[parent.parents[0]].shape, node.shape)

    def place(node: Node) -> None:
        found = merged(node)
        if found is None:
            kept[node.name] = node
            return
        parents = kept.pop(node.parents[0]).parents
        if len(found) == 2:
            middle = unused(f"{node.name}~", readers)
            readers[middle] = 1
            place(Node(middle, found[0], parents, result_shape(found[0], kept[parents[0]].shape)))
            parents = (middle,)
        place(Node(node.name, found[-1], parents, node.shape))

    for node in graph.nodes.values():
        place(node)
    return drop_no_ops(rebuilt(graph, kept))


def rebuilt(graph: Graph, nodes: dict[str, Node]) -> Graph:
    """Return the graph with other nodes."""
    return Graph(nodes.values(), graph.inputs, graph.outputs, graph.dtype, graph.device)
