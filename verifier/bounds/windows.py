"""Backward passes for a few neighbouring elements of a convolution: only what they see is not zero."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.rounding import Rounding
from verifier.graph.graph import INPUT, Graph, Node
from verifier.ops.op import Affine, Exact, Windowed
from verifier.ops.shape import View
from verifier.sets import Box, Diagonal, Enclosure, Planes, Window, cut, hull, place, shape_within

CHUNK = {"cpu": 1 << 19, "cuda": 1 << 22}
"""Elements of the largest coefficient tensor in one backward pass; on a CPU it should stay in the cache."""

STEP = 1 << 16
"""What a step of a backward pass costs besides its elements, in elements."""

Windows = Mapping[str, Window]
"""A window for each ancestor of a node."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some of the elements of a node to bound together.

    ``index`` (K,) says which of a list; ``windows`` hold all that they see, by node; none means whole nodes.
    """

    node: Node
    windows: Windows
    index: Tensor

    def unit_rows(self, elements: Tensor, like: Tensor) -> Tensor:
        """Return rows that read elements of the node, then their negatives, ``(2 K, *window)``."""
        shape, window = self.node.shape, self.windows.get(self.node.name, ())
        places = torch.arange(math.prod(shape), device=like.device).view(shape)
        inside = cut(places, window)
        local = torch.searchsorted(inside.flatten().contiguous(), elements.contiguous()) if window else elements
        count = len(elements)
        rows = like.new_zeros(2 * count, inside.numel())
        steps = torch.arange(count, device=like.device)
        rows[steps, local] = 1
        rows[count + steps, local] = -1
        return rows.reshape(2 * count, *inside.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """An enclosure whose coefficients are surrounded by zeros, up to larger windows of the operands."""

    inner: Enclosure
    windows: list[Window]
    larger: list[Window]
    shapes: list[tuple[int, ...]]

    def pullback(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """See ``Enclosure.pullback``."""
        parts, offset = self.inner.pullback(rows)
        sides = zip(parts, self.windows, self.larger, self.shapes, strict=True)
        return tuple(place(*side) for side in sides), offset

    def take(self, index: Tensor) -> Placed:
        """See ``Enclosure.take``."""
        return Placed(self.inner.take(index), self.windows, self.larger, self.shapes)


@dataclass(frozen=True, slots=True, eq=False)
class Flattened:
    """The enclosure of a view of the input, for a part of the input that is nothing but the view's window."""

    def pullback(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """See ``Enclosure.pullback``."""
        return (rows.flatten(2),), rows.new_zeros(rows.shape[:2])

    def take(self, index: Tensor) -> Flattened:
        """See ``Enclosure.take``."""
        del index
        return self


def seen_inputs(graph: Graph, windows: Windows) -> Tensor | None:
    """List the coordinates of the input ``(k,)`` that windows hold; None stands for all.

    A backward pass for rows inside the windows ends with coefficients of these alone.
    """
    if len(graph.consumers[INPUT]) != 1:
        return None
    node = graph.nodes[graph.consumers[INPUT][0]]
    window = windows.get(node.name, ())
    if not window or not isinstance(node.op, View):
        return None
    places = node.op.start + torch.arange(math.prod(node.shape), device=graph.device).view(node.shape)
    return cut(places, window).flatten()


def inputs_within(graph: Graph, windows: Windows, box: Box) -> Box:
    """Restrict the input's box ``(B, n)`` to what windows hold."""
    index = seen_inputs(graph, windows)
    return box if index is None else box.columns(index)


def scales_within(graph: Graph, windows: Windows, scales: dict[str, Rounding]) -> dict[str, Rounding]:
    """Restrict rounding margins to windows; without any, return them all."""
    found = {name: scales[name].within(window) for name, window in windows.items()} or scales
    index = seen_inputs(graph, windows)
    return found if index is None else {**found, INPUT: scales[INPUT].columns(index)}


def windows_above(graph: Graph, start: str, window: Window) -> Windows:
    """Return what a window of a node sees of each of its ancestors."""
    seen: dict[str, Window] = {start: window}
    for name in reversed(graph.ancestors(start)):
        node = graph.nodes[name]
        for parent, part in zip(node.parents, reads(graph, node, seen[name]), strict=True):
            seen[parent] = hull(seen[parent], part) if parent in seen else part
    return seen


def reads(graph: Graph, node: Node, window: Window) -> list[Window]:
    """Return what a window of a node sees of its operands."""
    shapes = [graph.nodes[parent].shape for parent in node.parents]
    if isinstance(node.op, Affine):
        return node.op.reads(window, shapes)
    return [window] * len(shapes)


def within(graph: Graph, name: str, windows: Windows, enclosure: Enclosure) -> Enclosure:
    """Restrict a node's enclosure to windows."""
    node, window = graph.nodes[name], windows.get(name, ())
    if not window:
        return enclosure
    if node.parents == (INPUT,) and seen_inputs(graph, windows) is not None:
        return Flattened()
    if isinstance(enclosure, Exact):
        return placed(graph, name, windows, Windowed(enclosure.op, enclosure.shapes, node.shape, window))
    assert isinstance(enclosure, (Diagonal, Planes))
    return placed(graph, name, windows, enclosure.within(window))


def placed(graph: Graph, name: str, windows: Windows, enclosure: Enclosure) -> Enclosure:
    """Make an enclosure on a node's window return coefficients on the windows of its operands."""
    node, window = graph.nodes[name], windows.get(name, ())
    made, wanted = reads(graph, node, window), [windows.get(parent, ()) for parent in node.parents]
    if made == wanted:
        return enclosure
    return Placed(enclosure, made, wanted, [graph.nodes[parent].shape for parent in node.parents])


def pieces(graph: Graph, node: Node, elements: Tensor, domains: int) -> Iterator[Piece]:
    """Cut a list of flat indices of a node's elements into pieces that are cheap to bound backward.

    The elements of a piece lie in one tile of the node, and a pass for it stays within the memory budget.
    """
    for windows, index in tiles(graph, node, elements):
        widest = max(sizes(graph, node, windows))
        for part in index.split(max(1, CHUNK[elements.device.type] // (2 * widest * domains))):
            yield Piece(node, windows, part)


def tiles(graph: Graph, node: Node, elements: Tensor) -> list[tuple[Windows, Tensor]]:
    """Group elements by tiles of a node's space, of the size that promises the least work.

    Space is all axes but the first two; of three axes, it may also be the last two.
    """
    everything = torch.arange(len(elements), device=elements.device)
    best: list[tuple[Windows, Tensor]] = [({}, everything)]
    least = cost(graph, node, {}, 1, len(elements))
    for leading in (1, 2) if len(node.shape) == 3 else (2,):
        space = node.shape[leading:]
        if not space or not len(elements) or not reads(graph, node, tuple(slice(0, size) for size in space))[0]:
            continue
        # torch.unravel_index would do, but its first call imports a compiler, which takes a third of a second.
        steps = [math.prod(space[axis + 1 :]) for axis in range(len(space))]
        places = [elements // step % size for step, size in zip(steps, space, strict=True)]
        side = 1
        while side < max(space):
            tile, which = grouped([place // side for place in places])
            middle = windows_above(graph, node.name, tile_window(tile[len(tile) // 2].tolist(), side, space))
            if (price := cost(graph, node, middle, len(tile), len(elements))) < least:
                least, best = price, cut_up(graph, node, tile, which, side, space)
            side *= 2
    return best


def grouped(columns: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the distinct rows ``(K, axes)`` of a table of small numbers, given by columns, and which each row is.

    ``unique`` of whole rows compares them one by one: a hundred times slower.
    """
    code = torch.zeros_like(columns[0])
    for column in columns:
        code = code * (int(column.max()) + 1) + column
    kinds, which = code.unique(return_inverse=True)
    some = torch.zeros_like(kinds).scatter_(0, which, torch.arange(len(code)).to(code))  # any row of each kind
    return torch.stack([column[some] for column in columns], 1), which


def cut_up(
    graph: Graph, node: Node, tile: Tensor, which: Tensor, side: int, space: tuple[int, ...]
) -> list[tuple[Windows, Tensor]]:
    """Return for each tile, by its place among the tiles, what it sees, and the indices of its elements."""
    windows = (windows_above(graph, node.name, tile_window(corner, side, space)) for corner in tile.tolist())
    members = which.argsort(stable=True).split(which.bincount().tolist())
    return list(zip(windows, members, strict=True))


def tile_window(corner: list[int], side: int, space: tuple[int, ...]) -> Window:
    """Return the window of a tile, by its place among the tiles."""
    return tuple(slice(k * side, min((k + 1) * side, size)) for k, size in zip(corner, space, strict=True))


def cost(graph: Graph, node: Node, windows: Windows, parts: int, rows: int) -> int:
    """Estimate the work of bounding so many rows in so many parts, in elements."""
    volumes = sizes(graph, node, windows)
    return parts * len(volumes) * STEP + 2 * rows * sum(volumes)


def sizes(graph: Graph, node: Node, windows: Windows) -> list[int]:
    """Count the elements inside the windows, for each ancestor."""
    inputs = seen_inputs(graph, windows)
    counts = [volume(graph.nodes[name].shape, windows.get(name, ())) for name in graph.ancestors(node.name)]
    return counts if inputs is None else [len(inputs), *counts[1:]]


def volume(shape: tuple[int, ...], window: Window) -> int:
    """Count the elements of a node of the given shape inside a window."""
    return math.prod(shape_within(shape, window))
