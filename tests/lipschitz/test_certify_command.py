"""``verifier lipschitz`` with semidefinite programs and ``--certify``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli.support import Command
from verifier import certified_radii, lipschitz
from verifier.lipschitz.constants import Constants

DEEP = ("lipschitz", "deep.onnx")
CERTIFY = (*DEEP, "--certify", "data.npz")


def deep(seed: int = 0) -> onnx.ModelProto:
    """Three layers with rectifiers, four inputs and three outputs."""
    rng, nodes, constants, below = np.random.default_rng(seed), [], [], "x"
    for k, (rows, columns) in enumerate([(4, 8), (8, 8), (8, 3)]):
        weight = (rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)
        constants.append(numpy_helper.from_array(weight, f"w{k}"))
        nodes.append(helper.make_node("MatMul", [below, f"w{k}"], ["y" if k == 2 else f"h{k}"]))
        if k < 2:
            nodes.append(helper.make_node("Relu", [f"h{k}"], [f"a{k}"]))
            below = f"a{k}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, size)) for name, size in (("x", 4), ("y", 3))]
    graph = helper.make_graph(nodes, "deep", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    onnx.save(deep(), folder / "deep.onnx")
    x = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    y = np.arange(30) % 3
    np.savez("data.npz", x=x, y=y)
    np.savez("images.npz", inputs=x.reshape(30, 1, 4, 1), labels=y)
    np.savez("both.npz", x=x, X=x, y=y)
    np.savez("unlabelled.npz", x=x)
    np.savez("wide.npz", x=np.zeros((30, 7)), y=y)
    np.savez("scores.npz", x=x, y=y / 2)
    np.savez("objects.npz", x=np.array([{}]), y=y)
    np.save("alone.npy", x)


def constant(text: str) -> float:
    found = re.search(r"Lipschitz constant <= (\S+)", text)
    assert found
    return float(found[1])


@pytest.mark.parametrize("arguments", [(), ("--output", "2-0"), ("--norm", "2"), ("--norm", "inf,1")])
def test_semidefinite_bounds(arguments: tuple[str, ...], command: Command, folder: Path) -> None:
    answer = command(*DEEP, "--method", "sdp", *arguments, "--json", "out.json")
    assert (answer.code, answer.err) == (0, "")
    assert [line.split()[0] for line in answer.out.splitlines()[:3]] == ["method", "product", "sdp"]
    data = json.loads((folder / "out.json").read_text())
    assert (data["method"], data["certified"], data["reason"]) == ("sdp", True, "the program is solved")
    assert 0 < data["lower"] <= data["upper"] <= constant(answer.out.splitlines()[-1])
    plain = command(*DEEP, *arguments)
    assert constant(plain.out.splitlines()[-1]) == pytest.approx(data["upper"], rel=1e-5)


def test_a_region(command: Command) -> None:
    np.save("x.npy", np.array([1.0, -1.0, 0.5, 0.5]))
    answer = command(*DEEP, "--method", "sdp", "--norm", "2", "--center", "x.npy", "--eps", "0.1", "--ball", "2")
    assert answer.code == 0, answer.err
    assert 0 < constant(answer.out.splitlines()[-1]) < lipschitz("deep.onnx", norm="2").upper


def test_radii_are_printed_and_written(command: Command, folder: Path) -> None:
    answer = command(*CERTIFY, "--norm", "2", "--json", "out.json")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines[1::2]] == ["certified accuracy", "radius at most"]
    assert lines[0].split() == ["radius", "0", "36/255", "72/255", "108/255", "1"]
    assert lines[-1].startswith("30 points (norm 2, Lipschitz constant <= ")
    data = json.loads((folder / "out.json").read_text())
    with np.load("data.npz") as arrays:
        found = certified_radii("deep.onnx", arrays["x"], arrays["y"])
    assert data["radii"] == pytest.approx(found.radii.tolist(), rel=1e-5)
    assert 0 < data["accuracy"] < 1
    assert data["certified_accuracy"][0] == [0.0, data["accuracy"]]
    assert [accuracy for _, accuracy in data["certified_accuracy"]] == [
        np.mean([radius > eps for radius in data["radii"]]) for eps, _ in data["certified_accuracy"]
    ]
    assert data["quantiles"][2][1] == sorted(data["radii"])[14]
    assert {"model", "data", "versions", "pairs", "upper", "labels", "total_seconds"} <= data.keys()


def test_the_norm_inf_and_images(command: Command) -> None:
    answer = command(*DEEP, "--certify", "images.npz")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[0].split()[:3] == ["radius", "0", "1/255"]
    product = command(*DEEP, "--certify", "images.npz", "--method", "product")
    assert "one pass" in product.out
    assert "differences" not in product.out
    assert "differences <=" in answer.out


def test_an_interrupt_leaves_the_best_radii(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Constants, "bound_pair", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    answer = command(*CERTIFY, "--norm", "2", "--json", "out.json")
    assert answer.code == 130
    assert answer.out.splitlines()[-1].endswith("interrupted")
    data = json.loads((folder / "out.json").read_text())
    assert max(data["radii"]) > 0


def test_a_line_keeps_up(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert "median radius" in command(*CERTIFY, "--norm", "2").err
    assert "gap" in command(*DEEP, "--norm", "2").err


REFUSED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "missing": ((*DEEP, "--certify", "none.npz"), ("none.npz", "cannot be read")),
    "one-array": ((*DEEP, "--certify", "alone.npy"), ("alone.npy", "numpy.savez")),
    "no-archive": ((*DEEP, "--certify", "deep.onnx"), ("deep.onnx", ".npz")),
    "objects": ((*DEEP, "--certify", "objects.npz"), ("objects.npz", "numbers")),
    "no-labels": ((*DEEP, "--certify", "unlabelled.npz"), ("y or labels", "it holds x")),
    "two-arrays": ((*DEEP, "--certify", "both.npz"), ("x, X or inputs", "it holds x, X, y")),
    "width": ((*DEEP, "--certify", "wide.npz"), ("deep.onnx", "wide.npz", "(7,)", "4 numbers")),
    "label-type": ((*DEEP, "--certify", "scores.npz"), ("scores.npz", "whole numbers", "float64")),
    "one-output": (("lipschitz", "net.onnx", "--certify", "data.npz"), ("4", "2 numbers")),
    "norm": ((*CERTIFY, "--norm", "1"), ("--certify", "norms 2 and inf")),
    "method": ((*CERTIFY, "--method", "clarke"), ("--certify goes with",)),
    "output": ((*CERTIFY, "--output", "1"), ("--certify goes with",)),
    "radius": ((*CERTIFY, "--radius", "--center", "x.npy"), ("--certify goes with",)),
    "solver": ((*CERTIFY, "--solver", "magic"), ("'magic'", "barrier")),
    "json": ((*CERTIFY, "--json", "data.npz"), ("data.npz", "input of this run")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, command: Command) -> None:
    arguments, words = REFUSED[case]
    command(*arguments).assert_refused(*words)


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_another_solver_agrees(norm: str) -> None:
    own, other = (
        lipschitz("deep.onnx", norm=norm, method="sdp", solver=name) for name in ("barrier", "cvxpy:CLARABEL")
    )
    assert own.lower is not None
    assert own.lower <= other.upper
    assert other.upper == pytest.approx(own.upper, rel=1e-5)
    assert own.certified


def test_without_another_solver_nothing_of_it_is_imported(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    assert command(*CERTIFY).code == 0
