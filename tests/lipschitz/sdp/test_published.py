"""Published networks: the bounds of others, to the digits that they print."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.lipschitz.sdp.nets import PUBLISHED, expected, needs_published, steepest
from verifier.lipschitz.sdp import GroupSort, Slopes, bound, feedforward, residual
from verifier.lipschitz.sdp.operators import convolution
from verifier.lipschitz.sdp.system import Builder

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


def digits(row: dict[str, str]) -> list[np.ndarray]:
    """The layers of a convolutional network, for one output.

    The published figures are those of features that are read by width, height and channel. The weights were trained
    for channel, height and width: only in that order do they recognise digits.
    """
    data = np.load(PUBLISHED / "relu_digits" / f"{row['net']}.npz")
    layers, channels = [], 1
    for k in range(int(row["net"][3]) - 1):
        kernel = data[f"conv{k + 1}_weight"]  # height, width, in (but for the first), out
        kernel = torch.from_numpy(kernel.reshape(3, 3, channels, -1)).permute(3, 2, 0, 1)
        layers.append(convolution(kernel, (channels, 8, 8), padding=1).numpy())
        channels = len(kernel)
    last = data["fc1_weight"].T[int(row["output_index"])].reshape(8, 8, channels).transpose(2, 1, 0)
    return [*layers, last.reshape(1, -1)]


@needs_published
@pytest.mark.slow
@pytest.mark.parametrize("row", [r for r in DIGITS if r["net"].startswith("cnn")], ids=lambda row: row["net"])
def test_convolutional_relu_l2(row: dict[str, str]) -> None:
    found = feedforward(digits(row), Slopes(0, 1), timeout=None)
    assert found.closed
    assert -1e-6 <= found.upper / float(row["bound"]) - 1 <= 1e-4


def weights(net: str) -> list[np.ndarray]:
    data = np.load(PUBLISHED / "maxmin" / f"{net}.npz")
    return [data[f"W{k + 1}"] for k in range(len(data.files))]


def check_residual(net: str) -> None:
    first, *inner, last = weights(net)
    known, unknown = (residual(first, inner, last, GroupSort(2, sums=sums)) for sums in (True, False))
    norm = float(next(row["norm_product"] for row in expected("maxmin/expected.csv") if row["net"] == net))
    assert known.closed
    assert unknown.closed
    assert known.product == pytest.approx(norm, rel=1e-3)
    assert known.upper < unknown.upper < known.product / 2


@needs_published
def test_residual_maxmin_l2() -> None:
    check_residual("resweights_5_32")


@needs_published
@pytest.mark.slow
def test_deeper_residual_maxmin_l2() -> None:
    check_residual("resweights_8_32")


@needs_published
@pytest.mark.slow
@pytest.mark.parametrize("net", ["weights_linf_2fc_32", "weights_linf_8fc_32"])
def test_maxmin_trained_for_inf(net: str) -> None:
    found = feedforward(weights(net), GroupSort(2), "inf", output=8)
    assert found.certified
    assert found.upper < found.product


@needs_published
@pytest.mark.parametrize(
    "row", [r for r in CHAINS if r["norm"] == "l2" and "18fc" not in r["net"]], ids=lambda r: r["net"]
)
def test_sums_of_pairs_make_maxmin_tighter(row: dict[str, str]) -> None:
    """The published programs were solved without the multipliers that say so."""
    layers = [torch.from_numpy(weight).double() for weight in weights(row["net"])]
    builder = Builder(layers[0].shape[1])
    signal = builder.input.after(layers[0])
    for weight in layers[1:]:
        signal = GroupSort(2).apply(builder, signal).after(weight)
    found = bound(builder.finish(signal))
    assert found.closed
    assert found.upper < 0.99 * float(row["sdp"])
    arrays = [np.linalg.qr(layers[0].numpy().T, mode="r").T, *(weight.numpy() for weight in layers[1:])]
    assert found.upper > steepest(arrays, GroupSort(2), "2", np.random.default_rng(0))
