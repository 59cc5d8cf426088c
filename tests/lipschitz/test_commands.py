"""``verifier lipschitz`` and ``verifier monotone``: what they print, write and refuse."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from tests.cli.support import SPEC, Command, network
from verifier.lipschitz.local import LocalLipschitz

LOCAL = ("lipschitz", "net.onnx", "--spec", "spec.vnnlib")
ROOT5 = math.sqrt(5)
EXAMPLES = Path(__file__).resolve().parents[2] / "vnnlib_examples"
PENDULUM = (
    "lipschitz",
    str(EXAMPLES / "nets" / "pendulum.onnx"),
    "--spec",
    str(EXAMPLES / "vnnlib" / "pendulum_limit_1.vnnlib"),
)
STEEPEST = 3.74728
"""Its constant, to six digits."""


def brackets(text: str) -> list[tuple[float, float]]:
    """The brackets that a run printed."""
    lines = [line for line in text.splitlines() if "<= Lipschitz constant <=" in line]
    return [(float(line.split()[0]), float(line.split()[5])) for line in lines]


@pytest.mark.parametrize(("norm", "constant"), [("inf", 3), ("2", ROOT5), ("1", 2), ("2,inf", ROOT5), ("inf,1", 3)])
def test_a_table_and_a_bracket(norm: str, constant: float, command: Command, folder: Path) -> None:
    answer = command(*LOCAL, "--norm", norm, "--json", "out.json")
    assert (answer.code, answer.err) == (0, "")
    head, *rows, last = answer.out.splitlines()
    assert head.split() == ["method", "lower", "upper", "gap", "seconds"]
    assert rows[0].split()[0] == "interval"
    assert len({len(line) for line in (head, *rows)}) == 1
    ((lower, upper),) = brackets(last)
    assert lower <= constant <= upper  # the first is rounded down, the second up
    assert upper == pytest.approx(constant, rel=1e-3)
    data = json.loads((folder / "out.json").read_text())
    assert data["lower"] <= constant <= data["upper"]
    assert (data["output"], data["certified"], data["closed"]) == ("all", True, True)
    assert {"norm", "method", "seconds", "gap", "reason", "point", "steps"} <= data.keys()
    assert data["versions"]["verifier"] == verifier.__version__
    assert (data["model"], data["spec"], data["seed"]) == ("net.onnx", "spec.vnnlib", 0)


def test_without_a_set_it_is_global(command: Command, folder: Path) -> None:
    answer = command("lipschitz", "net.onnx", "--json", "out.json")
    assert (answer.code, answer.err) == (0, "")
    ((lower, upper),) = brackets(answer.out)
    assert lower <= 3 <= upper
    assert upper == pytest.approx(3, rel=1e-5)
    data = json.loads((folder / "out.json").read_text())
    assert (data["certified"], data["closed"]) == (True, True)
    answer = command("lipschitz", "net.onnx", "--method", "product", "--json", "out.json")
    (line,) = answer.out.splitlines()
    assert line.startswith("Lipschitz constant <= 3")
    data = json.loads((folder / "out.json").read_text())
    assert (data["lower"], data["method"], data["reason"]) == (None, "product", "one pass")


@pytest.mark.parametrize("ball", ["inf", "2", "1"])
def test_a_ball(ball: str, command: Command, folder: Path) -> None:
    np.save("x.npy", np.array([[-0.5, 0.0]], dtype=np.float32))
    answer = command("lipschitz", "net.onnx", "--center", "x.npy", "--eps", "0.1", "--ball", ball, "--clip", "-1,1")
    assert answer.code == 0, answer.err
    assert brackets(answer.out)[0] == pytest.approx((0, 0), abs=1e-300)  # the rectifier is off
    answer = command("lipschitz", "net.onnx", "--center", "x.npy", "--eps", "2", "--ball", ball, "--inputs", "0")
    assert brackets(answer.out)[0] == pytest.approx((1, 1), rel=1e-3)


def test_each_box_has_a_result(command: Command, folder: Path) -> None:
    three = "\n".join(f"(and (>= X_1 {k}) (<= X_1 {k + 1}) (>= Y_0 4.0))" for k in (-5, 0, 1))
    lines = [line for line in SPEC.splitlines() if "assert" not in line or "X_0" in line]
    (folder / "spec.vnnlib").write_text("\n".join([*lines, f"(assert (or {three}))"]))
    answer = command(*LOCAL, "--json", "out.json", "--plot", "out.svg")
    assert answer.code == 0, answer.err
    assert [upper for _, upper in brackets(answer.out)] == pytest.approx([0, 3, 3], rel=1e-3)
    assert answer.out.startswith("box 1 of 3\n")
    assert len(json.loads((folder / "out.json").read_text())["boxes"]) == 3
    assert b"</svg>" in (folder / "out.svg").read_bytes()
    answer = command("monotone", "net.onnx", "--spec", "spec.vnnlib", "--input", "1", "--output", "0")
    assert [line.split()[3] for line in answer.out.splitlines() if "Y_0" in line] == [
        "constant",
        "increasing",
        "increasing",
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("broken", [False, True], ids=["between", "inside"])
def test_an_interrupt_leaves_the_best_bracket(
    number: signal.Signals, code: int, broken: bool, command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = LocalLipschitz._note

    def note(run: LocalLipschitz) -> None:
        noted(run)
        if len(run.steps) == 2:
            try:
                os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                if broken:
                    raise ZeroDivisionError from None
                raise

    monkeypatch.setattr(LocalLipschitz, "_note", note)
    answer = command(*PENDULUM, "--json", "out.json")
    assert answer.code == code
    ((lower, upper),) = brackets(answer.out)
    assert 3 < lower <= STEEPEST <= upper < 5
    assert "interrupted" in answer.out
    data = json.loads((folder / "out.json").read_text())
    assert (data["reason"], data["closed"]) == ("interrupted", False)
    assert len(data["steps"]) == 2


@pytest.mark.parametrize("broken", [False, True], ids=["between", "inside"])
def test_an_interrupt_leaves_the_best_radius(
    broken: bool, command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.lipschitz.radius import Run

    noted = Run._note

    def note(run: Run, eps: float, bound: float) -> None:
        noted(run, eps, bound)
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            if broken:
                raise ZeroDivisionError from None
            raise

    monkeypatch.setattr(Run, "_note", note)
    np.save("x.npy", np.array([0.5, -0.2]))
    rings = str(EXAMPLES / "nets" / "rings.onnx")
    answer = command("lipschitz", rings, "--center", "x.npy", "--radius", "--json", "out.json")
    assert answer.code == 130
    assert answer.out.splitlines()[-1].startswith("radius 0.0")
    assert json.loads((folder / "out.json").read_text())["radius"] > 0.01


@pytest.mark.parametrize("broken", [False, True], ids=["between", "inside"])
def test_an_interrupt_leaves_the_verdicts_so_far(
    broken: bool, command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.lipschitz.monotone import Derivatives

    decided = Derivatives.work

    def work(run: Derivatives, k: int) -> None:
        decided(run, k)
        if k == 1:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                if broken:
                    raise ZeroDivisionError from None
                raise

    monkeypatch.setattr(Derivatives, "work", work)
    answer = command("monotone", *LOCAL[1:], "--input", "all", "--output", "0", "--json", "out.json")
    assert answer.code == 130
    assert answer.out.splitlines()[0].startswith("X_0 -> Y_0  increasing")
    assert len(json.loads((folder / "out.json").read_text())["versions"]) > 2


def test_a_timeout_is_no_error(command: Command, folder: Path) -> None:
    answer = command(*PENDULUM, "--timeout", "0.001")
    assert (answer.code, answer.err) == (0, "")
    assert "timeout" in answer.out
    ((lower, upper),) = brackets(answer.out)
    assert lower <= STEEPEST <= upper


def test_a_terminal_sees_progress(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    answer = command(*LOCAL)
    assert "Lipschitz constant <= 3" in answer.err
    assert len(brackets(answer.out)) == 1


def test_a_radius(command: Command, folder: Path) -> None:
    (folder / "net.onnx").write_bytes(two_classes())
    np.save("x.npy", np.array([0.6, 0.2]))
    answer = command("lipschitz", "net.onnx", "--center", "x.npy", "--radius", "--plot", "r.png", "--json", "r.json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[0].split() == ["eps", "bound", "radius", "seconds"]
    data = json.loads((folder / "r.json").read_text())
    assert data["label"] == 0
    assert 0.19 < data["radius"] <= 0.2  # where x_0 = x_1
    assert float(answer.out.splitlines()[-1].split()[1]) <= data["radius"]
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")
    answer = command("lipschitz", "net.onnx", "--center", "x.npy", "--radius", "--output", "1")
    assert answer.out.splitlines()[-1].startswith("radius 0 ")


def two_classes() -> bytes:
    model = network()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.eye(2, dtype=np.float32), "w"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2)))
    return model.SerializeToString()


def test_monotone_prints_a_line_for_each_input(command: Command, folder: Path) -> None:
    call = ("monotone", "net.onnx", "--spec", "spec.vnnlib", "--output", "0", "--json", "out.json")
    answer = command(*call, "--input", "all")
    assert (answer.code, answer.err) == (0, "")
    assert [line.split()[:4] for line in answer.out.splitlines()] == [
        ["X_0", "->", "Y_0", "increasing"],
        ["X_1", "->", "Y_0", "increasing"],
    ]
    data = json.loads((folder / "out.json").read_text())
    assert [part["verdict"] for part in data["results"]] == ["increasing"] * 2
    assert data["results"][0]["upper"] == pytest.approx(1)
    command(*call, "--input", "1")
    assert json.loads((folder / "out.json").read_text())["input"] == 1


def change(kind: str) -> None:
    model = onnx.load("net.onnx")
    model.graph.node[1].op_type = kind
    onnx.save(model, "net.onnx")


REFUSED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "norm": ((*LOCAL, "--norm", "3"), ("norm", "'3'", "inf, 2 or 1")),
    "norms": ((*LOCAL, "--norm", "1,2,inf"), ("norm",)),
    "output": ((*LOCAL, "--output", "1"), ("net.onnx", "no output 1", "has 1")),
    "output-word": ((*LOCAL, "--output", "-1"), ("--output",)),
    "difference": ((*LOCAL, "--output", "0-4"), ("no output 4",)),
    "inputs": ((*LOCAL, "--inputs", "2"), ("no input 2", "has 2")),
    "size": (("lipschitz", "net.onnx", "--center", "three.npy", "--eps", "1"), ("3 input", "2")),
    "words": (("lipschitz", "net.onnx", "--center", "words.npy", "--eps", "1"), ("words.npy", "numbers")),
    "complex": (("lipschitz", "net.onnx", "--center", "complex.npy", "--eps", "1"), ("complex.npy", "real")),
    "nan": (("lipschitz", "net.onnx", "--center", "nan.npy", "--eps", "1"), ("nan.npy", "number 1", "nan")),
    "no-array": (("lipschitz", "net.onnx", "--center", "spec.vnnlib", "--eps", "1"), ("spec.vnnlib", ".npy")),
    "no-file": (("lipschitz", "net.onnx", "--center", "missing.npy", "--eps", "1"), ("missing.npy", "read")),
    "eps": (("lipschitz", "net.onnx", "--center", "x.npy", "--eps", "-1"), ("eps", "-1")),
    "no-eps": (("lipschitz", "net.onnx", "--center", "x.npy"), ("--eps",)),
    "no-center": (("lipschitz", "net.onnx", "--eps", "1"), ("--center",)),
    "both": ((*LOCAL, "--center", "x.npy", "--eps", "1"), ("--spec", "--center")),
    "empty": (("lipschitz", "net.onnx", "--center", "x.npy", "--eps", "0.1", "--clip", "5,6"), ("empty",)),
    "clip": (("lipschitz", "net.onnx", "--center", "x.npy", "--eps", "0.1", "--clip", "2,1"), ("clip", "2,1")),
    "plot-folder": ((*LOCAL, "--plot", "nowhere/out.png"), ("nowhere/out.png", "no folder")),
    "plot-format": ((*LOCAL, "--plot", "out.docx"), ("out.docx", ".png")),
    "clarke": (("lipschitz", "net.onnx", "--method", "clarke"), ("clarke", "--spec")),
    "product": (("lipschitz", "net.onnx", "--norm", "1,inf"), ("product",)),
    "sdp-norm": ((*LOCAL, "--method", "sdp", "--norm", "1"), ("semidefinite", "1,1", "inf")),
    "solver": (("lipschitz", "net.onnx", "--solver", "simplex"), ("'simplex'", "barrier", "cvxpy:NAME")),
    "solver-name": (("lipschitz", "net.onnx", "--solver", "cvxpy:GUESS"), ("'GUESS'", "CLARABEL")),
    "solver-clarke": ((*LOCAL, "--solver", "barrier"), ("--solver", "--method sdp")),
    "timeout": ((*LOCAL, "--timeout", "0"), ("timeout",)),
    "radius-eps": (("lipschitz", "net.onnx", "--center", "x.npy", "--eps", "1", "--radius"), ("--radius",)),
    "radius-label": (("lipschitz", "net.onnx", "--center", "x.npy", "--radius"), ("2 outputs",)),
    "radius-clip": (
        ("lipschitz", "net.onnx", "--center", "x.npy", "--radius", "--clip", "5,6"),
        ("outside of the range", "input 0"),
    ),
    "no-region": (("monotone", "net.onnx", "--input", "0", "--output", "0"), ("--spec",)),
    "input": (("monotone", *LOCAL[1:], "--input", "2", "--output", "0"), ("no input 2",)),
    "input-word": (("monotone", *LOCAL[1:], "--input", "one", "--output", "0"), ("'one'",)),
    "still": (
        ("monotone", "net.onnx", "--center", "x.npy", "--eps", "0", "--input", "all", "--output", "0"),
        ("no input varies",),
    ),
    "monotone-output": (("monotone", *LOCAL[1:], "--input", "0", "--output", "7"), ("no output 7",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, command: Command, folder: Path) -> None:
    arrays: dict[str, Any] = {
        "x": np.array([0.5, 0.5]),
        "three": np.zeros(3),
        "words": np.array(["a", "b"]),
        "complex": np.array([1j, 0]),
        "nan": np.array([0, np.nan]),
    }
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    arguments, words = REFUSED[case]
    command(*arguments).assert_refused(*words)


@pytest.mark.parametrize("verb", ["lipschitz", "monotone"])
def test_an_operator_without_a_derivative_is_named(verb: str, command: Command, folder: Path) -> None:
    change("Floor")
    rest = ("--input", "0", "--output", "0") if verb == "monotone" else ()
    answer = command(verb, *LOCAL[1:], *rest)
    assert (answer.code, answer.out) == (2, "")
    assert "Floor" in answer.err
    assert "derivative" in answer.err


def test_a_missing_matplotlib_is_said_before_anything_runs(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    answer = command(*LOCAL, "--plot", "out.png")
    assert (answer.code, answer.out) == (2, "")
    assert "pip install 'nn-verifier[plot]'" in answer.err
