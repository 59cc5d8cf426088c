"""Steps to the boundary, found exactly and by Lanczos's method, and runs that end in time."""

from __future__ import annotations

import time

import pytest
import torch

from tests.lipschitz.sdp.composed import network
from verifier.lipschitz.sdp import GroupSort, Slopes, lanczos
from verifier.lipschitz.sdp.bound import bound
from verifier.lipschitz.sdp.interior import Interior
from verifier.lipschitz.sdp.program import Program
from verifier.lipschitz.sdp.scaling import balanced
from verifier.lipschitz.sdp.start import start


@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_lanczos_finds_the_step_to_the_boundary(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    for size in (3, 60):
        basis = torch.linalg.qr(torch.randn(size, size, generator=generator).double())[0]
        matrix = (basis * torch.logspace(-spread, spread, size).double()) @ basis.mT
        direction = torch.randn(size, size, generator=generator).double()
        direction = direction + direction.mT
        factor = torch.linalg.cholesky(matrix).unsqueeze(0)
        steps = []
        for limit in (1000, 0):
            monkeypatch.setattr(lanczos, "EXACT", limit)
            steps.append(lanczos.step_to_boundary([factor], [direction.unsqueeze(0)], 0.95))
        assert 0.9 * steps[0] <= steps[1] <= 1.02 * steps[0]
        assert lanczos.step_to_boundary([factor], [matrix.unsqueeze(0)], 0.95) == 1.0
        assert lanczos.step_to_boundary([factor], [-2 * matrix.unsqueeze(0)], 0.9) == pytest.approx(0.45, rel=0.05)


@pytest.mark.parametrize("activation", [Slopes(0, 1), GroupSort(2)], ids=str)
def test_deep_networks_converge_in_few_iterations(activation: Slopes | GroupSort) -> None:
    for widths in ((3, *[8] * 10, 2), (10, 64, 64, 5), (10, *[20] * 4, 3)):
        found = bound(network(widths, activation))
        assert found.closed
        assert found.iterations <= 30


def test_a_run_may_begin_anywhere_feasible() -> None:
    system = balanced(network((4, 12, 8, 2), Slopes(0, 1)))[0]
    first = start(system, False, 10.0)
    assert first is not None
    program = Program(system, False, first)
    plain, other = Interior().solve(program), Interior().solve(program, 1.5 * first)
    assert plain.reason == other.reason == "converged"
    assert float(other.y[0]) == pytest.approx(float(plain.y[0]), rel=1e-6)
    assert Interior().solve(program, torch.zeros_like(first)).reason == "stalled"


def test_runs_end_in_time() -> None:
    begun = time.monotonic()
    found = bound(network((50, 300, 300, 5), Slopes(0, 1)), timeout=1.0, gap=1e-14)
    assert found.reason in ("timeout", "stalled")
    assert time.monotonic() - begun < 20
