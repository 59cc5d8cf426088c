"""Recurrent layers, unrolled: a cell for each step, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from verifier.graph.lower.activations import Activation, activations, clipped
from verifier.graph.lower.arithmetic import times
from verifier.graph.lower.builder import Builder, Call, Operand, Variable, double, lowers, tensor
from verifier.graph.onnx_file import Array
from verifier.ops.linear import Linear
from verifier.ops.select import Concat


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """What a cell of one direction has: weights, activations, and the attributes of its kind.

    ``inner`` (inputs, gates * hidden) and ``outer`` (hidden, gates * hidden) multiply from the right; the two biases
    belong to them. ``peepholes`` are those of an LSTM, three of ``(hidden,)``.
    """

    call: Call
    hidden: int
    inner: Array
    outer: Array
    inner_bias: Array
    outer_bias: Array
    peepholes: Array | None
    functions: list[Activation]

    def gate(self, b: Builder, x: Variable, k: int) -> Variable:
        """Cut gate k out of ``(batch, gates * hidden)``."""
        return b.slice(x, x.rank - 1, k * self.hidden, (k + 1) * self.hidden)

    def recur(self, b: Builder, h: Operand, gates: slice) -> Operand:
        """Multiply a state by the recurrent weights of some gates."""
        columns = slice(gates.start * self.hidden, gates.stop * self.hidden)
        weight = self.outer[:, columns]
        return times(b, h, weight) if isinstance(h, Variable) else double(h) @ double(weight)

    def squash(self, b: Builder, k: int, x: Variable) -> Variable:
        """Apply activation k behind the clipping of its operand."""
        return self.functions[k](b, clipped(b, x, self.call.get("clip")))

    def peep(self, b: Builder, x: Variable, k: int, c: Operand) -> Variable:
        """Add the cell's state by peephole k."""
        return x if self.peepholes is None else b.add(x, product(b, c, self.peepholes[k]))


def product(b: Builder, x: Operand, y: Operand) -> Operand:
    """Multiply two operands, of which both may be constant, and one zero."""
    if not isinstance(x, Variable) and not isinstance(y, Variable):
        return double(x) * double(y)
    for one, other in ((x, y), (y, x)):
        if not isinstance(one, Variable) and not one.any():
            assert isinstance(other, Variable)
            return np.zeros(np.broadcast_shapes(one.shape, other.shape))
    return b.multiply(x, y)


State = tuple[Operand, ...]
Step = Callable[[Builder, Cell, Variable, State], State]


def rnn_step(b: Builder, cell: Cell, x: Variable, state: State) -> State:
    """H = f(X + R H)."""
    return (cell.squash(b, 0, b.add(x, cell.recur(b, state[0], slice(0, 1)))),)


def gru_step(b: Builder, cell: Cell, x: Variable, state: State) -> State:
    """z, r = f(X + R H); H' = g(X + R (r H)), or g(X + r (R H + b)); H = (1 - z) H' + z H."""
    (h,) = state
    both = b.add(b.slice(x, 1, 0, 2 * cell.hidden), cell.recur(b, h, slice(0, 2)))
    update, reset = (cell.squash(b, 0, cell.gate(b, both, k)) for k in range(2))
    new = cell.gate(b, x, 2)
    if cell.call.get("linear_before_reset", 0):
        seen = cell.recur(b, h, slice(2, 3))
        bias = cell.outer_bias[2 * cell.hidden :]
        seen = b.translate(seen, bias) if isinstance(seen, Variable) else seen + bias
        new = b.add(new, product(b, reset, seen))
    else:
        new = b.add(new, cell.recur(b, product(b, reset, h), slice(2, 3)))
    new = cell.squash(b, 1, new)
    kept = b.subtract(np.ones(1), update)
    return (b.add(b.multiply(kept, new), product(b, update, h)),)


def lstm_step(b: Builder, cell: Cell, x: Variable, state: State) -> State:
    """i, f = f(X + R H + P C); C = f C + i g(X + R H); o = f(X + R H + P C); H = o h(C)."""
    h, c = state
    gates = b.add(x, cell.recur(b, h, slice(0, 4)))
    enter = cell.squash(b, 0, cell.peep(b, cell.gate(b, gates, 0), 0, c))
    if cell.call.get("input_forget", 0):
        keep = b.subtract(np.ones(1), enter)
    else:
        keep = cell.squash(b, 0, cell.peep(b, cell.gate(b, gates, 2), 2, c))
    new = b.multiply(enter, cell.squash(b, 1, cell.gate(b, gates, 3)))
    new = b.add(new, product(b, keep, c))
    leave = cell.squash(b, 0, cell.peep(b, cell.gate(b, gates, 1), 1, new))
    return b.multiply(leave, cell.functions[2](b, new)), new


KINDS: dict[str, tuple[int, list[str], Step]] = {
    "RNN": (1, ["Tanh"], rnn_step),
    "GRU": (3, ["Sigmoid", "Tanh"], gru_step),
    "LSTM": (4, ["Sigmoid", "Tanh", "Tanh"], lstm_step),
}
"""The number of gates, the usual activations, and one step."""

DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


