"""Bad input ends in exit code 2 and one line on stderr that says what is wrong and where; nothing goes to stdout."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli.support import SPEC, Command, network

ROOT = Path(__file__).resolve().parents[2]


def assert_refused(code: int, out: str, err: str, words: tuple[str, ...]) -> None:
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    for word in words:
        assert word in err


WHOLE = network().SerializeToString()

MODEL_FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("net.onnx", "empty")),
    "cut": (WHOLE[: len(WHOLE) // 2], ("net.onnx", "cut off")),
    "text": (b"this is not a network", ("net.onnx", "not an ONNX model")),
    "garbage": (bytes(range(255, -1, -1)), ("net.onnx", "not an ONNX model")),
    "gzip-cut": (gzip.compress(WHOLE)[:-12], ("net.onnx", "gzip")),
    "gzip-damaged": (gzip.compress(WHOLE)[:20] + b"\0\1\2" * 20, ("net.onnx", "gzip")),
    "a-property": (SPEC.encode(), ("net.onnx", "not an ONNX model")),
}


@pytest.mark.parametrize("verb", ["verify", "bounds"])
@pytest.mark.parametrize("case", MODEL_FILES)
def test_model_files(case: str, verb: str, command: Command, folder: Path) -> None:
    data, words = MODEL_FILES[case]
    (folder / "net.onnx").write_bytes(data)
    answer = command(verb, "net.onnx", "spec.vnnlib")
    assert_refused(answer.code, answer.out, answer.err, words)


def nan_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([[1], [np.nan]], dtype=np.float32), "w"))


def short_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:4]


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Det"


def foreign_domain(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "com.example"


def unknown_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 3


def undefined_tensor(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "nowhere"


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "y"


def integer_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


def free_dimension(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "n"


def shapes_that_do_not_fit(model: onnx.ModelProto) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 5)))


def no_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


MODELS: dict[Callable[[onnx.ModelProto], None], tuple[str, ...]] = {
    nan_weight: ("'w'", "NaN"),
    short_weight: ("'w'", "elements"),
    unknown_operator: ("'y'", "Det", "supported are"),
    foreign_domain: ("'y'", "com.example"),
    unknown_opset: ("opset 3", "supported are"),
    undefined_tensor: ("'y'", "'nowhere'"),
    cycle: ("product", "'y'", "not defined before it is used"),
    integer_input: ("'x'", "float32"),
    free_dimension: ("'x'", "free dimension"),
    shapes_that_do_not_fit: ("product", "MatMul"),
    no_outputs: ("no outputs",),
}


@pytest.mark.parametrize("spoil", MODELS, ids=lambda spoil: spoil.__name__)
def test_models(spoil: Callable[[onnx.ModelProto], None], command: Command, folder: Path) -> None:
    model = network()
    spoil(model)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    answer = command("verify", "net.onnx", "spec.vnnlib")
    assert_refused(answer.code, answer.out, answer.err, ("net.onnx", *MODELS[spoil]))


SPECS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ()),
    "bracket-left-open": (SPEC.rstrip()[:-1].encode(), (":8:",)),
    "bracket-too-many": ((SPEC + ")").encode(), (":9:",)),
    "unknown-word": (SPEC.replace("(assert (>= Y_0", "(claim (>= Y_0").encode(), (":8:", "claim")),
    "unknown-operator": (SPEC.replace(">= Y_0", "~= Y_0").encode(), (":8:", "~=")),
    "not-a-number": (SPEC.replace("100.0", "1OO.0").encode(), (":8:", "1OO.0")),
    "undeclared": (SPEC.replace(">= Y_0", ">= Y_7").encode(), (":8:", "Y_7")),
    "missing-bound": (SPEC.replace("(assert (<= X_1 1.0))\n", "").encode(), ("X_1",)),
    "empty-box": (SPEC.replace("<= X_1 1.0", "<= X_1 -1.0").encode(), ("X_1",)),
    "too-many-inputs": (
        SPEC.replace("(assert (>= X_0", "(declare-const X_2 Real)(assert (= X_2 0.0))(assert (>= X_0").encode(),
        ("net.onnx", "3 input", "2"),
    ),
    "too-few-outputs": (
        SPEC.replace("(declare-const Y_0 Real)", "(declare-const Y_0 Real)(declare-const Y_1 Real)").encode(),
        ("net.onnx", "2 output", "1"),
    ),
    "garbage": (bytes(range(128, 256)), ("UTF-8",)),
    "gzip-cut": (gzip.compress(SPEC.encode())[:-12], ("gzip",)),
    "a-network": (WHOLE, ()),
    "vnnlib-2": (
        b"(vnnlib-version <2.0>)\n(declare-network f (declare-input X real [2]))",
        (":2:", "network f declares no output"),
    ),
}


@pytest.mark.parametrize("case", SPECS)
def test_properties(case: str, command: Command, folder: Path) -> None:
    data, words = SPECS[case]
    (folder / "spec.vnnlib").write_bytes(data)
    answer = command("verify", "net.onnx", "spec.vnnlib")
    assert_refused(answer.code, answer.out, answer.err, ("spec.vnnlib", *words))


CALLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "nothing": ((), ("COMMAND",)),
    "unknown-command": (("prove",), ("'prove'",)),
    "one-file": (("verify", "net.onnx"), ("SPEC.vnnlib",)),
    "three-files": (("verify", "net.onnx", "spec.vnnlib", "more"), ("3 files",)),
    "swapped": (("verify", "spec.vnnlib", "net.onnx"), ("spec.vnnlib", "network comes first")),
    "missing-model": (("verify", "none.onnx", "spec.vnnlib"), ("none.onnx", "No such file")),
    "missing-property": (("verify", "net.onnx", "none.vnnlib"), ("none.vnnlib", "No such file")),
    "folder-as-model": (("verify", ".", "spec.vnnlib"), ("directory",)),
    "folder-as-property": (("verify", "net.onnx", "."), ("directory",)),
    "unknown-option": (("verify", "net.onnx", "spec.vnnlib", "--fast"), ("--fast",)),
    "abbreviated-option": (("verify", "net.onnx", "spec.vnnlib", "--time", "3"), ("--time",)),
    "timeout-word": (("verify", "net.onnx", "spec.vnnlib", "--timeout", "soon"), ("--timeout", "'soon'")),
    "timeout-zero": (("verify", "net.onnx", "spec.vnnlib", "--timeout", "0"), ("--timeout", "above 0")),
    "timeout-negative": (("verify", "net.onnx", "spec.vnnlib", "--timeout", "-5"), ("--timeout", "above 0")),
    "timeout-nan": (("verify", "net.onnx", "spec.vnnlib", "--timeout", "nan"), ("--timeout", "above 0")),
    "device": (("verify", "net.onnx", "spec.vnnlib", "--device", "abacus"), ("--device", "abacus")),
    "threads": (("verify", "net.onnx", "spec.vnnlib", "--threads", "0"), ("--threads", "from 1")),
    "seed": (("verify", "net.onnx", "spec.vnnlib", "--seed", "-1"), ("--seed", "from 0")),
    "seed-too-large": (("verify", "net.onnx", "spec.vnnlib", "--seed", "9" * 30), ("--seed",)),
    "seed-endless": (("verify", "net.onnx", "spec.vnnlib", "--seed", "9" * 5000), ("--seed",)),
    "iterations": (("verify", "net.onnx", "spec.vnnlib", "--max-iterations", "1.5"), ("--max-iterations", "'1.5'")),
    "json-nowhere": (("verify", "net.onnx", "spec.vnnlib", "--json", "no/out.json"), ("no/out.json", "no folder")),
    "json-folder": (("verify", "net.onnx", "spec.vnnlib", "--json", "."), ("directory",)),
    "json-over-input": (("verify", "net.onnx", "spec.vnnlib", "--json", "net.onnx"), ("net.onnx", "is an input")),
    "witness-nowhere": (("verify", "net.onnx", "spec.vnnlib", "--counterexample", "no/x"), ("no/x", "no folder")),
    "one-file-for-two": (("verify", "net.onnx", "spec.vnnlib", "--json", "o", "--counterexample", "o"), ("another",)),
    "path-through-file": (("verify", "net.onnx/x", "spec.vnnlib"), ("net.onnx/x", "Not a directory")),
    "name-too-long": (("verify", "net.onnx", "spec.vnnlib", "--json", "o" * 300), ("too long",)),
    "network-without-name": (("verify", "spec.vnnlib", "--network", "net.onnx"), ("--network", "NAME=")),
    "network-and-model": (("verify", "net.onnx", "spec.vnnlib", "--network", "f=net.onnx"), ("2 were named",)),
    "two-networks": (
        ("verify", "spec.vnnlib", "--network", "f=net.onnx", "--network", "g=net.onnx"),
        ("need VNNLIB 2.0",),
    ),
    "unknown-method": (("bounds", "net.onnx", "spec.vnnlib", "--method", "magic"), ("--method", "magic")),
    "bounds-one-file": (("bounds", "net.onnx"), ("SPEC.vnnlib",)),
    "bounds-three-files": (("bounds", "net.onnx", "spec.vnnlib", "more"), ("more",)),
    "inspect-missing": (("inspect", "none.onnx"), ("none.onnx", "No such file")),
    "inspect-property": (("inspect", "spec.vnnlib"), ("spec.vnnlib", "not an ONNX model")),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(case: str, command: Command) -> None:
    arguments, words = CALLS[case]
    answer = command(*arguments)
    assert_refused(answer.code, answer.out, answer.err, words)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("verify", "none.onnx", "spec.vnnlib"), "none.onnx: "), (("verify", "net.onnx", "bad.vnnlib"), "bad.vnnlib:1:")],
)
def test_a_process_of_its_own(arguments: tuple[str, ...], word: str, folder: Path) -> None:
    (folder / "bad.vnnlib").write_text("(assert")
    done = subprocess.run(
        [sys.executable, "-m", "verifier.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refused(
        done.returncode, done.stdout, done.stderr, arguments[2:] if "bad" in arguments[2] else arguments[1:2]
    )


def test_inspect_shows_the_file_before_it_refuses(command: Command, folder: Path) -> None:
    model = network()
    unknown_operator(model)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    answer = command("inspect", "net.onnx")
    assert answer.code == 2
    assert "unsupported  Det 1" in answer.out
    assert_refused(answer.code, "", answer.err, ("net.onnx", "'y'", "Det"))
