"""The competition's table of results: ``category,network,property,prepare_time,result,run_time``, without a header."""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from verifier.errors import UsageError
from verifier.report import write as write_file
from verifier.suite.journal import Entry

RESULTS = "results.csv"
WORDS = {
    "unsat": "unsat", "holds": "unsat", "sat": "sat", "violated": "sat",
    "timeout": "timeout", "timed-out": "timeout", "run_instance_timeout": "timeout",
    "error_nonmaximal": "unknown", "error": "error",
}  # fmt: skip
"""What results begin with, in the competition's files and those of its scoring programs, and our words for them."""


@dataclass(frozen=True, slots=True)
class Line:
    """One result; ``seconds`` of wall-clock time."""

    category: str
    network: str
    property: str
    result: str
    seconds: float


def write(out: Path, entries: Iterable[Entry]) -> None:
    """Write the table, in one step: whoever reads it sees whole lines only."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for entry in entries:
        writer.writerow([*entry.key, "0.0", word(entry), f"{entry.seconds:.3f}"])
    write_file(out / RESULTS, text.getvalue())


def word(entry: Entry) -> str:
    """Return the competition's word for a result."""
    if entry.result == "error":
        return f"error_exit_code_{entry.code if entry.code >= 0 else 128 - entry.code}"
    return entry.result


def read(path: Path) -> list[Line]:
    """Read the results of any tool.

    Raises:
        UsageError: the file cannot be read, or a line is not of the form above.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            return [parse(cells, f"{path}, line {reader.line_num}") for cells in reader if any(cells)]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: is not a CSV file: {error}") from None


def parse(cells: Sequence[str], place: str) -> Line:
    """Read one line."""
    try:
        category, network, prop, _, result, seconds = cells
        return Line(category, network, prop, plain(result), float(seconds))
    except ValueError:
        form = "category,network,property,prepare_time,result,run_time"
        raise UsageError(f"{place}: expected {form}, found {','.join(cells)[:200]}") from None


def plain(result: str) -> str:
    """Return our word for a result of any tool: ``unsat``, ``sat``, ``timeout``, ``error`` or ``unknown``."""
    text = result.strip().lower()
    return next((ours for start, ours in WORDS.items() if text.startswith(start)), "unknown")


class Others:
    """Another tool's results, found by category and by the names of the files, whatever folders they are in."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._exact: dict[tuple[str, str, str], Line] = {}
        self._named: dict[tuple[str, str], list[Line]] = {}
        for line in lines:
            names = stem(line.network), stem(line.property)
            self._exact[line.category, *names] = line
            self._named.setdefault(names, []).append(line)

    def of(self, entry: Entry) -> Line | None:
        """Return its result for the same instance.

        Categories may differ in what follows, as ``acasxu`` and ``acasxu_2023`` do; the names must be unique then.
        """
        names = stem(entry.onnx), stem(entry.vnnlib)
        if found := self._exact.get((entry.benchmark, *names)):
            return found
        named = [line for line in self._named.get(names, ()) if related(line.category, entry.benchmark)]
        return named[0] if len(named) == 1 else None


def related(one: str, other: str) -> bool:
    """Tell whether one name begins with the other."""
    return one.startswith(other) or other.startswith(one)


def stem(text: str) -> str:
    """Return the name of a file, or of the files in a list of networks, without folders and suffixes."""
    if text.startswith("["):
        try:
            return "+".join(stem(str(file)) for _, file in ast.literal_eval(text))
        except (ValueError, SyntaxError, TypeError):
            return text
    return PurePosixPath(PurePosixPath(text).name.removesuffix(".gz")).stem
