"""Makes the examples anew: trains the networks, writes the properties, and settles every verdict without the verifier.

`sat` is a point found by projected gradient descent or by the mixed-integer program, replayed with onnxruntime; `unsat`
is a proof by that program (exact.py) where all nonlinearities are piecewise linear, else by cutting the box into small
ones (subdivide.py); for queries of VNNLIB 2.0, see referees.py. Both must hold with room to spare, so that no rounding
decides an example. What is made is committed; another version of torch may train slightly different networks, and then
an example be refused.

    python vnnlib_examples/make.py [NETWORK ...]     some networks alone; `queries` for none: those of VNNLIB 2.0 alone
"""

import ast
import csv
import sys
import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from derived import write_derived
from exact import Program
from examples import Example, examples
from networks import RECIPES, make_all
from properties import Box, Case, Property
from queries import queries
from smooth import SMOOTH
from subdivide import Network, exclude
from torch import nn

HERE = Path(__file__).resolve().parent
ROOM = 1e-3  # by which every row must hold (sat), or must be impossible (unsat)


@dataclass(frozen=True, slots=True)
class Finding:
    """A settled verdict and what it took."""

    verdict: str
    by: str
    work: str = ""


class Referee:
    """Settles the examples of one network."""

    def __init__(self, network: str, model: nn.Sequential) -> None:
        self.path = HERE / "nets" / f"{network}.onnx"
        self.smooth = network in SMOOTH
        self.shape = (RECIPES | SMOOTH)[network].shape
        self.model = model
        self.session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        self.outputs = self.session.get_outputs()[0].shape[1]

    def settle(self, prop: Property) -> Finding:
        """The verdict of a property.

        Raises:
            ValueError: neither holds with ROOM to spare, or a point that was found does not hold when it is replayed.
        """
        for case in prop.cases:
            if self.violates(self.attack(case), case):
                return Finding("sat", "attack")
        return self._subdivide(prop) if self.smooth else self._solve(prop)

    def _subdivide(self, prop: Property) -> Finding:
        network, boxes = Network(self.path), 0
        for case in prop.cases:
            rows = [row.coefficients(self.outputs) for row in case.rows]
            boxes += exclude(network, case.box, [(a, b + ROOM) for a, b in rows])
        return Finding("unsat", "subdivision", f"{boxes} boxes")

    def _solve(self, prop: Property) -> Finding:
        binaries, simple = 0, True
        for _, group in groupby(prop.cases, key=lambda case: id(case.box)):
            cases = list(group)
            program = Program(self.path, cases[0].box)
            for case in cases:
                rows = [row.coefficients(self.outputs) for row in case.rows]
                point = program.find([(a, b - 2 * ROOM) for a, b in rows])
                if point is not None:
                    if not self.violates(point, case):
                        raise ValueError("the program's point does not violate the property")
                    return Finding("sat", "program", f"{len(program.binaries)} binaries")
                if program.find([(a, b + ROOM) for a, b in rows]) is not None:
                    raise ValueError("too close to call: change the property")
                simple &= any(program.bound(a) > b for a, b in rows)
            binaries = max(binaries, len(program.binaries))
        return Finding("unsat", "intervals" if simple else "program", f"{binaries} binaries")

    def violates(self, point: np.ndarray, case: Case) -> bool:
        """Whether a point lies in the box and all rows hold by ROOM, on onnxruntime."""
        x = _inside(point, case.box)
        y = self.session.run(None, {"X": x.reshape(1, *self.shape)})[0][0].astype(np.float64)
        within = np.all((x >= case.box.lower) & (x <= case.box.upper))
        rows = (row.coefficients(self.outputs) for row in case.rows)
        return bool(within and all(a @ y <= b - ROOM for a, b in rows))

    def attack(self, case: Case, starts: int = 64, steps: int = 60) -> np.ndarray:
        """The best point of projected gradient descent on the largest row."""
        generator = torch.Generator().manual_seed(0)
        low, high = (torch.tensor(side, dtype=torch.float32) for side in (case.box.lower, case.box.upper))
        rows = [row.coefficients(self.outputs) for row in case.rows]
        a = torch.tensor(np.stack([a for a, _ in rows]), dtype=torch.float32)
        b = torch.tensor([b for _, b in rows], dtype=torch.float32)
        x = low + (high - low) * torch.rand(starts, len(low), generator=generator)
        best_point, best_value = x[0], np.inf
        for step in range(steps):
            x.requires_grad_(True)
            values = (self.model(x.reshape(-1, *self.shape)) @ a.T - b).amax(dim=1)
            (gradient,) = torch.autograd.grad(values.sum(), x)
            least = values.detach().min()
            if least < best_value:
                best_point, best_value = x[values.argmin()].detach(), float(least)
            x = (x.detach() - 0.3 * 0.95**step * (high - low) * gradient.sign()).clamp(low, high)
        return best_point.numpy().astype(np.float64)


