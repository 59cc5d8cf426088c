"""The benchmark runner and its tables, on tiny sets and with a stand-in for the verifier."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import vnncomp
from vnncomp_table import (
    Peer,
    Row,
    Truth,
    append_row,
    contradicts,
    ratio_lines,
    read_peers,
    read_rows,
    read_truth,
    summarise,
    summarise_peer,
    table_lines,
    time_ratio,
    wrong_lines,
)

AB = "alpha-beta-CROWN"
SAT = Row("a", "n.onnx", "1.vnnlib", "sat", "sat", 4.0, 60.0, 2.0, "")
UNSAT = Row("a", "n.onnx", "2.vnnlib", "unsat", "unsat", 10.0, 60.0, 2.0, "")
LATE = Row("b", "m.onnx", "1.vnnlib", "unsat", "timeout", 61.0, 60.0, 2.0, "")
WRONG = Row("b", "m.onnx", "2.vnnlib", "sat", "unsat", 1.0, 60.0, 2.0, "")
ROWS = [SAT, UNSAT, LATE, WRONG]
PEERS = {
    SAT.key: [Peer(AB, "sat", 5.2), Peer("nnenum", "error", 1.0)],
    UNSAT.key: [Peer(AB, "timeout", 60.0), Peer("nnenum", "unsat", 2.6)],
    LATE.key: [Peer(AB, "unsat", 26.0)],
}


@pytest.mark.parametrize(
    ("verdict", "expected", "wrong"),
    [("sat", "unsat", True), ("unsat", "sat", True), ("sat", "sat", False), ("sat", "unknown", False)]
    + [(word, "sat", False) for word in ("unknown", "timeout", "error")],
)
def test_only_two_decided_verdicts_contradict(verdict: str, expected: str, wrong: bool) -> None:
    assert contradicts(verdict, expected) is wrong


def test_summary_of_ours() -> None:
    summary = summarise(ROWS)
    assert (summary.solved, summary.total, summary.wrong) == (2, 4, 1)
    assert (summary.seconds, summary.median, summary.imports) == (76.0, 7.0, 38.0)


def test_an_answer_after_the_limit_is_not_solved() -> None:
    assert not replace(SAT, seconds=60.5).solved


def test_summary_of_nothing() -> None:
    assert summarise([]).total == 0


def test_summary_of_a_peer_is_over_the_same_instances() -> None:
    summary = summarise_peer(AB, [SAT, UNSAT], PEERS)
    assert (summary.solved, summary.total) == (1, 2)
    assert summary.seconds == pytest.approx(65.2)
    assert summary.imports == pytest.approx(65.2 / 2.6)


def test_ratio_is_over_what_the_peer_decided_and_unsolved_counts_at_the_limit() -> None:
    ratio = time_ratio(AB, ROWS, PEERS)
    assert (ratio.instances, ratio.solved) == (2, 1)
    assert ratio.ours == pytest.approx(4 / 2 + 60 / 2)
    assert ratio.theirs == pytest.approx(2 + 10)
    assert ratio.value == pytest.approx(32 / 12)


def test_ratio_leaves_out_what_the_peer_got_wrong() -> None:
    assert time_ratio(AB, [WRONG], {WRONG.key: [Peer(AB, "unsat", 3.0)]}).instances == 0


def test_ratio_is_quoted_for_tools_with_instances_only() -> None:
    assert [line.split(":")[0] for line in ratio_lines([UNSAT], PEERS)] == ["on the 1 instances that nnenum decided"]


def test_table_has_a_line_per_benchmark_and_one_for_all() -> None:
    lines = table_lines(ROWS, PEERS)
    assert [line.split()[:3] for line in lines] == [
        ["benchmark", "solved", "wrong"],
        ["a", "2/2", "0"],
        ["b", "0/2", "1"],
        ["all", "2/4", "1"],
    ]
    assert lines[0].count("total s") == 3
    assert len({len(line) for line in lines}) == 1


def test_wrong_verdicts_are_loud() -> None:
    (line,) = wrong_lines(ROWS, {WRONG.key: Truth("sat", "strict")})
    assert "WRONG" in line
    assert "m.onnx 2.vnnlib" in line
    assert "strict" in line


def test_rows_survive_the_file_and_a_cut_off_line_does_not(tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    first = replace(SAT, note='exit code 1: "a", b')
    append_row(out, first)
    append_row(out, UNSAT)
    out.write_text(out.read_text()[:-5])
    assert read_rows(out) == [first]
    append_row(out, LATE)
    assert read_rows(out) == [first, LATE]


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    missing = tmp_path / "missing.csv"
    assert (read_rows(missing), read_truth(missing), read_peers(missing)) == ([], {}, {})


@pytest.mark.parametrize(
    ("output", "code", "verdict"),
    [
        ("unsat\n", 0, "unsat"),
        ("sat\n((X_0 1.0))\n", 0, "sat"),
        ("timeout\n", 0, "timeout"),
        ("sat\n", 0, "error"),
        ("holds\n", 0, "error"),
        ("", 0, "error"),
        ("unsat\n", 1, "error"),
    ],
)
def test_answers_are_read_strictly(output: str, code: int, verdict: str) -> None:
    assert vnncomp.read_answer(output, "why\n", code, 1.0).verdict == verdict


def test_a_hanging_command_is_killed_with_its_children() -> None:
    start, running = time.monotonic(), set()
    answer = vnncomp.ask(["bash", "-c", "trap '' TERM; sleep 60 & wait"], 0.3, running)
    assert answer.verdict == "timeout"
    assert time.monotonic() - start < 10
    assert not running


@pytest.fixture
def setdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two benchmarks, and a verifier that says what the specification's file holds and counts its calls."""
    root = tmp_path / "set"
    for name, verdicts in {"a": ["unsat", "sat"], "b": ["unsat"]}.items():
        (root / name).mkdir(parents=True)
        (root / name / "n.onnx").touch()
        lines = []
        for k, verdict in enumerate(verdicts):
            (root / name / f"{k}.vnnlib").write_text(f"{verdict}\n((X_0 1.0))\n")
            lines.append(f"n.onnx,{k}.vnnlib,30")
        (root / name / "instances.csv").write_text("\n".join(lines) + "\n")
    truth = "benchmark,onnx,vnnlib,expected,ce_check\na,n.onnx,0.vnnlib,unsat,\na,n.onnx,1.vnnlib,sat,strict\n"
    (root / "truth.csv").write_text(truth)
    command = tmp_path / "verifier"
    command.write_text(f'#!/usr/bin/env bash\necho "$@" >> {tmp_path}/calls\ncat "$3"\n')
    command.chmod(0o755)
    monkeypatch.setattr(vnncomp, "find_command", lambda: str(command))
    monkeypatch.setattr(vnncomp, "import_seconds", lambda: 2.0)
    monkeypatch.chdir(tmp_path)
    return root


