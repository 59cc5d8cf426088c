"""``verifier suite`` on the shipped examples: as a whole, wrong, interrupted, and killed at any moment."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.suite.support import wait_until
from verifier.cli import main
from verifier.suite.instances import networks

EXAMPLES = Path(__file__).resolve().parents[2] / "vnnlib_examples"
ROOT = EXAMPLES.parent


def table(folder: Path, expected: dict[str, str] | None = None, pick: Sequence[str] = ()) -> Path:
    """A table of shipped examples: those whose properties' names contain one of ``pick``."""
    with (EXAMPLES / "expected.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if any(part in line["vnnlib"] for part in pick)]
    with (folder / "some.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["vnnlib", "onnx", "timeout", "expected"])
        for line in lines:
            told = (expected or {}).get(line["vnnlib"], line["expected"])
            named = [(name, str(EXAMPLES / file)) for name, file in networks(line["onnx"], "expected.csv")]
            files = named if named[0][0] else named[0][1]
            writer.writerow([EXAMPLES / line["vnnlib"], files, 20, told])
    return folder / "some.csv"


def started(*arguments: object) -> subprocess.Popen[str]:
    """The command as a process, in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "verifier", "suite", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def undisturbed(wanted: Path, out: Path, *options: str) -> tuple[str, str]:
    """What the command prints on stdout and stderr when nothing happens to it."""
    process = started(wanted, "--out", out, *options)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output, errors


def verdicts(out: Path) -> list[tuple[str, str]]:
    """Properties and results, in the order of ``results.csv``."""
    with (out / "results.csv").open(newline="") as file:
        return [(Path(line[2]).name, line[4]) for line in csv.reader(file)]


def entered(out: Path) -> int:
    """How many results the journal has."""
    path = out / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def random_moments() -> random.Random:
    """Other moments in each run of the test; pytest shows the seed where it fails."""
    seed = random.SystemRandom().randrange(1 << 30)
    sys.stdout.write(f"seed {seed}\n")
    return random.Random(seed)


def reached(out: Path, count: int, process: subprocess.Popen[str]) -> bool:
    """Whether a run has so many results, or has ended."""
    return entered(out) >= count or process.poll() is not None


def killed_and_resumed(wanted: Path, out: Path, draw: random.Random, times: int, spread: float) -> None:
    """Kill a run so many times at random moments, each time after some more results, and let it end at last."""
    total = len(wanted.read_text().splitlines()) - 1
    for _ in range(times):
        before = entered(out)
        process = started(wanted, "--out", out, "--resume")
        wait_until(partial(reached, out, min(before + draw.randint(0, 2), total), process))
        time.sleep(draw.uniform(0, spread))
        os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), errors
        assert entered(out) >= before
    undisturbed(wanted, out, "--resume")
    assert entered(out) == total  # nothing that had a result was run again


def test_killed_at_random_it_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    wanted = table(tmp_path, pick=["rings_inside", "advisory_near", "pendulum_limit"])
    output, errors = undisturbed(wanted, tmp_path / "whole")
    assert errors.splitlines()[-1].startswith("[7/7]"), errors
    assert output.splitlines()[-1].split()[:3] == ["all", "7/7", "7"]
    killed_and_resumed(wanted, tmp_path / "torn", random_moments(), 3, 0.2)
    assert verdicts(tmp_path / "torn") == verdicts(tmp_path / "whole")


@pytest.mark.slow
def test_all_examples_killed_at_random(tmp_path: Path) -> None:
    draw = random_moments()
    wanted = table(tmp_path, pick=[""])
    undisturbed(wanted, tmp_path / "whole")
    for k in range(3):
        killed_and_resumed(wanted, tmp_path / f"torn{k}", draw, 3, 5.0)
        assert verdicts(tmp_path / f"torn{k}") == verdicts(tmp_path / "whole")


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    wanted, out = table(tmp_path, pick=["digits_"]), tmp_path / "out"
    process = started(wanted, "--out", out)
    wait_until(lambda: entered(out) > 0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert 0 < entered(out) == len(verdicts(out)) < len(wanted.read_text().splitlines()) - 1
    assert (out / "report.html").exists()
    assert not (out / "running").exists()


def test_a_wrong_verdict_is_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "vnnlib/rings_inside_eps_0.3.vnnlib"
    wanted = table(tmp_path, {name: "unsat"}, ["rings_inside"])
    assert main(["suite", str(wanted), "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert "*** WRONG, expected unsat ***" in captured.err
    assert captured.out.splitlines()[-1].startswith("WRONG ")
    assert captured.out.splitlines()[-1].endswith(f"{name}: sat, expected unsat")
    assert main(["suite", str(wanted), "--out", str(tmp_path / "out"), "--resume"]) == 1
    captured = capsys.readouterr()
    assert captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none: cannot be read: No such file or directory"),
        (["some.csv", "--jobs", "0"], "argument --jobs: '0' is not a whole number from 1 on"),
        (["some.csv", "--memory", "0"], "argument --memory: '0' is not a number above 0"),
        (["some.csv", "--benchmarks", "b"], "some.csv: there is no benchmark b"),
        (["some.csv", "--out", "some.csv"], "some.csv: cannot be written: File exists"),
        (["some.csv", "--out", "old"], "old: has results of an earlier run: go on with --resume"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path, pick=["rings_inside"])
    (tmp_path / "old").mkdir()
    entry = (
        '{"benchmark": "a", "onnx": "f", "vnnlib": "1", "timeout": 1, "stamp": [], "expected": "sat", '
        '"result": "sat", "seconds": 1, "reason": "", "code": 0}\n'
    )
    (tmp_path / "old" / "journal.jsonl").write_text(entry)
    assert main(["suite", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
