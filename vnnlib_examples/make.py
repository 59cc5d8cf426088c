"""Makes the examples anew: trains the networks, writes the properties, and settles every verdict without the verifier.

`sat` is a point found by projected gradient descent or by the mixed-integer program, replayed with onnxruntime; `unsat`
is a proof by that program (exact.py). Both must hold with room to spare, so that no rounding decides an example. What
is made is committed; another version of torch may train slightly different networks, and then an example be refused.

    python vnnlib_examples/make.py
"""

import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from exact import Program
from networks import RECIPES, flat_digits, make_all
from properties import Box, Case, Property, Row, margin_cases, range_cases
from torch import nn

HERE = Path(__file__).resolve().parent
ROOM = 1e-3  # by which every row must hold (sat), or must be impossible (unsat)

RIGHT, LEFT = Box.of((0.3, 1), (0.1, 1)), Box.of((-1, -0.3), (-1, -0.1))
LEANING = Box.of((-1, 1), (-1, 1), (0.2, 1), (0, 1))
LEANING_LEFT = Box.of((-1, 1), (-1, 1), (-1, -0.2), (-1, 0))
NEAR = Box.of((-1, -0.6), (-1, 1), (0.3, 1))
MIDDLE = Box.of((-0.4, 0.4), (-1, 1), (0, 0.4))
FAR = Box.of((0.6, 1), (-1, 1), (-1, 0))
HALF = Box.of((-0.5, 0.5), (-0.5, 0.5))


@dataclass(frozen=True, slots=True)
class Example:
    """A property of a network; both are files."""

    network: str
    name: str
    property: Property


@dataclass(frozen=True, slots=True)
class Finding:
    """A settled verdict and what it took."""

    verdict: str
    by: str
    binaries: int


def square(dimension: int) -> Box:
    """The whole of the controllers' input, [-1, 1]^dimension."""
    return Box.of(*[(-1, 1)] * dimension)


def best(choice: int, choices: int) -> tuple[Row, ...]:
    """The choice's cost is the least."""
    return tuple(Row(choice, other) for other in range(choices) if other != choice)


def digit(network: str, image: int, radius: float) -> Example:
    """The image keeps its label when every pixel changes by at most ``radius``."""
    images, labels = flat_digits()
    label = int(labels[image])
    says = f"Digit {image} of scikit-learn's set stays a {label} when every pixel changes by at most {radius:g}."
    box = Box.around(images[image].numpy().astype(np.float64), radius)
    return Example(network, f"image_{image}_eps_{radius:g}", Property(says, margin_cases(box, label, 10)))


def ring(centre: tuple[float, float], label: int, radius: float) -> Example:
    """The points around a centre are all of one class."""
    name = ("inside", "ring", "outside")[label]
    says = f"All points within {radius:g} of {centre} in both coordinates are classified as `{name}`."
    box = Box.of(*[(side - radius, side + radius) for side in centre])
    return Example("rings", f"{name}_eps_{radius:g}", Property(says, margin_cases(box, label, 3)))


def digit_examples() -> Iterator[Example]:
    """Robustness: the unsafe set is a union over the other classes."""
    radii = {
        "digits_fc": [(3, 0.1), (3, 0.12), (24, 0.06)],
        "digits_deep": [(11, 0.09), (3, 0.07)],
        "digits_conv": [(11, 0.1), (50, 0.08), (24, 0.085)],
        "digits_residual": [(11, 0.08), (24, 0.08)],
        "digits_maxpool": [(24, 0.05), (11, 0.1)],
    }
    for network, choices in radii.items():
        for image, radius in choices:
            yield digit(network, image, radius)


def pendulum_examples() -> Iterator[Example]:
    """Output ranges, a property of two regions, and rows that exclude the unsafe set only together."""
    for limit in (1.05, 1.0):
        says = f"The torque stays below {limit:g} in both directions, for every state."
        yield Example("pendulum", f"limit_{limit:g}", Property(says, range_cases(square(2), [(-limit, limit)])))
    for push in (0.8, 0.95):
        says = f"Leaning right and falling, the torque is below -{push:g}; leaning left and falling, above {push:g}."
        cases = Case(RIGHT, (Row(-push, 0),)), Case(LEFT, (Row(0, push),))
        yield Example("pendulum", f"regions_{push:g}", Property(says, cases))
    for angle, velocity in ((0.55, 0.76), (0.5, 0.8)):
        says = f"From within (0.5, 0.5), the next state stays within ({angle:g}, {velocity:g})."
        cases = range_cases(HALF, [(-angle, angle), (-velocity, velocity)])
        yield Example("pendulum_step", f"stays_{angle:g}_{velocity:g}", Property(says, cases))
    for angle in (0.2, 0.0):
        says = f"From within (0.5, 0.5), the next state is never above {angle:g} and still rising faster than 0.2."
        yield Example(
            "pendulum_step", f"corner_{angle:g}", Property(says, (Case(HALF, (Row(angle, 0), Row(0.2, 1))),))
        )


