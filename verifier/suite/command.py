"""The commands ``suite`` and ``report``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from verifier import report
from verifier.cluster.connect import Machines, connected, cores
from verifier.errors import UsageError
from verifier.interrupts import Interrupts
from verifier.suite import html, instances, results
from verifier.suite.journal import JOURNAL, Entry, Journal, opened
from verifier.suite.outcome import GIGABYTE
from verifier.suite.run import Runner, Setup, local, run

PAGE = "report.html"
WRONG = 1


def suite(options: argparse.Namespace, command: str, say: Callable[[str], None]) -> int:
    """Run a suite.

    Args:
        options: of the command line.
        command: ``MODULE:FUNCTION`` that runs the command ``verifier`` with given arguments.
        say: prints a text.

    Returns:
        The exit code: that of an interrupt if there was one, else 1 if a verdict is wrong, else 0.
    """
    chosen = options.benchmarks.split(",") if options.benchmarks else ()
    wanted = instances.read(options.instances, options.timeout, chosen)
    if not wanted:
        raise UsageError(f"{options.instances}: has no instances")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{options.out}: cannot be written: {error.strerror or error}") from None
    if options.cluster is None:
        return finish(options, wanted, here(options, command), local, say)
    from verifier.suite.remote import Remote

    texts: list[str] = []
    with connected(options.cluster) as machines:
        code = finish(options, wanted, there(options, command, machines), Remote, texts.append)
    for text in texts:
        say(text)
    return code


def here(options: argparse.Namespace, command: str) -> Setup:
    """Return how to run on this machine."""
    jobs = options.jobs or 1
    if options.memory is not None and not Path("/proc/self/statm").exists():
        raise UsageError("--memory: this system does not tell how much memory a process uses (it has no /proc)")
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = machine / jobs if options.memory is None else options.memory * GIGABYTE
    return Setup(command, options.out, jobs, max(1, cores() // jobs), float(memory))


def there(options: argparse.Namespace, command: str, machines: Machines) -> Setup:
    """Return how to run on a cluster: an instance for each core, or fewer with more cores, all of one machine."""
    total = sum(machines.cores)
    jobs = options.jobs or total
    threads = min(max(1, total // jobs), *machines.cores)
    share = min(memory * threads / count for memory, count in zip(machines.memory, machines.cores, strict=True))
    memory = share if options.memory is None else options.memory * GIGABYTE
    return Setup(command, options.out, jobs, threads, float(memory))


def finish(
    options: argparse.Namespace,
    wanted: Sequence[instances.Instance],
    setup: Setup,
    runner: Callable[[Setup], AbstractContextManager[Runner]],
    say: Callable[[str], None],
) -> int:
    """Run instances as ``setup`` says, and report on them; return the exit code of ``suite``."""
    from rich.console import Console

    from verifier.suite.display import display, table

    with Interrupts() as interrupts, opened(options.out) as journal:
        if journal.entries and not options.resume:
            raise UsageError(
                f"{options.out}: has results of an earlier run: go on with --resume, or name another --out"
            )
        interrupts.ignore()  # the loop asks
        with display(wanted, Console(stderr=True)) as show:
            entries = run(wanted, journal, setup, show, lambda: bool(interrupts.code), runner)
        write_page(options.out / PAGE, entries, str(options.instances), None)
        say(report.aligned(table(entries, len(wanted))))
        for entry in entries:
            if entry.wrong:
                say(f"WRONG {','.join(entry.key)}: {entry.result}, expected {entry.expected}")
        return interrupts.code or (WRONG if any(entry.wrong for entry in entries) else 0)


def page(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Write the report on a suite's results, beside them or where the options say."""
    journal = options.out / JOURNAL
    if not journal.is_file():
        raise UsageError(f"{options.out}: is not a folder with results of a suite (there is no {JOURNAL})")
    target = options.html or options.out / PAGE
    report.check_outputs((target,), (journal, *filter(None, (options.against,))))
    entries = sorted(Journal(journal).entries.values(), key=lambda entry: entry.key)
    write_page(target, entries, str(options.out), options.against)
    say(str(target))
    return 0


def write_page(target: Path, entries: Sequence[Entry], title: str, against: Path | None) -> None:
    """Write the report."""
    others = None if against is None else results.Others(results.read(against))
    report.write(target, html.page(entries, title, others, "" if against is None else against.stem))
