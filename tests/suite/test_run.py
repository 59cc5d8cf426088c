"""A suite of stand-ins: whatever one instance does, the others have their results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.suite.support import gone, make, ran, wait_until
from verifier.suite.journal import JOURNAL, file_name
from verifier.suite.run import MODULES
from verifier.suite.worker import ServerError, Workers

ROOT = Path(__file__).resolve().parents[2]


def test_every_end_has_its_result(tmp_path: Path) -> None:
    words = ["unsat 0.3", "crash", "sat", "late", "raise", "complain", "unknown", "timeout", "bare", "nothing", "unsat"]
    found = ran(make(tmp_path / "set", words), tmp_path / "out")
    assert [(entry.result, entry.reason) for entry in found] == [
        ("unsat", ""),
        ("error", "killed by SIGSEGV"),
        ("sat", ""),
        ("error", "killed by SIGABRT"),
        ("error", "exit code 1: error: RuntimeError: out of luck"),
        ("error", "exit code 2: error: net.onnx: this is no network"),
        ("unknown", "gave up: it was too hard"),
        ("timeout", ""),
        ("error", "sat without a counterexample"),
        ("error", "no result was written"),
        ("unsat", ""),
    ]
    assert [entry.vnnlib for entry in found] == [f"{k}.vnnlib" for k in range(len(words))]
    assert 0.3 <= found[0].seconds < 20
    table = [line.split(",") for line in (tmp_path / "out" / "results.csv").read_text().splitlines()]
    assert [line[4] for line in table][:6] == [
        "unsat", "error_exit_code_139", "sat", "error_exit_code_134", "error_exit_code_1", "error_exit_code_2",
    ]  # fmt: skip
    assert all(line[:2] == ["set", "net.onnx"] and line[3] == "0.0" and float(line[5]) >= 0 for line in table)
    assert not (tmp_path / "out" / "running").exists()


def test_only_a_sat_has_a_witness_and_every_verdict_its_json(tmp_path: Path) -> None:
    found = ran(make(tmp_path / "set", ["unsat", "sat", "crash"]), tmp_path / "out")
    names = [file_name(entry.key) for entry in found]
    (witness,) = (tmp_path / "out" / "witnesses" / "set").iterdir()
    assert witness.name == f"{names[1]}.counterexample"
    assert witness.read_text().startswith("sat\n((X_0")
    written = {path.name: json.loads(path.read_text()) for path in (tmp_path / "out" / "json" / "set").iterdir()}
    assert {name: data["verdict"] for name, data in written.items()} == {
        f"{names[0]}.json": "unsat",
        f"{names[1]}.json": "sat",
    }
    assert "Segmentation fault" in (tmp_path / "out" / "logs" / "set" / f"{names[2]}.txt").read_text()


def test_one_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    begun = time.monotonic()
    hung, other = ran(make(tmp_path / "set", [f"hang {pid}", "unsat"], 0.5), tmp_path / "out")
    assert (hung.result, other.result) == ("timeout", "unsat")
    assert 0.8 <= hung.seconds < 60
    assert time.monotonic() - begun < 120
    assert gone(int(pid.read_text()))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell")
def test_one_that_takes_too_much_memory_is_killed(tmp_path: Path) -> None:
    hog, other = ran(make(tmp_path / "set", ["hog", "unsat 0.2"]), tmp_path / "out", memory=300 << 20)
    assert (hog.result, hog.reason) == ("unknown", "memory: killed, above 0.293 GB")
    assert other.result == "unsat"


def test_a_list_of_networks_becomes_options(tmp_path: Path) -> None:
    make(tmp_path / "set", ["unsat"])
    (tmp_path / "set" / "instances.csv").write_text("\"[('f', 'net.onnx'), ('g', 'net.onnx')]\",0.vnnlib,5\n")
    (entry,) = ran(tmp_path / "set" / "instances.csv", tmp_path / "out")
    assert entry.result == "unsat"


def test_what_has_a_result_is_not_run_again(tmp_path: Path) -> None:
    table = make(tmp_path / "set", ["unsat", "sat", "unknown"])
    first = ran(table, tmp_path / "out")
    shown: list[str] = []
    assert ran(table, tmp_path / "out", shown=shown) == first
    assert shown == []


def test_another_limit_or_another_file_is_run_again(tmp_path: Path) -> None:
    words = ["unsat", "sat", "unknown"]
    table = make(tmp_path / "set", words)
    ran(table, tmp_path / "out")
    shown: list[str] = []
    (tmp_path / "set" / "1.vnnlib").write_text("unsat 0.001")
    assert [entry.result for entry in ran(table, tmp_path / "out", shown=shown)] == ["unsat", "unsat", "unknown"]
    assert shown == ["1.vnnlib"]
    assert not [*(tmp_path / "out" / "witnesses" / "set").iterdir()]  # that of its earlier result
    table = make(tmp_path / "set", words, 21.0)
    assert {entry.timeout for entry in ran(table, tmp_path / "out", shown=shown)} == {21.0}
    assert sorted(shown[1:]) == ["0.vnnlib", "1.vnnlib", "2.vnnlib"]


def test_stopping_keeps_what_is_done_and_ends_what_runs(tmp_path: Path) -> None:
    pid, out = tmp_path / "pid", tmp_path / "out"
    table = make(tmp_path / "set", ["unsat", f"hang {pid}", "sat"])
    shown: list[str] = []
    found = ran(table, out, shown=shown, stop=lambda: len(shown) == 2 and pid.exists())
    assert [entry.vnnlib for entry in found] == ["0.vnnlib", "2.vnnlib"]
    wait_until(lambda: gone(int(pid.read_text())))
    assert len((out / "results.csv").read_text().splitlines()) == 2


def test_nothing_runs_on_when_all_is_killed(tmp_path: Path) -> None:
    pid, out = tmp_path / "pid", tmp_path / "out"
    make(tmp_path / "set", ["unsat", f"hang {pid}"])
    code = (
        "import sys; from pathlib import Path; from tests.suite.support import ran;"
        "ran(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "set" / "instances.csv"), str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        wait_until(lambda: pid.exists() and pid.read_text() != "" and b"unsat" in (out / JOURNAL).read_bytes())
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait_until(lambda: gone(int(pid.read_text())))


def test_a_server_that_ends_is_an_error_and_takes_its_processes_along(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    table = make(tmp_path / "set", ["unsat", f"hang {pid}"])

    def stop() -> bool:
        if pid.exists() and (text := pid.read_text()):
            parent = Path(f"/proc/{text}/stat").read_text().rpartition(")")[2].split()[1]
            os.kill(int(parent), signal.SIGKILL)
        return False

    with pytest.raises(ServerError, match=r"has ended \(killed by SIGKILL\); --resume goes on"):
        ran(table, tmp_path / "out", stop=stop)
    wait_until(lambda: gone(int(pid.read_text())))


def test_the_threads_are_those_of_the_setup() -> None:
    with Workers("os:getenv", (), 3) as workers:
        assert b"OMP_NUM_THREADS=3\0" in Path(f"/proc/{workers._server.pid}/environ").read_bytes()


def test_what_is_forked_has_one_thread() -> None:
    with Workers("os:getenv", MODULES, 3) as workers:
        assert len([*Path(f"/proc/{workers._server.pid}/task").iterdir()]) == 1
