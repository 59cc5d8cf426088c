"""What a query of VNNLIB 2.0 means: the cases that are made of it hold where its assertions do."""

from __future__ import annotations

import random

import numpy as np
import pytest

pytest.importorskip("vnnlib")

from specs import Query
from specs.vnnlib2 import parse
from tests.specs.queries import Writer, joined, random_nets, random_values
from tests.specs.standard import holds


def violated(query: Query, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether inputs and outputs as declared satisfy a case; inputs that were made one must agree."""
    inputs = np.full(query.n_inputs, np.nan)
    inputs[query.shared] = x
    if not np.array_equal(inputs[query.shared], x):
        return False
    factors = {"X": inputs, "Y": y}
    products = [np.prod([factors[v.kind][v.number] for v in one]) for one in query.products]
    return query.violated_by(inputs, np.concatenate([y, products])) is not None


@pytest.mark.parametrize("seed", range(150))
def test_cases_hold_where_assertions_do(seed: int) -> None:
    draw = random.Random(seed)
    writer = Writer(draw, random_nets(draw))
    writer.box()
    formulas = [writer.formula() for _ in range(draw.randint(1, 3))] + writer.equalities()
    text = writer.text(*formulas)
    query = parse(text)
    truths = []
    for _ in range(60):
        values = random_values(draw, writer.nets)
        x, y = joined(writer.nets, values, "input"), joined(writer.nets, values, "hidden", "output")
        if draw.random() < 0.8:  # where inputs are equated, random ones hardly ever agree
            x = x[np.unique(query.shared, return_index=True)[1]][query.shared]
            put_back(writer, values, x)
        truths.append(holds(text, values))
        assert violated(query, x, y) == truths[-1], text


@pytest.mark.parametrize("seed", range(100))
def test_a_point_that_satisfies_all_assertions_is_in_a_case(seed: int) -> None:
    draw = random.Random(1000 + seed)
    writer = Writer(draw, random_nets(draw))
    writer.box()
    values = random_values(draw, writer.nets)
    names = writer.elements("input")
    same = dict(zip(names, joined(writer.nets, values, "input"), strict=True))
    equal = [f"(== {a} {b})" for a in names for b in names if a < b and same[a] == same[b]]
    text = writer.text(*(writer.true_formula(values) for _ in range(4)), *equal)
    assert holds(text, values)
    x, y = joined(writer.nets, values, "input"), joined(writer.nets, values, "hidden", "output")
    assert violated(parse(text), x, y), text


def put_back(writer: Writer, values: dict[str, np.ndarray], x: np.ndarray) -> None:
    """Give the inputs new values."""
    start = 0
    for net in writer.nets:
        for tensor in net.of("input"):
            size = values[tensor.name].size
            values[tensor.name] = x[start : start + size].reshape(tensor.shape)
            start += size


def test_boxes_as_wide_as_float64_has_numbers() -> None:
    big = "9" * 308 + ".0"
    bounds = " ".join(f"(<= X[{k}] {big}) (>= X[{k}] -{big})" for k in range(3))
    text = (
        "(vnnlib-version <2.0>)\n(declare-network f (declare-input X real [3]) (declare-output Y real [1]))\n"
        f"(assert (and {bounds} (>= Y[0] 0.0)))\n(assert (<= (+ X[0] X[1] X[2]) 1.0))\n"
    )
    assert len(parse(text).cases) == 1
