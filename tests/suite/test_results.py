"""The competition's tables of results, of this tool and of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from verifier.errors import UsageError
from verifier.suite import results
from verifier.suite.journal import Entry


def entry(benchmark: str, onnx: str, vnnlib: str, result: str = "unsat", code: int = 0) -> Entry:
    """A result."""
    return Entry(benchmark, onnx, vnnlib, 20.0, [], "unknown", result, 1.0, "", code)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    several = "[('f', 'x/f.onnx'), ('g', 'x/g.onnx.gz')]"
    written = [
        entry("a", "f.onnx", "1.vnnlib"),
        entry("a", several, "2.vnnlib", "timeout"),
        entry("a", "f.onnx", "3.vnnlib", "error", -11),
    ]
    results.write(tmp_path, written)
    found = results.read(tmp_path / "results.csv")
    assert [(line.network, line.result, line.seconds) for line in found] == [
        ("f.onnx", "unsat", 1.0),
        (several, "timeout", 1.0),
        ("f.onnx", "error", 1.0),
    ]
    assert results.Others(found).of(entry("a", "[('u', 'f.onnx'), ('v', 'g.onnx')]", "2.vnnlib.gz")) == found[1]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("holds", "unsat"), ("unsat", "unsat"), ("violated", "sat"), ("sat", "sat"),
        ("run_instance_timeout", "timeout"), ("timed-out", "timeout"), ("timeout", "timeout"),
        ("no_result_in_file", "unknown"), ("", "unknown"),
        ("error_exit_code_139", "error"), ("error_nonmaximal", "unknown"), ("prepare_instance_error_1", "unknown"),
    ],
)  # fmt: skip
def test_words(theirs: str, ours: str) -> None:
    assert results.plain(theirs) == ours


def test_the_same_instance_is_found_in_other_folders_and_under_other_categories() -> None:
    lines = [
        results.Line("acasxu_2023", "./a/onnx/n_1.5.onnx.gz", "a/p_1.vnnlib", "unsat", 1.0),
        results.Line("b", "n.onnx", "p.vnnlib", "sat", 1.0),
        results.Line("c", "n.onnx", "p.vnnlib", "unsat", 1.0),
        results.Line("nn4sys_2023", "n.onnx", "q.vnnlib", "sat", 1.0),
        results.Line("nn4sys_2024", "n.onnx", "q.vnnlib", "unsat", 1.0),
    ]
    others = results.Others(lines)
    assert others.of(entry("acasxu", "onnx/n_1.5.onnx", "vnnlib/p_1.vnnlib.gz")) == lines[0]
    assert others.of(entry("c", "n.onnx", "p.vnnlib")) == lines[2]
    assert others.of(entry("d", "n.onnx", "p.vnnlib")) is None
    assert others.of(entry("nn4sys", "n.onnx", "q.vnnlib")) is None  # either might be meant


@pytest.mark.parametrize("text", ["a,n,p,0,sat", "a,n,p,0,sat,soon"])
def test_what_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.csv").write_text(f"a,n,p,0,sat,1\n{text}\n")
    with pytest.raises(UsageError, match=r"other.csv, line 2: expected category,network,property"):
        results.read(tmp_path / "other.csv")
