"""A process that starts processes: it has the libraries loaded, so that each of them is at work at once.

``python -m verifier.suite.server MODULE:FUNCTION [MODULE ...]`` imports the modules, says ``{}``, and then for each
line ``{"id": 3, "argv": [...], "log": FILE}`` on its standard input forks a process that calls the function with the
arguments and ends with the exit code that it returns; what it prints goes to the file. ``{"kill": 3}`` ends that
process and those it started. On the standard output a line ``{"id": 3, "pid": N}`` tells of the start, and
``{"id": 3, "code": N, "seconds": S}`` of the end. At the end of its input, be it that its user was killed, it ends all
of them and itself.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

Command = Callable[[Sequence[str]], int]

PR_SET_PDEATHSIG = 1
DEFECT = 1


@dataclass(slots=True)
class Server:
    """The processes that run, by the id of their request; ``replies`` is the file descriptor to answer on."""

    command: Command
    replies: int
    pids: dict[int, int] = field(default_factory=dict)
    begun: dict[int, float] = field(default_factory=dict)

    def serve(self) -> None:
        """Answer until the input ends."""
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        pending = b""
        while True:
            ready, _, _ = select.select([0, woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
                self.reap()
            if 0 in ready:
                data = os.read(0, 1 << 16)
                if not data:
                    break
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self.obey(json.loads(line))
        for request in self.pids:
            self.kill(request)

    def obey(self, request: dict[str, Any]) -> None:
        """Do what a line asks for."""
        if "kill" in request:
            self.kill(request["kill"])
            return
        self.begun[request["id"]] = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.close(self.replies)
            become(self.command, request["argv"], request["log"])
        self.pids[request["id"]] = pid
        self.reply({"id": request["id"], "pid": pid})

    def kill(self, request: int) -> None:
        """End a process, if it has not ended, with its group (which it may not have made yet)."""
        if pid := self.pids.get(request):
            for end in (os.killpg, os.kill):
                with suppress(ProcessLookupError):
                    end(pid, signal.SIGKILL)

    def reap(self) -> None:
        """Tell of the processes that have ended."""
        for request, pid in list(self.pids.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                seconds = time.monotonic() - self.begun.pop(request)
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)  # what it has started and left behind
                del self.pids[request]
                self.reply({"id": request, "code": os.waitstatus_to_exitcode(status), "seconds": seconds})

    def reply(self, line: dict[str, Any]) -> None:
        """Answer; where nobody listens any more the input has ended, too."""
        with suppress(BrokenPipeError):
            os.write(self.replies, (json.dumps(line) + "\n").encode())


def become(command: Command, argv: Sequence[str], log: str) -> NoReturn:
    """Make this forked process one that runs the command, and nothing else."""
    code = DEFECT
    try:
        os.setsid()
        die_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        faulthandler.enable(file=2)
        code = command(argv)
    except BaseException as error:  # noqa: BLE001  nothing of the parent's stack may go on here
        with suppress(OSError):
            os.write(2, f"error: {type(error).__name__}: {error}\n".encode())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def die_with_parent() -> None:
    """Have this process killed when its parent ends, where the system can do that (Linux)."""
    with suppress(OSError, AttributeError, ImportError):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: Sequence[str]) -> None:
    """Prepare, then serve."""
    replies = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no reply
    command: Command = pkgutil.resolve_name(arguments[0])
    for name in arguments[1:]:
        importlib.import_module(name)
    server = Server(command, replies)
    server.reply({})
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
