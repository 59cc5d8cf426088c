"""Inputs that are rounded before anything reads them: the search counts their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from specs import Case, InputSet, Rows, Spec
from tests.graph.test_discrete import MODELS, patch
from verifier.config import Config
from verifier.graph.onnx_import import load
from verifier.pipeline import verify
from verifier.problem import Cases
from verifier.result import Verdict
from verifier.search.by_input import InputSplitting
from verifier.search.whole_inputs import WholeInputs
from verifier.sets import Box


def spec(low: float, high: float, row: np.ndarray, bound: float, x: np.ndarray | None = None) -> Spec:
    """Unsafe where ``row . y <= bound`` for some x in low ... high."""
    rows = Rows(row[None], None if x is None else x[None], np.array([bound]), np.zeros(1, dtype=bool))
    return Spec((Case(InputSet(np.array([low]), np.array([high])), rows),), 1, len(row))


def test_what_is_only_rounded_is_whole() -> None:
    graph = load(patch(1))
    row = np.ones(graph.n_outputs)
    assert WholeInputs.of(graph, Cases.of(spec(0, 9, row, 0), graph)).mask.tolist() == [True]
    mixed = Cases.of(spec(0, 9, row, 0, np.ones(1)), graph)  # the condition reads the input itself
    assert WholeInputs.of(graph, mixed).mask.tolist() == [False]
    whole = WholeInputs.of(load(MODELS["Cast-int"]), Cases.of(spec_of_six(), load(MODELS["Cast-int"])))
    assert whole.mask.all()
    graph = load(MODELS["Equal-mixed"])
    whole = WholeInputs.of(graph, Cases.of(spec_of_six(3), graph))
    assert whole.mask.tolist() == [True] * 3 + [False] * 3


def spec_of_six(outputs: int = 6) -> Spec:
    rows = Rows(np.ones((1, outputs)), None, np.zeros(1), np.zeros(1, dtype=bool))
    return Spec((Case(InputSet(-np.ones(6), np.ones(6)), rows),), 6, outputs)


@pytest.mark.parametrize(("low", "high"), [(-2.3, 3.7), (0.0, 4.0), (-1.0, -0.5), (2.5, 2.5), (-4.2, -1.1)])
def test_parts_cover_all_whole_numbers(low: float, high: float) -> None:
    graph = load(MODELS["Cast-int"])
    inputs = InputSet(np.full(6, low), np.full(6, high))
    rows = Rows(np.ones((1, 6)), None, np.zeros(1), np.zeros(1, dtype=bool))
    cases = Cases.of(Spec((Case(inputs, rows),), 6, 6), graph)
    whole = WholeInputs.of(graph, cases)
    box = whole.between(cases.boxes)
    x = torch.linspace(low, high, 101).double().clamp(low, high)
    reached = set(x.trunc().tolist())
    ends = [(float(box.lower[0, 0]), float(box.upper[0, 0]))]
    points = set()
    while ends:
        first, last = ends.pop()
        if first == last:
            points.add(first)
        else:
            pair = torch.tensor([[first]]).double(), torch.tensor([[last]]).double()
            end, begin = whole.cut(torch.zeros(1, 1, dtype=torch.long), *pair)
            assert float(begin) == float(end) + 1
            ends += [(first, float(end)), (float(begin), last)]
    assert points == reached


@pytest.mark.parametrize("length", [1, 3])
def test_a_patch_is_found_or_excluded(length: int) -> None:
    proto = patch(length)
    graph = load(proto)
    image = graph(torch.tensor([[9.0]]).double())[0].numpy()
    where = 10 + 2  # what a patch at column 2 covers
    row = np.zeros(graph.n_outputs)
    row[where] = np.sign(image[where])
    for low, high, unsafe in ((0.0, 2.9, True), (3.0, 9.5, False), (0.0, 1.9, length > 1)):
        answer = verify(proto, spec(low, high, row, abs(image[where]) / 2), Config(timeout=20))
        assert answer.verdict is (Verdict.SAT if unsafe else Verdict.UNSAT), (low, high)


def test_counting_bounds_hold() -> None:
    graph = load(patch(3))
    cases = Cases.of(spec(0.2, 8.9, np.arange(15.0), 0), graph)
    search = InputSplitting(graph, cases)
    assert search.counting
    domains = search.roots(torch.tensor([0]), torch.tensor([-torch.inf]).double())
    x = torch.linspace(0.2, 8.9, 200).double()[:, None]
    y = graph(x) @ cases.y_rows[0, 0]
    for _ in range(6):
        domains, _ = search.bound(domains)
        box = Box(domains.lower, domains.upper)
        inside = (x.trunc() >= box.lower[:, 0]) & (x.trunc() <= box.upper[:, 0])  # (points, domains)
        assert inside.any(1).all()
        assert (~inside | (domains.bound <= y[:, None] + 1e-9)).all()
        domains = search.split(domains)
