"""The example networks: how they are trained, and how they are written as plain ONNX nodes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from torch import Tensor, nn

OPSET = 13
IR_VERSION = 8
TORQUE = 1.0  # the controllers' saturation


class Written(nn.Module):
    """A layer that knows its own ONNX nodes."""

    def write(self, exporter: "Exporter", source: str) -> str:
        """Append the layer's nodes; returns its output's name."""
        raise NotImplementedError


class Residual(nn.Module):
    """x + conv(relu(conv(x))) with as many channels out as in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Values of shape (batch, channels, height, width)."""
        return x + self.second(torch.relu(self.first(x)))


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network to make: its layers, the shape of one input, and what it learns from."""

    layers: Callable[[], nn.Sequential]
    shape: tuple[int, ...]
    data: Callable[[], tuple[Tensor, Tensor]]
    epochs: int


def perceptron(*widths: int) -> nn.Sequential:
    """Fully connected layers with ReLU between them."""
    layers = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def convolutional() -> nn.Sequential:
    """Two strided convolutions, two fully connected layers."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip


def residual() -> nn.Sequential:
    """A convolution and a residual block."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.ReLU(), Residual(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 10)
    )


def pooling() -> nn.Sequential:
    """A convolution, max-pooling, another convolution."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


@cache
def digits() -> tuple[Tensor, Tensor]:
    """The 1797 digits of scikit-learn as (1, 8, 8) images with values in [0, 1], and their labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels)


def flat_digits() -> tuple[Tensor, Tensor]:
    """The digits as vectors."""
    images, labels = digits()
    return images.flatten(1), labels


def uniform(dimension: int, count: int = 4096) -> Tensor:
    """Points of [-1, 1]^dimension."""
    return 2 * torch.rand(count, dimension) - 1


def pendulum() -> tuple[Tensor, Tensor]:
    """A saturated proportional-derivative law: angle and angular velocity to torque."""
    state = uniform(2)
    return state, pendulum_law(state)


def pendulum_law(state: Tensor) -> Tensor:
    """The torque, shape (batch, 1)."""
    return (-2.5 * state[:, :1] - 1.2 * state[:, 1:]).clamp(-TORQUE, TORQUE)


def pendulum_step() -> tuple[Tensor, Tensor]:
    """The pendulum's state a fifth of a second later, under that law."""
    state = uniform(2)
    angle, velocity = state[:, :1], state[:, 1:]
    velocity = velocity + 0.2 * (torch.sin(angle) + 2.5 * pendulum_law(state))
    return state, torch.cat([angle + 0.2 * velocity, velocity], dim=1)


def cartpole() -> tuple[Tensor, Tensor]:
    """A saturated linear-quadratic regulator: scaled position and velocity of cart and pole to force."""
    state = uniform(4)
    gain = torch.tensor([[0.3], [0.5], [1.9], [0.8]])
    return state, (state @ gain).clamp(-TORQUE, TORQUE)


def advisory() -> tuple[Tensor, Tensor]:
    """Costs of five manoeuvres (none, weak left, weak right, left, right) from distance, bearing and closing speed."""
    state = uniform(3)
    distance, bearing, speed = state.T
    danger = torch.relu(0.4 + speed - distance)
    costs = [danger, 0.2 + danger * (0.6 - 0.4 * bearing), 0.2 + danger * (0.6 + 0.4 * bearing)]
    costs += [0.5 + danger * (0.3 - 0.6 * bearing), 0.5 + danger * (0.3 + 0.6 * bearing)]
    return state, torch.stack(costs, dim=1)


def rings() -> tuple[Tensor, Tensor]:
    """Points of a square by their distance from its centre: inside, ring, outside."""
    points = uniform(2)
    return points, torch.bucketize(points.norm(dim=1), torch.tensor([0.4, 0.8]))


