"""Workers on a cluster: each answers one request at a time, and one that dies is replaced."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from verifier.cluster.connect import ClusterError
from verifier.cluster.version import fingerprint

MOST_DEATHS = 20
"""Workers that may die one after the other, with no answer in between, before the cluster is given up."""

K = TypeVar("K")


class Worker:
    """What runs on a cluster, in a process of its own; subclasses answer requests by ``run``."""

    def version(self) -> str:
        """Tell what code this is."""
        return fingerprint()


@dataclass(frozen=True, slots=True)
class Answer(Generic[K]):
    """The answer to the request ``key``, or, if ``lost``, that the worker died which had it."""

    key: K
    value: Any
    lost: bool = False


class Pool(Generic[K]):
    """Workers, of which those that are ``idle`` take requests.

    Args:
        worker: the class of the workers.
        arguments: of its constructor.
        count: how many.
        cores: CPU cores that each takes of the cluster.

    A worker that never starts, as the cluster has no core left for it, never is idle.
    """

    def __init__(self, worker: type[Worker], arguments: Sequence[Any], count: int, cores: int = 1) -> None:
        import ray

        self._remote = ray.remote(num_cpus=cores, max_restarts=0, max_task_retries=0)(worker)
        self._arguments = arguments
        self._starting: dict[Any, Any] = {}
        self._busy: dict[Any, tuple[Any, K]] = {}
        self._idle: list[Any] = []
        self._deaths = 0
        self.count = count
        for _ in range(count):
            self._hire()

    @property
    def idle(self) -> int:
        """How many workers wait for a request."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """How many workers have a request."""
        return len(self._busy)

    def start(self, key: K, *arguments: Any) -> None:
        """Give a request to an idle worker."""
        worker = self._idle.pop()
        self._busy[worker.run.remote(*arguments)] = worker, key

    def wait(self, timeout: float) -> list[Answer[K]]:
        """Wait for answers, and for workers to start, for at most so many seconds.

        Raises:
            ClusterError: the workers run other code, or keep dying.
            Exception: what a request raised.
        """
        import ray

        pending = [*self._starting, *self._busy]
        if not pending:
            time.sleep(timeout)
            return []
        ray.wait(pending, num_returns=1, timeout=timeout)
        done, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        return [answer for reference in done if (answer := self._settle(reference)) is not None]

    def _settle(self, reference: Any) -> Answer[K] | None:
        """Take in what a worker said, or that it died."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            value = ray.get(reference)
        except RayTaskError as error:
            self._busy.pop(reference, None)
            raise error.cause from error
        except RayError as error:
            return self._mourn(reference, error)
        if reference in self._starting:
            if value != fingerprint():
                raise ClusterError(f"a worker of the cluster runs other code: {value} there, {fingerprint()} here")
            self._idle.append(self._starting.pop(reference))
            return None
        worker, key = self._busy.pop(reference)
        self._idle.append(worker)
        self._deaths = 0
        return Answer(key, value)

    def _mourn(self, reference: Any, error: Exception) -> Answer[K] | None:
        """Replace a worker that died."""
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            words = " ".join(str(error).split())
            raise ClusterError(f"{self._deaths} workers of the cluster died one after the other: {words[:300]}")
        self._hire()
        if self._starting.pop(reference, None) is not None:
            return None
        worker, key = self._busy.pop(reference)
        dismiss(worker)  # it may live on where only its answer was lost
        return Answer(key, None, lost=True)

    def cancel(self) -> None:
        """End the workers that have a request, and replace them."""
        for worker, _ in self._busy.values():
            dismiss(worker)
            self._hire()
        self._busy.clear()

    def _hire(self) -> None:
        worker = self._remote.remote(*self._arguments)
        self._starting[worker.version.remote()] = worker


def dismiss(worker: Any) -> None:
    """End a worker's process."""
    import ray

    ray.kill(worker, no_restart=True)
