"""The journal of a suite: a line of JSON for each result, appended when it is known, and never changed.

A line is one write to a file that is open for appending, on the disk when ``append`` returns: being killed at any
moment loses no result that was there, and at most tears the last line, which is dropped on reading.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from verifier.errors import UsageError
from verifier.suite.instances import DECIDED, Instance, Key

JOURNAL = "journal.jsonl"
STEM = 80
"""Characters of a file's name that go into the names of an instance's own files."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One result.

    Attributes:
        stamp: of the instance's files, see ``Instance.stamp``.
        result: ``unsat``, ``sat``, ``unknown``, ``timeout`` or ``error``.
        seconds: of wall-clock time, from the start of the instance's process to its end.
        reason: of an unknown, of a timeout that was enforced, or of an error.
        code: the exit code of the process; minus the signal's number if one ended it.
    """

    benchmark: str
    onnx: str
    vnnlib: str
    timeout: float
    stamp: list[list[int]]
    expected: str
    result: str
    seconds: float
    reason: str
    code: int

    @property
    def key(self) -> Key:
        """The instance."""
        return Key(self.benchmark, self.onnx, self.vnnlib)

    @property
    def wrong(self) -> bool:
        """Whether the verdict contradicts the known one."""
        return self.result in DECIDED and self.expected in DECIDED and self.result != self.expected

    @property
    def solved(self) -> bool:
        """Whether there is a verdict in time, and nothing is known against it."""
        return self.result in DECIDED and not self.wrong and self.seconds <= self.timeout

    def answers(self, instance: Instance) -> bool:
        """Tell whether this is a result of just that instance: of the same files, with the same time limit."""
        return (self.key, self.timeout, self.stamp) == (instance.key, instance.timeout, instance.stamp())


def file_name(key: Key) -> str:
    """Return a name for an instance's own files, without a suffix: readable, and no other instance's."""
    stems = [re.sub(r"\W+", "_", Path(text.removesuffix(".gz")).stem)[:STEM] for text in (key.onnx, key.vnnlib)]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:8]
    return "_".join((*stems, digest))


class Journal:
    """The results in a folder, the latest of each instance."""

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Raises:
            UsageError: the file cannot be read, or holds something else.
        """
        self.path = path
        self.entries: dict[Key, Entry] = {}
        for number, line in enumerate(whole_lines(path).splitlines(), start=1):
            try:
                found = Entry(**json.loads(line))
            except (ValueError, TypeError):
                raise UsageError(f"{path}, line {number}: is not a result of a suite") from None
            self.entries[found.key] = found

    def append(self, entry: Entry) -> None:
        """Add a result; on the disk when this returns."""
        line = (json.dumps(asdict(entry)) + "\n").encode()
        target = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            while line:
                line = line[os.write(target, line) :]
            os.fsync(target)
        finally:
            os.close(target)
        self.entries[entry.key] = entry


@contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    """Open the journal in a folder for appending, which only one process can at a time; a torn last line is cut off.

    Raises:
        UsageError: another process has it open, or it cannot be read or written.
    """
    path = folder / JOURNAL
    try:
        file = path.open("ab")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{folder}: another run is writing there") from None
        file.truncate(len(whole_lines(path).encode()))
        yield Journal(path)


def whole_lines(path: Path) -> str:
    """Return the text of a file up to its last line's end; a file that is not there has none.

    Raises:
        UsageError: the file cannot be read, or is not text.
    """
    try:
        data = path.read_bytes()
        return data[: data.rfind(b"\n") + 1].decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
