"""What semidefinite Lipschitz bounds take: our solver against generic ones, and how near to published bounds it comes.

Networks: random ReLU networks of growing width and depth, norm 2, and where they are at hand the trained ones of the
folder ``lipschitz`` beside $VERIFIER_BENCHMARKS. Every solver gets the same program through cvxpy, with settings by
which its optimum is within 1e-6 of ours, relative; the column ``error`` shows whether it is. Each run is a process of
its own on the cores of this one, so that its peak memory is known and it can be cut off; ours and another's take turns.
Seconds are the processor's, so that a busy machine matters less, of the whole call after a small one that loads all
libraries: for the others with cvxpy's compilation.
Generic solvers that are not installed are skipped (CVXOPT and SDPA: pip install '.[benchmark]').

    taskset -c 1 python benchmarks/sdp.py [--nets 10-64-64-10,fnn2_seed0] [--solvers SCS,SDPA] [--repeat 3]
                                          [--limit 200] [--published] [--out FILE.csv]
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import resource
import statistics
import sys
import time
import warnings
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from verifier.lipschitz.sdp import GroupSort, Slopes, feedforward

PUBLISHED = Path(os.environ.get("VERIFIER_BENCHMARKS", "benchmarks")).parent / "lipschitz"

NETS = ("10-64-64-10", "10-128-128-10", "10-32-32-32-32-10", "fnn2_seed0", "fnn3_seed0")

SETTINGS: dict[str, dict[str, Any]] = {
    "CVXOPT": {"abstol": 1e-8, "reltol": 1e-8, "feastol": 1e-8},
    "SDPA": {"epsilonStar": 1e-8, "epsilonDash": 1e-8},
    "SCS": {"eps_abs": 1e-8, "eps_rel": 1e-8, "max_iters": 10**7},
    "CLARABEL": {},
}
"""Generic solvers, and what makes them accurate enough; Clarabel is so by default."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one process gave: the bound, seconds of the processor, and its peak memory in MiB."""

    bound: float
    seconds: float
    memory: float


@dataclass(frozen=True, slots=True)
class Row:
    """One solver on one network: medians over runs; the ratio is of paired ones, the error relative to our bound."""

    net: str
    solver: str
    bound: float | None
    error: float | None
    seconds: float | None
    ours: float
    ratio: float | None
    memory: float | None
    ours_memory: float
    note: str


def network(name: str) -> list[np.ndarray]:
    """Return the weights of a trained network for its output 7, or random ones of some widths."""
    if name.startswith("fnn"):
        data = np.load(PUBLISHED / "relu_digits" / f"{name}.npz")
        weights = [data[f"fc{k + 1}_weight"].T for k in range(int(name[3]))]
        return [*weights[:-1], weights[-1][7:8]]
    rng, widths = np.random.default_rng(0), [int(word) for word in name.split("-")]
    return [rng.normal(size=(m, n)) / np.sqrt(n) for n, m in pairwise(widths)]