@lowers(*KINDS)
def recurrent(b: Builder, call: Call) -> tuple[Operand, ...]:
    """Lower a recurrent layer; the outputs are those of all steps, and the last state of each kind."""
    x, kind = call.variable(), call.proto.op_type
    first = bool(call.get("layout", 0))
    if first:
        x = b.transpose(x, (1, 0, 2))
    length, batch, _ = x.shape
    ends = lengths(call, length, batch)
    steps = int(ends.max())
    cells = cells_of(call, kind)
    hidden, count = cells[0].hidden, 2 if kind == "LSTM" else 1
    given = [initial(call, 5 + k, (len(cells), batch, hidden), b, first=first) for k in range(count)]
    runs = []
    for k, cell in enumerate(cells):
        start = tuple(piece(b, state, k) for state in given)
        back = (call.get("direction", "forward") == "reverse") or k == 1
        runs.append(run(b, cell, x, start, ends, range(steps)[:: -1 if back else 1]))
    rows = [joined(b, [b.reshape(h, (1, batch, hidden)) for h in hs], 0, length - steps) for hs, _ in runs]
    y = joined(b, [b.reshape(row, (length, 1, batch, hidden)) for row in rows], 1)
    last = [
        joined(b, [b.reshape(states[k], (1, batch, hidden)) for _, states in runs], 0)  # one for each direction
        for k in range(count)
    ]
    if first:
        return b.transpose(y, (2, 0, 1, 3)), *(b.transpose(state, (1, 0, 2)) for state in last)
    return y, *last


def lengths(call: Call, length: int, batch: int) -> Array:
    """Return the number of steps of each sequence."""
    given = call.optional(4)
    if given is None or not given.size:
        return np.full(batch, length)
    if given.shape != (batch,) or not 0 < given.min() <= given.max() <= length:
        raise call.unsupported(
            f"sequences of lengths {given.tolist()}; 1 to {length} for each of {batch} are supported"
        )
    return given


def cells_of(call: Call, kind: str) -> list[Cell]:
    """Return the cell of each direction."""
    gates, usual, _ = KINDS[kind]
    inner, outer, bias = (None if (v := call.optional(k)) is None else double(v) for k in (1, 2, 3))
    if inner is None or outer is None:
        raise ValueError("weights are missing")
    directions, _, hidden = outer.shape
    direction = call.get("direction", "forward")
    if DIRECTIONS.get(direction) != directions:
        raise ValueError(f"weights for {directions} directions do not fit direction {direction!r}")
    if bias is None or not bias.size:
        bias = np.zeros((directions, 2 * gates * hidden))
    peepholes = call.optional(7) if kind == "LSTM" else None
    functions = activations(call, usual, directions)
    cells = []
    for k in range(directions):
        one, other = np.split(bias[k], 2)
        holes = None if peepholes is None or not peepholes.size else double(peepholes[k]).reshape(3, hidden)
        cells.append(Cell(call, hidden, inner[k].T, outer[k].T, one, other, holes, functions[k]))
    return cells


def initial(call: Call, k: int, shape: tuple[int, ...], b: Builder, *, first: bool) -> Operand:
    """Return an initial state ``(directions, batch, hidden)``."""
    value = call.arg(k)
    if value is None:
        return np.zeros(shape)
    if isinstance(value, Variable):
        return b.transpose(value, (1, 0, 2)) if first else value
    return double(value).transpose(1, 0, 2) if first else double(value)


def piece(b: Builder, state: Operand, k: int) -> Operand:
    """Return the state of one direction."""
    if isinstance(state, Variable):
        return b.reshape(b.slice(state, 0, k, k + 1), state.shape[1:])
    part: Array = state[k]
    return part


def run(
    b: Builder, cell: Cell, x: Variable, state: State, ends: Array, order: range
) -> tuple[list[Variable], list[Variable]]:
    """Run a cell over steps in an order; return its outputs by place, and the last states.

    A sequence that has ended, or read backward has not begun, keeps its state, and its outputs are 0.
    """
    kind = cell.call.proto.op_type
    bias = cell.inner_bias + cell.outer_bias
    if kind == "GRU" and cell.call.get("linear_before_reset", 0):
        inside = slice(2 * cell.hidden, None)
        bias = np.concatenate([bias[: 2 * cell.hidden], cell.inner_bias[inside]])
    terms = np.abs(cell.inner_bias) + np.abs(cell.outer_bias)
    ready = b.apply(Linear(tensor(cell.inner), tensor(bias), tensor(terms), roundings=1), x)
    found: dict[int, Variable] = {}
    for t in order:
        now = b.reshape(b.slice(ready, 0, t, t + 1), ready.shape[1:])
        fresh, runs = KINDS[kind][2](b, cell, now, state), (ends > t)[:, None]
        found[t] = b.scale(variable(fresh[0]), double(runs))
        state = tuple(held(b, variable(new), old, runs) for new, old in zip(fresh, state, strict=True))
    return [found[t] for t in sorted(found)], [variable(value) for value in state]


def held(b: Builder, new: Variable, old: Operand, runs: Array) -> Variable:
    """Return the new state of sequences that run, and the old one of the others."""
    if runs.all():
        return new
    kept = b.scale(old, double(~runs)) if isinstance(old, Variable) else old * ~runs
    return b.add(b.scale(new, double(runs)), kept)


def variable(value: Operand) -> Variable:
    """Return a value that depends on the input, as every state behind a step does."""
    assert isinstance(value, Variable)
    return value


def joined(b: Builder, parts: list[Variable], axis: int, zeros: int = 0) -> Variable:
    """Put parts one behind the other along an axis, and zeros behind them."""
    if len(parts) == 1 and not zeros:
        return parts[0]
    return b.apply(Concat(axis, (*[0] * len(parts), zeros)), *parts)
