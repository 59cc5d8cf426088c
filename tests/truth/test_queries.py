"""Random queries of VNNLIB 2.0 that a known point satisfies: nothing proves that there is none."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("vnnlib")

from specs.vnnlib2 import parse
from tests.specs import standard
from tests.specs.nets import computed, models_of
from tests.specs.queries import Net, Tensor, Values, Writer, decimal, random_nets, random_values
from verifier import Config, verify
from verifier.report import answer
from verifier.result import Result, Verdict


def satisfiable(seed: int) -> tuple[Writer, str, dict[str, onnx.ModelProto]]:
    """A query, with networks, that some inputs satisfy, often only just."""
    draw = random.Random(seed)
    writer = Writer(draw, random_nets(draw), products=draw.random() < 0.6)
    models = models_of(writer.nets, draw)
    inputs = random_values(draw, writer.nets)
    names = writer.elements("input")
    if draw.random() < 0.6:  # the same point for all, where their shapes agree
        for net in writer.nets:
            for tensor, first in zip(net.of("input"), writer.nets[0].of("input"), strict=False):
                if tensor.shape == first.shape:
                    inputs[tensor.name] = inputs[first.name]
    values = {name: value.astype(np.float64) for name, value in computed(writer.nets, models, inputs).items()}
    writer.box()
    same = dict(zip(names, np.concatenate([inputs[t.name].reshape(-1) for n in writer.nets for t in n.of("input")]),
                    strict=True))  # fmt: skip
    equal = [f"(== {a} {b})" for a in names for b in names if a < b and same[a] == same[b] and draw.random() < 0.7]
    formulas = [writer.true_formula(values) for _ in range(draw.randint(1, 3))] + [writer.tight(values)]
    text = writer.text(*formulas, *equal)
    assert standard.holds(text, values), text
    return writer, text, models


class Rough(Writer):
    """Writes numbers that no type has exactly."""

    def number(self) -> str:
        return f"{self.draw.uniform(-2, 2):.5f}"


def rough(seed: int) -> tuple[Writer, str, dict[str, onnx.ModelProto]]:
    """A query whose numbers and weights are not exact in float32, with equations now and then."""
    draw = random.Random(seed)
    writer = Rough(draw, random_nets(draw), products=draw.random() < 0.6)
    models = models_of(writer.nets, draw)
    noise = np.random.default_rng(seed)
    for model in models.values():
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(values + noise.normal(0, 0.1, values.shape).astype(np.float32),
                                                        tensor.name))  # fmt: skip
    writer.box()
    text = writer.text(*(writer.formula() for _ in range(draw.randint(1, 3))), *writer.equalities())
    return writer, text, models


def decided(text: str, models: Mapping[str, onnx.ModelProto], config: Config) -> Result:
    return verify(dict(models), parse(text), config)


def check_witness(text: str, nets: list[Net], models: Mapping[str, onnx.ModelProto], lines: list[str]) -> None:
    """Replay a witness by the competition's rules: the networks' own outputs count, in float32 and in float64."""
    given: Values = {}
    for net in nets:
        for tensor in sorted(net.tensors, key=lambda one: ["input", "hidden", "output"].index(one.role)):
            shape = ",".join(map(str, tensor.shape))
            assert lines.pop(0) == f"{tensor.name} float32 [{shape}]"
            count = int(np.prod(tensor.shape))
            given[tensor.name] = np.array([float(lines.pop(0)) for _ in range(count)]).reshape(tensor.shape)
    assert not lines
    replayed = computed(nets, models, given)
    for name, value in replayed.items():
        np.testing.assert_allclose(value, given[name], rtol=1e-6, atol=1e-6)
    assert standard.satisfied(text, {name: value.astype(np.float32) for name, value in replayed.items()}), text
    exact = {name: value.astype(np.float64) for name, value in replayed.items()}
    assert standard.satisfied(text, exact, 1e-6), text  # an input of 0.3 is float32's nearest number


def check(seed: int, timeout: float) -> Verdict:
    writer, text, models = satisfiable(seed)
    for attack in (False, True):
        result = decided(text, models, Config(timeout=timeout, attack=attack, threads=1))
        assert result.verdict is not Verdict.UNSAT, text
        if result.verdict is Verdict.SAT:
            first, *lines = answer(result).splitlines()
            assert first == "sat"
            check_witness(text, writer.nets, models, lines)
    return result.verdict


def test_a_few_are_never_called_unsat() -> None:
    assert [check(seed, 0.3) for seed in range(20)].count(Verdict.SAT) > 5


def check_rough(seed: int) -> Verdict:
    writer, text, models = rough(seed)
    result = decided(text, models, Config(timeout=0.5, threads=1))
    if result.verdict is Verdict.SAT:
        check_witness(text, writer.nets, models, answer(result).splitlines()[1:])
    return result.verdict


def test_witnesses_hold_in_the_arithmetic_of_the_competition() -> None:
    assert {check_rough(seed) for seed in (*range(10), 39, 51, 53, 107, 130)} >= {Verdict.SAT, Verdict.UNSAT}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000, 2300))
def test_witnesses_of_many(seed: int) -> None:
    check_rough(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1600))
def test_none_is_called_unsat(seed: int) -> None:
    check(seed, 0.5)


def twins(seed: int) -> tuple[str, dict[str, onnx.ModelProto]]:
    """A query about one network at two inputs, that known ones satisfy."""
    draw = random.Random(seed)
    size, outputs = draw.randint(1, 4), draw.randint(1, 2)
    first = Net("f", (Tensor("X", "input", (size,)), Tensor("Y", "output", (outputs,))))
    second = Net("g", (Tensor("U", "input", (size,)), Tensor("V", "output", (outputs,))), "equal-to f")
    writer = Writer(draw, [first, second])
    models = models_of(writer.nets, draw)
    inputs, near = random_values(draw, writer.nets), draw.random() < 0.5
    for k in range(size):
        if draw.random() < 0.4:
            inputs["U"][k] = inputs["X"][k]
        elif near:
            inputs["U"][k] = inputs["X"][k] + draw.choice([-0.25, 0.25])
    values = {name: value.astype(np.float64) for name, value in computed(writer.nets, models, inputs).items()}
    writer.box(-2.5, 2.5)
    formulas = []
    for k, apart in enumerate(values["X"] - values["U"]):
        operator = draw.choice(["==", ">=", "<="]) if apart == 0 else ">=" if apart > 0 else "<="
        if draw.random() < 0.5:
            formulas.append(f"({operator} X[{k}] U[{k}])")
        else:
            formulas.append(f"({operator} (* 2.0 (- X[{k}] U[{k}])) {decimal(2 * apart)})")
    j = draw.randrange(outputs)
    change, operator = float(values["Y"][j] - values["V"][j]), draw.choice(["<=", ">=", "=="])
    kind = draw.random()
    if kind < 0.4:
        strict = "<" if change < 0 else ">" if change > 0 else operator
        formulas.append(f"({strict} Y[{j}] V[{j}])")
    elif kind < 0.8:
        formulas.append(f"({operator} (- Y[{j}] V[{j}]) {decimal(change)})")
    else:
        formulas.append(f"({operator} (+ (- Y[{j}] V[{j}]) X[0]) {decimal(change + float(values['X'][0]))})")
    text = writer.text(*formulas)
    assert standard.holds(text, values), text
    return text, models


def check_twins(seeds: range) -> None:
    for seed in seeds:
        text, models = twins(seed)
        verdict = decided(text, models, Config(timeout=0.3, attack=False, threads=1)).verdict
        assert verdict is not Verdict.UNSAT, text


def test_derivatives_exclude_no_known_pair() -> None:
    check_twins(range(30))


@pytest.mark.slow
def test_derivatives_exclude_none_of_many_pairs() -> None:
    check_twins(range(1000, 1400))
