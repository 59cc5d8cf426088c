"""What ``verifier verify`` prints and writes, with a stand-in for the pipeline."""

from __future__ import annotations

import json
import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verifier
from tests.cli.support import Command, Install
from verifier import report
from verifier.config import Config
from verifier.result import Counterexample, Progress, Reason, Result, Verdict

FILES = ("verify", "net.onnx", "spec.vnnlib")
WITNESS = Counterexample(np.array([0.1, -1e-20]), np.array([1 / 3]), 0)


def result(verdict: Verdict, reason: Reason | None = None, witness: Counterexample | None = None) -> Result:
    progress = Progress({"search": 0.25}, visited=3, open=1, closed=2, bound=-float("inf"))
    return Result(verdict, reason, 0.25, progress, witness, "two\nlines" if reason else "")


ANSWERS = {
    "unsat": (result(Verdict.UNSAT), "unsat\n"),
    "sat": (result(Verdict.SAT, None, WITNESS), f"sat\n((X_0 0.1)\n(X_1 -1e-20)\n(Y_0 {1 / 3!r}))\n"),
    "timeout": (result(Verdict.UNKNOWN, Reason.TIMEOUT), "timeout\n"),
    "memory": (result(Verdict.UNKNOWN, Reason.MEMORY), "unknown\n"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_the_answer_stands_alone_on_stdout_and_in_the_file(
    case: str, command: Command, install: Install, folder: Path
) -> None:
    found, text = ANSWERS[case]
    install(lambda *_: found)
    answer = command(*FILES, "--counterexample", "out.txt", "--json", "out.json")
    assert (answer.code, answer.out) == (0, text)
    assert (folder / "out.txt").read_text() == text
    assert answer.err.count("\n") == 1
    assert answer.err.startswith(found.verdict.value)
    data = json.loads((folder / "out.json").read_text())
    assert data["verdict"] == found.verdict.value
    assert data["reason"] == (None if found.reason is None else found.reason.value)
    assert data["bounds"] == {"worst": None}  # JSON has no infinity
    assert data["domains"] == {"visited": 3, "open": 1, "closed": 2}
    assert data["phases"]["search"] == 0.25
    assert (data["model"], data["spec"], data["seed"]) == ("net.onnx", "spec.vnnlib", 0)
    assert data["versions"]["verifier"] == verifier.__version__
    assert sorted(os.listdir(folder)) == ["net.onnx", "out.json", "out.txt", "spec.vnnlib"]


def test_the_standards_form_of_the_command(command: Command, install: Install, folder: Path) -> None:
    install(lambda *_: result(Verdict.UNKNOWN, Reason.TIMEOUT))
    answer = command("verify", "spec.vnnlib", "--network", "f=net.onnx", "--counterexample", "out.txt")
    assert (answer.code, answer.out) == (0, "timed-out\n")
    assert (folder / "out.txt").read_text() == "timeout\n"


def test_options_reach_the_run(command: Command, install: Install) -> None:
    seen: list[Any] = []

    def verify(model: Path, spec: Any, config: Config, progress: Progress, watch: Any) -> Result:
        seen.extend([model, spec.n_inputs, config, watch])
        return result(Verdict.UNSAT)

    install(verify)
    options = ["--timeout", "60", "--device", "cpu", "--threads", "2", "--no-attack", "--seed", "7"]
    assert command("verify", "net.onnx", *options, "spec.vnnlib", "--max-iterations", "9").code == 0
    model, inputs, config, watch = seen
    assert (model, inputs, watch) == (Path("net.onnx"), 2, None)
    assert 50 < config.timeout < 60  # start-up is taken off
    assert (config.device, config.threads, config.attack, config.seed) == ("cpu", 2, False, 7)
    assert config.max_iterations == 9


def test_an_endless_timeout_is_none(command: Command, install: Install) -> None:
    seen: list[Config] = []
    install(lambda model, spec, config, progress, watch: (seen.append(config), result(Verdict.UNSAT))[1])
    assert command(*FILES, "--timeout", "inf").code == 0
    assert seen[0].timeout is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("caught", [True, False], ids=["by-the-pipeline", "by-nobody"])
def test_signals_end_a_run_with_the_best_answer(
    number: signal.Signals, code: int, caught: bool, command: Command, install: Install, folder: Path
) -> None:
    def verify(*_: Any) -> Result:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            if caught:
                return result(Verdict.UNKNOWN, Reason.INTERRUPTED)
            raise
        raise AssertionError

    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    install(verify)
    answer = command(*FILES, "--counterexample", "out.txt")
    assert (answer.code, answer.out) == (code, "unknown\n")
    assert (folder / "out.txt").read_text() == "unknown\n"
    assert "interrupted" in answer.err
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_an_interrupt_breaks_counts_as_interrupted(command: Command, install: Install) -> None:
    def verify(*_: Any) -> Result:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("half a module") from None
        raise AssertionError

    install(verify)
    answer = command(*FILES)
    assert (answer.code, answer.out) == (143, "unknown\n")


def test_lack_of_memory_is_unknown(command: Command, install: Install) -> None:
    def verify(*_: Any) -> Result:
        raise MemoryError

    install(verify)
    answer = command(*FILES)
    assert (answer.code, answer.out) == (0, "unknown\n")
    assert answer.err.startswith("unknown: memory")


def test_a_defect_is_one_line_unless_asked(command: Command, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(*_: Any) -> Result:
        raise ZeroDivisionError("oh\nno")

    install(verify)
    answer = command(*FILES)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: ZeroDivisionError: oh no (a defect of the verifier")
    assert answer.err.count("\n") == 1
    assert "Traceback" in command(*FILES, "--debug").err
    monkeypatch.setenv("VERIFIER_DEBUG", "1")
    assert "Traceback" in command(*FILES).err


def test_files_are_replaced_whole_and_devices_are_not(tmp_path: Path) -> None:
    target, link = tmp_path / "out", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    report.write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    report.write(Path("/dev/null"), "nothing")
    assert Path("/dev/null").is_char_device()
    os.mkfifo(tmp_path / "pipe")
    report.check_outputs((tmp_path / "pipe",), ())


def test_version_and_name(command: Command) -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert command("--version").out == f"{project['version']}\n"
    assert command("--name").out == f"{project['name']}\n"
    assert command("--help").code == command("verify", "--help").code == 0


def test_a_terminal_sees_progress(
    command: Command, install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verify(model: Path, spec: Any, config: Config, progress: Progress, watch: Any) -> Result:
        progress.open, progress.closed, progress.bound = 5, 12, -0.5
        watch(progress)
        return result(Verdict.UNSAT)

    install(verify)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    answer = command(*FILES)
    assert (answer.code, answer.out) == (0, "unsat\n")
    assert "12 domains closed, 5 open, worst bound -0.5" in answer.err
