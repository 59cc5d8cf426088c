"""Certification of labelled points, and torch modules where a model is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import specs
import verifier
from specs import InputSet
from verifier import Config, Standing, Verdict
from verifier.errors import ModelError, ShapeError, UsageError, VerifierError

DIGITS = Path(__file__).resolve().parents[1] / "vnnlib_examples" / "nets" / "digits_fc.onnx"
CENTRES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def nearest() -> torch.nn.Module:
    """A linear classifier: label k where centre k is the nearest, so that distances to borders are known."""
    layer = torch.nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.copy_(2 * CENTRES)
        layer.bias.copy_(-CENTRES.square().sum(1))
    return layer


def trained(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).train()


def test_distances_to_borders_decide() -> None:
    x = np.array([[-0.1, -0.1], [0.3, 0.0], [0.9, 0.0], [0.45, 0.0], [0.9, 0.0]])
    y = np.array([0, 0, 1, 0, 0])
    found = verifier.certify(nearest(), x, y, 0.1)
    assert [one.value for one in found.standings] == ["verified", "verified", "verified", "falsified", "falsified"]
    assert np.abs(found.counterexamples[3] - x[3]).max() <= 0.1 + 1e-6
    assert found.counterexamples[3][0] >= 0.5
    assert found.count(Standing.FALSIFIED) == 2
    assert str(found).startswith("3 verified, 2 falsified, 0 unknown of 5")


@pytest.mark.parametrize(("norm", "reach"), [("inf", 0.2), ("2", 0.2), ("1", 0.2)])
def test_norms_measure_the_distance_to_a_slanted_border(norm: str, reach: float) -> None:
    layer = torch.nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        layer.bias.copy_(torch.tensor([1.0, 0.0]))  # label 1 where x_0 + x_1 > 1
    gap = {"inf": 0.5 * (1 - 0.4), "2": (1 - 0.4) / np.sqrt(2), "1": 1 - 0.4}[norm]
    for eps, standing in ((gap * 0.99, Standing.VERIFIED), (gap * 1.01, Standing.FALSIFIED)):
        found = verifier.certify(layer, [[reach, reach]], [0], eps, norm=norm)
        assert found.standings == (standing,)


def test_it_agrees_with_one_by_one_verification() -> None:
    module, rng = trained(0), np.random.default_rng(0)
    x = rng.uniform(-1, 1, (12, 2)).astype(np.float32)
    y = module(torch.from_numpy(x)).argmax(1).numpy()
    seen: list[int] = []
    found = verifier.certify(module, x, y, 0.08, clip=(-1, 1), watch=lambda k, standing: seen.append(k))
    for point, label, standing in zip(x, y, found.standings, strict=True):
        spec = specs.robustness(point, 0.08, int(label), 3, (-1, 1))
        verdict = verifier.verify(module, spec, Config(timeout=10)).verdict
        assert {Verdict.UNSAT: Standing.VERIFIED, Verdict.SAT: Standing.FALSIFIED}[verdict] is standing
    assert sorted(seen) == list(range(12))
    assert module.training


def test_without_time_points_are_unknown() -> None:
    x, y = np.array([[-0.1, -0.1], [0.45, 0.0]]), np.array([0, 0])
    found = verifier.certify(nearest(), x, y, 0.1, config=Config(timeout=1e-9))
    assert found.standings == (Standing.VERIFIED, Standing.UNKNOWN)
    assert found.reasons == {1: "timeout"}


def test_what_it_refuses() -> None:
    x, y = np.zeros((2, 2)), np.zeros(2, dtype=int)
    with pytest.raises(UsageError, match="norm '3'"):
        verifier.certify(nearest(), x, y, 0.1, norm="3")
    with pytest.raises(UsageError, match="label 7"):
        verifier.certify(nearest(), x, np.array([0, 7]), 0.1)
    with pytest.raises(UsageError, match=r"shape \[1, 5\]"):
        verifier.certify(nearest(), np.zeros((2, 5)), y, 0.1)
    with pytest.raises(ShapeError, match="as many labels"):
        verifier.certify(nearest(), x, np.zeros(3, dtype=int), 0.1)


def test_modules_are_taken_everywhere() -> None:
    module, box = trained(1), InputSet(np.zeros(2), np.ones(2))
    (bounds,) = verifier.bounds(module, box)
    points = module(torch.rand(1000, 2)).detach().numpy()
    assert (bounds.lower <= points.min(0) + 1e-6).all()
    assert (points.max(0) - 1e-6 <= bounds.upper).all()
    local = verifier.lipschitz(module, box, "2", timeout=5)
    everywhere = verifier.lipschitz(module, None, "2", method="product", example_input=torch.zeros(1, 2))
    assert local.upper <= everywhere.upper
    assert (
        verifier.monotone(module, box, 0, 0, timeout=5).lower <= verifier.monotone(module, box, 0, 0, timeout=5).upper
    )


def test_modules_that_cannot_be_exported_say_why() -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(x.reshape(1, 2, -1))

    with pytest.raises(ModelError, match="export"):
        verifier.bounds(Odd(), InputSet(np.zeros(4), np.ones(4)))
    with pytest.raises(UsageError, match="example_input"):
        verifier.lipschitz(trained(0), None, "2")
    with pytest.raises(UsageError, match="for torch modules"):
        verifier.bounds("net.onnx", InputSet(np.zeros(4), np.ones(4)), example_input=torch.zeros(1, 4))


@pytest.mark.parametrize("eps", [0.05, pytest.param(0.1, marks=pytest.mark.slow)])
def test_a_hundred_digits(eps: float) -> None:
    x, y = load_digits(return_X_y=True)
    x, y, model = x[:100] / 16, y[:100], str(DIGITS)
    found = verifier.certify(model, x, y, eps, clip=(0, 1))
    assert found.count(Standing.UNKNOWN) == 0
    assert found.seconds < 60
    one_by_one = [
        verifier.verify(model, specs.robustness(point, eps, int(label), 10, (0, 1)), Config(timeout=20)).verdict
        for point, label in zip(x, y, strict=True)
    ]
    assert one_by_one.count(Verdict.UNSAT) == found.count(Standing.VERIFIED)
    assert one_by_one.count(Verdict.SAT) == found.count(Standing.FALSIFIED)


class Branching(torch.nn.Module):
    """Which way it goes depends on values, unless ``shapes``, where it does on the shape alone."""

    def __init__(self, *, shapes: bool = False) -> None:
        super().__init__()
        self.shapes, self.layer = shapes, torch.nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        taken = x.shape[1] == 2 if self.shapes else x.sum() > 0
        return self.layer(x) if taken else -self.layer(x)


class Scaling(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.max().item()


def test_modules_that_read_values_are_refused() -> None:
    for module in (Branching(), Scaling()):
        with pytest.raises(ModelError, match="reads values of tensors"):
            verifier.certify(module, [[0.1, 0.2]], [0], 0.1)
    assert len(verifier.certify(Branching(shapes=True), [[0.1, 0.2]], [0], 0.1).standings) == 1


def test_ctrl_c_keeps_what_is_known() -> None:
    def interrupt(number: int, standing: Standing) -> None:
        raise KeyboardInterrupt

    found = verifier.certify(nearest(), [[-0.1, -0.1], [0.9, 0.0]], [0, 1], 0.1, watch=interrupt)
    assert found.standings == (Standing.VERIFIED, Standing.UNKNOWN)
    assert found.reasons == {1: "interrupted"}


class TwoOutputs(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, -x


@pytest.mark.parametrize(
    ("x", "y", "eps", "options", "message"),
    [
        (1.0, 0, 0.1, {}, "points of shape \\(\\)"),
        ([[1, 2], [1]], [0, 1], 0.1, {}, "points are no array"),
        ([["a", "b"]], [0], 0.1, {}, "real numbers"),
        ([[0, 0]], [0], "1", {}, "radius must be"),
        ([[0, 0]], [0], 0.1, {"clip": 1}, "clip must be"),
        ([[0, 0]], [0], 0.1, {"clip": (0, 1, 2)}, "clip must be"),
        ([[0, 0]], [0], 0.1, {"norm": [2]}, "there is no norm"),
        ([[0, 0]], [0], 0.1, {"config": Config(device="gpu")}, "there is no device"),
        ([[0, 0]], [0], 0.1, {"example_input": "x"}, "an example input is a tensor"),
    ],
)
def test_what_has_no_meaning_is_refused_in_a_line(
    x: Any, y: Any, eps: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((VerifierError, specs.SpecError), match=message) as caught:
        verifier.certify(nearest(), x, y, eps, **options)
    assert "\n" not in str(caught.value)


def test_models_and_properties_of_other_types_are_refused() -> None:
    with pytest.raises(UsageError, match="one output"):
        verifier.certify(TwoOutputs(), [[0.0, 1.0]], [0], 0.1)
    with pytest.raises(UsageError, match="a model is"):
        verifier.certify(None, [[0.0, 1.0]], [0], 0.1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="several networks are"):
        verifier.verify({"f": nearest()}, specs.robustness([0.0, 0.0], 0.1, 0, 3))  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="a property is"):
        verifier.verify(nearest(), specs.neighbourhood([0.0, 0.0], 0.1))  # type: ignore[arg-type]
    with pytest.raises(specs.SpecError, match=r"there is no output 1\.5"):
        specs.robustness([0.0], 0.1, 1.5, 3)  # type: ignore[arg-type]
    assert verifier.certify(nearest(), torch.zeros(1, 2).bfloat16(), [0], 0.1).standings == (Standing.VERIFIED,)