def _inside(point: np.ndarray, box: Box) -> np.ndarray:
    """The float32 point nearest to ``point`` that lies in the box exactly."""
    x = np.clip(point, box.lower, box.upper).astype(np.float32)
    x = np.where(x < box.lower, np.nextafter(x, np.float32(np.inf)), x)
    return np.where(x > box.upper, np.nextafter(x, np.float32(-np.inf)), x)


def files(example: Example) -> tuple[str, str]:
    """The example's two files, relative to this folder."""
    return f"nets/{example.network}.onnx", f"vnnlib/{example.network}_{example.name}.vnnlib"


def verdicts_so_far() -> dict[tuple[str, str], str]:
    """What expected.csv says, by the two files."""
    path = HERE / "expected.csv"
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {(line["onnx"], line["vnnlib"]): line["expected"] for line in csv.DictReader(file)}


def networks_of(onnx: str) -> dict[str, str]:
    """Networks by name, of which the only one may have none, as expected.csv lists them."""
    return dict(ast.literal_eval(onnx)) if onnx.startswith("[") else {"": onnx}


def make(chosen: list[str]) -> dict[tuple[str, str], str]:
    """Make the chosen networks and their properties; returns the verdicts of these.

    Raises:
        ValueError: one could not be settled.
    """
    recipes = {name: recipe for name, recipe in (RECIPES | SMOOTH).items() if name in chosen}
    referees = {name: Referee(name, model) for name, model in make_all(recipes, HERE / "nets")}
    verdicts = {}
    for example in examples():
        if example.network not in referees:
            continue
        start = time.monotonic()
        referee, vnnlib = referees[example.network], files(example)[1]
        (HERE / vnnlib).write_text(example.property.text(referee.outputs))
        try:
            finding = referee.settle(example.property)
        except ValueError as error:
            raise ValueError(f"{vnnlib}: {error}") from error
        spent = f"{time.monotonic() - start:5.1f} s"
        print(f"{vnnlib:55} {finding.verdict:5}  by {finding.by:11}  {finding.work:15} {spent}", flush=True)
        verdicts[files(example)] = finding.verdict
    return verdicts


def make_queries() -> dict[tuple[str, str], str]:
    """Write the queries of VNNLIB 2.0 and the networks that they alone speak of; returns the verdicts."""
    write_derived(HERE / "nets")
    verdicts = {}
    for query in queries():
        vnnlib = f"vnnlib/query_{query.name}.vnnlib"
        (HERE / vnnlib).write_text(query.text())
        verdict, by, work = query.settle(query, HERE / "nets")
        print(f"{vnnlib:55} {verdict:5}  by {by:11}  {work}", flush=True)
        verdicts[query.files(), vnnlib] = verdict
    return verdicts


def main() -> int:
    """Write nets/, vnnlib/ and expected.csv; networks that are not chosen stay as they are."""
    chosen = [*RECIPES, *SMOOTH] if len(sys.argv) == 1 else [name for name in sys.argv[1:] if name != "queries"]
    if unknown := set(chosen) - {*RECIPES, *SMOOTH}:
        print(f"no such network: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    known = verdicts_so_far()
    try:
        known |= make(chosen)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    settled = make_queries()
    lines = [(*files(example), known[files(example)]) for example in examples() if files(example) in known]
    lines += [(*key, verdict) for key, verdict in settled.items()]
    with (HERE / "expected.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["onnx", "vnnlib", "expected"], *lines])
    listed = {HERE / name for line in lines for name in (line[1], *networks_of(line[0]).values())}
    for folder in ("nets", "vnnlib"):
        for old in set((HERE / folder).iterdir()) - listed:
            old.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
