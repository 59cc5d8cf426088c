"""Random queries of VNNLIB 2.0 that a known point satisfies: nothing proves that there is none."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import onnx
import pytest

pytest.importorskip("vnnlib")

from specs.vnnlib2 import parse
from tests.specs import standard
from tests.specs.nets import computed, models_of
from tests.specs.queries import Net, Values, Writer, random_nets, random_values
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
    assert standard.holds(text, {name: value.astype(np.float32) for name, value in replayed.items()}), text
    exact = {name: value.astype(np.float64) for name, value in replayed.items()}
    assert standard.holds(text, exact), text


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


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1600))
def test_none_is_called_unsat(seed: int) -> None:
    check(seed, 0.5)
