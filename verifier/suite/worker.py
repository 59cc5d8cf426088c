"""Instances in processes of their own, with limits on time and memory; see ``server`` for how these start."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from verifier.errors import VerifierError

POLL = 0.05
"""Seconds between two looks at the limits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one process: seconds of wall-clock time, bytes of resident memory."""

    seconds: float
    memory: float


@dataclass(slots=True)
class Running:
    """A process; ``broken`` says which limit it has exceeded, and was killed for."""

    limits: Limits
    begun: float
    pid: int | None = None
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a process.

    Attributes:
        id: of the request.
        code: its exit code, minus the signal's number if one ended it.
        seconds: that it ran.
        broken: ``time`` or ``memory`` if it was killed for exceeding that limit, ``worker`` if the machines that ran it
            on a cluster were lost.
    """

    id: int
    code: int
    seconds: float
    broken: str


class ServerError(VerifierError):
    """The process that starts the others has ended."""


class Workers:
    """Starts and watches processes that call ``command``.

    Args:
        command: ``MODULE:FUNCTION``, which gets arguments and returns an exit code.
        modules: imported once, before any process starts.
        threads: that each may use (of OpenMP and the libraries that go by it).
    """

    def __init__(self, command: str, modules: Iterable[str], threads: int) -> None:
        self.running: dict[int, Running] = {}
        self._count = 0
        self._pending = b""
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-m", "verifier.suite.server", command, *modules],
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that Ctrl-C reaches this process alone
        )

    def __enter__(self) -> Workers:
        """Wait until the libraries are loaded: no instance's time is spent on that."""
        while not self._replies(None):
            pass
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End all processes."""
        for stream in (self._server.stdin, self._server.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self._server.wait()

    def start(self, argv: Sequence[str], log: Path, limits: Limits) -> int:
        """Start a process whose output goes to ``log``; return the id of the request."""
        self._count += 1
        self._ask({"id": self._count, "argv": list(argv), "log": str(log)})
        self.running[self._count] = Running(limits, time.monotonic())
        return self._count

    def wait(self) -> list[Ended]:
        """Wait a moment for processes to end, and kill those that exceed a limit."""
        ended = []
        for reply in self._replies(POLL):
            one = self.running[reply["id"]]
            if "pid" in reply:
                one.pid = reply["pid"]
                continue
            del self.running[reply["id"]]
            ended.append(Ended(reply["id"], reply["code"], reply["seconds"], one.broken))
        for request, one in self.running.items():
            if not one.broken and (broken := exceeded(one)):
                one.broken = broken
                self._ask({"kill": request})
        return ended

    def _ask(self, request: dict[str, Any]) -> None:
        assert self._server.stdin is not None
        try:
            self._server.stdin.write((json.dumps(request) + "\n").encode())
            self._server.stdin.flush()
        except BrokenPipeError:
            raise ServerError(self._epitaph()) from None

    def _replies(self, timeout: float | None) -> list[dict[str, Any]]:
        """Return the replies that are there within so many seconds."""
        assert self._server.stdout is not None
        source = self._server.stdout.fileno()
        if not select.select([source], [], [], timeout)[0]:
            return []
        data = os.read(source, 1 << 16)
        if not data:
            raise ServerError(self._epitaph())
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def _epitaph(self) -> str:
        return f"the process that starts the instances has ended ({describe(self._server.wait())}); --resume goes on"


def environment(threads: int) -> dict[str, str]:
    """Return the environment of the server: it finds the same modules as this process.

    OpenBLAS, which only numpy uses, gets one thread: it starts its threads when it is loaded, and a process that is to
    be forked must have no others.
    """
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path}


def exceeded(process: Running) -> str:
    """Name the limit that a process exceeds, if any."""
    if time.monotonic() - process.begun > process.limits.seconds:
        return "time"
    if process.pid is not None and resident(process.pid) > process.limits.memory:
        return "memory"
    return ""


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it has ended, or if the system has no /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def describe(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
