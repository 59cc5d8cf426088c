"""Proves properties of networks with smooth nonlinearities by cutting boxes of few inputs: the examples' other referee.

Shares no code with the verifier. On each box, every node is bounded by intervals and by its mean value form; a box in
which that does not exclude the unsafe set is halved.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from intervals import Interval, Value
from onnx import numpy_helper
from properties import Box

TOGETHER = 2048  # boxes that are bounded at once
MOST = 400_000  # boxes before it is given up


class UndecidedError(ValueError):
    """Too many boxes: the property is too hard, or too close to call."""


class Network:
    """An ONNX file as a function of ``Value``."""

    def __init__(self, path: Path) -> None:
        self.graph = onnx.load(path).graph
        self.weights = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in self.graph.initializer}
        self.shape = tuple(one.dim_value for one in self.graph.input[0].type.tensor_type.shape.dim)

    def __call__(self, *inputs: Value) -> Value:
        """The output, ``(boxes, 1, outputs)``."""
        return self.values(*inputs)[self.graph.output[0].name]

    def values(self, *inputs: Value) -> dict[str, Value]:
        """All tensors by name."""
        given = {port.name: value for port, value in zip(self.graph.input, inputs, strict=True)}
        values: dict[str, Value | np.ndarray] = {**self.weights, **given}
        for node in self.graph.node:
            operands = [values[name] for name in node.input]
            attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            values[node.output[-1]] = _node(node.op_type, operands, attributes)
        return values

    def on(self, lower: np.ndarray, upper: np.ndarray, varying: np.ndarray) -> Value:
        """The output on boxes ``(boxes, size)``."""
        return self(Value.inputs(lower, upper, varying, self.shape))


def exclude(network: Network, box: Box, rows: Sequence[tuple[np.ndarray, float]]) -> int:
    """Prove that a.y <= b does not hold for all rows (a, b) at once, anywhere in the box; returns the boxes it took.

    Raises:
        UndecidedError: too many boxes.
    """
    a, b = np.stack([a for a, _ in rows]), np.array([b for _, b in rows])

    def excess(lower: np.ndarray, upper: np.ndarray, varying: np.ndarray) -> Value:
        found = network.on(lower, upper, varying).linear(lambda part: part.times(a.T))
        return found.plus(-b).shaped(lambda part, before: part.reshape(*part.shape[:before], -1))

    return exclude_rows(excess, box)


def exclude_rows(excess: Callable[[np.ndarray, np.ndarray, np.ndarray], Value], box: Box) -> int:
    """Prove that no point of the box has all of ``excess``, ``(boxes, rows)``, at most 0; see ``exclude``.

    Args:
        excess: of boxes ``(boxes, size)``, of which some columns vary.
        box: to search.
    """
    varying = np.flatnonzero(box.upper > box.lower)
    lower, upper, count = box.lower[None], box.upper[None], 0
    while len(lower):
        count += min(TOGETHER, len(lower))
        if count + len(lower) > MOST:
            raise UndecidedError(f"{count} boxes and {len(lower)} left: too close to call")
        low, high = lower[-TOGETHER:], upper[-TOGETHER:]
        lower, upper = lower[:-TOGETHER], upper[:-TOGETHER]
        found = excess(low, high, varying)
        still = ~(found.range.lower > 0).any(1)
        best = found.range.lower[still].argmax(1)
        effect = found.slope.size[still, :, best] * found.radius[still]
        for part in _halves(low[still], high[still], varying[effect.argmax(1)]):
            lower, upper = np.concatenate([lower, part[0]]), np.concatenate([upper, part[1]])
    return count


def _halves(lower: np.ndarray, upper: np.ndarray, along: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    boxes = np.arange(len(lower))
    middle = (lower[boxes, along] + upper[boxes, along]) / 2
    below, above = upper.copy(), lower.copy()
    below[boxes, along] = above[boxes, along] = middle
    return [(lower, below), (above, upper)]


def _node(operator: str, given: list[Value | np.ndarray], attributes: dict[str, object]) -> Value:
    x = given[0]
    match operator:
        case "Gemm":
            return x.linear(lambda part: part.times(given[1].T)).plus(given[2])
        case "MatMul" if isinstance(given[1], np.ndarray):
            return x.linear(lambda part: part.times(given[1]))
        case "MatMul":
            return _matmul(x, given[1])
        case "Add":
            return x.plus(given[1]) if isinstance(given[1], np.ndarray) else x + given[1]
        case "Mul":
            return x.scaled(Interval.exactly(given[1])) if isinstance(given[1], np.ndarray) else x * given[1]
        case "Div":
            return x.scaled(Interval(*np.nextafter(1 / given[1], [-np.inf, np.inf])))
        case "Sigmoid" | "Tanh" | "Sin" | "Cos" | "Erf" | "Relu":
            return x.apply(operator)
        case "Softmax":
            return _softmax(x)
        case "Concat":
            return _concat(given, attributes["axis"])
        case "Transpose":
            order = attributes["perm"]
            return x.shaped(lambda a, before: a.transpose(*range(before), *(before + k for k in order)))
        case "Reshape":
            shape = given[1].astype(int).tolist()
            return x.shaped(lambda a, before: a.reshape(*a.shape[:before], *shape))
        case "Flatten":
            return x.shaped(lambda a, before: a.reshape(*a.shape[:before], 1, -1))
        case "LSTM":
            return _lstm(x, *given[1:])
    raise ValueError(f"no interval form for {operator}")


def _matmul(x: Value, y: Value) -> Value:
    """(1, m, k) by (1, k, n): sums of products in an axis of their own."""
    left = x.shaped(lambda a, before: a[..., None])
    right = y.shaped(lambda a, before: np.expand_dims(a, before + 1))
    return (left * right).linear(lambda part: part.sum(-2))


def _softmax(x: Value) -> Value:
    """1 over the sum of exp(x_j - x_i), which cannot overflow where x_i is large."""
    here, there = x.shaped(lambda a, before: a[..., None]), x.shaped(lambda a, before: a[..., None, :])
    return (there - here).apply("Exp").linear(lambda part: part.sum(-1)).apply("Reciprocal")


def _concat(given: list[Value], axis: int) -> Value:
    def joined(side: Callable[[Value], Interval], before: int) -> Interval:
        parts = [side(one) for one in given]
        return Interval(
            np.concatenate([part.lower for part in parts], axis + before),
            np.concatenate([part.upper for part in parts], axis + before),
        )

    centre, slope = joined(lambda one: one.centre, 1), joined(lambda one: one.slope, 2)
    return Value(centre, slope, joined(lambda one: one.range, 1), given[0].radius)


def _lstm(x: Value, given: np.ndarray, back: np.ndarray, bias: np.ndarray) -> Value:
    """The last hidden state, (1, 1, hidden), of (steps, 1, features)."""
    hidden = back.shape[2]
    state, memory = None, None
    for step in range(x.range.lower.shape[1]):
        now = x.shaped(lambda a, before, step=step: a[(slice(None),) * before + (slice(step, step + 1),)])
        sums = now.linear(lambda part: part.times(given[0].T)).plus(bias[0, : 4 * hidden]).plus(bias[0, 4 * hidden :])
        if state is not None:
            sums = sums + state.linear(lambda part: part.times(back[0].T))
        gates = [
            sums.shaped(lambda a, before, k=k: a[..., k * hidden : (k + 1) * hidden]).apply(name)
            for k, name in enumerate(("Sigmoid", "Sigmoid", "Sigmoid", "Tanh"))
        ]
        into, out, forget, cell = gates
        memory = into * cell if memory is None else forget * memory + into * cell
        state = out * memory.apply("Tanh")
    return state
