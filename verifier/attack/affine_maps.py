"""A network of affine operators and ReLUs as sparse matrices from ReLU to ReLU."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from verifier.graph.graph import OUTPUT, Graph
from verifier.ops.curves.relu import Relu
from verifier.ops.op import Affine

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

UNITS = 256
"""Unit vectors that are pushed through the operators at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """The entries of a sparse matrix that are not zero, three vectors of one length."""

    row: Index
    column: Index
    value: Array

    @staticmethod
    def join(parts: list[Entries]) -> Entries:
        """Put the entries of several parts of a matrix together."""
        return Entries(
            np.concatenate([np.zeros(0, dtype=np.int64), *(part.row for part in parts)]),
            np.concatenate([np.zeros(0, dtype=np.int64), *(part.column for part in parts)]),
            np.concatenate([np.zeros(0), *(part.value for part in parts)]),
        )

    def move(self, rows: Index, columns: Index) -> Entries:
        """Give rows and columns other numbers, by tables; entries whose number would be negative are left out."""
        row, column = rows[self.row], columns[self.column]
        kept = (row >= 0) & (column >= 0)
        return Entries(row[kept], column[kept], self.value[kept])


Maps = dict[str, dict[str, Entries]]
"""Sparse matrices by the names of target and source."""


def is_relu_network(graph: Graph) -> bool:
    """Tell whether a network consists of affine operators and ReLUs."""
    return all(isinstance(node.op, (Affine, Relu)) for node in graph.nodes.values() if node.op is not None)


def affine_maps(graph: Graph) -> tuple[Maps, dict[str, Array]]:
    """Write the operand of every ReLU, and the output, as affine functions of the input and of ReLUs.

    Args:
        graph: of affine operators and ReLUs, in float64.

    Returns:
        Matrices ``(elements of the target, elements of the source)``, and the constants of each target.

    Cost: a pass through the operators between two ReLUs for each element of each.
    """
    sources = [name for name, node in graph.nodes.items() if node.op is None or isinstance(node.op, Relu)]
    targets = {node.parents[0] for node in graph.nodes.values() if isinstance(node.op, Relu)} | {OUTPUT}
    maps: Maps = {target: {} for target in targets}
    for source in sources:
        shape = graph.nodes[source].shape
        size = math.prod(shape)
        blocks: dict[str, list[Entries]] = {target: [] for target in targets}
        for start in range(0, size, UNITS):
            units = torch.zeros(min(UNITS, size - start), size, dtype=graph.dtype)
            units[:, start:].fill_diagonal_(1)
            values = _push(graph, {source: units.reshape(-1, *shape)}, linear=True)
            for target in targets & values.keys():
                found = values[target].flatten(1)
                column, row = found.nonzero(as_tuple=True)
                blocks[target].append(Entries(row.numpy(), column.numpy() + start, found[column, row].numpy()))
        for target, parts in blocks.items():
            if parts:
                maps[target][source] = Entries.join(parts)
    zeros = {name: torch.zeros(1, *graph.nodes[name].shape, dtype=graph.dtype) for name in sources}
    values = _push(graph, zeros, linear=False)
    return maps, {target: values[target].flatten().numpy() for target in targets}


def _push(graph: Graph, values: dict[str, Tensor], *, linear: bool) -> dict[str, Tensor]:
    """Evaluate the affine operators that depend on given values, with zero for all else."""
    batch = len(next(iter(values.values())))
    for name, node in graph.nodes.items():
        if not isinstance(node.op, Affine) or not any(parent in values for parent in node.parents):
            continue
        operands = [
            values[parent] if parent in values else torch.zeros(batch, *graph.nodes[parent].shape, dtype=graph.dtype)
            for parent in node.parents
        ]
        values[name] = node.op.linear(*operands) if linear else node.op.forward(*operands)
    return values
