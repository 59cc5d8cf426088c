"""What the choices of branching by neurons are worth: the same instances by the same search, one choice changed.

FOLDER is a benchmark of VNN-COMP (instances.csv: onnx,vnnlib,timeout); without it, points and radii on the networks of
``vnnlib_examples`` that have smooth nonlinearities. All ways start from the same optimised bounds of the root, which no
way counts, and have --seconds each; there are no attacks, no splits of inputs and no refined roots. The gain of a split
is the part of the missing bound that its two parts make good, on average; no split makes more of them.

    python benchmarks/ablation.py [FOLDER] [--seconds 5] [--limit 20]
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import specs
from specs import Spec
from verifier import load
from verifier.graph.graph import Graph
from verifier.problem import Cases
from verifier.result import Progress
from verifier.search.bab import Search
from verifier.search.branching.points import BranchPoints
from verifier.search.branching.tables import PointTable
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.neuron_batch import NeuronDomains
from verifier.search.root import Root, Roots

NETS = Path(__file__).resolve().parent.parent / "vnnlib_examples" / "nets"
ROOT_ITERATIONS = 100

RADII = {
    "rings_sigmoid": (0.14, 0.18),
    "pendulum_tanh": (0.4, 0.6),
    "terrain_sin": (0.3, 0.4),
    "advisory_gelu": (0.1, 0.15),
    "digits_attention": (0.01, 0.02),
    "forecast_lstm": (0.2, 0.3),
    "encounter_product": (0.1, 0.2),
    "power_flow": (0.04, 0.06),
}
"""Of the boxes about each of POINTS random points of a network's inputs."""

POINTS = 2
CLASSES = ("rings_sigmoid", "digits_attention")
"""Networks that must keep their class; of the others, no output may change by SLACK times what samples change it."""
SLACK, SAMPLES = 1.5, 1000


class Middles(BranchPoints):
    """Splits smooth functions at the middle."""

    def _tables(self, name: str) -> list[tuple[Tensor, PointTable]]:
        del name
        return []


class AtMiddle(NeuronSplitting):
    """Chooses neurons as usual, and splits smooth ones at the middle."""

    @cached_property
    def points(self) -> BranchPoints:
        """See ``NeuronSplitting.points``."""
        return Middles(self.neurons)


class ByIntercepts(AtMiddle):
    """Chooses neurons by the gaps of their own relaxations alone, as BaBSR does."""

    @cached_property
    def shortcuts(self) -> None:
        """See ``NeuronSplitting.shortcuts``."""
        return


Way = Callable[[Root, Cases, float], NeuronSplitting]

WAYS: dict[str, Way | None] = {
    "no splits": None,
    "intercepts (as BaBSR)": lambda root, cases, deadline: ByIntercepts(root, cases, deadline, candidates=1),
    "shortcuts (BBPS)": lambda root, cases, deadline: AtMiddle(root, cases, deadline, candidates=1),
    "shortcuts, optimised points": lambda root, cases, deadline: NeuronSplitting(root, cases, deadline, candidates=1),
    "the same, eight best bounded for real": NeuronSplitting,
}


@dataclass
class Measured:
    """A strategy that keeps account of what its splits gain."""

    strategy: NeuronSplitting
    batch: int
    before: Tensor = field(default_factory=lambda: torch.empty(0))
    gains: list[Tensor] = field(default_factory=list)

    def split(self, domains: NeuronDomains) -> NeuronDomains:
        """See ``Strategy.split``."""
        self.before = domains.bound
        return self.strategy.split(domains)

    def bound(self, domains: NeuronDomains) -> tuple[NeuronDomains, Tensor]:
        """See ``Strategy.bound``."""
        found, points = self.strategy.bound(domains)
        gain = 1 - found.bound.clamp(max=0).view(2, -1) / self.before
        self.gains.append(gain.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).clamp(0, 1).mean(0).cpu())
        return found, points


@dataclass
class Tally:
    """What a way did on all instances."""

    verified: int = 0
    gains: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Instance:
    """A network and a property."""

    name: str
    graph: Graph
    spec: Spec


