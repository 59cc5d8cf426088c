"""The first-order method: as good as the interior-point method to its temperature, and feasible whenever it ends."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.lipschitz.sdp.composed import network
from verifier.lipschitz.sdp import GroupSort, Slopes
from verifier.lipschitz.sdp.bound import bound
from verifier.lipschitz.sdp.constraints.parts import Activation
from verifier.lipschitz.sdp.elimination import Elimination
from verifier.lipschitz.sdp.firstorder import FirstOrder
from verifier.lipschitz.sdp.guarantee import guarantee
from verifier.lipschitz.sdp.interior import Outcome
from verifier.lipschitz.sdp.pruning import alive
from verifier.lipschitz.sdp.scaling import balanced
from verifier.lipschitz.sdp.start import start
from verifier.lipschitz.sdp.system import System

ACTIVATIONS: list[Activation] = [Slopes(0, 1), Slopes(-0.3, 1.2), GroupSort(2), GroupSort(3)]


def descend(system: System, norm: str, method: FirstOrder) -> tuple[Outcome, float]:
    """The outcome, and the certified bound."""
    infinite = norm != "2"
    ready, exponent = balanced(alive(system))
    found = method.solve(ready, infinite, start(ready, infinite, math.inf))
    return found, math.ldexp(guarantee(ready, found.y, infinite).upper, exponent)


@pytest.mark.parametrize("norm", ["2", "inf,1"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_it_comes_as_near_to_the_optimum_as_it_says(activation: Activation, norm: str) -> None:
    for widths, skip in (((5, 18, 12, 3), False), ((8, 12, 12, 12, 1), True)):
        system = network(widths, activation, skip)
        best = bound(system, norm, gap=1e-6).upper
        for gap in (1e-2, 1e-3):
            found, upper = descend(system, norm, FirstOrder(gap))
            assert (found.reason, found.gap) == ("converged", gap)
            assert -1e-6 <= upper / best - 1 <= 1.5 * gap


@pytest.mark.parametrize("norm", ["2", "inf,1"])
def test_it_ends_with_a_feasible_point_at_any_time(norm: str) -> None:
    system = network((4, 16, 16, 2), Slopes(0, 1))
    bounds = [descend(system, norm, FirstOrder(points=points))[1] for points in (1, 10, 40, 3000)]
    assert all(math.isfinite(upper) for upper in bounds)
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(bounds))
    assert bounds[-1] < 0.8 * bounds[0]
    hasty, upper = descend(system, norm, FirstOrder(timeout=0.0))
    assert (hasty.reason, hasty.gap) == ("timeout", math.inf)
    assert upper == pytest.approx(bounds[0])


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_derivatives_are_those_of_the_soft_maximum(activation: Activation) -> None:
    system = balanced(network((4, 12, 6, 3), activation, skip=False))[0]
    rng = np.random.default_rng(0)
    elimination = Elimination(system)
    y = start(system, True, math.inf)
    d, mu, t = (part * torch.from_numpy(rng.uniform(1, 1.2, len(part))) for part in y.split([4, 3, len(y) - 7]))
    level = elimination.level(t, mu, d, 0.1)
    assert level is not None and level.rho <= level.soft
    for which, slope in ((0, level.by_t), (1, level.by_mu), (2, level.by_d)):
        parts = [t, mu, d]
        direction = torch.from_numpy(rng.normal(size=len(parts[which]))) * parts[which]
        ends = []
        for sign in (1, -1):
            moved = [part + sign * 1e-6 * direction if k == which else part for k, part in enumerate(parts)]
            end = elimination.level(*moved, 0.1)
            assert end is not None
            ends.append(end.soft)
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float(slope @ direction), rel=1e-4, abs=1e-8)


def test_bounds_by_either_solver_agree() -> None:
    system = network((30, 20, 20, 3), Slopes(0, 1))  # more inputs than neurons that read them
    for norm in ("2", "inf"):
        exact, rough = bound(system, norm), bound(system, norm, solver="first-order")
        assert rough.closed and rough.certified
        assert exact.upper * (1 - 1e-6) <= rough.upper <= exact.upper * 1.002


def test_multipliers_that_are_too_small_are_not_feasible() -> None:
    system = balanced(network((4, 12, 6, 3), Slopes(0, 1)))[0]
    t = start(system, False, math.inf)[1:]
    one = [torch.ones(count).double() for count in (3, 4)]
    assert Elimination(system).level(t, *one, 0.1) is not None
    assert Elimination(system).level(1e-6 * t, *one, 0.1) is None
