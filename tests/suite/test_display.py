"""What is shown of a suite that runs."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.suite.support import make
from verifier.suite.display import clock, display, sentence, table
from verifier.suite.instances import read
from verifier.suite.journal import Entry


def results(folder: Path) -> list[Entry]:
    """A right and a wrong verdict, a crash, and an unknown, in two benchmarks."""
    kinds = [("unsat", "unsat"), ("sat", "unsat"), ("error", "sat"), ("unknown", "sat")]
    return [
        Entry(*instance.key, 20.0, [], expected, result, 1.5, "why" if result == "error" else "", 0)
        for name in ("a", "b")
        for instance, (result, expected) in zip(read(make(folder / name, ["unsat"] * 4)), kinds, strict=True)
    ]


def shown(folder: Path, terminal: bool, old: int = 0) -> str:
    """All that is shown, ``old`` results being of an earlier run."""
    entries = results(folder)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    with display(read(folder), console) as show:
        for k, entry in enumerate(entries):
            show(entry, k >= old)
    return console.file.getvalue()


def test_without_a_terminal_each_new_result_is_a_line(tmp_path: Path) -> None:
    lines = shown(tmp_path, terminal=False, old=2).splitlines()
    assert lines[0].startswith("[3/8] a net.onnx 2.vnnlib: error (why) 1.50 s (left: 0:")
    assert len(lines) == 6
    assert "*** WRONG, expected unsat ***" in lines[3]
    assert lines[-1].endswith("(left: 0:00:00, 2 wrong)")


def test_on_a_terminal_each_benchmark_has_a_bar(tmp_path: Path) -> None:
    text = shown(tmp_path, terminal=True)
    for part in ("8/8", "4/4", "2 solved", "1 solved", "2 wrong", "*** WRONG, expected unsat ***"):
        assert part in text
    assert ": unsat" not in text  # what is as it should be stays unsaid


def test_the_table_counts(tmp_path: Path) -> None:
    header, first, _, total = table(results(tmp_path), 9)
    assert header[2:] == ["solved", "unsat", "sat", "unknown", "timeout", "error", "wrong", "seconds"]
    assert first == ["a", "4", "1", "1", "1", "1", "0", "1", "1", "6.0"]
    assert total[:3] == ["all", "8/9", "2"]


def test_sentences_and_clocks(tmp_path: Path) -> None:
    entry = replace(results(tmp_path)[0], benchmark="a")
    assert sentence(entry) == "a net.onnx 0.vnnlib: unsat 1.50 s"
    assert [clock(value) for value in (0.4, 61, 3600 * 25 + 59.6)] == ["0:00:00", "0:01:01", "25:01:00"]
