"""Queries whose inputs lie in thin wedges about a known point: no cut of boxes loses it, and witnesses hold."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest

pytest.importorskip("vnnlib")

from tests.specs import standard
from tests.specs.nets import computed, models_of
from tests.specs.queries import Net, Tensor, Writer, decimal, random_values
from tests.truth.test_queries import check_witness, decided
from verifier import Config
from verifier.report import answer
from verifier.result import Verdict

THIN = 2.0**-10


def wedge(seed: int) -> tuple[Net, str, dict[str, onnx.ModelProto]]:
    """A query about one network that a point satisfies, with linear conditions of which it is at the border."""
    draw = random.Random(seed)
    size, outputs = draw.randint(2, 5), draw.randint(1, 2)
    net = Net("f", (Tensor("X", "input", (size,)), Tensor("Y", "output", (outputs,))))
    writer = Writer(draw, [net])
    models = models_of([net], draw)
    inputs = random_values(draw, [net])
    values = {name: value.astype(np.float64) for name, value in computed([net], models, inputs).items()}
    writer.box()
    formulas = []
    for _ in range(draw.randint(1, 4)):
        terms = [(draw.choice([-2, -1, -0.5, 0.25, 0.5, 1, 1.5]), k) for k in draw.sample(range(size), 2)]
        total = sum(c * float(values["X"][k]) for c, k in terms)
        text = f"(+ {' '.join(f'(* {decimal(c)} X[{k}])' for c, k in terms)})"
        kind = draw.random()
        if kind < 0.4:
            formulas.append(f"(<= {text} {decimal(total + draw.choice([0, THIN]))})")
            formulas.append(f"(>= {text} {decimal(total - draw.choice([0, THIN]))})")
        elif kind < 0.7:
            formulas.append(f"({draw.choice(['<=', '>=', '=='])} {text} {decimal(total)})")
        else:
            formulas.append(f"(or (<= {text} {decimal(total)}) (>= {text} {decimal(total + 0.5)}))")
    text = writer.text(*formulas, writer.tight(values), writer.true_formula(values))
    assert standard.holds(text, values), text
    return net, text, models


def check(seed: int) -> Verdict:
    net, text, models = wedge(seed)
    result = decided(text, models, Config(timeout=0.25, attack=seed % 4 == 0, threads=1))
    assert result.verdict is not Verdict.UNSAT, text
    if result.verdict is Verdict.SAT:
        check_witness(text, [net], models, answer(result).splitlines()[1:])
    return result.verdict


def test_a_few_are_never_called_unsat() -> None:
    assert [check(seed) for seed in range(30)].count(Verdict.SAT) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1600))
def test_none_is_called_unsat(seed: int) -> None:
    check(seed)
