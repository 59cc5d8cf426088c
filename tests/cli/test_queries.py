"""The command with VNNLIB 2.0: several networks, serialised assignments, and what is supported."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.support import Command

BOX = "".join(f"(assert (>= {t}[0,{k}] 0.0)) (assert (<= {t}[0,{k}] 1.0))\n" for t in "XU" for k in range(2))
TWO = f"""(vnnlib-version <2.0>)
(declare-network f (declare-input X float32 [1,2]) (declare-output Y real [1,1]))
(declare-network g (isomorphic-to f) (declare-input U float32 [1,2]) (declare-output V real [1,1]))
{BOX}(assert (== X[0,0] U[0,0]))
"""
ONE = f"""(vnnlib-version <2.0>)
(declare-network f (declare-input X real [1,2]) (declare-output Y real [1,1]))
{"".join(BOX.splitlines(keepends=True)[:2])}(assert (>= Y[0,0] 1.0))
"""


@pytest.fixture
def two(folder: Path) -> Path:
    """net.onnx also as a gzipped g.onnx.gz, and a query about both that is satisfied."""
    (folder / "g.onnx.gz").write_bytes(gzip.compress((folder / "net.onnx").read_bytes()))
    (folder / "two.vnnlib").write_text(TWO + "(assert (> (- Y[0,0] V[0,0]) 1.0))\n")
    (folder / "two_unsat.vnnlib.gz").write_bytes(gzip.compress((TWO + "(assert (> Y[0,0] 4.0))\n").encode()))
    return folder


FORMS = {
    "standard": ("two.vnnlib", "--network", "f=net.onnx", "--network", "g=g.onnx.gz"),
    "list": ("[('f', 'net.onnx'), ('g', './g.onnx.gz')]", "two.vnnlib"),
}


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_give_all_tensors(form: str, command: Command, two: Path) -> None:
    answer = command("verify", *FORMS[form], "--serialise-assignments", "new/folder")
    lines = answer.out.splitlines()
    assert (answer.code, lines[0]) == (0, "sat")
    assert [line for line in lines if "[" in line] == [
        "X float32 [1,2]", "Y real [1,1]", "U float32 [1,2]", "V real [1,1]",
    ]  # fmt: skip
    names = {path.name: onnx.load_tensor(path) for path in (two / "new" / "folder").iterdir()}
    assert set(names) == {"X.pb", "Y.pb", "U.pb", "V.pb"}
    values = {name[0]: numpy_helper.to_array(tensor) for name, tensor in names.items()}
    assert {name: (value.dtype.name, value.shape) for name, value in values.items()} == {
        "X": ("float32", (1, 2)), "Y": ("float32", (1, 1)), "U": ("float32", (1, 2)), "V": ("float32", (1, 1)),
    }  # fmt: skip
    assert np.concatenate([values[name].reshape(-1) for name in "XYUV"]).tolist() == [
        float(line) for line in lines[1:] if "[" not in line
    ]
    assert values["Y"].item() - values["V"].item() > 1


@pytest.mark.parametrize("form", FORMS)
def test_compressed_files_and_unsat(form: str, command: Command, two: Path) -> None:
    arguments = [part.replace("two.vnnlib", "two_unsat.vnnlib.gz") for part in FORMS[form]]
    answer = command("verify", *arguments, "--serialise-assignments", "made")
    assert (answer.code, answer.out) == (0, "unsat\n")
    assert not (two / "made").exists()


def test_a_property_of_version_1_has_two_tensors(command: Command, folder: Path) -> None:
    (folder / "spec.vnnlib").write_text((folder / "spec.vnnlib").read_text().replace("100.0", "1.0"))
    assert command("verify", "net.onnx", "spec.vnnlib", "--serialise-assignments", "t").out.startswith("sat\n((X_0 ")
    x, y = (numpy_helper.to_array(onnx.load_tensor(folder / "t" / name)) for name in ("X.pb", "Y.pb"))
    assert (x.shape, x.dtype, y.shape) == ((1, 2), np.float32, (1, 1))
    assert y.item() >= 1


CALLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no-list": (("verify", "[('f', 3)]", "two.vnnlib"), ("not a list of networks",)),
    "broken-list": (("verify", "[('f', ", "two.vnnlib"), ("not a list of networks",)),
    "twice-in-list": (("verify", "[('f', 'a'), ('f', 'b')]", "two.vnnlib"), ("f is named twice",)),
    "missing-in-list": (("verify", "[('f', 'net.onnx'), ('g', 'none')]", "two.vnnlib"), ("none", "No such file")),
    "one-for-two": (("verify", "net.onnx", "two.vnnlib"), ("name a model for each",)),
    "no-model": (("verify", "two.vnnlib", "--network", "f=net.onnx"), ("no model is given for network g",)),
    "unknown-network": (
        ("verify", "two.vnnlib", "--network", "f=net.onnx", "--network", "h=net.onnx"),
        ("declares no network h, only f, g",),
    ),
    "folder-is-file": (("verify", "net.onnx", "spec.vnnlib", "--serialise-assignments", "net.onnx"), ("not a folder",)),
    "bounds-of-two": (("bounds", "net.onnx", "two.vnnlib"), ("two.vnnlib", "several networks")),
    "lipschitz-of-two": (("lipschitz", "net.onnx", "--spec", "two.vnnlib"), ("two.vnnlib", "several networks")),
    "supports-nothing": (("supports",), ("one of the arguments",)),
    "supports-two": (("supports", "--onnx-operators", "--vnnlib-versions"), ("not allowed",)),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(case: str, command: Command, two: Path) -> None:
    arguments, words = CALLS[case]
    command(*arguments).assert_refused(*words)


def test_bounds_and_constants_of_one_network(command: Command, folder: Path) -> None:
    (folder / "one.vnnlib").write_text(ONE)
    assert "3.00000001" in command("bounds", "net.onnx", "one.vnnlib").out
    assert "Lipschitz constant" in command("lipschitz", "net.onnx", "--spec", "one.vnnlib").out


SUPPORTED = {
    "onnx-opset-versions": {"7", "13", "21"},
    "onnx-element-types": {"real", "float32"},
    "onnx-operators": {"Relu", "Gemm", "Shape", "Conv", "Softmax", "TopK"},
    "vnnlib-versions": {"1.0", "2.0"},
    "hidden-node-theories": {"NH", "H"},
    "multiple-input-output-theories": {"SIO", "MIO"},
    "multiple-network-theories": {"SNET", "MENET", "MINET", "MNET"},
    "multiple-node-comparison-theories": {"SNC", "MNC"},
    "arithmetic-complexity-theories": {"BND", "OUTC", "LIN", "POLY"},
    "optimised-disjunctive-reasoning": {"true"},
    "serialise-assignments": {"true"},
}


@pytest.mark.parametrize("feature", SUPPORTED)
def test_what_is_supported_stands_one_item_a_line(feature: str, command: Command) -> None:
    answer = command("supports", f"--{feature}")
    assert (answer.code, answer.err) == (0, "")
    assert SUPPORTED[feature] <= set(answer.out.splitlines())


def test_operators_are_those_of_the_readme(command: Command) -> None:
    listed = set(command("supports", "--onnx-operators").out.split())
    table = (Path(__file__).resolve().parents[2] / "README.md").read_text().partition("| sums and products")[2]
    cells = [line.split("|")[2] for line in ("| sums and products" + table).splitlines() if line.startswith("  |")]
    named = {word.strip("(),") for cell in cells for word in cell.split()} - {"unrolled"}
    assert named <= listed


def test_name_and_version(command: Command) -> None:
    assert command("--name").out == "nn-verifier\n"
    assert command("--version").out[0].isdigit()
