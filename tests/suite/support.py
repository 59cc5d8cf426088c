"""Suites of stand-ins."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from verifier.suite import instances, journal
from verifier.suite.journal import Entry
from verifier.suite.run import Setup, run

COMMAND = "tests.suite.stand_ins:run"
PLENTY = 1e12


def make(folder: Path, words: Sequence[str], timeout: float = 20.0) -> Path:
    """A table of one instance for each word, which says what happens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.onnx").touch()
    with (folder / "instances.csv").open("w", newline="") as file:
        for k, word in enumerate(words):
            (folder / f"{k}.vnnlib").write_text(word)
            csv.writer(file).writerow(["net.onnx", f"{k}.vnnlib", timeout])
    return folder / "instances.csv"


def ran(table: Path, out: Path, **setup: Any) -> list[Entry]:
    """The results of a run, or of what is left of one."""
    out.mkdir(exist_ok=True)
    shown: list[str] = setup.pop("shown", [])
    stop: Callable[[], bool] = setup.pop("stop", lambda: False)
    values = {"jobs": 2, "threads": 1, "memory": PLENTY, "grace": 0.3, "modules": (), **setup}
    with journal.opened(out) as opened:
        wanted = instances.read(table)
        show = lambda entry, new: shown.append(entry.vnnlib) if new else None  # noqa: E731
        return run(wanted, opened, Setup(COMMAND, out, **values), show, stop)


def wait_until(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait for something that must happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
