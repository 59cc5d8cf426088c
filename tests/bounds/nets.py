"""Small random networks, built operator by operator, and the exact minimum of the smallest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from verifier.graph.graph import INPUT, OUTPUT, Graph, Node, Port
from verifier.ops.arithmetic import Add
from verifier.ops.conv import Conv
from verifier.ops.curves import Relu, Tanh
from verifier.ops.linear import Linear
from verifier.ops.op import Op, Shape
from verifier.ops.product import Product
from verifier.ops.reduce import ReduceSum
from verifier.ops.select import Expand, Slice
from verifier.ops.shape import Reshape, View
from verifier.sets import Box


class Net:
    """A graph under construction; every ``add`` returns the new node's name."""

    def __init__(self, inputs: int) -> None:
        self.nodes = [Node(INPUT, None, (), (inputs,))]
        self.shapes: dict[str, Shape] = {INPUT: (inputs,)}

    def add(self, op: Op, *parents: str) -> str:
        parents = parents or (self.nodes[-1].name,)
        zeros = [torch.zeros(1, *self.shapes[parent], dtype=torch.float64) for parent in parents]
        shape = tuple(op.forward(*zeros).shape[1:])
        return self._enter(f"n{len(self.nodes)}", op, parents, shape)

    def graph(self) -> Graph:
        last = self.nodes[-1].name
        self._enter(OUTPUT, Reshape((math.prod(self.shapes[last]),)), (last,), (math.prod(self.shapes[last]),))
        ports = [Port(name, self.shapes[node], "float32") for name, node in (("x", INPUT), ("y", OUTPUT))]
        return Graph(self.nodes, (ports[0],), (ports[1],))

    def _enter(self, name: str, op: Op, parents: tuple[str, ...], shape: Shape) -> str:
        self.nodes.append(Node(name, op, parents, shape))
        self.shapes[name] = shape
        return name


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def linear(generator: torch.Generator, inputs: int, outputs: int, scale: float = 1.0) -> Linear:
    return Linear(
        normal(generator, inputs, outputs, scale=scale / math.sqrt(inputs)), normal(generator, outputs, scale=scale)
    )


def dense(seed: int, widths: Sequence[int], scale: float = 1.0, curve: Op | None = None) -> Graph:
    """Affine layers with a curve between them."""
    generator, net = drawn(seed), Net(widths[0])
    for k, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        net.add(linear(generator, inputs, outputs, scale))
        if k + 2 < len(widths):
            net.add(Relu() if curve is None else curve)
    return net.graph()


def residual(seed: int, scale: float = 1.0) -> Graph:
    """Two channels of 4 x 4, a convolution, a block around which its operand is added, and three outputs."""
    generator, net = drawn(seed), Net(32)
    net.add(View(0, (1, 2, 4, 4)))

    def conv() -> Conv:
        return Conv(normal(generator, 2, 2, 3, 3, scale=scale / 4), normal(generator, 2), (1, 1), (1, 1), (1, 1))

    net.add(conv())
    before = net.add(Relu())
    net.add(conv())
    net.add(Relu())
    net.add(Add(), net.add(conv()), before)
    net.add(Relu())
    net.add(Reshape((32,)))
    net.add(linear(generator, 32, 3, scale))
    return net.graph()


def bilinear(seed: int, scale: float = 1.0) -> Graph:
    """The product of two matrices, 2 x 3 and 3 x 2, and a smooth curve, that read one layer through copies."""
    generator, net = drawn(seed), Net(3)
    layer = net.add(linear(generator, 3, 12, scale))
    net.add(Slice(((0, 6, 1),)), layer)
    net.add(Reshape((2, 3, 1)))
    left = net.add(Expand((2, 3, 2)))
    net.add(Slice(((6, 12, 1),)), layer)
    net.add(Reshape((1, 3, 2)))
    right = net.add(Expand((2, 3, 2)))
    net.add(Product(), left, right)
    product = net.add(Reshape((4,)), net.add(ReduceSum((1,), keep=False)))
    curve = net.add(Tanh(), net.add(Slice(((2, 10, 2),)), layer))
    net.add(Add(), product, curve)
    net.add(linear(generator, 4, 4, scale))
    net.add(Relu())
    net.add(linear(generator, 4, 2, scale))
    return net.graph()


def around(op: Op, shapes: Sequence[Shape], seed: int, scale: float = 1.0) -> Graph:
    """An operator between affine layers, with a rectifier behind it."""
    generator, net = drawn(seed), Net(4)
    operands = []
    for shape in shapes:
        net.add(linear(generator, 4, math.prod(shape), scale), INPUT)
        operands.append(net.add(Reshape(tuple(shape))))
    last = net.add(op, *operands)
    size = math.prod(net.shapes[last])
    net.add(Relu())
    net.add(Reshape((size,)))
    net.add(linear(generator, size, 3))
    return net.graph()


def boxes(inputs: int, radii: Sequence[float], seed: int) -> Box:
    """A domain for each radius, ``(B, n)``."""
    generator = drawn(seed)
    centre = normal(generator, len(radii), inputs)
    radius = torch.tensor(radii, dtype=torch.float64).unsqueeze(1)
    return Box(centre - radius, centre + radius)


def outputs_at(graph: Graph, points: Tensor) -> Tensor:
    """Evaluate at points ``(count, B, n)``."""
    return graph(points.flatten(0, 1)).unflatten(0, points.shape[:2])


def exact_minimum(graph: Graph, box: Box, row: Tensor) -> float:
    """Minimise ``row . f`` over a box ``(1, n)`` for a dense ReLU network, by all activation patterns that occur."""
    layers = [node.op for node in graph.nodes.values() if isinstance(node.op, Linear)]
    bounds = list(zip(box.lower[0].tolist(), box.upper[0].tolist(), strict=True))
    identity = (np.eye(len(bounds)), np.zeros(len(bounds)))
    return _least(layers, row.numpy(), bounds, identity, [])


Affine = tuple[np.ndarray, np.ndarray]


def _least(layers: list[Linear], row: np.ndarray, bounds: list[tuple[float, float]], map_: Affine, cuts: list) -> float:
    weight, bias = layers[0].weight.numpy(), layers[0].bias.numpy()
    matrix, offset = weight.T @ map_[0], weight.T @ map_[1] + bias
    if len(layers) == 1:
        found = _solve(row @ matrix, cuts, bounds)
        return math.inf if found is None else found + float(row @ offset)
    patterns: list[tuple[list[float], list]] = [([], cuts)]
    for coefficients, constant in zip(matrix, offset, strict=True):
        patterns = [
            ([*signs, sign], more)
            for signs, before in patterns
            for sign in (0.0, 1.0)
            for more in ([*before, ((1 - 2 * sign) * coefficients, (2 * sign - 1) * constant)],)
            if _solve(np.zeros(len(bounds)), more, bounds) is not None
        ]
    return min(
        (
            _least(layers[1:], row, bounds, (np.array(signs)[:, None] * matrix, np.array(signs) * offset), more)
            for signs, more in patterns
        ),
        default=math.inf,
    )


def _solve(cost: np.ndarray, cuts: list, bounds: list[tuple[float, float]]) -> float | None:
    A, b = (np.array([cut[0] for cut in cuts]), np.array([cut[1] for cut in cuts])) if cuts else (None, None)
    answer = linprog(cost, A_ub=A, b_ub=b, bounds=bounds, method="highs")
    return float(answer.fun) if answer.status == 0 else None
