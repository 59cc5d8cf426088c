"""What was solved before and is not now, or otherwise, is named."""

from dataclasses import replace
from pathlib import Path

import regress
from vnncomp_table import Row

SAT = Row("a", "n.onnx", "1.vnnlib", "sat", "sat", 4.0, 60.0, 2.0, "")
UNKNOWN = Row("a", "n.onnx", "2.vnnlib", "unknown", "unsat", 10.0, 60.0, 2.0, "")
LATE = Row("b", "m.onnx", "1.vnnlib", "unsat", "timeout", 61.0, 60.0, 2.0, "")
WRONG = Row("b", "m.onnx", "2.vnnlib", "sat", "unsat", 1.0, 60.0, 2.0, "")


def test_only_what_was_solved_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "solved.csv"
    assert regress.record(path, [SAT, UNKNOWN, LATE, WRONG]) == 2
    known = regress.read_solved(path)
    assert {key: one.verdict for key, one in known.items()} == {SAT.key: "sat", UNKNOWN.key: "unsat"}
    assert known[SAT.key].limit == regress.LEAST_LIMIT
    assert known[UNKNOWN.key].limit == 40.0
    assert regress.record(path, [replace(LATE, verdict="unsat", seconds=3.0)]) == 3


def test_a_changed_verdict_fails_and_a_lost_one_counts(tmp_path: Path) -> None:
    regress.record(tmp_path / "solved.csv", [SAT, UNKNOWN])
    known = regress.read_solved(tmp_path / "solved.csv")
    assert regress.judge(known, [SAT, UNKNOWN])[1]
    assert regress.judge(known, [SAT])[1]
    lines, passed = regress.judge(known, [SAT, replace(UNKNOWN, verdict="timeout")])
    assert not passed
    assert lines[0].startswith("lost a,n.onnx,2.vnnlib")
    lines, passed = regress.judge(known, [SAT, replace(UNKNOWN, verdict="sat")])
    assert not passed
    assert lines[0].startswith("CHANGED a,n.onnx,2.vnnlib: unsat before, sat now")


def test_the_recorded_file_can_be_read() -> None:
    known = regress.read_solved(regress.SOLVED)
    assert known
    assert all(one.verdict in ("sat", "unsat") for one in known.values())
