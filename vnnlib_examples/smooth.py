"""The example networks with other nonlinearities than ReLU: their layers, what they learn, and how they are written."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from networks import Exporter, Recipe, Written, advisory, digits, pendulum, rings, uniform
from torch import Tensor, nn

LINES = ((0, 1), (0, 2), (1, 2))  # of the power grid, between its three buses; bus 0 holds voltage 1 and angle 0
CONDUCTANCE, SUSCEPTANCE = (1.0, 0.8, 1.2), (-5.0, -4.0, -6.0)  # of these lines, in units of the system


class Curve(Written):
    """A nonlinearity that is one ONNX operator."""

    def __init__(self, operator: str, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.operator, self.function = operator, function

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return self.function(x)

    def write(self, exporter: Exporter, source: str) -> str:
        """See ``Written``."""
        return exporter.add(self.operator, source)


class Gelu(Written):
    """x (1 + erf(x / sqrt(2))) / 2, spelled out as exporters do."""

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return nn.functional.gelu(x)

    def write(self, exporter: Exporter, source: str) -> str:
        """See ``Written``."""
        prefix = f"layer{len(exporter.nodes)}"
        root, one, half = (
            exporter.constant(f"{prefix}.{name}", torch.tensor(value))
            for name, value in (("root", 2**0.5), ("one", 1.0), ("half", 0.5))
        )
        erf = exporter.add("Erf", exporter.add("Div", source, root))
        return exporter.add("Mul", exporter.add("Mul", source, exporter.add("Add", erf, one)), half)


class Attention(Written):
    """Tokens embedded with their places, and one head of self-attention added to them."""

    def __init__(self, tokens: int, features: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.randn(features, width) / features**0.5)
        self.place = nn.Parameter(0.1 * torch.randn(1, tokens, width))
        self.query, self.key, self.value = (nn.Parameter(torch.randn(width, width) / width**0.5) for _ in range(3))
        self.scale = width**0.5

    def forward(self, x: Tensor) -> Tensor:
        """Values of shape (batch, tokens, features)."""
        x = x @ self.embed + self.place
        scores = (x @ self.query) @ (x @ self.key).transpose(1, 2) / self.scale
        return x + scores.softmax(dim=2) @ (x @ self.value)

    def write(self, exporter: Exporter, source: str) -> str:
        """See ``Written``."""
        names = {name: exporter.constant(f"attention.{name}", weight) for name, weight in self.named_parameters()}
        scale = exporter.constant("attention.scale", torch.tensor(self.scale))
        x = exporter.add("Add", exporter.add("MatMul", source, names["embed"]), names["place"])
        query, key, value = (exporter.add("MatMul", x, names[name]) for name in ("query", "key", "value"))
        scores = exporter.add("MatMul", query, exporter.add("Transpose", key, perm=[0, 2, 1]))
        weights = exporter.add("Softmax", exporter.add("Div", scores, scale), axis=-1)
        return exporter.add("Add", x, exporter.add("MatMul", weights, value))


class Recurrent(Written):
    """The last hidden state of an LSTM."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.cell = nn.LSTM(features, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Values of shape (batch, steps, features)."""
        return self.cell(x)[1][0][0]

    def write(self, exporter: Exporter, source: str) -> str:
        """See ``Written``: the gates in the order of ONNX, input, output, forget, cell."""
        ordered = {}
        for name, weight in self.cell.named_parameters():
            into, forget, cell, out = weight.detach().chunk(4)
            ordered[name] = torch.cat([into, out, forget, cell]).unsqueeze(0)
        given = exporter.constant("lstm.W", ordered["weight_ih_l0"])
        back = exporter.constant("lstm.R", ordered["weight_hh_l0"])
        bias = exporter.constant("lstm.B", torch.cat([ordered["bias_ih_l0"], ordered["bias_hh_l0"]], dim=1))
        steps = exporter.add("Transpose", source, perm=[1, 0, 2])
        last = exporter.add("LSTM", steps, given, back, bias, hidden_size=self.cell.hidden_size)
        exporter.nodes[-1].output.insert(0, "")  # the states of all steps
        return exporter.add("Flatten", last, axis=2)


class Bilinear(Written):
    """The products of two affine maps, element by element."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(inputs, width), nn.Linear(inputs, width)

    def forward(self, x: Tensor) -> Tensor:
        """Values of shape (batch, inputs)."""
        return self.left(x) * self.right(x)

    def write(self, exporter: Exporter, source: str) -> str:
        """See ``Written``."""
        return exporter.add("Mul", exporter.layer(self.left, source), exporter.layer(self.right, source))


class PowerFlow(Written):
    """By how much a predicted state of the grid misses the power balance of the buses 1 and 2.

    Inputs are the loads (p1, p2, q1, q2), active and reactive; the predictor makes angles and voltages (t1, t2, v1, v2)
    of them; the result is, for each load, the power that the grid takes out of the bus and that load, in sum.
    """

    def __init__(self, predictor: nn.Sequential) -> None:
        super().__init__()
        self.predictor = predictor
        with torch.no_grad():
            predictor[-1].bias.copy_(torch.tensor([0.0, 0.0, 1.0, 1.0]))
        for name, value in _grid().items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Values of shape (batch, 4)."""
        state = self.predictor(x)
        angle, voltage = state @ self.angles, state @ self.voltages
        product = (state @ self.starts + self.start) * (state @ self.ends)
        powers = torch.cat([voltage * voltage, product * torch.cos(angle), product * torch.sin(angle)], dim=1)
        return powers @ self.balance + x

    def write(self, exporter: Exporter, source: str) -> str:
        """See ``Written``."""
        names = {name: exporter.constant(f"grid.{name}", value) for name, value in self.named_buffers()}
        state = source
        for layer in self.predictor:
            state = exporter.layer(layer, state)
        angle, voltage, starts, ends = (
            exporter.add("MatMul", state, names[name]) for name in ("angles", "voltages", "starts", "ends")
        )
        product = exporter.add("Mul", exporter.add("Add", starts, names["start"]), ends)
        square = exporter.add("Mul", voltage, voltage)
        waves = (exporter.add("Mul", product, exporter.add(wave, angle)) for wave in ("Cos", "Sin"))
        powers = exporter.add("Concat", square, *waves, axis=1)
        return exporter.add("Add", exporter.add("MatMul", powers, names["balance"]), source)