def generic(weights: list[np.ndarray], solver: str) -> float:
    """Bound by a generic solver."""
    import cvxpy as cp

    inner, last = weights[:-1], weights[-1]
    sizes = [weights[0].shape[1], *(len(weight) for weight in inner)]
    ends = np.cumsum(sizes)
    parts = [np.eye(ends[-1])[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    rho = cp.Variable()
    z: Any = rho * (parts[0].T @ parts[0]) - parts[-1].T @ last.T @ last @ parts[-1]
    for weight, before, after in zip(inner, parts, parts[1:], strict=False):
        t = cp.diag(cp.Variable(len(weight), nonneg=True))
        cross = (weight @ before).T @ t @ after
        z += 2 * after.T @ t @ after - cross - cross.T
    problem = cp.Problem(cp.Minimize(rho), [(z + z.T) / 2 >> 0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it may be inaccurate: the error is in the table
        return float(np.sqrt(problem.solve(solver=solver, **SETTINGS[solver])))


def work(weights: list[np.ndarray], solver: str | None, answer: Connection) -> None:
    """Run one solver in a process of its own."""

    def bound(net: list[np.ndarray]) -> float:
        return feedforward(net, Slopes(0, 1), timeout=None).upper if solver is None else generic(net, solver)

    bound(network("2-3-2"))
    started = time.process_time()
    found = bound(weights)
    seconds = time.process_time() - started
    answer.send(Run(found, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measure(weights: list[np.ndarray], solver: str | None, limit: float) -> Run | str:
    """Return a run, or why there is none."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(weights, solver, theirs))
    process.start()
    theirs.close()
    try:
        return mine.recv() if mine.poll(limit) else f"cut off after {limit:.0f} s"
    except EOFError:
        return "failed"
    finally:
        process.kill()
        process.join()


def compare(net: str, solver: str, repeat: int, limit: float) -> Row:
    """Run ours and another solver in turns; a solver that was cut off gets no second try."""
    weights, pairs, own = network(net), [], []
    other: Run | str = "no run"
    for _ in range(repeat):
        here = measure(weights, None, limit)
        if isinstance(here, str):
            raise RuntimeError(f"our solver on {net}: {here}")
        own.append(here)
        other = measure(weights, solver, limit)
        if isinstance(other, str):
            break
        pairs.append((here, other))
    seconds, memory = (statistics.median(getattr(run, key) for run in own) for key in ("seconds", "memory"))
    if isinstance(other, str):
        return Row(net, solver, None, None, None, seconds, None, None, memory, other)
    return Row(
        net=net,
        solver=solver,
        bound=other.bound,
        error=other.bound / own[-1].bound - 1,
        seconds=statistics.median(run.seconds for _, run in pairs),
        ours=seconds,
        ratio=statistics.median(run.seconds / here.seconds for here, run in pairs),
        memory=statistics.median(run.memory for _, run in pairs),
        ours_memory=memory,
        note="" if abs(other.bound / own[-1].bound - 1) < 1e-6 else "not as accurate",
    )


def published() -> Table:
    """Compare our bounds of the published networks with the tables that come with them."""
    found = Table("net", "norm", "output", "product", "listed", "ours", "ours / listed - 1", "seconds", "why it ended")
    with (PUBLISHED / "maxmin" / "expected.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["sdp"]:
                data = np.load(PUBLISHED / "maxmin" / f"{line['net']}.npz")
                weights = [data[f"W{k + 1}"] for k in range(len(data.files))]
                add(found, line, weights, GroupSort(2), float(line["sdp"]))
    with (PUBLISHED / "relu_digits" / "published.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["method"] == "LipSDP" and line["net"].startswith("fnn"):
                add(found, line, network(line["net"]), Slopes(0, 1), float(line["bound"]))
    return found


def add(table: Table, line: dict[str, str], weights: list[np.ndarray], kind: GroupSort | Slopes, listed: float) -> None:
    """Bound one of them."""
    norm = "inf" if line["norm"] == "linf" else "2"
    output = int(line["output_index"]) if norm == "inf" else None
    answer = feedforward(weights, kind, norm, output=output, timeout=None)
    cells = [f"{answer.product:.6g}", f"{listed:.6g}", f"{answer.upper:.6g}", f"{answer.upper / listed - 1:.1e}"]
    table.add_row(line["net"], norm, line["output_index"], *cells, f"{answer.seconds:.2f}", answer.reason)


def table(rows: list[Row]) -> Table:
    """Lay out the results."""
    found = Table(*(field.name for field in fields(Row)))
    for row in rows:
        found.add_row(*(f"{x:.4g}" if isinstance(x, float) else str(x or "") for x in asdict(row).values()))
    return found


def main() -> int:
    """Run all, print tables, and write the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS), help="widths or names of trained networks")
    parser.add_argument("--solvers", default=",".join(SETTINGS))
    parser.add_argument("--repeat", type=int, default=3, help="of each pair of runs")
    parser.add_argument("--limit", type=float, default=200.0, help="seconds after which a run is cut off")
    parser.add_argument("--published", action="store_true", help="compare with published bounds as well")
    parser.add_argument("--out", type=Path, help="a file for the results")
    options = parser.parse_args()
    import cvxpy

    console, rows, there = Console(width=200), [], set(cvxpy.installed_solvers())
    solvers = options.solvers.split(",")
    for solver in solvers:
        if solver not in there:
            console.print(f"{solver} is not installed: skipped")
    for net in options.nets.split(","):
        if net.startswith("fnn") and not PUBLISHED.is_dir():
            console.print(f"{net} is not at hand: skipped")
            continue
        for solver in solvers:
            if solver in there:
                rows.append(compare(net, solver, options.repeat, options.limit))
                print(rows[-1], file=sys.stderr)
    if rows:
        console.print(table(rows))
    if options.published and PUBLISHED.is_dir():
        console.print(published())
    if options.out is not None and rows:
        with options.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
