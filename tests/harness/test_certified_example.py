"""The script that trains networks for certified radii: what it writes is read and proved, the shipped ones likewise."""

from __future__ import annotations

from pathlib import Path

import certified
import numpy as np
import pytest

from verifier import certified_radii

NETS = Path(__file__).resolve().parents[2] / "vnnlib_examples" / "nets"


@pytest.mark.parametrize("name", certified.NETWORKS)
def test_a_network_is_made_and_certified(name: str, tmp_path: Path) -> None:
    certified.make(name, tmp_path, epochs=1)
    with np.load(tmp_path / "digits_test.npz") as data, np.load(NETS / "digits_test.npz") as shipped:
        assert np.array_equal(data["x"], shipped["x"])
        found = certified_radii(tmp_path / f"digits_{name}.onnx", data["x"][:20], data["y"][:20], timeout=5)
    assert found.certified
    assert (found.radii > 0).any()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("maxmin", 0.9), ("implicit", 0.85)])
def test_the_shipped_ones_keep_most_labels(name: str, least: float) -> None:
    with np.load(NETS / "digits_test.npz") as data:
        found = certified_radii(NETS / f"digits_{name}.onnx", data["x"], data["y"], timeout=120)
    assert found.accuracy(0.0) > 0.96
    assert found.accuracy(36 / 255) > least