def _grid() -> dict[str, np.ndarray]:
    """Which parts of the state each line and bus has, and how power flows are sums of products of these."""
    lines = len(LINES)
    angles, starts, ends = (np.zeros((4, lines)) for _ in range(3))
    start, balance = np.zeros(lines), np.zeros((2 + 2 * lines, 4))
    for k, (one, other) in enumerate(LINES):
        g, b = CONDUCTANCE[k], SUSCEPTANCE[k]
        ends[1 + other, k] = 1
        angles[other - 1, k] = -1
        if one == 0:
            start[k] = 1
        else:
            starts[1 + one, k], angles[one - 1, k] = 1, 1
        for bus, sign in ((one, 1), (other, -1)):
            if bus != 0:
                p, q = bus - 1, bus + 1
                balance[bus - 1, p] += g
                balance[bus - 1, q] -= b
                balance[2 + k, p], balance[2 + k, q] = -g, b
                balance[2 + lines + k, p], balance[2 + lines + k, q] = -sign * b, -sign * g
    voltages = np.eye(4)[:, 2:]
    return {"angles": angles, "voltages": voltages, "starts": starts, "start": start, "ends": ends, "balance": balance}


def curved(curve: Callable[[], nn.Module], *widths: int) -> nn.Sequential:
    """Fully connected layers with a nonlinearity between them."""
    layers = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), curve())]
    return nn.Sequential(*layers[:-1])


def tanh() -> Curve:
    """The hyperbolic tangent."""
    return Curve("Tanh", torch.tanh)


def sigmoid() -> Curve:
    """The logistic function."""
    return Curve("Sigmoid", torch.sigmoid)


def sine() -> Curve:
    """The sine."""
    return Curve("Sin", torch.sin)


def attention() -> nn.Sequential:
    """The rows of a digit as eight tokens."""
    return nn.Sequential(Attention(8, 8, 8), nn.Flatten(), nn.Linear(64, 10))


def rows_of_digits() -> tuple[Tensor, Tensor]:
    """The digits as eight rows of eight pixels."""
    images, labels = digits()
    return images.squeeze(1), labels


def terrain() -> tuple[Tensor, Tensor]:
    """The height of a hilly ground over a square."""
    place = uniform(2)
    x, y = place[:, :1], place[:, 1:]
    return place, 0.5 * torch.sin(3 * x) * torch.cos(2 * y) + 0.2 * y


def forecast() -> tuple[Tensor, Tensor]:
    """Four values of an oscillation, and the fifth; amplitude, frequency and phase vary."""
    amplitude, frequency, phase = torch.rand(3, 4096, 1)
    time = torch.arange(5)
    values = (0.3 + 0.7 * amplitude) * torch.sin((0.3 + 0.7 * frequency) * time + 2 * torch.pi * phase)
    return values[:, :4].unsqueeze(2), values[:, 4:]


def encounter() -> tuple[Tensor, Tensor]:
    """Relative position and velocity in the plane to half the rate of the squared distance, and to the rotation."""
    state = uniform(4)
    x, y, v, w = state.T
    return state, torch.stack([x * v + y * w, x * w - y * v], dim=1)


def loads() -> tuple[Tensor, Tensor]:
    """Loads of the grid's two buses, active up to 1 and reactive up to 0.5; nothing should be missing."""
    return torch.rand(4096, 4) * torch.tensor([1.0, 1.0, 0.5, 0.5]), torch.zeros(4096, 4)


SMOOTH = {
    "rings_sigmoid": Recipe(lambda: curved(sigmoid, 2, 16, 16, 3), (2,), rings, 60),
    "pendulum_tanh": Recipe(lambda: curved(tanh, 2, 12, 12, 1), (2,), pendulum, 60),
    "terrain_sin": Recipe(lambda: curved(sine, 2, 12, 12, 1), (2,), terrain, 60),
    "advisory_gelu": Recipe(lambda: curved(Gelu, 3, 16, 16, 5), (3,), advisory, 60),
    "digits_attention": Recipe(attention, (8, 8), rows_of_digits, 60),
    "forecast_lstm": Recipe(lambda: nn.Sequential(Recurrent(1, 6), nn.Linear(6, 1)), (4, 1), forecast, 60),
    "encounter_product": Recipe(lambda: nn.Sequential(Bilinear(4, 6), nn.Linear(6, 2)), (4,), encounter, 60),
    "power_flow": Recipe(lambda: nn.Sequential(PowerFlow(curved(tanh, 4, 10, 10, 4))), (4,), loads, 60),
}
