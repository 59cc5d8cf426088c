"""Connecting to a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from verifier.errors import VerifierError

LOCAL = "local"
"""The address of a cluster that is started on this machine, and stopped at the end."""

PATIENCE = 15.0
"""Seconds that connecting may take; Ray itself tries for minutes."""

PROBE = "import sys, ray; ray.init(sys.argv[1], logging_level='ERROR', log_to_driver=False)"


class ClusterError(VerifierError):
    """There is no cluster at an address, or it cannot do what is asked of it."""


@dataclass(frozen=True, slots=True)
class Machines:
    """What the machines of a cluster have: CPU cores and bytes of memory, each at the same place."""

    cores: tuple[int, ...]
    memory: tuple[float, ...]

    @staticmethod
    def of(nodes: list[dict[str, Any]]) -> Machines:
        """Read those that are alive and have cores from what ``ray.nodes`` returns."""
        alive = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        return Machines(
            tuple(int(each["CPU"]) for each in alive), tuple(float(each.get("memory", 0)) for each in alive)
        )


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_installed() -> None:
    """Refuse to go on without Ray.

    Raises:
        ClusterError: it is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise ClusterError("--cluster needs Ray, which is not installed: pip install 'nn-verifier[cluster]'")


@contextmanager
def connected(address: str) -> Iterator[Machines]:
    """Connect this process to a cluster for the length of a block, in which all that is printed goes to stderr.

    Args:
        address: ``local``, or what Ray calls an address: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster at the address.
    """
    check_installed()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {}
    if address == LOCAL:
        os.environ.setdefault("RAY_worker_niceness", "0")  # else whatever else runs comes before the workers
        options = {"num_cpus": cores(), "include_dashboard": False}
    else:
        probe(address)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):  # Ray tells of workers that die
        try:
            with signals_kept():
                ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
        except (OSError, RuntimeError, ValueError) as error:
            raise unreachable(address, str(error)) from None
        try:
            machines = Machines.of(ray.nodes())
            if not machines.cores:
                raise ClusterError(f"--cluster {address}: no machine of it has a CPU core to give")
            yield machines
        finally:
            ray.shutdown()


def probe(address: str) -> None:
    """Try to connect in another process, which can be given up.

    Raises:
        ClusterError: no success within ``PATIENCE`` seconds.
    """
    command = [sys.executable, "-c", PROBE, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise unreachable(address, f"no answer within {PATIENCE:g} seconds") from None
    if done.returncode != 0:
        raise unreachable(address, (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])


def unreachable(address: str, why: str) -> ClusterError:
    """Return the error for an address without a cluster."""
    return ClusterError(
        f"--cluster {address}: there is no Ray cluster that can be used: {' '.join(why.split())} "
        "(addresses are local, auto, HOST:PORT and ray://HOST:PORT)"
    )


@contextmanager
def signals_kept() -> Iterator[None]:
    """Give the handler of SIGTERM, which Ray takes for itself, back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