def cartpole_examples() -> Iterator[Example]:
    """An output range over the whole input, one-sided limits, and one limit over two regions."""
    says = "The force stays below 1.1 in both directions, for every state."
    yield Example("cartpole", "limit_1.1", Property(says, range_cases(square(4), [(-1.1, 1.1)])))
    for force in (0.45, 0.4):
        says = f"With the pole leaning right and not rising, the force is never below -{force:g}."
        yield Example("cartpole", f"recovers_{force:g}", Property(says, (Case(LEANING, (Row(0, -force),)),)))
    for force in (1.05, 0.98):
        says = f"With the pole leaning to either side and not rising, the force is below {force:g}."
        cases = tuple(Case(box, (Row(force, 0),)) for box in (LEANING, LEANING_LEFT))
        yield Example("cartpole", f"sides_{force:g}", Property(says, cases))


def advisory_examples() -> Iterator[Example]:
    """Which manoeuvre is best: conjunctions of comparisons between outputs, one or several of them."""
    says = "When the intruder is near and closing, `none` is not the best manoeuvre."
    yield Example("advisory", "near_not_none", Property(says, (Case(NEAR, best(0, 5)),)))
    says = "At middle distance, `none` is not the best manoeuvre."
    yield Example("advisory", "middle_not_none", Property(says, (Case(MIDDLE, best(0, 5)),)))
    says = "When the intruder is far and not closing, `none` is the best manoeuvre."
    yield Example("advisory", "far_none", Property(says, margin_cases_of_costs(FAR)))
    says = "When the intruder is near and closing, neither of the weak manoeuvres is the best."
    yield Example("advisory", "near_not_weak", Property(says, tuple(Case(NEAR, best(k, 5)) for k in (1, 2))))
    says = "When the intruder is near, ahead and closing fast, the cost of `none` is between 1.38 and 2.38."
    box = Box.of((-1, -0.5), (-0.3, 0.3), (0.5, 1))
    yield Example("advisory", "near_cost", Property(says, range_cases(box, [(1.38, 2.38)])))


def margin_cases_of_costs(box: Box) -> tuple[Case, ...]:
    """Unsafe: some other manoeuvre costs no more than `none`."""
    return tuple(Case(box, (Row(other, 0),)) for other in range(1, 5))


def ring_examples() -> Iterator[Example]:
    """Robustness in two dimensions; the last is a small corner of the box."""
    yield ring((0.0, 0.0), 0, 0.27)
    yield ring((0.0, 0.0), 0, 0.3)
    yield ring((0.55, 0.1), 1, 0.14)
    yield ring((-0.1, 0.6), 1, 0.165)


def examples() -> list[Example]:
    """All of them, in the order of expected.csv."""
    groups = (digit_examples, pendulum_examples, cartpole_examples, advisory_examples, ring_examples)
    return [example for group in groups for example in group()]


class Referee:
    """Settles the examples of one network."""

    def __init__(self, network: str, model: nn.Sequential) -> None:
        self.path = HERE / "nets" / f"{network}.onnx"
        self.shape = RECIPES[network].shape
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
                return Finding("sat", "attack", 0)
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
                    return Finding("sat", "program", len(program.binaries))
                if program.find([(a, b + ROOM) for a, b in rows]) is not None:
                    raise ValueError("too close to call: change the property")
                simple &= any(program.bound(a) > b for a, b in rows)
            binaries = max(binaries, len(program.binaries))
        return Finding("unsat", "intervals" if simple else "program", binaries)

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


def main() -> int:
    """Write nets/, vnnlib/ and expected.csv."""
    for folder in ("nets", "vnnlib"):
        (HERE / folder).mkdir(exist_ok=True)
        for old in (HERE / folder).iterdir():
            old.unlink()
    referees = {name: Referee(name, model) for name, model in make_all(HERE / "nets")}
    lines = []
    for example in examples():
        start = time.monotonic()
        referee = referees[example.network]
        onnx, vnnlib = f"nets/{example.network}.onnx", f"vnnlib/{example.network}_{example.name}.vnnlib"
        (HERE / vnnlib).write_text(example.property.text(referee.outputs))
        try:
            finding = referee.settle(example.property)
        except ValueError as error:
            print(f"{vnnlib}: {error}", file=sys.stderr)
            return 1
        print(
            f"{vnnlib:55} {finding.verdict:5}  by {finding.by:9}  "
            f"{finding.binaries:3} binaries  {time.monotonic() - start:5.1f} s",
            flush=True,
        )
        lines.append([onnx, vnnlib, finding.verdict])
    with (HERE / "expected.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["onnx", "vnnlib", "expected"], *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
