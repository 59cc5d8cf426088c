"""Trains networks whose global Lipschitz constants prove robust radii: sorting (MaxMin) and implicit (equilibrium).

    python vnnlib_examples/certified.py maxmin|implicit [FOLDER]

writes digits_NAME.onnx and digits_test.npz, images x and labels y that the training did not see. The loss has a penalty
on the squares of the layers' norms. The implicit layer's W = (1 - m) I - A'A + B - B' makes any A and B well-posed
(Winston and Kolter, NeurIPS 2020, arXiv:2006.08591).
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from networks import flat_digits
from torch import Tensor, nn

from verifier.export import export
from verifier.layers import Equilibrium, MaxMin

HERE = Path(__file__).resolve().parent / "nets"
WIDTH, EPOCHS, BATCH = 32, 20, 64
SHARPNESS = 4.0  # factor of the outputs in the loss: it asks for margins
PENALTY = 0.1  # of the squares of the layers' norms
MARGIN = 0.2  # m


class Monotone(nn.Module):
    """An implicit layer of rectifiers whose W is well-posed for all values of its parameters."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        scale = 0.3 / size**0.5
        self.a, self.b = (nn.Parameter(scale * torch.randn(size, size)) for _ in range(2))
        self.outer = nn.Linear(inputs, size)

    def solved(self) -> Equilibrium:
        """The layer as it stands."""
        eye = torch.eye(len(self.a))
        inner = (1 - MARGIN) * eye - self.a.T @ self.a + self.b - self.b.T
        return Equilibrium(inner.detach(), self.outer.weight.detach(), self.outer.bias.detach(), step=0.25)

    def forward(self, x: Tensor, steps: int = 40) -> Tensor:
        """Some steps towards the equilibrium."""
        eye = torch.eye(len(self.a))
        inner = (1 - MARGIN) * eye - self.a.T @ self.a + self.b - self.b.T
        fixed, z = self.outer(x), torch.zeros(len(x), len(eye))
        for _ in range(steps):
            z = z + 0.25 * (torch.relu(z @ inner.T + fixed) - z)
        return z


def maxmin() -> nn.Sequential:
    """Three affine layers with sorted pairs between them."""
    return nn.Sequential(nn.Linear(64, WIDTH), MaxMin(), nn.Linear(WIDTH, WIDTH), MaxMin(), nn.Linear(WIDTH, 10))


def implicit() -> nn.Sequential:
    """An equilibrium and an affine layer."""
    return nn.Sequential(Monotone(64, WIDTH), nn.Linear(WIDTH, 10))


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {"maxmin": maxmin, "implicit": implicit}


def split() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The digits to learn from, and every fifth to test with."""
    images, labels = flat_digits()
    held = torch.arange(len(images)) % 5 == 0
    return (images[~held], labels[~held]), (images[held], labels[held])


def train(model: nn.Sequential, images: Tensor, labels: Tensor, epochs: int = EPOCHS) -> nn.Sequential:
    """Train with Adam; implicit layers become what they solve."""
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Linear)]
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(SHARPNESS * model(images[batch]), labels[batch])
            penalty = sum(torch.linalg.matrix_norm(weight, 2).square() for weight in weights)
            (loss + PENALTY * penalty).backward()
            optimiser.step()
        schedule.step()
    return nn.Sequential(*(layer.solved() if isinstance(layer, Monotone) else layer for layer in model)).eval()


def make(name: str, folder: Path, epochs: int = EPOCHS) -> nn.Sequential:
    """Train a network, with one thread and a fixed seed, and write it and the test data."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    known, held = split()
    model = train(NETWORKS[name](), *known, epochs)
    export(model, torch.zeros(1, 64), folder / f"digits_{name}.onnx")
    np.savez_compressed(folder / "digits_test.npz", x=held[0].numpy(), y=held[1].numpy())
    with torch.no_grad():
        accuracy = float((model(held[0]).argmax(1) == held[1]).double().mean())
    print(f"{folder / f'digits_{name}.onnx'}: accuracy {accuracy:.4f} on {len(held[1])} images")
    return model


def main() -> None:
    """Make the network that the arguments name."""
    if not 2 <= len(sys.argv) <= 3 or sys.argv[1] not in NETWORKS:
        raise SystemExit(f"usage: python {sys.argv[0]} {'|'.join(NETWORKS)} [FOLDER]")
    make(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) == 3 else HERE)


if __name__ == "__main__":
    main()
