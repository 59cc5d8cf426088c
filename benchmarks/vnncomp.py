"""Runs the `verifier verify` command on VNN-COMP instances and compares it with the truth and with other tools.

SETDIR holds NAME/instances.csv (onnx,vnnlib,timeout) for each benchmark, and may hold truth.csv and peers.csv (see
vnncomp_table.py). Results are appended to --out after each instance; a later run with the same --out goes on from
there. Times are whole-process wall seconds, as the competition takes them (the instances of `verifier suite` share the
start of the program), quoted also in multiples of what `import torch` takes on the same machine.

Exit code: 0; 1 if a verdict was wrong; 2 for wrong usage.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from vnncomp_table import (
    Row,
    Truth,
    append_row,
    ratio_lines,
    read_keys,
    read_peers,
    read_rows,
    read_truth,
    table_lines,
    wrong_lines,
)

from verifier.errors import UsageError
from verifier.suite.instances import Instance, Key, read

VERDICTS = ("unsat", "sat", "unknown", "timeout")
GRACE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the command did; ``verdict`` is one of VERDICTS or `error`, which ``note`` explains."""

    verdict: str
    seconds: float
    note: str


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs one instance after another."""

    command: tuple[str, ...]
    options: tuple[str, ...]
    import_seconds: float
    truth: dict[Key, Truth]
    grace: float = GRACE_SECONDS
    running: set[int] = field(default_factory=set)

    def run(self, instance: Instance) -> Row:
        """Run one instance and set the answer beside the truth."""
        command = [*self.command, "verify", *instance.arguments, "--timeout", f"{instance.timeout:g}", *self.options]
        answer = ask(command, instance.timeout + self.grace, self.running)
        return Row(
            *instance.key,
            expected=self.truth[instance.key].expected if instance.key in self.truth else "unknown",
            verdict=answer.verdict,
            seconds=round(answer.seconds, 3),
            limit=instance.timeout,
            import_seconds=round(self.import_seconds, 3),
            note=answer.note,
        )


def ask(command: Sequence[str], limit: float, running: set[int]) -> Answer:
    """Run a `verifier verify` command in a process group of its own and read its answer; at the limit kill the group.

    While it runs, its process group stands in ``running``.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    )
    running.add(process.pid)
    with process:
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return Answer("timeout", time.monotonic() - start, "killed")
        finally:
            kill_group(process.pid)
            running.discard(process.pid)
    return read_answer(output, errors, process.returncode, time.monotonic() - start)


def read_answer(output: str, errors: str, code: int, seconds: float) -> Answer:
    """The verdict of a command that ended by itself."""
    verdict, _, witness = output.partition("\n")
    if code != 0:
        return Answer("error", seconds, f"exit code {code}: {_last_line(errors)}")
    if verdict not in VERDICTS:
        return Answer("error", seconds, f"not a verdict: {verdict[:40]!r}")
    if verdict == "sat" and not witness.strip():
        return Answer("error", seconds, "sat without a counterexample")
    return Answer(verdict, seconds, _last_line(errors) if verdict == "unknown" else "")


def _last_line(text: str) -> str:
    lines = text.split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def kill_group(group: int) -> None:
    """End what is left of a process group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def import_seconds(repeats: int = 3) -> float:
    """Median seconds of `import torch` in a fresh interpreter: the unit in which machines can be compared."""
    times = []
    for _ in range(repeats):
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        times.append(time.monotonic() - start)
    return statistics.median(times)


def choose(options: argparse.Namespace) -> list[Instance]:
    """The instances that the options name, in the order of the subset or else of the set.

    Raises:
        UsageError: the set cannot be read, or a benchmark or a file is not in it.
        ValueError: an instance of the subset is not in it.
    """
    names = options.benchmarks.split(",") if options.benchmarks else ()
    known = read(options.setdir, options.timeout, names)
    if options.subset:
        by_key = {one.key: one for one in known}
        keys = [key for key in read_keys(options.subset) if not names or key.benchmark in names]
        if missing := [key for key in keys if key not in by_key]:
            raise ValueError(f"{options.subset}: not in the set: {','.join(missing[0])}")
        known = [by_key[key] for key in keys]
    return known[: options.limit]


def run_all(runner: Runner, instances: Sequence[Instance], jobs: int, out: Path) -> None:
    """Run the instances, each a line of ``out`` as soon as it is done."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(runner.run, instance) for instance in instances]
        try:
            for count, future in enumerate(as_completed(futures), start=1):
                row = future.result()
                append_row(out, row)
                mark = "  *** WRONG ***" if row.wrong else ""
                print(
                    f"[{count}/{len(futures)}] {row.benchmark} {Path(row.onnx).name} {Path(row.vnnlib).name}: "
                    f"{row.verdict} {row.seconds:.1f} s (expected {row.expected}){mark} {row.note}".rstrip(),
                    flush=True,
                )
        finally:  # after Ctrl-C nothing runs on: the commands are in process groups that the terminal does not reach
            pool.shutdown(wait=False, cancel_futures=True)
            for group in tuple(runner.running):
                kill_group(group)


def report(rows: Sequence[Row], setdir: Path) -> int:
    """Print the tables; returns the exit code."""
    truth, peers = read_truth(setdir / "truth.csv"), read_peers(setdir / "peers.csv")
    lines = [*table_lines(rows, peers), "", *ratio_lines(rows, peers), *wrong_lines(rows, truth)]
    print("\n" + "\n".join(lines))
    return 1 if any(row.wrong for row in rows) else 0


def find_command() -> str:
    """The `verifier` command beside this interpreter, else the one on PATH.

    Raises:
        ValueError: there is none.
    """
    beside = Path(sys.executable).parent / "verifier"
    command = str(beside) if beside.is_file() else shutil.which("verifier")
    if command is None:
        raise ValueError("no command `verifier`: install the package first (make venv)")
    return command


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("setdir", type=Path, metavar="SETDIR")
    parser.add_argument("--benchmarks", metavar="A,B", help="only these benchmarks")
    parser.add_argument("--subset", type=Path, metavar="FILE", help="only this CSV's benchmark,onnx,vnnlib")
    parser.add_argument("--timeout", type=float, metavar="S", help="this limit instead of each instance's own")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N instances")
    parser.add_argument("--out", type=Path, default=Path("results.csv"), metavar="FILE", help="default: results.csv")
    parser.add_argument("--no-attack", action="store_true", help="prove only; a sat must come from the search")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="run N at once (times then suffer)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, then report on all that was asked for."""
    options = parse(arguments)
    try:
        instances, command = choose(options), find_command()
    except (UsageError, ValueError, OSError) as error:
        print(f"vnncomp.py: {error}", file=sys.stderr)
        return 2
    done = {row.key for row in read_rows(options.out)}
    missing = [instance for instance in instances if instance.key not in done]
    if missing:
        seconds = import_seconds()
        print(f"import torch takes {seconds:.2f} s; {len(missing)} of {len(instances)} instances to run", flush=True)
        extra = ("--no-attack",) if options.no_attack else ()
        runner = Runner((command,), extra, seconds, read_truth(options.setdir / "truth.csv"))
        run_all(runner, missing, options.jobs, options.out)
    asked = {instance.key for instance in instances}
    return report([row for row in read_rows(options.out) if row.key in asked], options.setdir)


if __name__ == "__main__":
    sys.exit(main())
