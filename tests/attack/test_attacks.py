from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
import torch

from specs import Case, InputSet, Rows, Spec
from tests.attack.small import Setting, below, relu_model
from verifier.attack import Attack, Corners, Lp, Pgd
from verifier.attack.affine_maps import affine_maps
from verifier.attack.pgd import queue
from verifier.attack.relaxation import Relaxation
from verifier.bounds.schedule import CROWN, bound_nodes
from verifier.graph.graph import OUTPUT
from verifier.result import Counterexample

ATTACKS = [pytest.param(attack, id=type(attack).__name__) for attack in (Pgd(), Corners())]


def random_weights(seed: int, sizes: tuple[int, ...]) -> list[list[list[float]]]:
    draw = np.random.default_rng(seed)
    return [(draw.standard_normal((m, n)) / np.sqrt(n)).tolist() for n, m in itertools.pairwise(sizes)]


def setting_near_minimum(seed: int, slack: float, size: int = 3) -> Setting:
    """A random network whose least output, by a dense sample, is ``slack`` below the bound."""
    model = relu_model(random_weights(seed, (size, 12, 12, 1)))
    ends = [-1.0] * size, [1.0] * size
    graph = Setting(model, below(*ends, 0.0)).graph
    draw = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(50_000, size, generator=draw, dtype=torch.float64) - 1
    return Setting(model, below(*ends, float(graph(x).min()) + slack))


def run(attack: Attack, setting: Setting, seconds: float = 5.0, starts: torch.Tensor | None = None) -> object:
    generator = torch.Generator().manual_seed(0)
    return attack.run(setting.problem, setting.which, setting.checker, time.monotonic() + seconds, generator, starts)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("attack", ATTACKS)
def test_easy_counterexamples_are_found(attack: Attack, seed: int) -> None:
    setting = setting_near_minimum(seed, 0.2)
    found = run(attack, setting)
    assert isinstance(found, Counterexample)
    assert setting.checker.spec.violated_by(found.x, found.y) == 0


@pytest.mark.parametrize("seed", range(5))
def test_descent_reaches_what_sampling_reaches(seed: int) -> None:
    assert isinstance(run(Pgd(restarts=1024), setting_near_minimum(seed, 1e-4)), Counterexample)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_found_where_nothing_is(attack: Attack) -> None:
    assert run(attack, setting_near_minimum(0, -1.0)) is None


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_time_and_no_cases(attack: Attack) -> None:
    setting = setting_near_minimum(0, 0.2)
    assert run(attack, setting, seconds=-1.0) is None
    setting.which = setting.which[:0]
    assert run(attack, setting) is None


@pytest.mark.parametrize("attack", ATTACKS)
def test_only_the_listed_cases_are_attacked(attack: Attack) -> None:
    inputs = InputSet([-1, -1], [1, 1])
    cases = tuple(
        Case(inputs, Rows(np.array([[1.0]]), None, np.array([bound]), np.array([False]))) for bound in (-9.0, 9.0)
    )
    setting = Setting(relu_model([[[1.0, 0.0]], [[1.0]]]), Spec(cases, 2, 1))
    found = run(attack, setting)
    assert isinstance(found, Counterexample)
    assert found.case == 1
    setting.which = torch.tensor([0])
    assert run(attack, setting) is None


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_case_without_conditions_is_unsafe_anywhere(attack: Attack) -> None:
    spec = Spec((Case(InputSet([0, 0], [1, 1]), Rows(np.zeros((0, 1)), None, np.zeros(0), np.zeros(0, bool))),), 2, 1)
    assert isinstance(run(attack, Setting(relu_model([[[1.0, 0.0]], [[1.0]]]), spec)), Counterexample)


def test_given_points_are_tried() -> None:
    setting = Setting(relu_model([[[1.0], [-1.0]], [[0.0, 0.0]]]), below([-1], [1], 0.0))
    starts = torch.tensor([[[0.25]]])
    found = run(Pgd(), setting, starts=starts)
    assert isinstance(found, Counterexample)
    assert found.x.tolist() == [0.25]


