"""Published networks: the bounds of others, to the digits that they print."""

from __future__ import annotations

import numpy as np
import pytest

from tests.lipschitz.sdp.nets import PUBLISHED, expected, needs_published
from verifier.lipschitz.sdp import GroupSort, Slopes, feedforward

CHAINS = [row for row in expected("maxmin/expected.csv") if row["sdp"]]
DIGITS = [row for row in expected("relu_digits/published.csv") if row["method"] == "LipSDP"]


def chain(row: dict[str, str]) -> None:
    data = np.load(PUBLISHED / "maxmin" / f"{row['net']}.npz")
    weights = [data[f"W{k + 1}"] for k in range(len(data.files))]
    norm, output = ("inf", int(row["output_index"])) if row["norm"] == "linf" else ("2", None)
    found = feedforward(weights, GroupSort(2), norm, output=output)
    assert found.closed
    assert -5e-5 <= found.upper / float(row["sdp"]) - 1 <= 1e-3
    assert found.upper <= found.product == pytest.approx(float(row["norm_product"]), rel=1e-3)


@needs_published
@pytest.mark.parametrize("row", [r for r in CHAINS if r["norm"] == "l2"], ids=lambda row: row["net"])
def test_maxmin_l2(row: dict[str, str]) -> None:
    chain(row)


@needs_published
@pytest.mark.parametrize(
    "row", [r for r in CHAINS if r["norm"] == "linf" and "5fc" in r["net"]], ids=lambda row: row["net"]
)
def test_maxmin_inf(row: dict[str, str]) -> None:
    chain(row)


@needs_published
@pytest.mark.slow
@pytest.mark.parametrize("row", [r for r in CHAINS if r["norm"] == "linf"], ids=lambda row: row["net"])
def test_all_maxmin_inf(row: dict[str, str]) -> None:
    chain(row)


@needs_published
@pytest.mark.parametrize("row", [r for r in DIGITS if r["net"].startswith("fnn")], ids=lambda row: row["net"])
def test_relu_l2(row: dict[str, str]) -> None:
    data = np.load(PUBLISHED / "relu_digits" / f"{row['net']}.npz")
    weights = [data[f"fc{k + 1}_weight"].T for k in range(int(row["net"][3]))]
    found = feedforward(weights, Slopes(0, 1), output=int(row["output_index"]))
    assert found.closed
    assert -1e-6 <= found.upper / float(row["bound"]) - 1 <= 1e-4


def convolution(kernel: np.ndarray, side: int) -> np.ndarray:
    """The matrix of a 3x3 convolution with padding 1, kernel ``(3, 3, in, out)``, images channel first."""
    into, out = kernel.shape[2:]
    matrix = np.zeros((out, side, side, into, side, side))
    for i, j, a, b in np.ndindex(side, side, 3, 3):
        p, q = i + a - 1, j + b - 1
        if 0 <= p < side and 0 <= q < side:
            matrix[:, i, j, :, p, q] = kernel[a, b].T
    return matrix.reshape(out * side * side, into * side * side)


@needs_published
@pytest.mark.slow
@pytest.mark.parametrize("row", [r for r in DIGITS if r["net"].startswith("cnn2")], ids=lambda row: row["net"])
def test_convolutional_relu_l2(row: dict[str, str]) -> None:
    """The published figures are those of features that are read by width, height and channel.

    The weights were trained for channel, height and width: only in that order do they recognise digits.
    """
    data = np.load(PUBLISHED / "relu_digits" / f"{row['net']}.npz")
    last = data["fc1_weight"].T[7].reshape(8, 8, 8).transpose(2, 1, 0).reshape(1, -1)
    found = feedforward([convolution(data["conv1_weight"][:, :, None, :], 8), last], Slopes(0, 1))
    assert found.closed
    assert -1e-6 <= found.upper / float(row["bound"]) - 1 <= 1e-4
