"""The examples of VNNLIB 2.0: settled again without the verifier, and by it in each form of the command."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conditions import Query
from queries import queries
from run import by_library, read_examples

from verifier.cli import main

EXAMPLES = Path(__file__).resolve().parents[2] / "vnnlib_examples"
LISTED = {Path(line[1]).stem: line for line in read_examples() if "/query_" in line[1]}


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.name)
def test_files_are_what_is_settled(query: Query) -> None:
    onnx, vnnlib, expected = LISTED[f"query_{query.name}"]
    assert (EXAMPLES / vnnlib).read_text() == query.text()
    assert onnx == query.files()
    assert query.settle(query, EXAMPLES / "nets")[0] == expected


def test_both_verdicts() -> None:
    assert len(LISTED) == len(queries()) >= 10
    assert {line[2] for line in LISTED.values()} == {"sat", "unsat"}


@pytest.mark.parametrize("name", LISTED)
def test_verdicts(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    onnx, vnnlib, expected = LISTED[name]
    assert by_library(onnx, vnnlib) == expected
    monkeypatch.chdir(EXAMPLES)
    pairs = ast.literal_eval(onnx) if onnx.startswith("[") else [("f", onnx)]
    standard = [vnnlib, *(word for name, path in pairs for word in ("--network", f"{name}={path}"))]
    for files in ([onnx, vnnlib], standard):
        assert main(["verify", *files, "--timeout", "20"]) == 0
        assert capsys.readouterr().out.partition("\n")[0] == expected
