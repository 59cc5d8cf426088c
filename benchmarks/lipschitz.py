"""How tight local Lipschitz bounds are, and what they take, on the networks and radii of ``lipschitz.csv``.

For each: the constant of the listed output from l_inf to l_inf over a box, as bounded by the product of norms, by
intervals on the graph of the Jacobian, by RecurJac's relaxation, by ours without and with branching, the largest norm
of a gradient that was met, and the exact constant where enumeration of activation patterns finds it in a few seconds.
The networks are trained on the first run. Times are of one run; the order of the bounds is checked.

    python benchmarks/lipschitz.py [--nets mlp_2x8,cnn_4] [--seconds 60] [--out FILE.csv]
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

import torch
from exact_lipschitz import exact_lipschitz, read_mlp
from lipschitz_nets import RECTIFIED, Instance, instances, network, unstable
from rich.console import Console
from rich.table import Table
from torch import Tensor

from verifier import load
from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.graph.graph import OUTPUT, Graph
from verifier.graph.jacobian import jacobian
from verifier.lipschitz.local import BRANCHING, LocalLipschitz
from verifier.lipschitz.norms import Norm
from verifier.lipschitz.product import product
from verifier.lipschitz.supremum import Supremum
from verifier.ops.gate import ConstantGate
from verifier.sets import Box

NORM = Norm(math.inf, math.inf)

FEW = 40
"""Unstable neurons up to which activation patterns are enumerated."""

SLACK = 1e-9
"""Relative rounding between two bounds that agree."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one instance gave; bounds and seconds."""

    net: str
    eps: float
    product: float
    interval: float
    recurjac: float
    recurjac_seconds: float
    ours: float
    ours_seconds: float
    branching: float
    branching_seconds: float
    sampled: float
    exact: float | None

    @property
    def ordered(self) -> bool:
        """Whether each bound is at least as tight as those that it should improve on."""
        chain = [self.sampled, self.branching, self.ours, self.recurjac, self.interval]
        within = self.exact is None or self.sampled * (1 - SLACK) <= self.exact <= self.branching * (1 + SLACK)
        return within and all(a <= b * (1 + SLACK) for a, b in pairwise(chain))


def measure(instance: Instance, seconds: float) -> Row:
    """Bound one instance in every way."""
    path, (low, high) = network(instance.net), instance.box()
    graph, box = load(path), Box(*(torch.from_numpy(end).unsqueeze(0) for end in (low, high)))
    row = torch.zeros(1, graph.n_outputs, dtype=torch.float64)
    row[0, instance.output] = 1
    boxes = bound_nodes(on_top(graph, row), box, INTERVAL).boxes
    started = time.monotonic()
    recurjac = Supremum(on_top(graph, row, ConstantGate()), box)
    recurjac.crown(math.inf)
    recurjac_seconds = time.monotonic() - started
    run = LocalLipschitz(graph, box, NORM, row, timeout=seconds)
    run.run()
    plain = [step for step in run.steps if step.method != BRANCHING]
    return Row(
        instance.net,
        instance.eps,
        product(graph, math.inf, row),
        float(boxes[OUTPUT].upper.max()),
        recurjac.greatest,
        recurjac_seconds,
        plain[-1].upper,
        plain[-1].seconds,
        run.upper,
        run.steps[-1].seconds,
        run.gradients.best,
        exact(instance, row),
    )


def on_top(graph: Graph, row: Tensor, gate: ConstantGate | None = None) -> Graph:
    """Return the network of the norm of a row of the Jacobian."""
    return NORM.on_top(jacobian(graph, row, gate=gate), 1)


def exact(instance: Instance, row: Tensor) -> float | None:
    """Enumerate activation patterns, where they are few."""
    net = instance.net
    if net not in RECTIFIED or net.startswith("cnn") or unstable(load(network(net)), net, instance.eps)[0] > FEW:
        return None
    low, high = instance.box()
    return exact_lipschitz(read_mlp(network(net)), low, high, row[0].numpy()).value


def table(rows: list[Row]) -> Table:
    """Lay out the results."""
    found = Table(*(field.name for field in fields(Row)), "in order")
    for row in rows:
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value or "") for value in asdict(row).values()]
        found.add_row(*cells, "yes" if row.ordered else "NO")
    return found


def summary(rows: list[Row]) -> str:
    """Say how the bounds compare on average: geometric means of ratios, and the mean of what ours is tighter by."""
    ours = [row.ours for row in rows]
    lines = []
    for name in ("product", "interval", "recurjac", "branching", "sampled"):
        others = [getattr(row, name) for row in rows]
        pairs = [(other, own) for other, own in zip(others, ours, strict=True) if math.isfinite(other)]
        mean = math.exp(sum(math.log(other / own) for other, own in pairs) / len(pairs))
        lines.append(f"{name} / ours without branching: {mean:.3f} (geometric mean of {len(pairs)})")
    tighter = sum(1 - row.ours / row.recurjac for row in rows) / len(rows)
    lines.append(f"ours without branching is tighter than RecurJac by {100 * tighter:.1f} % on average")
    known = [row for row in rows if row.exact is not None]
    if known:
        met = sum(row.branching <= row.exact * (1 + 2e-4) for row in known)  # type: ignore[operator]
        lines.append(f"exact constants known: {len(known)}; branching ends within 2e-4 of {met}")
    return "\n".join(lines)


def main() -> int:
    """Run all, print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", help="names, separated by commas; all if left out")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each run with branching")
    parser.add_argument("--out", type=Path, help="a file for the results")
    options = parser.parse_args()
    wanted = None if options.nets is None else options.nets.split(",")
    rows, console = [], Console(width=200)
    for instance in instances():
        if wanted is not None and instance.net not in wanted:
            continue
        rows.append(measure(instance, options.seconds))
        last = rows[-1]
        console.print(
            f"{last.net} {last.eps}: {last.sampled:.5g} .. {last.branching:.5g} ({last.branching_seconds:.0f} s)"
        )
        if options.out is not None:
            with options.out.open("w", newline="") as file:
                writer = csv.DictWriter(file, [field.name for field in fields(Row)])
                writer.writeheader()
                writer.writerows(map(asdict, rows))
    console.print(table(rows))
    console.print(summary(rows))
    return 0 if all(row.ordered for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
