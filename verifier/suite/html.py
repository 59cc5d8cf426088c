"""The report on a suite: one HTML file that needs no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template

from verifier.suite import charts
from verifier.suite.display import table
from verifier.suite.instances import DECIDED
from verifier.suite.journal import Entry
from verifier.suite.results import Line, Others

TEMPLATE = "page.html"
OURS = "this run"
SCATTER = "unsat (blue), sat (orange) or neither (grey) by this run; what is not solved stands at its time limit"


def page(entries: Sequence[Entry], title: str, others: Others | None = None, theirs: str = "") -> str:
    """Return the report.

    Args:
        entries: the results, in the order of the table.
        title: what was run.
        others: another tool's results, to compare with.
        theirs: what to call that tool.
    """
    found = [None if others is None else others.of(entry) for entry in entries]
    template = Template(files("verifier.suite").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        summary=rows(table(entries, len(entries))),
        charts="\n".join(figures(entries, found, theirs)),
        reasons=rows([["reason", "instances"], *reasons(entries)]),
        benchmarks=choices(entry.benchmark for entry in entries),
        results=choices((*(entry.result for entry in entries), *("wrong" for entry in entries if entry.wrong))),
        head=header(theirs if others is not None else ""),
        body="\n".join(row(entry, line, others is not None) for entry, line in zip(entries, found, strict=True)),
    )


def figures(entries: Sequence[Entry], found: Sequence[Line | None], theirs: str) -> Iterator[str]:
    """Draw the diagrams: what was solved when, and where there is another tool, both tools' times."""
    lines = [charts.Series(OURS, [entry.seconds for entry in entries if entry.solved])]
    both = [(entry, line) for entry, line in zip(entries, found, strict=True) if line is not None]
    if both:
        lines.append(charts.Series(theirs, [line.seconds for entry, line in both if solved(line, entry)]))
    yield figure(charts.cactus(lines), "Instances that are solved within so many seconds each")
    if both:
        points = [point(entry, line) for entry, line in both]
        yield figure(charts.scatter(points, theirs, OURS), SCATTER)


def figure(picture: str, text: str) -> str:
    """Return a diagram with a text below."""
    return f"<figure>{picture}<figcaption>{escape(text)}</figcaption></figure>"


def solved(line: Line, entry: Entry) -> bool:
    """Tell whether another tool's result is a verdict in time, with nothing known against it."""
    contradicts = entry.expected in DECIDED and line.result != entry.expected
    return line.result in DECIDED and not contradicts and line.seconds <= entry.timeout


def point(entry: Entry, line: Line) -> charts.Point:
    """Return an instance's place in the scatter plot."""
    text = f"{' '.join(entry.key)}: {entry.result} {entry.seconds:.2f} s, {line.result} {line.seconds:.2f} s"
    x = line.seconds if solved(line, entry) else entry.timeout
    y = entry.seconds if entry.solved else entry.timeout
    return charts.Point(x, y, text, "wrong" if entry.wrong else entry.result)


def reasons(entries: Sequence[Entry]) -> list[list[str]]:
    """Count why there is no verdict, the most frequent reason first; what follows a colon is about one instance."""
    kinds = (
        f"{entry.result}: {entry.reason.partition(':')[0]}" if entry.reason else entry.result
        for entry in entries
        if entry.result not in DECIDED
    )
    return [[name, str(count)] for name, count in Counter(kinds).most_common()]


def rows(cells: Sequence[Sequence[str]]) -> str:
    """Return the rows of a table, a header first."""
    head, *body = cells
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in body]
    return "\n".join(lines)


def choices(names: Iterator[str] | Sequence[str]) -> str:
    """Return the choices of a filter."""
    return "".join(f"<option>{escape(name)}</option>" for name in sorted(set(names)))


def header(theirs: str) -> str:
    """Return the head of the table of instances."""
    names = ["benchmark", "network", "property", "expected", "result", "seconds", "limit", "reason"]
    names += [f"{theirs}: result", f"{theirs}: seconds"] if theirs else []
    return "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"


def row(entry: Entry, line: Line | None, compared: bool) -> str:
    """Return an instance's row."""
    cells = [*entry.key, entry.expected, entry.result, f"{entry.seconds:.2f}", f"{entry.timeout:g}", entry.reason]
    if compared:
        cells += ["", ""] if line is None else [line.result, f"{line.seconds:.2f}"]
    kinds = f"{entry.result} wrong" if entry.wrong else entry.result
    inside = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr class="{kinds}" data-benchmark="{escape(entry.benchmark)}" data-kinds="{kinds}">{inside}</tr>'
