"""What is shown while a suite runs: bars on a terminal, else a line for each result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from verifier.suite.instances import Instance
from verifier.suite.journal import Entry

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[Entry, bool], None]
"""Called with a result, and whether it is new or of an earlier run."""

ALL = "all"


@contextmanager
def display(instances: Sequence[Instance], console: Console) -> Iterator[Show]:
    """Show results as they come."""
    with bars(instances, console) if console.is_terminal else lines(instances, console) as show:
        yield show


@contextmanager
def lines(instances: Sequence[Instance], console: Console) -> Iterator[Show]:
    """Print a line for each new result."""
    width = len(str(len(instances)))
    begun, count, recent, wrong = time.monotonic(), 0, 0, 0

    def show(entry: Entry, new: bool) -> None:
        nonlocal count, recent, wrong
        count, recent, wrong = count + 1, recent + new, wrong + entry.wrong
        if not new:
            return
        left = (time.monotonic() - begun) / recent * (len(instances) - count)
        tail = f", {wrong} wrong" if wrong else ""
        text = f"[{count:{width}}/{len(instances)}] {sentence(entry)} (left: {clock(left)}{tail})"
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    yield show


@contextmanager
def bars(instances: Sequence[Instance], console: Console) -> Iterator[Show]:
    """Keep a bar for each benchmark up to date; wrong verdicts and errors stay above."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[solved]} solved"),
        TextColumn("[{task.fields[style]}]{task.fields[wrong]} wrong"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    sizes = Counter(instance.key.benchmark for instance in instances)
    if len(sizes) > 1:
        sizes[ALL] = len(instances)
    total = ALL if ALL in sizes else next(iter(sizes))
    tasks = {
        name: progress.add_task(name, total=size, start=name == total, solved=0, wrong=0, style="green")
        for name, size in sizes.items()
    }
    solved: Counter[str] = Counter()
    wrong: Counter[str] = Counter()

    def show(entry: Entry, new: bool) -> None:
        for name in {entry.benchmark, ALL} & tasks.keys():
            solved[name] += entry.solved
            wrong[name] += entry.wrong
            style = "bold red" if wrong[name] else "green"
            progress.start_task(tasks[name])
            progress.update(tasks[name], advance=1, solved=solved[name], wrong=wrong[name], style=style)
        if new and (entry.wrong or entry.result == "error"):
            progress.console.print(sentence(entry), markup=False, highlight=False, style="bold red")

    with progress:
        yield show


def sentence(entry: Entry) -> str:
    """Describe a result."""
    told = f" *** WRONG, expected {entry.expected} ***" if entry.wrong else ""
    why = f" ({entry.reason})" if entry.reason else ""
    return f"{entry.benchmark} {entry.onnx} {entry.vnnlib}: {entry.result}{told}{why} {entry.seconds:.2f} s"


def clock(seconds: float) -> str:
    """Return a length of time as hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def table(entries: Sequence[Entry], wanted: int) -> list[list[str]]:
    """Return rows of cells, a header first: for each benchmark and for all, how many results of each kind."""
    kinds = ("unsat", "sat", "unknown", "timeout", "error")
    rows = [["benchmark", "results", "solved", *kinds, "wrong", "seconds"]]
    names = list(dict.fromkeys(entry.benchmark for entry in entries))
    for name in [*names, ALL]:
        part = [entry for entry in entries if name in (entry.benchmark, ALL)]
        count = Counter(entry.result for entry in part)
        solved, wrong = sum(entry.solved for entry in part), sum(entry.wrong for entry in part)
        total = f"{len(part)}/{wanted}" if name == ALL else str(len(part))
        spent = f"{sum(entry.seconds for entry in part):.1f}"
        rows.append([name, total, str(solved), *(str(count[kind]) for kind in kinds), str(wrong), spent])
    return rows
