"""The examples: which property of which network. Their verdicts are settled by make.py."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from networks import flat_digits
from properties import Box, Case, Property, Row, margin_cases, range_cases

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


def ring(centre: tuple[float, float], label: int, radius: float, network: str = "rings") -> Example:
    """The points around a centre are all of one class."""
    name = ("inside", "ring", "outside")[label]
    says = f"All points within {radius:g} of {centre} in both coordinates are classified as `{name}`."
    box = Box.of(*[(side - radius, side + radius) for side in centre])
    return Example(network, f"{name}_eps_{radius:g}", Property(says, margin_cases(box, label, 3)))


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


def torque_limit(network: str, limit: float) -> Example:
    """A pendulum's controller on its whole input."""
    says = f"The torque stays below {limit:g} in both directions, for every state."
    return Example(network, f"limit_{limit:g}", Property(says, range_cases(square(2), [(-limit, limit)])))


def torque_regions(network: str, push: float) -> Example:
    """A pendulum's controller where it has to push back."""
    says = f"Leaning right and falling, the torque is below -{push:g}; leaning left and falling, above {push:g}."
    cases = Case(RIGHT, (Row(-push, 0),)), Case(LEFT, (Row(0, push),))
    return Example(network, f"regions_{push:g}", Property(says, cases))


def pendulum_examples() -> Iterator[Example]:
    """Output ranges, a property of two regions, and rows that exclude the unsafe set only together."""
    for limit in (1.05, 1.0):
        yield torque_limit("pendulum", limit)
    for push in (0.8, 0.95):
        yield torque_regions("pendulum", push)
    for angle, velocity in ((0.55, 0.76), (0.5, 0.8)):
        says = f"From within (0.5, 0.5), the next state stays within ({angle:g}, {velocity:g})."
        cases = range_cases(HALF, [(-angle, angle), (-velocity, velocity)])
        yield Example("pendulum_step", f"stays_{angle:g}_{velocity:g}", Property(says, cases))
    for angle in (0.2, 0.0):
        says = f"From within (0.5, 0.5), the next state is never above {angle:g} and still rising faster than 0.2."
        yield Example("pendulum_step", f"corner_{angle:g}", Property(says, (Case(HALF, (Row(angle, 0), Row(0.2, 1))),)))


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


def pixels(image: int, radius: float, varying: tuple[int, ...]) -> Example:
    """The image keeps its label when a few pixels change."""
    images, labels = flat_digits()
    label, centre = int(labels[image]), images[image].numpy().astype(np.float64)
    box = Box.around(centre, np.where(np.isin(np.arange(64), varying), radius, 0.0))
    named = ", ".join(map(str, varying))
    says = f"Digit {image} of scikit-learn's set stays a {label} when its pixels {named} change by at most {radius:g}."
    return Example("digits_attention", f"image_{image}_eps_{radius:g}", Property(says, margin_cases(box, label, 10)))


def curve_examples() -> Iterator[Example]:
    """Sigmoid, Tanh, Sin and Gelu: the tasks of the ReLU networks, and the height of a ground."""
    yield ring((0.0, 0.0), 0, 0.25, "rings_sigmoid")
    yield ring((0.0, 0.0), 0, 0.3, "rings_sigmoid")
    yield ring((0.55, 0.1), 1, 0.08, "rings_sigmoid")
    for limit in (1.06, 1.02):
        yield torque_limit("pendulum_tanh", limit)
    yield torque_regions("pendulum_tanh", 0.8)
    for height in (0.53, 0.5):
        says = f"The ground is nowhere higher than {height:g} and nowhere lower than -{height:g}."
        prop = Property(says, range_cases(square(2), [(-height, height)]))
        yield Example("terrain_sin", f"height_{height:g}", prop)
    says = "In the south-east, the ground is lower than -0.2."
    cases = (Case(Box.of((0.2, 1), (-1, -0.9)), (Row(-0.2, 0),)),)
    yield Example("terrain_sin", "south_east", Property(says, cases))
    says = "When the intruder is near and closing, `none` is not the best manoeuvre."
    yield Example("advisory_gelu", "near_not_none", Property(says, (Case(NEAR, best(0, 5)),)))
    says = "At middle distance, `none` is not the best manoeuvre."
    yield Example("advisory_gelu", "middle_not_none", Property(says, (Case(MIDDLE, best(0, 5)),)))
    says = "When the intruder is far and not closing, `none` is the best manoeuvre."
    yield Example("advisory_gelu", "far_none", Property(says, margin_cases_of_costs(FAR)))


def structure_examples() -> Iterator[Example]:
    """Attention, an LSTM, products of two affine maps, and the power flow of a grid."""
    yield pixels(24, 0.2, (27, 28, 36))
    yield pixels(50, 0.5, (27, 28, 36))
    yield digit("digits_attention", 3, 0.12)
    rising = Box.of((-0.1, 0.0), (0.15, 0.25), (0.4, 0.5), (0.6, 0.7))
    for value in (0.15, 0.3):
        says = f"An oscillation that rises from 0 to 0.65 in four steps is above {value:g} in the next."
        yield Example("forecast_lstm", f"rising_{value:g}", Property(says, (Case(rising, (Row(0, value),)),)))
    receding = Box.of((0.3, 1), (-0.2, 0.2), (0.3, 1), (-0.2, 0.2))
    for rate in (0.03, 0.08):
        says = f"Ahead and moving away, the intruder's distance grows: its rate is above {rate:g}."
        yield Example("encounter_product", f"recedes_{rate:g}", Property(says, (Case(receding, (Row(0, rate),)),)))
    says = "Ahead and moving to the left, it does not turn to the right while it is coming nearer."
    leftward = Box.of((0.3, 1), (-0.1, 0.1), (-0.5, 0.5), (0.3, 1))
    rows = (Row(0, 0.0), Row(1, 0.0))
    yield Example("encounter_product", "turns", Property(says, (Case(leftward, rows),)))
    usual = Box.of((0.3, 0.7), (0.3, 0.7), (0.1, 0.3), (0.1, 0.3))
    for gap in (0.03, 0.015):
        says = f"At usual loads, the predicted state misses the power balance of no bus by {gap:g}."
        yield Example("power_flow", f"usual_{gap:g}", Property(says, range_cases(usual, [(-gap, gap)] * 4)))
    says = "At all loads, the predicted state misses the power balance of no bus by 0.1."
    every = Box.of((0, 1), (0, 1), (0, 0.5), (0, 0.5))
    yield Example("power_flow", "all_0.1", Property(says, range_cases(every, [(-0.1, 0.1)] * 4)))


def examples() -> list[Example]:
    """All of them, in the order of expected.csv."""
    groups = (digit_examples, pendulum_examples, cartpole_examples, advisory_examples, ring_examples)
    groups += (curve_examples, structure_examples)
    return [example for group in groups for example in group()]
