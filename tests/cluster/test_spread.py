"""A search handed out in parts: nothing is lost, whatever becomes of the workers."""

from __future__ import annotations

import math
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch

import specs
from tests.cluster.support import hard
from verifier.attack import Checker
from verifier.cluster.plan import Item, Part, recipe, work
from verifier.cluster.pool import Answer
from verifier.cluster.spread import SpreadSearch, Team
from verifier.graph.onnx_import import load
from verifier.problem import Cases
from verifier.result import Counterexample, Progress
from verifier.search.bab import Search, Strategy
from verifier.search.by_input import InputSplitting
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.leaves import Leaves
from verifier.search.root import Roots

MOMENT = 0.02


@dataclass
class FakePool:
    """Answers in no order; some requests are lost, after or before they were worked on."""

    deaths: float
    slots: int = 3
    count: int = 3
    pending: list[tuple[int, Any, Item[Any]]] = field(default_factory=list)
    lost: int = 0
    cancelled: int = 0
    random: random.Random = field(default_factory=lambda: random.Random(0))

    @property
    def idle(self) -> int:
        return self.slots - len(self.pending)

    def start(self, key: int, number: int, plan: Any, item: Item[Any]) -> None:
        self.pending.append((key, plan, replace(cloudpickle.loads(cloudpickle.dumps(item)), seconds=MOMENT)))

    def wait(self, timeout: float) -> list[Answer[int]]:
        if not self.pending:
            return []
        key, plan, item = self.pending.pop(self.random.randrange(len(self.pending)))
        if self.random.random() < self.deaths:
            self.lost += 1
            return [Answer(key, None, lost=True)]
        return [Answer(key, self.tampered(work(*plan, item)))]

    def tampered(self, part: Part[Any]) -> Part[Any]:
        return part

    def cancel(self) -> None:
        self.cancelled += 1
        self.pending.clear()


class FakeTeam(Team):
    """A team without a cluster; plans are pickled as they would be."""

    def __init__(self, pool: FakePool, checker: Checker, deadline: float = math.inf) -> None:
        super().__init__("nowhere", checker, deadline, ExitStack(), alone=0.0)
        self.__dict__["pool"] = pool
        self.checker = checker

    def plan(self, strategy: Strategy[Any]) -> Any:
        make, checker = cloudpickle.loads(cloudpickle.dumps((recipe(strategy), self.checker.without_file())))
        return 0, (make(time.monotonic() + 100), checker)


def problem(tmp_path: Path, inputs: int, most: float) -> tuple[Cases, Checker, Roots]:
    model, text = hard(tmp_path, inputs, 16, most)
    graph, spec = load(model), specs.load(text)
    cases = Cases.of(spec, graph)
    return cases, Checker(graph, cases, spec, model), Roots(graph, cases)


def begun(make: Any, kind: str, cases: Cases, checker: Checker, roots: Roots) -> Search[Any]:
    case, bound = torch.arange(len(cases)), torch.full((len(cases),), -math.inf, dtype=torch.float64)
    if kind == "input":
        inputs = InputSplitting(roots.graph, cases, batch=8)
        search: Search[Any] = make(inputs, checker, Progress(), Leaves())
        search.frontier.push(inputs.roots(case, bound))
        return search
    neurons = NeuronSplitting(roots.of(0), cases, batch=4, iterations=10)
    search = make(neurons, checker, Progress(), Leaves())
    search.enter(*neurons.bound(neurons.roots(case, bound, torch.zeros_like(case), torch.zeros_like(case))))
    return search


@pytest.mark.parametrize("deaths", [0.0, 0.4])
@pytest.mark.parametrize(("kind", "inputs", "most"), [("input", 4, 0.3), ("neuron", 10, 0.6)])
def test_closes_what_a_search_closes(tmp_path: Path, kind: str, inputs: int, most: float, deaths: float) -> None:
    cases, checker, roots = problem(tmp_path, inputs, most)
    pool = FakePool(deaths)
    search = begun(FakeTeam(pool, checker).search, kind, cases, checker, roots)
    assert isinstance(search, SpreadSearch)
    search.run(time.monotonic() + 60)
    assert search.counterexample is None
    assert not len(search.cases())
    assert search.progress.visited > 0
    assert bool(pool.lost) == bool(deaths)
    assert not search.leaves.complete


@pytest.mark.parametrize(("kind", "inputs", "most"), [("input", 4, 0.2), ("neuron", 10, 0.3)])
def test_finds_a_counterexample_that_the_file_confirms(tmp_path: Path, kind: str, inputs: int, most: float) -> None:
    cases, checker, roots = problem(tmp_path, inputs, most)
    search = begun(FakeTeam(FakePool(0.2), checker).search, kind, cases, checker, roots)
    search.run(time.monotonic() + 60)
    assert search.counterexample is not None
    assert search.counterexample.y[0] >= most
    assert len(search.cases())  # what others still had is open


def test_nothing_closes_where_all_workers_die(tmp_path: Path) -> None:
    cases, checker, roots = problem(tmp_path, 4, 0.3)
    search = begun(FakeTeam(FakePool(1.0), checker).search, "input", cases, checker, roots)
    search.run(time.monotonic() + 0.5)
    assert search.cases().tolist() == [0]
    assert search.weight == 1.0
    assert search.progress.closed == 0


def test_a_worker_that_never_answers_leaves_its_domains_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(FakePool):
        def wait(self, timeout: float) -> list[Answer[int]]:
            time.sleep(0.01)
            return []

    monkeypatch.setattr("verifier.cluster.spread.LATE", 0.1)
    cases, checker, roots = problem(tmp_path, 4, 0.3)
    pool, until = Silent(0.0), time.monotonic() + 0.2
    search = begun(FakeTeam(pool, checker, until).search, "input", cases, checker, roots)
    search.run(until)
    assert time.monotonic() < until + 5
    assert search.weight == 1.0
    assert pool.cancelled == 1


def test_an_error_of_a_worker_leaves_its_domains_open(tmp_path: Path) -> None:
    class Late(FakePool):
        def tampered(self, part: Part[Any]) -> Part[Any]:
            raise TimeoutError

    cases, checker, roots = problem(tmp_path, 4, 0.3)
    search = begun(FakeTeam(Late(0.0), checker).search, "input", cases, checker, roots)
    with pytest.raises(TimeoutError):
        search.run(time.monotonic() + 60)
    assert search.weight == 1.0


def test_what_a_worker_calls_a_counterexample_is_checked_again(tmp_path: Path) -> None:
    class Liar(FakePool):
        def tampered(self, part: Part[Any]) -> Part[Any]:
            return replace(part, found=[Counterexample(torch.zeros(4).double().numpy(), torch.ones(1).numpy(), 0)])

    cases, checker, roots = problem(tmp_path, 4, 0.3)
    search = begun(FakeTeam(Liar(0.0), checker).search, "input", cases, checker, roots)
    search.run(time.monotonic() + 60)
    assert search.counterexample is None
    assert isinstance(search, SpreadSearch)
    assert not search.trusting
    assert not len(search.cases())
