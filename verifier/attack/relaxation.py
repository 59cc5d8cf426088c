"""The triangle relaxation of a ReLU network as a linear program, whose neurons can be fixed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verifier.attack.affine_maps import Array, Entries, Index, Maps, affine_maps
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.ops.curves.relu import Relu
from verifier.sets import Box

Signs = npt.NDArray[np.int8]
"""1 active, -1 inactive, 0 not fixed."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """The K neurons of one ReLU that may be active, with their places in the program.

    ``elements`` are their places in the operand, ``z`` and ``a`` their first columns, ``row`` is the first row
    ``a - z >= 0``.
    """

    operand: str
    elements: npt.NDArray[np.int64]
    lower: Array
    upper: Array
    z: int
    a: int
    row: int

    @property
    def unstable(self) -> npt.NDArray[np.bool_]:
        """Which of them may be inactive too, ``(K,)``."""
        return self.lower < 0

    @property
    def slope(self) -> Array:
        """Slope of the triangle's upper side, ``(K,)``; 1 where stable."""
        return np.where(self.unstable, self.upper / (self.upper - np.minimum(self.lower, 0)), 1.0)


class Relaxation:
    """Minimises the largest excess of a case over a box of inputs, with every ReLU relaxed to a triangle.

    Columns: the input x; for each ReLU the operands z and the values a of the neurons that may be active; the output y;
    the largest excess t. Rows for each ReLU: ``a - z >= 0`` (equal if stable); z equals its affine function;
    ``a - slope z <= -slope lower``. Then: y equals its affine function; t is at least each row of the case.

    Source: Ehlers, ATVA 2017 (arXiv:1705.01320). Cost: a linear program for each ``solve``, warm-started by simplex.
    """

    def __init__(self, graph: Graph, boxes: Mapping[str, Box]) -> None:
        """Build for a graph of affine operators and ReLUs in float64, on the CPU.

        Args:
            graph: the network.
            boxes: ``(1, *node)``, of the input and of every operand of a ReLU.
        """
        import highspy

        self.n_inputs, self.n_outputs = graph.n_inputs, graph.n_outputs
        self.solver = highspy.Highs()  # type: ignore[no-untyped-call]
        self.solver.setOptionValue("output_flag", False)
        self.solver.setOptionValue("threads", 1)
        self.layers: list[Layer] = []
        self._columns(graph, boxes)
        maps, constants = affine_maps(graph)
        self._load(Entries.join(list(self._entries(maps))), *self._ends(constants))
        self.case_rows = 0

    def _columns(self, graph: Graph, boxes: Mapping[str, Box]) -> None:
        """Lay out columns and rows; note the column of each element of each source, -1 for none."""
        ends = [_ends(boxes[INPUT])]
        count, row = graph.n_inputs, 0
        self.column = {INPUT: np.arange(count)}
        for name, node in graph.nodes.items():
            if not isinstance(node.op, Relu):
                continue
            low, high = _ends(boxes[node.parents[0]])
            alive = (high > 0).nonzero()[0]
            self.column[name] = np.full(len(low), -1)
            low, high = low[alive], high[alive]
            layer = Layer(node.parents[0], alive, low, high, count, count + len(alive), row)
            self.column[name][alive] = layer.a + np.arange(len(alive))
            self.layers.append(layer)
            ends += [(low, high), (np.maximum(low, 0), high)]
            count, row = count + 2 * len(alive), row + 3 * len(alive)
        self.output, self.columns = count, count + graph.n_outputs + 1
        self.output_row, self.rows = row, row + graph.n_outputs
        free = np.full(graph.n_outputs + 1, np.inf)
        ends.append((-free, free))
        self.lower, self.upper = (np.concatenate(part) for part in zip(*ends, strict=True))

    def _entries(self, maps: Maps) -> Iterator[Entries]:
        """Yield the entries of the matrix."""
        for layer in self.layers:
            count = np.arange(len(layer.elements))
            one, z, a = np.ones(len(count)), layer.z + count, layer.a + count
            yield from (Entries(layer.row + count, a, one), Entries(layer.row + count, z, -one))
            upper = layer.row + 2 * len(count) + count
            yield from (Entries(upper, a, one), Entries(upper, z, -layer.slope))
            yield from self._affine(maps, layer.operand, layer.elements, layer.row + len(count), layer.z)
        yield from self._affine(maps, OUTPUT, np.arange(self.n_outputs), self.output_row, self.output)

    def _affine(self, maps: Maps, target: str, elements: Index, row: int, column: int) -> Iterator[Entries]:
        """Yield the rows ``value - matrix @ sources`` of some elements of a target."""
        count = np.arange(len(elements))
        yield Entries(row + count, column + count, np.ones(len(count)))
        for source, matrix in maps[target].items():
            rows = np.full(max(matrix.row.max(initial=-1), elements.max(initial=-1)) + 1, -1)
            rows[elements] = row + count
            part = matrix.move(rows, self.column[source])
            yield Entries(part.row, part.column, -part.value)

    def _ends(self, constants: Mapping[str, Array]) -> tuple[Array, Array]:
        """Return the least and the largest value of each row."""
        low, high = [], []
        for layer in self.layers:
            zero = np.zeros(len(layer.elements))
            value = constants[layer.operand][layer.elements]
            low += [zero, value, zero - np.inf]
            high += [np.where(layer.unstable, np.inf, 0.0), value, -layer.slope * np.minimum(layer.lower, 0)]
        return np.concatenate([*low, constants[OUTPUT]]), np.concatenate([*high, constants[OUTPUT]])

    def _load(self, entries: Entries, low: Array, high: Array) -> None:
        """Hand the program to the solver."""
        import highspy

        order = entries.row.argsort(kind="stable")
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = self.columns, self.rows
        program.col_cost_ = np.append(np.zeros(self.columns - 1), 1.0)
        program.col_lower_, program.col_upper_ = self.lower, self.upper
        program.row_lower_, program.row_upper_ = low, high
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.searchsorted(entries.row[order], np.arange(self.rows + 1)).astype(np.int32)
        program.a_matrix_.index_ = entries.column[order].astype(np.int32)
        program.a_matrix_.value_ = entries.value[order]
        self.solver.passModel(program)

    def target(self, y_rows: Array, x_rows: Array | None, bound: Array) -> None:
        """Set the case: rows ``(R, m)``, ``(R, n)`` or None, and right-hand sides ``(R,)``."""
        if self.case_rows:
            first = self.rows
            self.solver.deleteRows(self.case_rows, np.arange(first, first + self.case_rows, dtype=np.int32))
        self.case_rows = count = len(bound)
        dense = np.zeros((count, self.columns))
        dense[:, self.output : self.output + self.n_outputs] = -y_rows
        if x_rows is not None:
            dense[:, : self.n_inputs] = -x_rows
        dense[:, -1] = 1
        row, column = dense.nonzero()
        starts = np.searchsorted(row, np.arange(count)).astype(np.int32)
        infinite = np.full(count, np.inf)
        self.solver.addRows(count, -bound, infinite, len(row), starts, column.astype(np.int32), dense[row, column])

    def fix(self, signs: Mapping[str, Signs]) -> None:
        """Fix the signs of unstable neurons, anew for all of them; by name of the operand, ``(elements,)``."""
        for layer in self.layers:
            sign = np.where(layer.unstable, signs[layer.operand][layer.elements], 0)
            lower, upper = np.where(sign > 0, 0.0, layer.lower), np.where(sign < 0, 0.0, layer.upper)
            count = len(sign)
            index = np.arange(count, dtype=np.int32)
            self.solver.changeColsBounds(count, index + layer.z, lower, upper)
            self.solver.changeColsBounds(count, index + layer.a, np.maximum(lower, 0), np.maximum(upper, 0))
            equal = ~layer.unstable | (sign > 0)
            # Row by row: older versions of the interface have no call for many.
            for k in np.flatnonzero(layer.unstable):
                self.solver.changeRowBounds(layer.row + int(k), 0.0, 0.0 if equal[k] else np.inf)

    def release(self) -> None:
        """Relax every neuron to its triangle again."""
        size = {layer.operand: int(layer.elements.max(initial=-1)) + 1 for layer in self.layers}
        self.fix({operand: np.zeros(count, dtype=np.int8) for operand, count in size.items()})

    def solve(self, until: float) -> tuple[float, Array] | None:
        """Return the least excess and the input point ``(n,)`` there; None where there is none, or not in time."""
        import highspy

        left = until - time.monotonic()
        if left <= 0:
            return None
        self.solver.setOptionValue("time_limit", self.solver.getRunTime() + left)
        self.solver.run()
        if self.solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        solution = np.asarray(self.solver.getSolution().col_value)
        return float(solution[-1]), solution[: self.n_inputs]


def _ends(box: Box) -> tuple[Array, Array]:
    """Return the ends of a box of one domain as vectors in float64."""
    lower, upper = (end.double().cpu().flatten().numpy() for end in (box.lower, box.upper))
    return lower, upper
