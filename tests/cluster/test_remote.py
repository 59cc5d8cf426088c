"""Instances on workers that do not have the files: these are sent, once each."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.suite.support import COMMAND, PLENTY, make
from verifier.cluster.pool import Answer
from verifier.suite import instances, journal, remote
from verifier.suite.instances import Key
from verifier.suite.remote import Remote, Slot
from verifier.suite.run import Setup, run


@dataclass
class Store:
    """Stands for the cluster's store."""

    items: list[bytes] = field(default_factory=list)

    def put(self, data: bytes) -> int:
        self.items.append(data)
        return len(self.items) - 1

    def get(self, reference: int) -> bytes:
        return self.items[reference]


class OneSlot:
    """A pool of one worker, in this process."""

    def __init__(self, worker: type[Slot], arguments: Sequence[Any], count: int, cores: int) -> None:
        self.slot, self.answers = worker(*arguments), deque[Answer[int]]()
        self.idle = self.busy = 1

    def start(self, key: int, job: remote.Job) -> None:
        self.answers.append(Answer(key, self.slot.run(job)))

    def wait(self, timeout: float) -> list[Answer[int]]:
        return [self.answers.popleft() for _ in range(len(self.answers))]

    def cancel(self) -> None:
        self.slot._workers.__exit__(None, None, None)


def test_files_are_sent_once_where_they_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    store = Store()
    monkeypatch.setattr("ray.put", store.put)
    monkeypatch.setattr("ray.get", store.get)
    monkeypatch.setattr(remote, "Pool", OneSlot)
    monkeypatch.setattr(remote, "missing", lambda files, stamp: tuple(files))
    wanted = instances.read(make(tmp_path / "set", ["unsat", "sat", "unknown"]))
    setup = Setup(COMMAND, tmp_path / "out", 1, 1, PLENTY, modules=())
    setup.out.mkdir()
    with journal.opened(setup.out) as opened:
        entries = run(wanted, opened, setup, lambda entry, new: None, runner=Remote)
    assert [entry.result for entry in entries] == ["unsat", "sat", "unknown"]
    assert sorted(store.items) == [b"", b"sat", b"unknown", b"unsat"]  # the network, and three properties
    assert len(list(setup.out.glob("witnesses/*/*"))) == 1


def test_what_a_machine_lacks(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("a network")
    stat = (tmp_path / "net.onnx").stat()
    stamp = [stat.st_size, stat.st_mtime_ns]
    files = (tmp_path / "net.onnx", tmp_path / "gone.vnnlib")
    assert remote.missing(files, [stamp, stamp]) == files[1:]
    assert remote.missing(files, [[stat.st_size, 0], stamp]) == files
    assert remote.missing(files[:1], [stamp]) == ()


def test_other_paths_of_an_instance(tmp_path: Path) -> None:
    f, g, spec, new = (tmp_path / name for name in ("f", "g", "spec", "new"))
    one = instances.Instance(Key("a", "b", "c"), (("f", f), ("g", g)), spec, 1.0, "unknown")
    other = remote.moved(one, {g: new})
    assert other.files == (f, new, spec)
    assert other.key == one.key
