"""Local Lipschitz constants of small ReLU networks, exactly: a reference that shares no code with the verifier.

On each linear region the gradient is constant, and the Lipschitz constant over a box is the largest dual norm of the
gradients of the regions that fill it. Regions are listed by deciding neurons one by one, a linear
program for each neuron that is undecided: thousands of regions take seconds, and there may be as many as 2 to the power
of the unstable neurons. Run as a script, it prints the constants of the smallest networks of lipschitz.csv.

    python benchmarks/exact_lipschitz.py [NET ...]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import highspy
import numpy as np
import onnx
from lipschitz_nets import TINY, instances, network
from onnx import numpy_helper

THICK = 1e-9
"""Regions are left out that hold no ball of this radius, in coordinates in which the box is [-1, 1]^n."""
TOLERANCE = 1e-10  # of the linear programs, the least that the solver takes

DUAL: dict[float, float] = {math.inf: 1, 2: 2, 1: math.inf}
"""The norms of gradients, by the norm of the input."""

Layer = tuple[np.ndarray, np.ndarray]
"""Weights ``(m, n)`` and biases ``(m,)`` of an affine layer."""


@dataclass(frozen=True, slots=True)
class Exact:
    """A Lipschitz constant, the gradient ``(n,)`` and a point ``(n,)`` that attain it, and the count of regions."""

    value: float
    gradient: np.ndarray
    point: np.ndarray
    regions: int


@dataclass(frozen=True, slots=True)
class Region:
    """A set of points with equal signs of the neurons decided so far, a point of it, and those neurons' signs.

    All neurons are decided in the layers before ``depth``, whose values before their ReLUs are ``matrix @ u + offset``;
    of the layer itself, ``active`` says 1 (positive), 0 (negative) or -1 (undecided).
    """

    depth: int
    matrix: np.ndarray
    offset: np.ndarray
    active: np.ndarray
    point: np.ndarray


def exact_lipschitz(
    layers: Sequence[Layer], lower: np.ndarray, upper: np.ndarray, row: np.ndarray, p: float = math.inf
) -> Exact:
    """Return the Lipschitz constant of ``row @ f`` over a box, f being affine layers with ReLUs in between.

    Args:
        layers: in their order; the last has no ReLU.
        lower: the box's lower end ``(n,)``, in float64.
        upper: its upper end.
        row: a combination of outputs ``(m,)``.
        p: the norm of the input, inf, 2 or 1: the gradient is measured in the 1-, 2- or inf-norm.

    Raises:
        ValueError: the box has no interior, or there is no such norm.
        RuntimeError: the solver came to no answer.

    Property: exact but for regions thinner than THICK; never above the constant but by rounding, because the gradient
    is that at ``point``. Cost: linear programs in n + 1 variables, about one for each region and undecided neuron.
    Source: Bhowmick, D'Souza and Raghavan, ICANN 2021 (arXiv:2105.05495), here without the bounds that spare regions.
    """
    if p not in DUAL:
        raise ValueError(f"no exact constant for p={p}; choose from {', '.join(map(str, DUAL))}")
    middle, radius = (lower + upper) / 2, (upper - lower) / 2
    if not (radius > 0).all():
        raise ValueError("the box has no interior")
    weight, bias = layers[0]
    scaled = [(weight * radius, weight @ middle + bias), *layers[1:]]  # on [-1, 1]^n
    scaled[-1] = tuple(np.stack([row @ part]) for part in scaled[-1])
    best, count = Exact(-math.inf, radius, middle, 0), 0
    for slope, point in Enumeration(scaled).regions():
        count += 1
        gradient = slope / radius
        value = float(np.linalg.norm(gradient, DUAL[p]))
        if value > best.value:
            best = Exact(value, gradient, middle + radius * point, 0)
    return replace(best, regions=count)


class Enumeration:
    """Lists the linear regions of a network with one output on [-1, 1]^n."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.inputs = layers[0][0].shape[1]
        self.rows: list[np.ndarray] = []  # (normal, offset) of half-spaces normal @ u + offset > 0, of unit normals
        self.solver = highspy.Highs()
        for option, value in (("output_flag", False), ("threads", 1), ("random_seed", 0), ("presolve", "off")):
            self.solver.setOptionValue(option, value)
        for option in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
            self.solver.setOptionValue(option, TOLERANCE)
        self.solver.addVars(self.inputs, -np.ones(self.inputs), np.ones(self.inputs))
        self.solver.addVar(-highspy.kHighsInf, 1.0)  # the room t that all half-spaces leave
        self.solver.changeColCost(self.inputs, -1.0)

    def regions(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The gradient and a point of each region with an interior."""
        matrix, offset = self.layers[0]
        return self._below(self._enter(0, matrix, offset, np.zeros(self.inputs)))

    def _enter(self, depth: int, matrix: np.ndarray, offset: np.ndarray, point: np.ndarray) -> Region:
        """Decide the neurons of a layer that intervals decide, on the whole box."""
        reach = np.abs(matrix).sum(1)
        active = np.where(offset >= reach, 1, np.where(offset <= -reach, 0, -1))
        return Region(depth, matrix, offset, active, point)

    def _below(self, region: Region) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if region.depth == len(self.layers) - 1:
            yield region.matrix[0], region.point
            return
        undecided = np.flatnonzero(region.active < 0)
        if not len(undecided):
            weight, bias = self.layers[region.depth + 1]
            matrix, offset = weight @ (region.active[:, None] * region.matrix), weight @ (region.active * region.offset)
            yield from self._below(self._enter(region.depth + 1, matrix, offset + bias, region.point))
            return
        neuron = undecided[0]
        half = np.append(region.matrix[neuron], region.offset[neuron])
        half /= np.linalg.norm(half[:-1])
        for sign in (1, 0):
            with_it = region.active.copy()
            with_it[neuron] = sign
            self._push(half if sign else -half)
            point = self._point(region.point)
            if point is not None:
                yield from self._below(replace(region, active=with_it, point=point))
            self._pop()

    def _point(self, known: np.ndarray) -> np.ndarray | None:
        """A point at which all half-spaces leave room: one of their other points if it happens to lie there."""
        if self._room(known) > THICK:
            return known
        self.solver.run()
        if self.solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise RuntimeError(f"the solver ended with {self.solver.getModelStatus()}")
        point = np.clip(self.solver.getSolution().col_value[: self.inputs], -1, 1)
        return point if self._room(point) > THICK else None

    def _room(self, point: np.ndarray) -> float:
        rows = np.array(self.rows)
        return float((rows[:, :-1] @ point + rows[:, -1]).min())

    def _push(self, row: np.ndarray) -> None:
        self.rows.append(row)
        columns = np.arange(self.inputs + 1, dtype=np.int32)
        self.solver.addRow(-row[-1], highspy.kHighsInf, len(columns), columns, np.append(row[:-1], -1.0))

    def _pop(self) -> None:
        self.rows.pop()
        self.solver.deleteRows(1, np.array([len(self.rows)], dtype=np.int32))


def read_mlp(path: Path) -> list[Layer]:
    """Return the layers of a file that is a chain of Gemm nodes with Relu in between, in float64.

    Raises:
        ValueError: it is not.
    """
    graph = onnx.load(path).graph
    weights = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in graph.initializer}
    layers, last = [], graph.input[0].name
    for place, node in enumerate(graph.node):
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        plain = attributes == {"transB": 1} if place % 2 == 0 else not attributes
        if node.op_type != ("Relu" if place % 2 else "Gemm") or node.input[0] != last or not plain:
            raise ValueError(f"node {node.name!r}: a chain of Gemm (transB=1) and Relu is expected")
        if place % 2 == 0:
            weight, bias = (weights[name] for name in node.input[1:])
            layers.append((weight, bias))
        last = node.output[0]
    if len(graph.node) % 2 == 0 or last != graph.output[0].name:
        raise ValueError(f"{path}: the last node has to be a Gemm")
    return layers


def main() -> int:
    """Print the constants of networks in lipschitz.csv, at all radii and for all norms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", metavar="NET", default=list(TINY), help="of lipschitz.csv")
    options = parser.parse_args()
    for one in instances():
        if one.net not in options.nets:
            continue
        layers = read_mlp(network(one.net))
        row = np.eye(len(layers[-1][1]))[one.output]
        for p in (math.inf, 2, 1):
            start = time.monotonic()
            found = exact_lipschitz(layers, *one.box(), row, p)
            seconds = time.monotonic() - start
            print(f"{one.net:14} {one.eps:<8g} p={p:<4g} {found.value:12.8g}  {found.regions} regions, {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
