"""What a benchmark run amounts to: rows of results, compared with the truth and with what peers did."""

import csv
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from pathlib import Path

from verifier.suite.instances import DECIDED, Key

PEERS_IMPORT_SECONDS = 2.6  # `import torch` on the machine on which the peers were run
RATIO_TOOLS = ("alpha-beta-CROWN", "nnenum")


@dataclass(frozen=True, slots=True)
class Truth:
    """The verdict that is known, and how a published counterexample fared when it was replayed."""

    expected: str
    ce_check: str


@dataclass(frozen=True, slots=True)
class Peer:
    """What another tool did with an instance, in seconds of its own machine."""

    tool: str
    verdict: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """One instance run by us: a line of the results' CSV."""

    benchmark: str
    onnx: str
    vnnlib: str
    expected: str
    verdict: str
    seconds: float
    limit: float
    import_seconds: float
    note: str

    @property
    def key(self) -> Key:
        """The instance."""
        return Key(self.benchmark, self.onnx, self.vnnlib)

    @property
    def wrong(self) -> bool:
        """Whether the verdict contradicts the known one."""
        return contradicts(self.verdict, self.expected)

    @property
    def solved(self) -> bool:
        """Whether there is a verdict in time, as the competition counts it, and nothing is known against it."""
        return is_solved(self.verdict, self.expected) and self.seconds <= self.limit


@dataclass(frozen=True, slots=True)
class Summary:
    """Totals over some rows, of us or of one peer; ``imports`` is the time in multiples of `import torch` there."""

    solved: int
    total: int
    wrong: int
    seconds: float
    median: float
    imports: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Our time over a peer's, both in multiples of `import torch`, on the instances that the peer decided."""

    tool: str
    instances: int
    solved: int
    ours: float
    theirs: float

    @property
    def value(self) -> float:
        """Below 1 where we are faster."""
        return self.ours / self.theirs if self.theirs else float("nan")


def contradicts(verdict: str, expected: str) -> bool:
    """Whether both are decided and differ."""
    return verdict in DECIDED and expected in DECIDED and verdict != expected


def is_solved(verdict: str, expected: str) -> bool:
    """Whether the verdict is decided and not known to be wrong."""
    return verdict in DECIDED and not contradicts(verdict, expected)


def summarise(rows: Sequence[Row]) -> Summary:
    """Totals of our rows."""
    return Summary(
        solved=sum(row.solved for row in rows),
        total=len(rows),
        wrong=sum(row.wrong for row in rows),
        seconds=sum(row.seconds for row in rows),
        median=statistics.median(row.seconds for row in rows) if rows else 0.0,
        imports=sum(row.seconds / row.import_seconds for row in rows),
    )


def summarise_peer(tool: str, rows: Sequence[Row], peers: Mapping[Key, Sequence[Peer]]) -> Summary:
    """Totals of one tool over those of our rows that it was run on."""
    met = [(row.expected, peer) for row in rows for peer in peers.get(row.key, ()) if peer.tool == tool]
    seconds = [peer.seconds for _, peer in met]
    return Summary(
        solved=sum(is_solved(peer.verdict, expected) for expected, peer in met),
        total=len(met),
        wrong=sum(contradicts(peer.verdict, expected) for expected, peer in met),
        seconds=sum(seconds),
        median=statistics.median(seconds) if seconds else 0.0,
        imports=sum(seconds) / PEERS_IMPORT_SECONDS,
    )


def time_ratio(tool: str, rows: Sequence[Row], peers: Mapping[Key, Sequence[Peer]]) -> Ratio:
    """Compare times on the instances that the tool decided; those that we did not solve count at the limit."""
    met = [
        (row, peer)
        for row in rows
        for peer in peers.get(row.key, ())
        if peer.tool == tool and is_solved(peer.verdict, row.expected)
    ]
    return Ratio(
        tool=tool,
        instances=len(met),
        solved=sum(row.solved for row, _ in met),
        ours=sum((row.seconds if row.solved else row.limit) / row.import_seconds for row, _ in met),
        theirs=sum(peer.seconds for _, peer in met) / PEERS_IMPORT_SECONDS,
    )