def examples() -> Iterator[Instance]:
    """Random points of the example networks, such that samples keep their class."""
    for network, radii in RADII.items():
        graph = load(NETS / f"{network}.onnx")
        draw, count = np.random.default_rng(0), 0
        while count < POINTS:
            centre = draw.uniform(0, 1, graph.n_inputs)
            found = [_about(network, graph, centre, radius) for radius in radii]
            made = [(radius, spec) for radius, spec in zip(radii, found, strict=True) if spec is not None]
            if len(made) < len(radii):
                continue
            for radius, spec in made:
                yield Instance(f"{network}, point {count}, {radius:g}", graph, spec)
            count += 1


def _about(network: str, graph: Graph, centre: np.ndarray, radius: float) -> Spec | None:
    """The property about a point; None where samples break it."""
    lower, upper = centre - radius, centre + radius
    x = np.random.default_rng(1).uniform(lower, upper, (SAMPLES, graph.n_inputs))
    value, values = (graph(torch.from_numpy(points)).numpy() for points in (centre[None], x))
    if network in CLASSES:
        label = int(value.argmax())
        keeps = (values.argmax(1) == label).all()
        return specs.robustness(centre, radius, label, graph.n_outputs) if keeps else None
    reach = SLACK * np.abs(values - value).max(0)
    return specs.output_range(lower, upper, value[0] - reach, value[0] + reach)


def competition(folder: Path, limit: int) -> Iterator[Instance]:
    """The first instances of a benchmark."""
    with (folder / "instances.csv").open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.reader(file) if line and line[:2] != ["onnx", "vnnlib"]]
    for onnx, vnnlib, *_ in lines[:limit]:
        yield Instance(Path(vnnlib).name, load(folder / onnx), specs.load(folder / vnnlib))


def compare(instance: Instance, seconds: float, tallies: dict[str, Tally]) -> None:
    """Run all ways on one instance, and add to their tallies."""
    cases = Cases.of(instance.spec, instance.graph)
    roots, starts = Roots(instance.graph, cases), []
    for which in cases.set_of.unique().tolist():
        case = (cases.set_of == which).nonzero().flatten()
        root = roots.improve(which, case, ROOT_ITERATIONS, time.monotonic() + seconds)
        found, row = roots.least(cases, root, case).max(1)
        still = (~(found > 0)).nonzero().flatten()
        if len(still):
            starts.append((root, case[still], found[still], row[still], still * cases.bound.shape[1] + row[still]))
    for name, way in WAYS.items():
        begun = time.monotonic()
        tally, until = tallies[name], begun + seconds
        done = not starts if way is None else all(_search(way, cases, until, tally, *start) for start in starts)
        tally.verified += done
        tally.seconds += time.monotonic() - begun


def _search(way: Way, cases: Cases, until: float, tally: Tally, root: Root, *start: Tensor) -> bool:
    """Search below one root; tell whether everything is closed."""
    strategy = way(root, cases, until)
    if not strategy.neurons.elements:
        return False
    strategy.parts = 2
    measured = Measured(strategy, strategy.batch)
    search: Search[NeuronDomains] = Search(measured, lambda *_: None, Progress())
    try:
        search.enter(*strategy.bound(strategy.roots(*start)))
        search.run(until)
    except TimeoutError:
        return False
    finally:
        tally.gains += measured.gains
    return not len(search.cases())


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each way on each instance")
    parser.add_argument("--limit", type=int, default=20, help="instances of FOLDER")
    options = parser.parse_args()
    tallies, count = {name: Tally() for name in WAYS}, 0
    for instance in examples() if options.folder is None else competition(options.folder, options.limit):
        before = {name: tally.verified for name, tally in tallies.items()}
        compare(instance, options.seconds, tallies)
        count += 1
        marks = "".join("+" if tally.verified > before[name] else "-" for name, tally in tallies.items())
        print(f"{marks} {instance.name}", flush=True)
    table = Table("way", "verified", "splits", "gain of a split", "seconds", title=f"{count} instances")
    for name, tally in tallies.items():
        gains = torch.cat(tally.gains) if tally.gains else torch.empty(0)
        gain = f"{100 * float(gains.mean()):.1f} %" if len(gains) else ""
        table.add_row(name, str(tally.verified), str(len(gains)), gain, f"{tally.seconds:.1f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
