"""Random networks of all models, each written once: for systems, and for Jacobians at chosen pre-activations.

Biases are free, so that the pre-activations of every layer can be anything, one layer independently of the other: a
global Lipschitz constant is at least the norm of the Jacobian for every choice of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from verifier.lipschitz.sdp import GroupSort, Householder, Slopes
from verifier.lipschitz.sdp.constraints.parts import Activation
from verifier.lipschitz.sdp.loops import loop
from verifier.lipschitz.sdp.operators import convolution, pooling
from verifier.lipschitz.sdp.system import Block, Builder, Signal, System

Matrix = np.ndarray

FAMILIES: dict[str, Callable[[int], Activation]] = {
    "relu": lambda _: Slopes(0, 1),
    "leaky": lambda _: Slopes(0.2, 1.5),
    "odd": lambda _: Slopes(-0.4, 0.9),
    "abs": lambda _: Slopes(-1, 1),
    "maxmin": lambda _: GroupSort(2),
    "sort3": lambda _: GroupSort(3),
    "sort4": lambda _: GroupSort(4),
    "fullsort": lambda width: GroupSort(width),
    "no sums": lambda _: GroupSort(3, sums=False),
    "householder": lambda _: Householder(),
    "householder3": lambda _: Householder(((1.0, -2.0, 0.5),)),
}


class Net(Protocol):
    """What a model is written in."""

    def input(self) -> Any: ...
    def linear(self, x: Any, weight: Matrix) -> Any: ...
    def add(self, x: Any, y: Any) -> Any: ...
    def activate(self, x: Any, activation: Activation) -> Any: ...
    def loop(self, weight: Matrix, x: Any, activation: Activation) -> Any: ...


class Composer:
    """Makes a system."""

    def __init__(self, inputs: int) -> None:
        self.builder = Builder(inputs)

    def input(self) -> Signal:
        return self.builder.input

    def linear(self, x: Signal, weight: Matrix | Block) -> Signal:
        return x.after(weight if isinstance(weight, Block) else torch.from_numpy(weight))

    def add(self, x: Signal, y: Signal) -> Signal:
        return x + y

    def activate(self, x: Signal, activation: Activation) -> Signal:
        return activation.apply(self.builder, x)

    def loop(self, weight: Matrix, x: Signal, activation: Activation) -> Signal:
        return loop(self.builder, torch.from_numpy(weight), x, activation)


class Jacobians:
    """Multiplies Jacobians ``(B, rows, inputs)``, layer by layer, at pre-activations ``(B, rows)`` given or drawn."""

    def __init__(self, inputs: int, count: int, rng: np.random.Generator, given: list[Matrix] | None) -> None:
        self.inputs, self.count, self.rng = inputs, count, rng
        self.points: list[Matrix] = []
        self.given = given

    def input(self) -> Matrix:
        return np.tile(np.eye(self.inputs), (self.count, 1, 1))

    def linear(self, x: Matrix, weight: Matrix | Block) -> Matrix:
        return (weight.centre.numpy() if isinstance(weight, Block) else weight) @ x

    def add(self, x: Matrix, y: Matrix) -> Matrix:
        return x + y

    def activate(self, x: Matrix, activation: Activation) -> Matrix:
        return self._slopes(x.shape[1], activation) @ x

    def loop(self, weight: Matrix, x: Matrix, activation: Activation) -> Matrix:
        slopes = self._slopes(len(weight), activation)
        return np.linalg.solve(np.eye(len(weight)) - slopes @ weight, slopes @ x)

    def _slopes(self, width: int, activation: Activation) -> Matrix:
        p = self.rng.normal(size=(self.count, width))
        if self.given is not None:
            old = self.given[len(self.points)]
            p = np.where(self.rng.random(p.shape) < 0.15, p, old)
        self.points.append(p)
        if isinstance(activation, Slopes):
            return np.where(p > 0, activation.upper, activation.lower)[:, :, None] * np.eye(width)
        groups = p.reshape(self.count, -1, activation.size)
        found = np.zeros((self.count, width, width))
        for k in range(groups.shape[1]):
            here = slice(k * activation.size, (k + 1) * activation.size)
            if isinstance(activation, GroupSort):
                found[:, here, here] = np.eye(activation.size)[np.argsort(groups[:, k], 1)]
            else:
                v = np.array(activation.vectors[0])
                turned = np.eye(len(v)) - 2 * np.outer(v, v) / (v @ v)
                found[:, here, here] = np.where((groups[:, k] @ v > 0)[:, None, None], np.eye(len(v)), turned)
        return found


Model = Callable[[Net], Any]


def random_model(kind: str, family: str, rng: np.random.Generator) -> tuple[int, Model]:
    """The number of inputs, and the network."""
    width = 12 if kind == "conv" else 6 if family in ("sort3", "no sums", "householder3") else 4
    phi, inputs = FAMILIES[family](width), int(rng.integers(2, 6))
    outputs = int(rng.integers(1, 4))

    def weight(rows: int, columns: int) -> Matrix:
        return rng.normal(size=(rows, columns)) / np.sqrt(columns)

    first, second, third, last = weight(width, inputs), weight(width, width), weight(width, width), None
    last = weight(outputs, width)
    if kind == "feed-forward":
        return inputs, lambda n: n.linear(
            n.activate(n.linear(n.activate(n.linear(n.input(), first), phi), second), phi), last
        )
    if kind == "residual":

        def residual(n: Net) -> Any:
            x = n.linear(n.input(), first)
            for inner in (second, third):
                x = n.add(x, n.activate(n.linear(x, inner), phi))
            return n.linear(x, last)

        return inputs, residual
    if kind == "implicit":
        inner = second * (rng.uniform(0.2, 0.9) / np.linalg.norm(second, 2))
        return inputs, lambda n: n.linear(n.loop(inner, n.linear(n.input(), first), phi), last)
    if kind == "conv":
        kernel = torch.from_numpy(rng.normal(size=(3, 2, 2, 2)) / 3)
        wide = convolution(kernel, (2, 3, 3), stride=1, padding=0).numpy()  # 18 to 12
        pool, end = pooling((3, 2, 2), 2), weight(outputs, 3)
        return 18, lambda n: n.linear(n.linear(n.activate(n.linear(n.input(), wide), phi), pool), end)

    across = weight(outputs, inputs)

    def skip(n: Net) -> Any:
        x = n.input()
        one = n.activate(n.linear(x, first), phi)
        two = n.activate(n.add(n.linear(one, second), n.linear(x, 0.5 * first)), phi)
        return n.add(n.linear(n.add(two, one), last), n.linear(x, across))

    return inputs, skip


KINDS = ("feed-forward", "residual", "implicit", "conv", "skip")


def system(inputs: int, model: Model) -> System:
    """The network as a system."""
    composer = Composer(inputs)
    return composer.builder.finish(model(composer))


def steepest(inputs: int, model: Model, norm: str, rng: np.random.Generator, rounds: int = 10) -> float:
    """The largest norm of a Jacobian that random pre-activations and moves from the best of them find."""
    best, given = 0.0, None
    for _ in range(rounds):
        net = Jacobians(inputs, 200, rng, given)
        found = model(net)
        if norm == "2":
            sizes = np.linalg.norm(found, 2, axis=(1, 2))
        else:
            rows = np.abs(found).sum(2)
            sizes = rows.max(1) if norm == "inf" else np.abs(found @ np.sign(found[:, 0, :, None])).sum((1, 2))
        if sizes.max() >= best:
            best, given = float(sizes.max()), [p[sizes.argmax()] for p in net.points]
    return best