def table_lines(rows: Sequence[Row], peers: Mapping[Key, Sequence[Peer]]) -> list[str]:
    """The table for people: a line per benchmark and one for all, peers on the same instances at the right."""
    tools = sorted({peer.tool for row in rows for peer in peers.get(row.key, ())})
    header = ["benchmark", "solved", "wrong", "total s", "median s", "x import"]
    header += [word for tool in tools for word in (tool, "total s", "x import")]
    ordered = sorted(rows, key=lambda row: row.benchmark)
    groups = [(name, list(group)) for name, group in groupby(ordered, key=lambda row: row.benchmark)]
    cells = [header]
    for name, group in [*groups, ("all", ordered)]:
        ours = summarise(group)
        line = [name, _of(ours), str(ours.wrong), f"{ours.seconds:.1f}", f"{ours.median:.2f}", f"{ours.imports:.1f}"]
        for tool in tools:
            peer = summarise_peer(tool, group, peers)
            line += [_of(peer), f"{peer.seconds:.1f}", f"{peer.imports:.1f}"] if peer.total else ["-", "-", "-"]
        cells.append(line)
    return _aligned(cells)


def ratio_lines(rows: Sequence[Row], peers: Mapping[Key, Sequence[Peer]]) -> list[str]:
    """One sentence per tool that we compare our times with."""
    lines = []
    for tool in RATIO_TOOLS:
        ratio = time_ratio(tool, rows, peers)
        if ratio.instances:
            lines.append(
                f"on the {ratio.instances} instances that {tool} decided: we solved {ratio.solved}, "
                f"{ratio.ours:.1f} imports of torch against {ratio.theirs:.1f}, ratio {ratio.value:.2f}"
            )
    return lines


def wrong_lines(rows: Iterable[Row], truth: Mapping[Key, Truth]) -> list[str]:
    """One loud line per wrong verdict."""
    return [
        f"*** WRONG *** {row.benchmark} {row.onnx} {row.vnnlib}: we say {row.verdict}, expected {row.expected}"
        + (f" (published counterexample: {known.ce_check})" if (known := truth.get(row.key)) and known.ce_check else "")
        for row in rows
        if row.wrong
    ]


def read_truth(path: Path) -> dict[Key, Truth]:
    """The truth by instance; empty where there is no such file."""
    return {_key(line): Truth(line["expected"], line["ce_check"]) for line in _records(path)}


def read_peers(path: Path) -> dict[Key, list[Peer]]:
    """The peers' runs by instance; empty where there is no such file."""
    peers: dict[Key, list[Peer]] = {}
    for line in _records(path):
        peers.setdefault(_key(line), []).append(Peer(line["tool"], line["verdict"], float(line["seconds"])))
    return peers


def read_keys(path: Path) -> list[Key]:
    """The instances that a subset's CSV names.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    return [_key(line) for line in _records(path)]


def read_rows(path: Path) -> list[Row]:
    """The results so far. A line that was cut off when a run was killed is left out."""
    rows = []
    for line in csv.DictReader(_whole_lines(path).splitlines()):
        numbers = {name: float(line[name]) for name in ("seconds", "limit", "import_seconds")}
        rows.append(Row(**{**line, **numbers}))
    return rows


def append_row(path: Path, row: Row) -> None:
    """Add a line, with the header before the first; on its way to the disk when this returns.

    A line that was cut off before is dropped.
    """
    kept = _whole_lines(path)
    with path.open("a", newline="", encoding="utf-8") as file:
        file.truncate(len(kept.encode()))
        writer = csv.writer(file, lineterminator="\n")
        if not kept:
            writer.writerow([field.name for field in fields(Row)])
        writer.writerow(astuple(row))


def _whole_lines(path: Path) -> str:
    text = path.read_bytes().decode() if path.is_file() else ""
    return text[: text.rfind("\n") + 1]


def _records(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _key(line: Mapping[str, str]) -> Key:
    return Key(line["benchmark"], line["onnx"], line["vnnlib"])


def _of(summary: Summary) -> str:
    return f"{summary.solved}/{summary.total}"


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    padded = ([cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in cells)
    return ["  ".join([line[0].ljust(widths[0]), *cells]) for line, (_, *cells) in zip(cells, padded, strict=True)]
