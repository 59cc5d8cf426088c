"""Changes of a problem that must keep its verdict, or move it one way only."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import re
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

import specs
from specs import Case, InputSet, Rows, Spec
from tests.bounds.nets import Net, exact_minimum
from tests.truth.known import dense_model
from verifier import Config, verify
from verifier.ops.curves import Relu
from verifier.ops.linear import Linear
from verifier.result import Verdict
from verifier.sets import Box

HERE = Path(__file__).resolve().parents[2] / "vnnlib_examples"
CONFIG = Config(timeout=20.0, threads=1)
SAT, UNSAT = Verdict.SAT, Verdict.UNSAT

NAMES = [
    "pendulum_limit_1.05", "pendulum_limit_1", "pendulum_regions_0.8", "pendulum_regions_0.95",
    "cartpole_limit_1.1", "cartpole_recovers_0.4", "advisory_near_not_none", "advisory_middle_not_none",
    "digits_conv_image_11_eps_0.1", "digits_conv_image_50_eps_0.08", "digits_fc_image_3_eps_0.12",
    "rings_inside_eps_0.27", "rings_inside_eps_0.3",
    "rings_sigmoid_inside_eps_0.25", "pendulum_tanh_limit_1.02", "terrain_sin_south_east", "forecast_lstm_rising_0.3",
    "encounter_product_turns", "encounter_product_recedes_0.08", "power_flow_usual_0.03",
]  # fmt: skip
"""Examples that take a fraction of a second each; half of them have a counterexample."""


@cache
def example(name: str) -> tuple[Path, Path, Verdict]:
    with (HERE / "expected.csv").open(newline="", encoding="utf-8") as file:
        (line,) = [line for line in csv.DictReader(file) if Path(line["vnnlib"]).stem == name]
    return HERE / line["onnx"], HERE / line["vnnlib"], Verdict(line["expected"])


def expected(name: str) -> Verdict:
    return example(name)[2]


def spec_of(name: str) -> Spec:
    return specs.load(example(name)[1])


def answer(name: str, spec: Spec, config: Config = CONFIG, model: onnx.ModelProto | None = None) -> Verdict:
    result = verify(example(name)[0] if model is None else model, spec, config)
    assert (result.counterexample is not None) == (result.verdict is SAT)
    if result.counterexample is not None:
        found = result.counterexample
        assert spec.cases[found.case].rows.hold(found.x, found.y).all()
    return result.verdict


def with_cases(spec: Spec, cases: list[Case]) -> Spec:
    return dataclasses.replace(spec, cases=tuple(cases))


def with_rows(spec: Spec, change: object) -> Spec:
    return with_cases(spec, [dataclasses.replace(case, rows=change(case.rows)) for case in spec.cases])  # type: ignore


@pytest.mark.parametrize("name", NAMES)
def test_as_it_is(name: str) -> None:
    assert answer(name, spec_of(name)) is expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_assertions_in_reverse(name: str, tmp_path: Path) -> None:
    """The order of assertions, and with it that of conditions, says nothing."""
    text = re.sub(r";[^\n]*", "", example(name)[1].read_text())
    depth, start, pieces = 0, 0, []
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if sign == "(" and depth == 1:
            start = place
        if sign == ")" and depth == 0:
            pieces.append(text[start : place + 1])
    declared = [piece for piece in pieces if "declare-const" in piece]
    asserted = [piece for piece in pieces if piece.startswith("(assert")]
    assert len(declared) + len(asserted) == len(pieces)
    path = tmp_path / "reversed.vnnlib"
    path.write_text("\n".join([*declared, *reversed(asserted)]))
    assert answer(name, specs.load(path)) is expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_cases(name: str) -> None:
    spec = spec_of(name)
    assert answer(name, with_cases(spec, list(spec.cases)[::-1])) is expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_rows(name: str) -> None:
    turned = with_rows(spec_of(name), lambda rows: Rows(
        rows.y[::-1].copy(), None if rows.x is None else rows.x[::-1].copy(), rows.bound[::-1].copy(),
        rows.strict[::-1].copy(),
    ))  # fmt: skip
    assert answer(name, turned) is expected(name)


def halves(inputs: InputSet) -> list[InputSet]:
    """Cut the widest coordinate in the middle; both parts have the cut."""
    k = int((inputs.upper - inputs.lower).argmax())
    middle = (inputs.lower[k] + inputs.upper[k]) / 2
    below, above = inputs.upper.copy(), inputs.lower.copy()
    below[k], above[k] = middle, middle
    return [InputSet(inputs.lower, below), InputSet(above, inputs.upper)]


@pytest.mark.parametrize("name", NAMES)
def test_two_boxes_that_cover_one(name: str) -> None:
    spec = spec_of(name)
    parts = [dataclasses.replace(case, inputs=part) for case in spec.cases for part in halves(case.inputs)]
    assert answer(name, with_cases(spec, parts)) is expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_redundant_condition(name: str) -> None:
    """The first condition again, slightly weaker."""

    def weaker(rows: Rows) -> Rows:
        x = None if rows.x is None else np.concatenate([rows.x, rows.x[:1]])
        bound = np.append(rows.bound, rows.bound[:1] + 0.5)
        return Rows(np.concatenate([rows.y, rows.y[:1]]), x, bound, np.append(rows.strict, rows.strict[:1]))

    assert answer(name, with_rows(spec_of(name), weaker)) is expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_case_repeated(name: str) -> None:
    spec = spec_of(name)
    assert answer(name, with_cases(spec, [*spec.cases, spec.cases[0], *spec.cases])) is expected(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", [1e-3, 3.0, 1e4])
def test_scaled_rows(name: str, factor: float) -> None:
    scaled = with_rows(spec_of(name), lambda rows: Rows(
        factor * rows.y, None if rows.x is None else factor * rows.x, factor * rows.bound, rows.strict
    ))  # fmt: skip
    assert answer(name, scaled) is expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_cases_one_by_one(name: str) -> None:
    """All cases at once have a counterexample iff one of them has."""
    spec = spec_of(name)
    alone = [answer(name, with_cases(spec, [case])) for case in spec.cases]
    assert set(alone) <= {SAT, UNSAT}
    assert (SAT in alone) == (expected(name) is SAT)


@pytest.mark.parametrize("name", NAMES)
def test_looser_conditions_keep_sat_and_tighter_ones_unsat(name: str) -> None:
    step = 0.1 if expected(name) is SAT else -0.1
    moved = with_rows(spec_of(name), lambda rows: Rows(rows.y, rows.x, rows.bound + step, rows.strict))
    assert answer(name, moved) is expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_smaller_boxes_keep_unsat_and_larger_ones_sat(name: str) -> None:
    factor = 1.1 if expected(name) is SAT else 0.7

    def moved(inputs: InputSet) -> InputSet:
        centre, radius = (inputs.lower + inputs.upper) / 2, factor * (inputs.upper - inputs.lower) / 2
        inner = (centre - radius, centre + radius)
        outer = (np.minimum(inner[0], inputs.lower), np.maximum(inner[1], inputs.upper))
        return InputSet(*(outer if factor > 1 else inner))

    spec = spec_of(name)
    cases = [dataclasses.replace(case, inputs=moved(case.inputs)) for case in spec.cases]
    assert answer(name, with_cases(spec, cases)) is expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_strict_conditions(name: str) -> None:
    """No example has its optimum just on a bound, so the verdict does not depend on strictness."""
    spec = spec_of(name)
    for strict in (False, True):
        same = with_rows(
            spec, lambda rows, strict=strict: Rows(rows.y, rows.x, rows.bound, np.full(len(rows.bound), strict))
        )
        assert answer(name, same) is expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_without_attacks_it_is_never_wrong(name: str) -> None:
    """A counterexample is found by the search, if at all."""
    verdict = answer(name, spec_of(name), dataclasses.replace(CONFIG, attack=False, timeout=3.0))
    assert verdict in ({UNSAT} if expected(name) is UNSAT else {SAT, Verdict.UNKNOWN})


@pytest.mark.parametrize("seed", [1, 2**31])
def test_seeds(seed: int) -> None:
    for name in NAMES:
        assert answer(name, spec_of(name), dataclasses.replace(CONFIG, seed=seed)) is expected(name)


def double(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with every float32 made float64."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    graph = twin.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    return twin


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("digits_conv", "forecast_lstm"))])
def test_the_twin_in_double_precision(name: str) -> None:
    """Not for the LSTM: onnxruntime has none in double precision, so that no counterexample could be replayed."""
    model = double(onnx.load(example(name)[0]))
    assert answer(name, spec_of(name), model=model) is expected(name)


Layers = list[tuple[np.ndarray, np.ndarray]]


def layers(seed: int, widths: tuple[int, ...] = (3, 5, 5, 2)) -> Layers:
    draw = np.random.default_rng(seed)
    pairs = itertools.pairwise(widths)
    return [
        (np.float32(draw.normal(size=(m, n)) / np.sqrt(n)).astype(float), np.float32(draw.normal(size=m)).astype(float))
        for n, m in pairs
    ]


def least(built: Layers, inputs: InputSet, row: list[float]) -> float:
    """The exact minimum of a row of the outputs."""
    net = Net(len(inputs.lower))
    for k, (weight, bias) in enumerate(built):
        net.add(Linear(torch.from_numpy(weight.T.copy()), torch.from_numpy(bias)))
        if k + 1 < len(built):
            net.add(Relu())
    box = Box(torch.from_numpy(inputs.lower).unsqueeze(0), torch.from_numpy(inputs.upper).unsqueeze(0))
    return exact_minimum(net.graph(), box, torch.tensor(row, dtype=torch.float64))


def one_row(inputs: InputSet, row: list[float], bound: float, strict: bool = False) -> Spec:
    case = Case(inputs, Rows(np.array([row]), None, np.array([bound]), np.array([strict])))
    return Spec((case,), len(inputs.lower), len(row))


CUBE = InputSet(-np.ones(3), np.ones(3))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE], ids=["float", "double"])
def test_built_nets_around_the_optimum(seed: int, dtype: int) -> None:
    built = layers(seed)
    best, model = least(built, CUBE, [1.0, -0.5]), dense_model(built, dtype)
    for strict in (False, True):
        assert verify(model, one_row(CUBE, [1.0, -0.5], best - 1e-3, strict), CONFIG).verdict is UNSAT
        assert verify(model, one_row(CUBE, [1.0, -0.5], best + 1e-3, strict), CONFIG).verdict is SAT


@pytest.mark.parametrize("seed", range(3))
def test_inputs_permuted_with_the_first_weights(seed: int) -> None:
    built, order = layers(seed), [2, 0, 1]
    inputs = InputSet(np.array([-1.0, -0.5, 0.0]), np.array([0.5, 1.0, 2.0]))
    best = least(built, inputs, [1.0, 0.0])
    permuted = [(built[0][0][:, order], built[0][1]), *built[1:]]
    turned = InputSet(inputs.lower[order], inputs.upper[order])
    for bound, verdict in ((best - 1e-3, UNSAT), (best + 1e-3, SAT)):
        assert verify(dense_model(built), one_row(inputs, [1.0, 0.0], bound), CONFIG).verdict is verdict
        assert verify(dense_model(permuted), one_row(turned, [1.0, 0.0], bound), CONFIG).verdict is verdict


@pytest.mark.parametrize("seed", range(2))
def test_hidden_neurons_permuted_and_scaled(seed: int) -> None:
    built, order = layers(seed), [4, 2, 0, 3, 1]
    best = least(built, CUBE, [1.0, 0.0])
    (first, offset), (second, other), last = built
    same = [(4 * first[order], 4 * offset[order]), (second[:, order] / 4, other), last]
    for bound, verdict in ((best - 1e-3, UNSAT), (best + 1e-3, SAT)):
        assert verify(dense_model(same), one_row(CUBE, [1.0, 0.0], bound), CONFIG).verdict is verdict


HEAD = """(declare-const X_0 Real)(declare-const X_1 Real)(declare-const X_2 Real)
(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (and (>= X_0 -1) (<= X_0 1)))(assert (and (>= X_1 -1) (<= X_1 1)))(assert (and (>= X_2 -1) (<= X_2 1)))
"""


@pytest.mark.parametrize("seed", range(4))
def test_comparisons_of_outputs_with_their_sides_swapped(seed: int, tmp_path: Path) -> None:
    model, verdicts = dense_model(layers(seed)), []
    for k, text in enumerate(("(<= Y_0 Y_1)", "(>= Y_1 Y_0)", "(<= (- Y_0 Y_1) 0)", "(or (<= Y_0 Y_1) (>= Y_1 Y_0))")):
        path = tmp_path / f"{k}.vnnlib"
        path.write_text(f"{HEAD}(assert {text})")
        try:
            spec = specs.load(path)
        except specs.SpecError:
            continue  # a form that the reader does not take
        verdicts.append(verify(model, spec, CONFIG).verdict)
    assert len(verdicts) >= 3
    assert set(verdicts) in ({SAT}, {UNSAT})


def test_the_order_of_a_disjunction(tmp_path: Path) -> None:
    built = layers(0)
    best = least(built, CUBE, [1.0, 0.0])
    for extra, verdict in ((-1e-2, UNSAT), (1e-2, SAT)):
        parts = [f"(and (<= Y_0 {best + extra:.9f}))", "(and (<= Y_0 -1000) (>= Y_1 0))", "(and (>= Y_1 1000))"]
        for order in (parts, parts[::-1], parts[1:] + parts[:1]):
            path = tmp_path / "or.vnnlib"
            path.write_text(f"{HEAD}(assert (or {' '.join(order)}))")
            assert verify(dense_model(built), specs.load(path), CONFIG).verdict is verdict