RECIPES = {
    "digits_fc": Recipe(lambda: perceptron(64, 32, 32, 10), (64,), flat_digits, 60),
    "digits_deep": Recipe(lambda: perceptron(64, 16, 16, 16, 16, 10), (64,), flat_digits, 90),
    "digits_conv": Recipe(convolutional, (1, 8, 8), digits, 60),
    "digits_residual": Recipe(residual, (1, 8, 8), digits, 60),
    "digits_maxpool": Recipe(pooling, (1, 8, 8), digits, 60),
    "pendulum": Recipe(lambda: perceptron(2, 16, 16, 1), (2,), pendulum, 60),
    "pendulum_step": Recipe(lambda: perceptron(2, 20, 20, 2), (2,), pendulum_step, 60),
    "cartpole": Recipe(lambda: perceptron(4, 24, 24, 1), (4,), cartpole, 60),
    "advisory": Recipe(lambda: perceptron(3, 20, 20, 5), (3,), advisory, 60),
    "rings": Recipe(lambda: perceptron(2, 20, 20, 3), (2,), rings, 60),
}


def train(recipe: Recipe, seed: int = 0, decay: float = 1e-4) -> nn.Sequential:
    """Train with Adam on noisy inputs; integer targets are classes, others are regressed."""
    torch.manual_seed(seed)
    inputs, targets = recipe.data()
    model = recipe.layers()
    classes = not targets.is_floating_point()
    loss_of = nn.CrossEntropyLoss() if classes else nn.MSELoss()
    noise = 0.1 if inputs.flatten(1).shape[1] == 64 else 0.0
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
    for _ in range(recipe.epochs):
        for batch in torch.randperm(len(inputs)).split(64):
            optimiser.zero_grad()
            given = inputs[batch] + noise * (2 * torch.rand_like(inputs[batch]) - 1)
            loss_of(model(given), targets[batch]).backward()
            optimiser.step()
        schedule.step()
    with torch.no_grad():
        for weights in model.parameters():
            weights[weights.abs() < 1e-6] = 0.0  # weight decay leaves denormal numbers, which only slow things down
    return model.eval()


@dataclass
class Exporter:
    """Collects the nodes of one network."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Append a node named after its operator and place; returns its output's name."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"{name}_node", **attributes))
        return name

    def constant(self, name: str, value: Tensor) -> str:
        """Store a weight."""
        self.weights.append(numpy_helper.from_array(value.detach().numpy().astype(np.float32), name))
        return name

    def layer(self, layer: nn.Module, source: str) -> str:
        """Append a layer's nodes; returns its output's name."""
        prefix = f"layer{len(self.nodes)}"
        match layer:
            case Written():
                return layer.write(self, source)
            case nn.Linear():
                weights = self.constant(f"{prefix}.weight", layer.weight), self.constant(f"{prefix}.bias", layer.bias)
                return self.add("Gemm", source, *weights, transB=1)
            case nn.Conv2d():
                weights = self.constant(f"{prefix}.weight", layer.weight), self.constant(f"{prefix}.bias", layer.bias)
                pads = [*layer.padding, *layer.padding]
                return self.add("Conv", source, *weights, kernel_shape=[3, 3], pads=pads, strides=list(layer.stride))
            case nn.MaxPool2d():
                return self.add("MaxPool", source, kernel_shape=[2, 2], strides=[2, 2])
            case Residual():
                inner = self.layer(layer.second, self.add("Relu", self.layer(layer.first, source)))
                return self.add("Add", source, inner)
            case nn.ReLU():
                return self.add("Relu", source)
            case nn.Flatten():
                return self.add("Flatten", source, axis=1)
        raise TypeError(f"no ONNX form for {layer}")


def write_onnx(name: str, model: nn.Sequential, shape: tuple[int, ...], path: Path) -> None:
    """Write the network with input ``X`` of shape (1, *shape) and output ``Y`` of shape (1, outputs)."""
    exporter, last = Exporter(), "X"
    for layer in model:
        last = exporter.layer(layer, last)
    exporter.nodes[-1].output[0] = "Y"
    outputs = model(torch.zeros(1, *shape)).shape[1]
    graph = helper.make_graph(
        exporter.nodes,
        name,
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [1, *shape])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, outputs])],
        exporter.weights,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def make_all(recipes: Mapping[str, Recipe], folder: Path) -> Iterator[tuple[str, nn.Sequential]]:
    """Train and write every network, one thread and fixed seeds."""
    torch.set_num_threads(1)
    for name, recipe in recipes.items():
        model = train(recipe)
        write_onnx(name, model, recipe.shape, folder / f"{name}.onnx")
        yield name, model
