"""Results that were entered stay, whatever was happening when the machine stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.suite.support import make
from verifier.errors import UsageError
from verifier.suite.instances import read
from verifier.suite.journal import JOURNAL, Entry, Journal, file_name, opened

ENTRY = Entry("a", "f.onnx", "1.vnnlib", 20.0, [[1, 2], [3, 4]], "unsat", "unsat", 0.5, "", 0)


def test_the_latest_result_counts(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append(replace(ENTRY, result="timeout"))
        journal.append(ENTRY)
    assert list(Journal(tmp_path / JOURNAL).entries.values()) == [ENTRY]


def test_a_torn_line_is_dropped_wherever_it_was_torn(tmp_path: Path) -> None:
    other = replace(ENTRY, vnnlib="ü.vnnlib", reason="\u2028")
    with opened(tmp_path) as journal:
        journal.append(ENTRY)
        first = (tmp_path / JOURNAL).read_bytes()
        journal.append(other)
    whole = (tmp_path / JOURNAL).read_bytes()
    for size in range(len(first), len(whole)):
        (tmp_path / JOURNAL).write_bytes(whole[:size])
        with opened(tmp_path) as journal:
            assert list(journal.entries) == [ENTRY.key]
            journal.append(other)
        assert (tmp_path / JOURNAL).read_bytes() == whole


def test_what_is_no_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text('{"benchmark": "a"}\n')
    with pytest.raises(UsageError, match=r"journal.jsonl, line 1: is not a result of a suite"), opened(tmp_path):
        pass


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(UsageError, match="another run is writing there"), opened(tmp_path):
        pass


def test_a_result_is_of_the_same_files_and_limit(tmp_path: Path) -> None:
    (instance,) = read(make(tmp_path, ["unsat"]))
    entry = replace(ENTRY, **instance.key._asdict(), stamp=instance.stamp())
    assert entry.answers(instance)
    assert not entry.answers(replace(instance, timeout=21.0))
    (tmp_path / "net.onnx").write_text("another")
    assert not entry.answers(instance)


def test_names_of_files_differ() -> None:
    keys = [ENTRY.key, replace(ENTRY, onnx="g/f.onnx").key, replace(ENTRY, onnx="f.onnx.gz").key]
    names = {file_name(key) for key in keys}
    assert len(names) == 3
    assert all(name.startswith("f_1_") for name in names)


@pytest.mark.parametrize(
    ("result", "expected", "seconds", "wrong", "solved"),
    [
        ("unsat", "unsat", 1, False, True),
        ("sat", "unsat", 1, True, False),
        ("unsat", "sat", 1, True, False),
        ("sat", "unknown", 1, False, True),
        ("unknown", "sat", 1, False, False),
        ("error", "sat", 1, False, False),
        ("unsat", "unsat", 21, False, False),
    ],
)
def test_right_and_wrong(result: str, expected: str, seconds: float, wrong: bool, solved: bool) -> None:
    entry = replace(ENTRY, result=result, expected=expected, seconds=seconds)
    assert (entry.wrong, entry.solved) == (wrong, solved)