def test_the_deadline_stops_a_long_attack() -> None:
    begun = time.monotonic()
    assert run(Pgd(restarts=1_000_000), setting_near_minimum(0, -1.0), seconds=0.3) is None
    assert time.monotonic() - begun < 2


def test_the_same_seed_gives_the_same_point() -> None:
    first, second = (run(Pgd(), setting_near_minimum(1, 0.01), seconds) for seconds in (5, math.inf))
    assert isinstance(first, Counterexample)
    assert isinstance(second, Counterexample)
    assert first.x.tolist() == second.x.tolist()


def test_the_queue_has_each_pair_once_and_the_best_first() -> None:
    place, trial = queue(torch.tensor([2, 0, 1]), 4)
    assert sorted(zip(place.tolist(), trial.tolist(), strict=True)) == [(p, t) for p in range(3) for t in range(4)]
    assert place[0] == 2
    assert trial[0] == 0
    assert (place[:6] == 2).sum() >= (place[:6] == 1).sum()


def test_affine_maps_are_the_network() -> None:
    setting = setting_near_minimum(3, 0.0)
    maps, constants = affine_maps(setting.graph)
    x = torch.rand(1, 3, dtype=torch.float64)
    values = setting.graph.values(x)
    for target, sources in maps.items():
        total = constants[target].copy()
        for source, entries in sources.items():
            np.add.at(total, entries.row, entries.value * values[source].flatten().numpy()[entries.column])
        np.testing.assert_allclose(total, values[target].flatten().numpy(), atol=1e-12)
    assert OUTPUT in maps


@pytest.mark.parametrize("seed", range(5))
def test_the_relaxation_is_below_the_network_and_exact_when_fixed(seed: int) -> None:
    setting = setting_near_minimum(seed, 0.0)
    problem, boxes = setting.exact, bound_nodes(setting.graph, setting.cases.boxes, CROWN).boxes
    relaxation = Relaxation(setting.graph, boxes)
    relaxation.target(np.ones((1, 1)), None, np.zeros(1))
    until = time.monotonic() + 10
    solved = relaxation.solve(until)
    assert solved is not None
    x = torch.from_numpy(solved[1]).unsqueeze(0)
    draw = torch.Generator().manual_seed(seed)
    sample = setting.graph(2 * torch.rand(10_000, 3, generator=draw, dtype=torch.float64) - 1)
    assert solved[0] <= float(sample.min()) + 1e-6
    values = problem.graph.values(x)
    signs = {name: np.where(value.flatten().numpy() > 0, 1, -1).astype(np.int8) for name, value in values.items()}
    relaxation.fix(signs)
    fixed = relaxation.solve(until)
    assert fixed is not None
    there = float(problem.graph(torch.from_numpy(fixed[1]).unsqueeze(0)))
    assert there == pytest.approx(fixed[0], abs=1e-6)
    assert there <= float(problem.graph(x)) + 1e-6
    relaxation.release()
    again = relaxation.solve(until)
    assert again is not None
    assert again[0] == pytest.approx(solved[0], abs=1e-6)


@pytest.mark.parametrize("seed", [2, 3, 5, 7, 8])
def test_diving_reaches_what_sampling_reaches_on_these_networks(seed: int) -> None:
    setting = setting_near_minimum(seed, 1e-3)
    boxes = bound_nodes(setting.graph, setting.cases.boxes, CROWN).boxes
    lp = Lp()
    assert lp.accepts(setting.exact, boxes)
    found = lp.run(setting.exact, boxes, setting.which, setting.checker, math.inf)
    assert isinstance(found, Counterexample)


def test_the_program_is_not_tried_where_it_is_too_large() -> None:
    setting = setting_near_minimum(0, 0.0)
    boxes = bound_nodes(setting.graph, setting.cases.boxes, CROWN).boxes
    assert not Lp(max_unstable=1).accepts(setting.exact, boxes)
    assert not Lp().accepts(setting.exact, {})
