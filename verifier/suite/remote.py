"""Instances on the workers of a cluster, each of which has a process that starts processes, as this machine would.

A file that a worker does not find at its path, with the same size and time of change, comes by the cluster's store.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from verifier.cluster.connect import ClusterError
from verifier.cluster.pool import Pool, Worker
from verifier.errors import UsageError
from verifier.suite.instances import Instance
from verifier.suite.outcome import Draft
from verifier.suite.run import Setup
from verifier.suite.worker import Ended, Limits, ServerError, Workers

ATTEMPTS = 2
"""Workers that may die of an instance."""

PATIENCE = 60.0
"""Seconds without any worker at which the cluster is given up."""

POLL = 0.2
"""Seconds that waiting for answers takes at most."""

OUTPUTS = ("json", "witness", "log")
"""What a worker sends back: files of a ``Draft``."""


@dataclass(frozen=True, slots=True)
class Job:
    """An instance with absolute paths; ``contents`` are references into the cluster's store by path, once asked for."""

    instance: Instance
    stamp: list[list[int]]
    limits: Limits
    contents: Mapping[Path, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker answers: paths that it lacks, or how the process ended and the contents of its files by name."""

    missing: tuple[Path, ...] = ()
    ended: Ended | None = None
    outputs: Mapping[str, bytes] | None = None


class Slot(Worker):
    """Runs an instance at a time, in a process with limits."""

    def __init__(self, command: str, modules: Sequence[str], threads: int) -> None:
        self._workers = Workers(command, modules, threads)
        self._workers.__enter__()

    def run(self, job: Job) -> Report:
        """Run an instance, if its files are here; else name those that are not."""
        lacking = missing(job.instance.files, job.stamp)
        if unknown := tuple(path for path in lacking if path not in job.contents):
            return Report(missing=unknown)
        with tempfile.TemporaryDirectory(prefix="nn-verifier-") as folder:
            places = {path: written(path, job.contents, Path(folder, str(k))) for k, path in enumerate(lacking)}
            draft = Draft.within(Path(folder, "out"))
            instance = moved(job.instance, places)
            try:
                self._workers.start(draft.arguments(instance), draft.log, job.limits)
                while not (ended := self._workers.wait()):
                    pass
            except ServerError:
                os._exit(1)  # another worker takes the instance
            files = {name: getattr(draft, name) for name in OUTPUTS}
            return Report((), ended[0], {name: path.read_bytes() for name, path in files.items() if path.is_file()})


def missing(files: Sequence[Path], stamp: list[list[int]]) -> tuple[Path, ...]:
    """Return the files that are not there, or have another size or time of change than a stamp says."""

    def differs(path: Path, one: list[int]) -> bool:
        try:
            stat = path.stat()
        except OSError:
            return True
        return [stat.st_size, stat.st_mtime_ns] != one

    return tuple(dict.fromkeys(path for path, one in zip(files, stamp, strict=True) if differs(path, one)))


def written(path: Path, contents: Mapping[Path, Any], folder: Path) -> Path:
    """Write a file that came by the store into a folder, under its own name."""
    import ray

    folder.mkdir()
    place = folder / path.name
    place.write_bytes(ray.get(contents[path]))
    return place


def moved(instance: Instance, places: Mapping[Path, Path]) -> Instance:
    """Return an instance with other paths for some of its files."""
    networks = tuple((name, places.get(path, path)) for name, path in instance.networks)
    return replace(instance, networks=networks, spec=places.get(instance.spec, instance.spec))


@dataclass(slots=True)
class Request:
    """An instance under way, and where its files go; ``attempts`` counts the workers that died of it."""

    job: Job
    draft: Draft
    attempts: int = 0


class Remote:
    """Runs instances on a cluster that this process is connected to.

    Args:
        setup: how; each instance takes as many cores of the cluster as it has threads.
    """

    def __init__(self, setup: Setup) -> None:
        arguments = setup.command, setup.modules, setup.threads
        self._pool: Pool[int] = Pool(Slot, arguments, setup.jobs, setup.threads)
        self._requests: dict[int, Request] = {}
        self._waiting: list[int] = []
        self._contents: dict[Path, Any] = {}
        self._count = 0
        self._seen = time.monotonic()

    def __enter__(self) -> Remote:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End what runs."""
        self._pool.cancel()

    def begin(self, instance: Instance, draft: Draft, limits: Limits) -> int:
        """Run an instance as soon as a worker is idle; return the id of the request."""
        here = moved(instance, {path: path.absolute() for path in instance.files})
        self._count += 1
        self._requests[self._count] = Request(Job(here, here.stamp(), limits, {}), draft)
        self._waiting.append(self._count)
        return self._count

    def wait(self) -> list[Ended]:
        """Wait a moment for processes to end.

        Raises:
            ClusterError: there is no worker.
        """
        while self._waiting and self._pool.idle:
            number = self._waiting.pop(0)
            self._pool.start(number, self._requests[number].job)
        if self._pool.idle or self._pool.busy:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > PATIENCE:
            raise ClusterError(f"no worker of the cluster started within {PATIENCE:g} seconds: is a core of it free?")
        ended = []
        for answer in self._pool.wait(POLL):
            found = self._lost(answer.key) if answer.lost else self._answered(answer.key, answer.value)
            if found is not None:
                del self._requests[answer.key]
                ended.append(found)
        return ended

    def _lost(self, number: int) -> Ended | None:
        """Try once more on another worker."""
        request = self._requests[number]
        request.attempts += 1
        if request.attempts < ATTEMPTS:
            self._waiting.insert(0, number)
            return None
        return Ended(number, 1, 0.0, "worker")

    def _answered(self, number: int, report: Report) -> Ended | None:
        """Send what a worker lacks, or take its files in."""
        request = self._requests[number]
        if report.ended is None:
            found = {path: self._content(path) for path in report.missing}
            request.job = replace(request.job, contents={**request.job.contents, **found})
            self._waiting.insert(0, number)
            return None
        for name, data in (report.outputs or {}).items():
            getattr(request.draft, name).write_bytes(data)
        return replace(report.ended, id=number)

    def _content(self, path: Path) -> Any:
        """Put a file into the store, once."""
        if path not in self._contents:
            import ray

            try:
                self._contents[path] = ray.put(path.read_bytes())
            except OSError as error:
                raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
        return self._contents[path]
