"""``verifier bounds`` and ``verifier inspect``, and the function behind the former."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import verifier
from specs import InputSet
from tests.cli.support import SPEC, Command, network
from verifier.errors import ShapeError, UsageError
from verifier.report import rounded

EXAMPLES = Path(__file__).resolve().parents[2] / "vnnlib_examples"
SQUARE = InputSet(np.zeros(2), np.ones(2))


@pytest.mark.parametrize("method", ["interval", "forward", "crown", "alpha"])
def test_an_exact_case(method: str) -> None:
    (found,) = verifier.output_bounds(network(), SQUARE, method)
    assert found.lower == pytest.approx(0, abs=1e-9)
    assert found.upper == pytest.approx(3, abs=1e-9)
    assert found.lower[0] <= 0
    assert found.upper[0] >= 3


@pytest.mark.parametrize(
    "files", ["digits_conv_image_50_eps_0.08", "digits_fc_image_24_eps_0.06", "pendulum_regions_0.8"]
)
def test_bounds_hold_and_tighter_methods_are_tighter(files: str) -> None:
    model = EXAMPLES / "nets" / f"{files.partition('_image')[0].partition('_regions')[0]}.onnx"
    graph = verifier.load(model)
    by_method = {
        method: verifier.output_bounds(graph, EXAMPLES / "vnnlib" / f"{files}.vnnlib", method)
        for method in ("interval", "forward", "crown", "alpha")
    }
    import torch

    for interval, forward, crown, alpha in zip(*by_method.values(), strict=True):
        for part in (interval, forward, crown, alpha):
            x = np.random.default_rng(0).uniform(part.box.lower, part.box.upper, (200, part.box.lower.size))
            y = graph(torch.from_numpy(x)).numpy()
            assert (part.lower <= y).all()
            assert (y <= part.upper).all()
        assert (interval.lower <= forward.lower).all()
        assert (interval.lower <= crown.lower).all()
        assert (crown.upper <= interval.upper).all()
        assert (crown.lower <= alpha.lower).all()
        assert (alpha.upper <= crown.upper).all()
    widths = {method: sum((part.upper - part.lower).sum() for part in parts) for method, parts in by_method.items()}
    assert widths["alpha"] < widths["crown"]


def test_each_box_once(folder: Path) -> None:
    text = SPEC.replace("(assert (>= Y_0 100.0))", "(assert (or (and (>= Y_0 4.0)) (and (<= Y_0 -1.0))))")
    (folder / "spec.vnnlib").write_text(text)
    assert len(verifier.output_bounds("net.onnx", "spec.vnnlib")) == 1
    three = "\n".join(f"(and (>= X_1 0.{k}) (<= X_1 0.{k}5) (>= Y_0 4.0))" for k in (1, 3, 5))
    lines = [line for line in SPEC.splitlines() if "assert" not in line or "X_0" in line]
    (folder / "spec.vnnlib").write_text("\n".join([*lines, f"(assert (or {three}))"]))
    found = verifier.output_bounds("net.onnx", "spec.vnnlib")
    assert [part.upper[0] for part in found] == pytest.approx([1.3, 1.7, 2.1])


def test_what_it_refuses() -> None:
    with pytest.raises(ShapeError, match="3 input"):
        verifier.output_bounds(network(), InputSet(np.zeros(3), np.ones(3)))
    with pytest.raises(UsageError, match="magic"):
        verifier.output_bounds(network(), SQUARE, "magic")


def test_the_table(command: Command, folder: Path) -> None:
    answer = command("bounds", "net.onnx", "spec.vnnlib", "--json", "out.json")
    assert (answer.code, answer.err) == (0, "")
    title, head, row, last = answer.out.splitlines()
    assert title == "box 1 of 1"
    assert head.split() == ["output", "lower", "upper", "width"]
    assert row.split()[0] == "Y_0"
    assert len(head) == len(row)
    assert last.endswith("seconds, crown")
    data = json.loads((folder / "out.json").read_text())
    assert data["boxes"][0]["output"]["upper"] == pytest.approx([3])
    assert data["boxes"][0]["input"] == {"lower": [0, 0], "upper": [1, 1]}


def test_numbers_are_rounded_outward() -> None:
    assert rounded(1 / 3, up=False) == "0.333333333"
    assert rounded(1 / 3, up=True) == "0.333333334"
    assert rounded(-1 / 3, up=True) == "-0.333333333"
    assert rounded(2.0, up=True) == "2"
    assert rounded(-math.inf, up=False) == "-inf"
    for value in (1e-300, 123456789.5, -9.999999999e20, math.pi * 1e9):
        assert float(rounded(value, up=False)) <= value <= float(rounded(value, up=True))


def test_inspect(command: Command) -> None:
    answer = command("inspect", "net.onnx")
    assert (answer.code, answer.err) == (0, "")
    lines = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in answer.out.splitlines()}
    assert lines["input"] == "x float32 [1, 2]"
    assert lines["output"] == "y float32 [1, 1]"
    assert lines["parameters"] == "2 in 1 constants"
    assert lines["operators"] == "2 nodes: MatMul 1, Relu 1"
    assert "standard normal" in lines["difference"]
    assert all(float(line.split()[1]) < 1e-5 for line in answer.out.splitlines() if line.startswith("difference"))