def test_a_run_goes_on_where_it_was_stopped(setdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vnncomp.main([str(setdir), "--benchmarks", "a", "--limit", "1"]) == 0
    assert vnncomp.main([str(setdir), "--timeout", "7.5", "--no-attack"]) == 0
    calls = Path("calls").read_text().splitlines()
    assert len(calls) == 3
    assert calls[0].endswith("0.vnnlib --timeout 30")
    assert calls[1].endswith("1.vnnlib --timeout 7.5 --no-attack")
    assert [row.verdict for row in read_rows(Path("results.csv"))] == ["unsat", "sat", "unsat"]
    assert "all           3/3      0" in capsys.readouterr().out


def test_a_wrong_verdict_is_exit_code_1(setdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (setdir / "a" / "1.vnnlib").write_text("unsat\n")
    assert vnncomp.main([str(setdir), "--out", "o.csv", "--jobs", "2"]) == 1
    assert "*** WRONG *** a n.onnx 1.vnnlib: we say unsat, expected sat" in capsys.readouterr().out
    assert vnncomp.main([str(setdir), "--out", "o.csv"]) == 1  # also when nothing is left to run


def test_a_subset_is_run_in_its_order(setdir: Path) -> None:
    subset = setdir / "subset.csv"
    subset.write_text("benchmark,onnx,vnnlib\nb,n.onnx,0.vnnlib\na,n.onnx,1.vnnlib\n")
    assert vnncomp.main([str(setdir), "--subset", str(subset)]) == 0
    assert [row.benchmark for row in read_rows(Path("results.csv"))] == ["b", "a"]


@pytest.mark.parametrize(
    "arguments",
    [["set", "--benchmarks", "a,c"], ["nowhere"], ["set", "--subset", "missing.csv"], ["set", "--subset", "bad.csv"]],
)
@pytest.mark.usefixtures("setdir")
def test_what_cannot_be_run_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.csv").write_text("benchmark,onnx,vnnlib\nc,n.onnx,0.vnnlib\n")
    assert vnncomp.main(arguments) == 2
    assert capsys.readouterr().err
