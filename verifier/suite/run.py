"""The loop of a suite: start instances while there is room, enter their results, until all are done."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from verifier.suite import results
from verifier.suite.instances import Instance
from verifier.suite.journal import Entry, Journal
from verifier.suite.outcome import Draft, judge
from verifier.suite.worker import Ended, Limits, Workers

GRACE = 10.0
"""Seconds after its time limit at which a process is killed that has not stopped by itself."""

MODULES = ("verifier.pipeline", "onnx", "highspy")
"""Imported once for all instances: what takes long and starts no threads, which a fork would not take along."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How to run.

    Attributes:
        command: ``MODULE:FUNCTION`` that gets the arguments of the command and returns its exit code.
        out: the folder that all results go to.
        jobs: instances at once.
        threads: of each.
        memory: bytes that each may use.
        grace: seconds that each may go on after its time limit.
        modules: imported before any of them starts.
    """

    command: str
    out: Path
    jobs: int
    threads: int
    memory: float
    grace: float = GRACE
    modules: tuple[str, ...] = MODULES


class Runner(Protocol):
    """Runs instances, here or elsewhere."""

    def begin(self, instance: Instance, draft: Draft, limits: Limits) -> int:
        """Start an instance, whose process writes a draft; return the id of the request."""
        ...

    def wait(self) -> list[Ended]:
        """Wait a moment for processes to end."""
        ...


class Local(Workers):
    """Runs instances on this machine."""

    def begin(self, instance: Instance, draft: Draft, limits: Limits) -> int:
        """See ``Runner.begin``."""
        return self.start(draft.arguments(instance), draft.log, limits)

    def __enter__(self) -> Local:
        """See ``Workers``."""
        super().__enter__()
        return self


def local(setup: Setup) -> Local:
    """Return what runs instances on this machine."""
    return Local(setup.command, setup.modules, setup.threads)


def run(
    instances: Sequence[Instance],
    journal: Journal,
    setup: Setup,
    show: Callable[[Entry, bool], None],
    stop: Callable[[], bool] = lambda: False,
    runner: Callable[[Setup], AbstractContextManager[Runner]] | None = None,
) -> list[Entry]:
    """Run the instances that have no result in the journal, and enter theirs.

    Args:
        instances: in the order in which they start.
        journal: open for appending.
        setup: how.
        show: called with each result and whether it is new: first with those of earlier runs, then as they come.
        stop: asked many times a second; once it says so, what runs is killed, and has no result.
        runner: makes what runs the instances; this machine by default.

    Returns:
        The results in the order of the instances, as ``results.csv`` has them.
    """
    drafts = setup.out / "running"
    shutil.rmtree(drafts, ignore_errors=True)  # of a run that was killed
    known = {
        one.key: replace(entry, expected=one.expected)
        for one in instances
        if (entry := journal.entries.get(one.key)) and entry.answers(one)
    }
    for entry in known.values():
        show(entry, False)

    def done() -> list[Entry]:
        return [known[one.key] for one in instances if one.key in known]

    results.write(setup.out, done())
    waiting = deque(one for one in instances if one.key not in known)
    if not waiting:
        return done()
    running: dict[int, tuple[Instance, list[list[int]], Draft]] = {}
    with (runner or local)(setup) as workers:
        while (waiting or running) and not stop():
            while waiting and len(running) < setup.jobs:
                instance, draft = waiting.popleft(), Draft.within(drafts)
                stamp = instance.stamp()
                limits = Limits(instance.timeout + setup.grace, setup.memory)
                running[workers.begin(instance, draft, limits)] = instance, stamp, draft
            for ended in workers.wait():
                instance, stamp, draft = running.pop(ended.id)
                entry = judge(instance, stamp, ended, draft, setup.memory)
                draft.keep(entry, setup.out)
                journal.append(entry)
                known[entry.key] = entry
                results.write(setup.out, done())
                show(entry, True)
    shutil.rmtree(drafts, ignore_errors=True)
    return done()
