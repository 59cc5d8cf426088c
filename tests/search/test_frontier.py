"""Domains as structs, the frontier, and the loop, with strategies that only count."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from verifier.result import Counterexample, Progress
from verifier.search import bab
from verifier.search.bab import Search
from verifier.search.domains import Domains, Frontier
from verifier.search.portfolio import take_turns


@dataclass(frozen=True, eq=False)
class Marked(Domains):
    """Domains with a number, once plain and once in a dict."""

    mark: Tensor
    more: dict[str, Tensor]


def marked(bounds: list[float], case: list[int] | None = None, first: int = 0) -> Marked:
    bound = torch.tensor(bounds, dtype=torch.float64)
    mark = first + torch.arange(len(bounds))
    cases = torch.zeros(len(bounds), dtype=torch.long) if case is None else torch.tensor(case)
    return Marked(cases, bound, torch.full_like(bound, 1 / 8), mark, {"twice": torch.stack([mark, -mark], 1)})


def assert_whole(domains: Marked) -> None:
    assert domains.more["twice"].tolist() == [[k, -k] for k in domains.mark.tolist()]


def test_take_and_cat_carry_every_field() -> None:
    domains = marked([0.0, -1.0, 2.0])
    assert len(domains) == 3
    some = domains.take(torch.tensor([2, 0, 0]))
    assert some.mark.tolist() == [2, 0, 0]
    assert_whole(some)
    mask = domains.take(torch.tensor([False, True, False]))
    both = Marked.cat([some, mask])
    assert both.mark.tolist() == [2, 0, 0, 1]
    assert both.bound.tolist() == [2.0, 0.0, 0.0, -1.0]
    assert_whole(both)
    assert len(domains.take(torch.zeros(3, dtype=torch.bool))) == 0


def test_the_worst_come_first() -> None:
    frontier: Frontier[Marked] = Frontier()
    frontier.push(marked([-0.5, -3.0, -1.0, -2.0]))
    assert (len(frontier), frontier.worst) == (4, -3.0)
    taken = frontier.pop(2)
    assert sorted(taken.mark.tolist()) == [1, 3]
    assert_whole(taken)
    assert (len(frontier), frontier.worst, frontier.weight) == (2, -1.0, 0.25)
    assert sorted(frontier.pop(5).mark.tolist()) == [0, 2]
    assert (len(frontier), frontier.worst) == (0, None)


def test_domains_without_a_bound_are_the_worst() -> None:
    frontier: Frontier[Marked] = Frontier()
    frontier.push(marked([-1e30, math.nan, -5.0]))
    assert frontier.pop(1).mark.tolist() == [1]


def test_an_empty_push_changes_nothing() -> None:
    frontier: Frontier[Marked] = Frontier()
    frontier.push(marked([]))
    assert len(frontier) == 0
    assert len(frontier.cases()) == 0
    frontier.drop(torch.tensor([0]))
    frontier.push(marked([1.0]))
    assert len(frontier) == 1


def test_cases_are_dropped() -> None:
    frontier: Frontier[Marked] = Frontier()
    frontier.push(marked([-1.0, -2.0, -3.0, -4.0], [0, 1, 2, 1]))
    assert frontier.cases().tolist() == [0, 1, 2]
    frontier.drop(torch.tensor([1]))
    assert frontier.cases().tolist() == [0, 2]
    assert sorted(frontier.pop(9).mark.tolist()) == [0, 2]


def test_slots_are_used_again_and_nothing_is_lost() -> None:
    """A random history against a plain dict of the open domains."""
    frontier: Frontier[Marked] = Frontier()
    expected: dict[int, float] = {}
    draw, born = torch.Generator().manual_seed(0), 0
    for _ in range(60):
        count = int(torch.randint(9, (), generator=draw))
        bounds = torch.randn(count, generator=draw).tolist()
        fresh = marked(bounds, [int(torch.randint(3, (), generator=draw)) for _ in bounds], born)
        frontier.push(fresh)
        expected |= dict(zip(range(born, born + count), bounds, strict=True))
        born += count
        if int(torch.randint(2, (), generator=draw)) and len(frontier):
            taken = frontier.pop(int(torch.randint(1, 6, (), generator=draw)))
            assert_whole(taken)
            worst = sorted(expected.values())[: len(taken)]
            assert sorted(expected.pop(mark) for mark in taken.mark.tolist()) == pytest.approx(worst)
        assert len(frontier) == len(expected)
    rest = frontier.pop(len(frontier))
    assert sorted(rest.mark.tolist()) == sorted(expected)
    assert_whole(rest)


def test_what_was_popped_survives_what_is_pushed_next() -> None:
    frontier: Frontier[Marked] = Frontier()
    frontier.push(marked([-1.0, -2.0]))
    taken = frontier.pop(2)
    frontier.push(marked([-3.0, -4.0], first=10))
    assert sorted(taken.mark.tolist()) == [0, 1]


@dataclass
class Halving:
    """Bounds grow by one with each split; ``memory`` is how many domains fit."""

    batch: int = 8
    memory: int = 1 << 20
    goal: float = 3.0
    nan: bool = False
    sizes: list[int] = field(default_factory=list)

    def split(self, domains: Marked) -> Marked:
        return Marked.cat([domains, domains])

    def bound(self, domains: Marked) -> tuple[Marked, Tensor]:
        self.sizes.append(len(domains))
        if len(domains) > self.memory:
            raise torch.OutOfMemoryError("too much")
        bound = domains.bound * math.nan if self.nan else domains.bound + 1
        better = Marked(domains.case, bound, domains.weight / 2, domains.mark, domains.more)
        return better, torch.zeros(len(domains), 1)


def nothing(case: Tensor, x: Tensor) -> None:
    assert len(case) == len(x)


def search(strategy: Halving, count: int = 8) -> Search[Marked]:
    found: Search[Marked] = Search(strategy, nothing, Progress())
    found.frontier.push(marked([-2.5] * count))
    return found


def test_the_loop_ends_when_everything_is_closed() -> None:
    run = search(Halving(), 1)
    run.run(math.inf)
    assert (len(run.frontier), run.rounds) == (0, 3)
    assert (run.progress.visited, run.progress.closed, run.progress.open) == (2 + 4 + 8, 8, 0)


def test_too_little_memory_halves_the_batch() -> None:
    run = search(Halving(batch=8, memory=5))
    run.run(math.inf)
    assert run.strategy.batch == 2
    assert run.strategy.sizes[:2] == [16, 8]
    assert len(run.frontier) == 0
    assert run.progress.closed == 8 * 8


def test_without_memory_for_a_single_domain_it_says_so_and_loses_none() -> None:
    run = search(Halving(batch=8, memory=1))
    with pytest.raises(MemoryError, match="single domain"):
        run.run(math.inf)
    assert len(run.frontier) == 8


def test_too_many_open_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bab, "MAX_DOMAINS", 20)
    run = search(Halving(goal=100))
    run.strategy.bound = lambda domains: (domains, torch.zeros(len(domains), 1))  # type: ignore[method-assign]
    with pytest.raises(MemoryError, match="20"):
        run.run(math.inf)


def test_bounds_that_are_no_numbers_close_nothing() -> None:
    run = search(Halving(nan=True))
    run.run(math.inf, max_rounds=3)
    assert run.progress.closed == 0
    assert len(run.frontier) == 8 + 3 * 8


def test_rounds_and_time_are_limits() -> None:
    run = search(Halving())
    run.run(math.inf, max_rounds=2)
    assert (run.rounds, len(run.frontier) > 0) == (2, True)
    run.run(time.monotonic() - 1)
    assert run.rounds == 2
    run.run(math.inf)
    assert len(run.frontier) == 0


def test_a_counterexample_ends_the_loop() -> None:
    found = Counterexample(torch.zeros(1).numpy(), torch.zeros(1).numpy(), 0)
    run: Search[Marked] = Search(Halving(), lambda case, x: found, Progress())
    run.frontier.push(marked([-9.0]))
    run.run(math.inf)
    assert (run.counterexample, run.rounds) == (found, 1)


@dataclass
class FakeArm:
    """Closes its cases one a run, in the given order; ``fast`` says how much of the whole a run closes."""

    order: list[int]
    fast: float = 0.5
    wins: bool = False
    counterexample: Counterexample | None = None
    runs: int = 0
    part: float = 1.0
    granted: list[float] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    open: set[int] = field(default_factory=lambda: {0, 1, 2})

    def run(self, until: float, rounds: int | None) -> None:
        del rounds
        self.granted.append(until - time.monotonic())
        self.runs += 1
        self.part *= self.fast
        if self.order:
            self.open.discard(self.order.pop(0))
        if self.wins:
            self.counterexample = Counterexample(torch.zeros(1).numpy(), torch.zeros(1).numpy(), 1)
        time.sleep(0.002)

    def idle(self) -> bool:
        return not self.open

    def cases(self) -> Tensor:
        return torch.tensor(sorted(self.open), dtype=torch.long)

    def drop(self, case: Tensor) -> None:
        self.dropped += case.tolist()
        self.open -= set(case.tolist())

    def left(self) -> float:
        return self.part


CASES = torch.arange(3)


def turns(*arms: FakeArm, rounds: int | None = None, seconds: float = 10.0) -> tuple[Counterexample | None, list[int]]:
    found, still = take_turns(list(arms), CASES, time.monotonic() + seconds, rounds, lambda case: None)
    return found, still.tolist()


def test_cases_closed_by_either_arm_are_closed() -> None:
    one, other = FakeArm([0]), FakeArm([2, 1])
    assert turns(one, other) == (None, [])
    assert set(other.dropped) >= {0}
    assert set(one.dropped) >= {1, 2}


@pytest.mark.parametrize(
    "first",
    [0, 1],
)
def test_the_faster_arm_gets_more_turns_and_the_other_still_some(first: int) -> None:
    arms = [FakeArm([], 0.99), FakeArm([], 1.0)]
    fast, slow = arms
    assert turns(*(arms if first == 0 else arms[::-1]), seconds=0.2) == (None, [0, 1, 2])
    assert fast.runs > slow.runs > 2


def test_an_arm_that_closes_nothing_has_short_turns() -> None:
    fast, slow = FakeArm([9] * 9 + [0, 1, 2], 0.9), FakeArm([], 1.0)
    assert turns(fast, slow, seconds=1000.0) == (None, [])
    assert len(slow.granted) >= 2
    assert max(slow.granted[1:]) < 0.5 * max(fast.granted)


def test_idle_arms_have_no_turns() -> None:
    done, other = FakeArm([], open=set()), FakeArm([0])
    assert turns(other, done, seconds=0.05) == (None, [1, 2])
    assert done.runs == 0


def test_what_no_arm_closes_stays_open() -> None:
    assert turns(FakeArm([1]), FakeArm([1]), seconds=0.05) == (None, [0, 2])


def test_a_counterexample_of_an_arm_counts() -> None:
    found, still = turns(FakeArm([0]), FakeArm([], wins=True))
    assert found is not None
    assert 1 in still


def test_a_counterexample_between_turns_counts() -> None:
    found = Counterexample(torch.zeros(1).numpy(), torch.zeros(1).numpy(), 0)
    asked: list[list[int]] = []

    def between(case: Tensor) -> Counterexample | None:
        asked.append(case.tolist())
        return found if len(asked) == 2 else None

    answer, still = take_turns([FakeArm([0])], CASES, time.monotonic() + 10, None, between)
    assert (answer, still.tolist()) == (found, [1, 2])
    assert asked == [[1, 2], [1, 2]]


def test_nothing_open_runs_nothing() -> None:
    arm = FakeArm([])
    assert take_turns([arm], CASES[:0], time.monotonic() + 10, None, lambda case: None)[0] is None
    assert arm.runs == 0
