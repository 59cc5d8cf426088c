"""Decides small properties exactly, by mixed-integer programming on the ONNX file: the examples' independent referee.

Shares no code with the verifier. Every value is an affine function of the program's variables: the inputs, and the
results of those ReLU and MaxPool nodes whose case interval and linear bounds leave open. These get a binary variable
per choice.
Source: Tjeng, Xiao, Tedrake, "Evaluating Robustness of Neural Networks with Mixed Integer Programming", ICLR 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import highspy
import numpy as np
import onnx
from onnx import numpy_helper
from properties import Box

SLACK = 1e-6  # bounds from linear programs move outward by this


@dataclass(frozen=True, slots=True)
class Affine:
    """A value of some shape: matrix (size, variables so far) and offset (size,)."""

    matrix: np.ndarray
    offset: np.ndarray
    shape: tuple[int, ...]


class Program:
    """A network on a box as a mixed-integer program; ``outputs`` is its value, ``bound`` and ``find`` ask about it."""

    def __init__(self, path: Path, box: Box, tighten: bool = True) -> None:
        self.lower, self.upper = box.lower, box.upper
        self.inputs = len(box.lower)
        self.binaries: list[int] = []
        self.solver = highspy.Highs()
        for option, value in (("output_flag", False), ("threads", 1), ("random_seed", 0)):
            self.solver.setOptionValue(option, value)
        self.solver.addVars(len(self.lower), self.lower, self.upper)
        self.tighten = tighten
        self.outputs = self._encode(onnx.load(path).graph)

    def bound(self, a: np.ndarray) -> float:
        """A lower bound of a.y from intervals, stable neurons put in: no search, no linear program."""
        return float(self._interval(a @ self.outputs.matrix, a @ self.outputs.offset)[0])

    def find(self, rows: Sequence[tuple[np.ndarray, float]]) -> np.ndarray | None:
        """An input at which a.y <= b for all rows (a, b), within tolerances; None where it is proved that none is.

        Raises:
            RuntimeError: the solver came to no answer.
        """
        before = self.solver.getNumRow()
        for a, b in rows:
            self._require(a @ self.outputs.matrix, -np.inf, b - a @ self.outputs.offset)
        kinds = np.full(len(self.binaries), highspy.HighsVarType.kInteger)
        self.solver.changeColsIntegrality(len(self.binaries), np.array(self.binaries, dtype=np.int32), kinds)
        columns = np.arange(len(self.lower), dtype=np.int32)
        self.solver.changeColsCost(len(columns), columns, np.zeros(len(columns)))
        self.solver.run()
        status = self.solver.getModelStatus()
        point = np.array(self.solver.getSolution().col_value)
        added = np.arange(before, self.solver.getNumRow(), dtype=np.int32)
        self.solver.deleteRows(len(added), added)
        if status == highspy.HighsModelStatus.kInfeasible:
            return None
        if status != highspy.HighsModelStatus.kOptimal:
            raise RuntimeError(f"the solver ended with {status}")
        return point[: self.inputs]

    def _encode(self, graph: onnx.GraphProto) -> Affine:
        weights = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in graph.initializer}
        size = len(self.lower)
        shape = tuple(one.dim_value for one in graph.input[0].type.tensor_type.shape.dim)
        values = {graph.input[0].name: Affine(np.eye(size), np.zeros(size), shape[1:])}
        for node in graph.node:
            given = [values[name] for name in node.input if name in values]
            constants = [weights[name] for name in node.input if name in weights]
            attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            values[node.output[0]] = self._node(node.op_type, given, constants, attributes)
        return values[graph.output[0].name]

    def _node(
        self, operator: str, given: list[Affine], constants: list[np.ndarray], attributes: dict[str, object]
    ) -> Affine:
        x = given[0]
        match operator:
            case "Gemm":
                weight, bias = constants
                return Affine(weight @ x.matrix, weight @ x.offset + bias, bias.shape)
            case "Conv":
                return _conv(x, constants, attributes["strides"][0], attributes["pads"][0])
            case "Add":
                matrices = (_padded(one.matrix, len(self.lower)) for one in given)
                return Affine(sum(matrices), given[0].offset + given[1].offset, x.shape)
            case "Flatten":
                return Affine(x.matrix, x.offset, (len(x.offset),))
            case "Relu":
                zero = np.zeros_like(x.matrix[:1])
                choices = [[(row, at), (zero[0], 0.0)] for row, at in zip(x.matrix, x.offset, strict=True)]
                return self._largest(choices, x.shape)
            case "MaxPool":
                return self._largest(*_pools(x))
        raise ValueError(f"no exact form for {operator}")

    def _largest(self, choices: list[list[tuple[np.ndarray, float]]], shape: tuple[int, ...]) -> Affine:
        results = [self._maximum(group) for group in choices]
        matrix = np.stack([_padded(row, len(self.lower)) for row, _ in results])
        return Affine(matrix, np.array([offset for _, offset in results]), shape)

    def _maximum(self, group: list[tuple[np.ndarray, float]]) -> tuple[np.ndarray, float]:
        """The maximum of affine functions as one of them, or as a new variable with a binary per function left."""
        ranges = [self._range(row, offset) for row, offset in group]
        floor = max(low for low, _ in ranges)
        left = [(row, offset, low) for (row, offset), (low, high) in zip(group, ranges, strict=True) if high >= floor]
        if len(left) == 1:
            return left[0][:2]
        ceiling = max(high for _, high in ranges)
        result = self._variable(floor, ceiling)
        picks = [self._variable(0.0, 1.0) for _ in left]
        self.binaries += picks
        self._require(_unit(picks, len(self.lower)), 1.0, 1.0)
        for pick, (row, offset, low) in zip(picks, left, strict=True):
            gap = _unit([result], len(self.lower)) - _padded(row, len(self.lower))
            self._require(gap, offset, np.inf)
            self._require(gap + (ceiling - low) * _unit([pick], len(self.lower)), -np.inf, offset + ceiling - low)
        return _unit([result], len(self.lower)), 0.0

    def _range(self, row: np.ndarray, offset: float) -> tuple[float, float]:
        low, high = self._interval(row, offset)
        if self.tighten and low < 0 < high and self.binaries:
            low, high = max(low, self._linear(row, offset, 1)), min(high, self._linear(row, offset, -1))
        return low, high

    def _interval(self, row: np.ndarray, offset: float) -> tuple[float, float]:
        row = _padded(row, len(self.lower))
        at_lower, at_upper = row * self.lower, row * self.upper
        return np.minimum(at_lower, at_upper).sum() + offset, np.maximum(at_lower, at_upper).sum() + offset

    def _linear(self, row: np.ndarray, offset: float, sign: int) -> float:
        """The minimum (sign 1) or maximum (sign -1) with the binaries relaxed."""
        columns = np.arange(len(self.lower), dtype=np.int32)
        self.solver.changeColsCost(len(columns), columns, sign * _padded(row, len(self.lower)))
        self.solver.run()
        if self.solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return -sign * np.inf
        return sign * (self.solver.getInfo().objective_function_value - SLACK) + offset

    def _variable(self, lower: float, upper: float) -> int:
        self.solver.addVar(lower, upper)
        self.lower, self.upper = np.append(self.lower, lower), np.append(self.upper, upper)
        return len(self.lower) - 1

    def _require(self, row: np.ndarray, lower: float, upper: float) -> None:
        columns = np.flatnonzero(row).astype(np.int32)
        self.solver.addRow(lower, upper, len(columns), columns, row[columns])


def _padded(matrix: np.ndarray, variables: int) -> np.ndarray:
    missing = [(0, 0)] * (matrix.ndim - 1) + [(0, variables - matrix.shape[-1])]
    return np.pad(matrix, missing)


def _unit(columns: Sequence[int], variables: int) -> np.ndarray:
    row = np.zeros(variables)
    row[list(columns)] = 1.0
    return row


def _conv(x: Affine, constants: list[np.ndarray], stride: int, pad: int) -> Affine:
    """Convolve every column of the matrix, and the offset, as an image of its own."""
    weight, bias = constants
    images = np.column_stack([x.matrix, x.offset]).T.reshape(-1, *x.shape)
    padded = np.pad(images, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    result = np.einsum("nchwij,ocij->nohw", windows, weight)
    result[-1] += bias[:, None, None]
    columns = result.reshape(len(result), -1).T
    return Affine(columns[:, :-1], columns[:, -1], result.shape[1:])


def _pools(x: Affine) -> tuple[list[list[tuple[np.ndarray, float]]], tuple[int, ...]]:
    """The four values of each 2 by 2 window, and the shape of the result."""
    channels, height, width = x.shape
    index = np.arange(channels * height * width).reshape(channels, height // 2, 2, width // 2, 2)
    windows = index.transpose(0, 1, 3, 2, 4).reshape(-1, 4)
    groups = [[(x.matrix[k], x.offset[k]) for k in window] for window in windows]
    return groups, (channels, height // 2, width // 2)
