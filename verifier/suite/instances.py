"""What a suite runs: tables of instances, as the competition and this project's examples have them.

A table is a CSV file. Without a header its lines are ``onnx,vnnlib,timeout``; a header may name the columns ``onnx``,
``vnnlib``, ``timeout``, ``expected`` and ``benchmark`` (the folder, beside the table, that the files are in), and
others, which are ignored. The field ``onnx`` is a path, or the literal list ``[('f', 'f.onnx'), ('g', 'g.onnx')]`` of
a query about several networks. Any file may be there as ``FILE.gz`` instead.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from verifier.errors import UsageError
from verifier.named import listed

TABLE, TRUTH = "instances.csv", "truth.csv"
HEADERLESS = ("onnx", "vnnlib", "timeout")
DECIDED = ("unsat", "sat")
EXPECTED = (*DECIDED, "unknown")


class Key(NamedTuple):
    """Names an instance, by its fields as they are written."""

    benchmark: str
    onnx: str
    vnnlib: str


@dataclass(frozen=True, slots=True)
class Record:
    """A line of a table; ``timeout`` in seconds, None where there is no such column; ``place`` says where it stands."""

    key: Key
    timeout: float | None
    expected: str
    folder: Path
    place: str


@dataclass(frozen=True, slots=True)
class Instance:
    """What to run.

    ``networks`` has names and files, the name empty if there is one network only; ``timeout`` is in seconds;
    ``expected`` is ``unsat``, ``sat`` or, where nothing is known, ``unknown``.
    """

    key: Key
    networks: tuple[tuple[str, Path], ...]
    spec: Path
    timeout: float
    expected: str

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        return (*(path for _, path in self.networks), self.spec)

    @property
    def arguments(self) -> list[str]:
        """The files as arguments of ``verifier verify``: a network and the property, or the standard's form."""
        if not any(name for name, _ in self.networks):
            return [str(path) for path in self.files]
        named = (f"{name}={path}" for name, path in self.networks)
        return [str(self.spec), *(word for name in named for word in ("--network", name))]

    def stamp(self) -> list[list[int]]:
        """Return sizes and times of change of the files: another stamp may mean another instance.

        Raises:
            UsageError: a file is not there any more.
        """
        try:
            return [[stat.st_size, stat.st_mtime_ns] for stat in (path.stat() for path in self.files)]
        except OSError as error:
            raise UsageError(f"{error.filename}: cannot be read: {error.strerror}") from None


def read(path: Path, timeout: float | None = None, benchmarks: Sequence[str] = ()) -> list[Instance]:
    """Read the instances of a table, of a folder that has one, or of a folder of such folders.

    Args:
        path: a table, or a folder with ``instances.csv``, or one of folders with ``instances.csv`` and maybe with
            ``truth.csv``, from which the expected verdicts are taken then, or one with ``truth.csv`` alone.
        timeout: this limit instead of each instance's own, seconds.
        benchmarks: only these; without any, all.

    Returns:
        The instances in the order of the tables, each once.

    Raises:
        UsageError: a table cannot be read or has no meaning, or a file is missing.
    """
    chosen = list(records(path))
    names = {record.key.benchmark for record in chosen}
    for name in benchmarks:
        if name not in names:
            raise UsageError(f"{path}: there is no benchmark {name} (there are: {', '.join(sorted(names))})")
    unique: dict[Key, Record] = {}
    for record in chosen:
        if not benchmarks or record.key.benchmark in benchmarks:
            unique.setdefault(record.key, record)
    return [resolve(record, timeout) for record in unique.values()]


def records(path: Path) -> Iterator[Record]:
    """Read the lines that ``read`` is about; files are not looked for."""
    if not path.is_dir():
        yield from table(path)
        return
    if (path / TABLE).is_file():
        yield from table(path / TABLE)
        return
    parts = sorted(path.glob(f"*/{TABLE}"))
    truth = [*table(path / TRUTH)] if (path / TRUTH).is_file() else []
    if not parts:
        if not truth:
            raise UsageError(f"{path}: has neither {TABLE}, nor {TRUTH}, nor folders with {TABLE}")
        yield from truth
    known = {record.key: record.expected for record in truth}
    for part in parts:
        for record in table(part):
            expected = known.get(record.key, record.expected)
            yield Record(record.key, record.timeout, expected, record.folder, record.place)


def table(path: Path) -> Iterator[Record]:
    """Read one table."""
    columns: Sequence[str] | None = None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for line in reader:
                cells = [cell.strip() for cell in line]
                if not any(cells):
                    continue
                if columns is None and {"onnx", "vnnlib"} <= set(cells):
                    columns = cells
                    continue
                columns = columns or HEADERLESS
                place = f"{path}, line {reader.line_num}"
                if len(cells) != len(columns):
                    raise UsageError(
                        f"{place}: {len(cells)} fields, expected {len(columns)} ({','.join(columns)}); "
                        "a field with commas is put in double quotes"
                    )
                yield entry(dict(zip(columns, cells, strict=True)), path, place)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: is not a CSV file: {error}") from None


def entry(cells: Mapping[str, str], path: Path, place: str) -> Record:
    """Read one line."""
    expected = cells.get("expected") or "unknown"
    if expected not in EXPECTED:
        raise UsageError(f"{place}: the expected verdict is {expected!r}, not one of {', '.join(EXPECTED)}")
    inside = cells.get("benchmark")
    key = Key(inside or path.absolute().parent.name, cells["onnx"], cells["vnnlib"])
    folder = path.parent / inside if inside else path.parent
    limit = cells.get("timeout")
    return Record(key, None if limit is None else seconds(limit, place), expected, folder, place)


def seconds(text: str, place: str) -> float:
    """Read a time limit."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value > 0:
        raise UsageError(f"{place}: {text!r} is not a number of seconds above 0")
    return value


def resolve(record: Record, timeout: float | None) -> Instance:
    """Find the files of a line, and its time limit."""
    limit = record.timeout if timeout is None else timeout
    if limit is None:
        raise UsageError(f"{record.place}: there is no column timeout: --timeout S is needed")
    pairs = networks(record.key.onnx, record.place)
    found = tuple((name, find(record.folder / file, record.place)) for name, file in pairs)
    return Instance(record.key, found, find(record.folder / record.key.vnnlib, record.place), limit, record.expected)


def networks(text: str, place: str) -> list[tuple[str, str]]:
    """Read the field ``onnx``: one path, or a list of names and paths."""
    if not text.startswith("["):
        return [("", text)]
    try:
        return [(name, str(path)) for name, path in listed(text).items()]
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None


def find(path: Path, place: str) -> Path:
    """Return the file, or else the one with ``.gz`` behind its name."""
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    raise UsageError(f"{place}: there is no file {path} (nor {path.name}.gz)")
