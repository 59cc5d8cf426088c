"""The part of a network that one element of a node reads: a network of its own, small where windows are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.windows import Windows, seen_inputs, windows_above
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node, Port
from verifier.ops.elementwise import Elementwise
from verifier.ops.op import Affine, Op, Shape
from verifier.ops.part import Part
from verifier.ops.select import Gather, Pad, Slice
from verifier.ops.shape import Reshape, View
from verifier.sets import Window, shape_within


@dataclass(frozen=True, slots=True, eq=False)
class Cone:
    """A network of one output, an element of a node of another network.

    Its nodes bear the names of those whose windows they are; others move values between them. ``inputs`` (k,) are the
    coordinates of the other network's input that are its own.
    """

    graph: Graph
    windows: Windows
    inputs: Tensor

    @staticmethod
    def of(graph: Graph, name: str, element: int) -> Cone | None:
        """Cut a network down to what an element, by its flat index, reads; None where that is not a window."""
        node = graph.nodes[name]
        for leading in (1, 2) if len(node.shape) == 3 else (2,):
            space = node.shape[leading:]
            windows = windows_above(graph, name, window_of(space, element)) if space else {}
            inputs = seen_inputs(graph, windows)
            if inputs is not None:
                return Cone._over(graph, node, windows, inputs, element // math.prod(space))
        return None

    @staticmethod
    def _over(graph: Graph, node: Node, windows: Windows, inputs: Tensor, place: int) -> Cone:
        """Cut a network down to windows; the output is the element at a place of the node's window."""
        name = node.name
        nodes = [Node(INPUT, None, (), (len(inputs),))]
        for above in graph.ancestors(name)[1:]:
            nodes += cut_node(graph, graph.nodes[above], windows)
        size = math.prod(nodes[-1].shape)
        joined = f"{name} joined"
        nodes.append(Node(joined, Reshape((size,)), (name,), (size,)))
        nodes.append(Node(OUTPUT, Gather(torch.tensor([place], device=graph.device), 0), (joined,), (1,)))
        ports = (Port("x", (len(inputs),), "float32"),), (Port("y", (1,), "float32"),)
        return Cone(Graph(nodes, *ports, graph.dtype, graph.device), windows, inputs)


def window_of(space: Shape, element: int) -> Window:
    """Return the window of the place of a node's element, by its flat index, on the node's last axes."""
    steps = [math.prod(space[axis + 1 :]) for axis in range(len(space))]
    corner = [element // step % size for step, size in zip(steps, space, strict=True)]
    return tuple(slice(k, k + 1) for k in corner)


def cut_node(graph: Graph, node: Node, windows: Windows) -> list[Node]:
    """Return a node on its window, behind those that hand it what it reads of its operands."""
    window, shapes = windows[node.name], [graph.nodes[parent].shape for parent in node.parents]
    shape = shape_within(node.shape, window)
    if node.parents == (INPUT,):
        return [Node(node.name, View(0, shape), node.parents, shape)]
    op: Op
    if isinstance(node.op, Affine):
        op, wanted = Part.of(node.op, window, shapes, node.shape)
    else:
        assert isinstance(node.op, Elementwise)
        op, wanted = node.op.within(window, node.shape), [window] * len(shapes)
    nodes, parents = list[Node](), list[str]()
    for k, (parent, whole, part) in enumerate(zip(node.parents, shapes, wanted, strict=True)):
        between = moved(f"{node.name} reads {k}", parent, whole, windows[parent], part)
        nodes += between
        parents.append(between[-1].name if between else parent)
    return [*nodes, Node(node.name, op, tuple(parents), shape)]


def moved(name: str, parent: str, shape: Shape, have: Window, want: Window) -> list[Node]:
    """Return nodes that make a window of another one of a node of a shape, with zeros beyond it; none if they agree."""
    if have == want:
        return []
    whole = tuple(slice(0, size) for size in shape[len(shape) - len(want or have) :])
    have, want = have or whole, want or whole
    ends = list(zip(have, want, strict=True))
    leading = len(shape) - len(ends)
    inside = tuple(slice(max(given.start, asked.start), min(given.stop, asked.stop)) for given, asked in ends)
    kept = shape_within(shape, inside)
    ranges = [(part.start - given.start, part.stop - given.start, 1) for part, given in zip(inside, have, strict=True)]
    nodes = [Node(f"{name} cut", Slice((*((0, size, 1) for size in shape[:leading]), *ranges)), (parent,), kept)]
    pads = [(part.start - asked.start, asked.stop - part.stop) for part, asked in zip(inside, want, strict=True)]
    if any(map(any, pads)):
        op = Pad((*((0, 0) for _ in range(leading)), *pads))
        nodes.append(Node(f"{name} padded", op, (nodes[-1].name,), shape_within(shape, want)))
    return nodes
