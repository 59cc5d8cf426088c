"""A first-order method for the programs of networks that are too large for an interior-point method.

Minimise the largest eigenvalue of ``elimination`` over the logarithms of the multipliers, as a soft maximum whose
temperature falls, by the quasi-Newton method L-BFGS with backtracking. A point costs Cholesky factors of the layers and
the eigenvalues of a matrix of the size of the input; a few hundred points come within 1e-3 of the optimum. All points
that are kept are feasible, so that a run can end at any time.

For the norm 2 the variables are t, and ``L^2 = rho``; from the norm inf to 1 they are t, mu and d, and
``L^2 = rho sum d sum mu`` once tau = rho d and mu are scaled against each other, which leaves Z positive.

Source: Nocedal, Wright, "Numerical Optimization", 2nd ed., algorithm 7.4.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.lipschitz.sdp.elimination import Elimination, Level
from verifier.lipschitz.sdp.interior import Outcome
from verifier.lipschitz.sdp.system import System

HOT, COOLING = 0.03, 0.3
"""The first temperature, and how it falls."""

MEMORY = 20
"""Pairs of steps and changes of the gradient that are kept."""

LONGEST, SHRINK, TRIALS, DECREASE = 1.0, 0.4, 12, 1e-4
"""Of steps: the most that a logarithm changes, backtracking, and the part of the predicted decrease that is enough."""

FLAT, PATIENCE = 0.02, 10
"""At which decrease, relative to the temperature and over so many steps, it falls."""

FIRST = 3.0
"""The length of the first step, relative to the temperature."""


@dataclass(frozen=True, slots=True)
class FirstOrder:
    """The method: relative gap to stop at, the seconds and the points that it may take."""

    gap: float = 1e-3
    timeout: float = math.inf
    points: int = 3000

    def solve(self, system: System, infinite: bool, first: Tensor) -> Outcome:
        """Minimise, for a system in which every layer reads earlier groups alone.

        Args:
            system: its numbers are about 1.
            infinite: from the norm inf to 1, and not 2.
            first: a strictly feasible point of ``program``: rho, or tau and mu, and then the multipliers.

        Returns:
            The best point, laid out as the first. Its gap is an estimate, the last temperature at which the descent
            came to an end: in measurements, no bound was further from the optimum. Time is looked at between points.
        """
        return _Run(self, system, infinite, first).run()


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A point of the descent: logarithms, value and gradient of the logarithm of the squared bound, what it gives."""

    x: Tensor
    value: float
    slope: Tensor
    square: float
    level: Level


class _Run:
    """The descent on one system."""

    def __init__(self, method: FirstOrder, system: System, infinite: bool, first: Tensor) -> None:
        self.method, self.infinite, self.first = method, infinite, first
        self.deadline = time.monotonic() + method.timeout
        self.elimination = Elimination(system)
        self.inputs, self.outputs = system.inputs, system.output.rows
        self.count = 0
        self.best: _Place | None = None
        self.head = self.inputs + self.outputs if infinite else 1

    def run(self) -> Outcome:
        """Descend at lower and lower temperatures."""
        temperature, gap, reason = HOT, math.inf, "stalled"
        variables = self.first if self.infinite else self.first[1:]
        place = self._place(variables.log(), temperature)
        while place is not None:
            place, reason = self._descend(place, temperature)
            if reason != "converged":
                break
            gap = temperature
            if gap <= self.method.gap:
                break
            temperature = max(temperature * COOLING, self.method.gap)
            place = self._place(place.x, temperature)
        y = self.first if self.best is None else self._variables(self.best)
        return Outcome(y, gap, 0.0, self.count, reason)

    def _descend(self, place: _Place, temperature: float) -> tuple[_Place, str]:
        """Descend at one temperature until little is gained; return where and why it ended."""
        pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
        values: deque[float] = deque([place.value], maxlen=PATIENCE + 1)
        while True:
            if time.monotonic() > self.deadline or self.count >= self.method.points:
                return place, "timeout" if self.count < self.method.points else "iterations"
            moved = self._move(place, _direction(place.slope, pairs, min(0.3, FIRST * temperature)), temperature)
            if moved is None:
                if not pairs:
                    return place, "converged"
                pairs.clear()
                continue
            step, change = moved.x - place.x, moved.slope - place.slope
            if float(step @ change) > 1e-14:
                pairs.append((step, change))
            place = moved
            values.append(place.value)
            if len(values) > PATIENCE and values[0] - values[-1] < FLAT * temperature:
                return place, "converged"

    def _move(self, place: _Place, direction: Tensor, temperature: float) -> _Place | None:
        """Go along a direction, or return None where no step is good enough."""
        direction = direction * min(1.0, LONGEST / max(float(direction.abs().max()), 1e-300))
        promised, step = float(place.slope @ direction), 1.0
        for _ in range(TRIALS):
            found = self._place(place.x + step * direction, temperature)
            if found is not None and found.value <= place.value + DECREASE * step * promised:
                return found
            if time.monotonic() > self.deadline:
                return None
            step *= SHRINK
        return None

    def _place(self, x: Tensor, temperature: float) -> _Place | None:
        """Evaluate a point, and keep it if it is the best."""
        self.count += 1
        d, mu, t = self._split(x.exp())
        level = self.elimination.level(t, mu, d, temperature)
        if level is None:
            return None
        slope, square, value = t * level.by_t / level.soft, level.rho, math.log(level.soft)
        if self.infinite:
            heads = [d * level.by_d / level.soft + d / d.sum(), mu * level.by_mu / level.soft + mu / mu.sum()]
            slope, sums = torch.cat([*heads, slope]), float(d.sum()) * float(mu.sum())
            square, value = square * sums, value + math.log(sums)
        found = _Place(x, value, slope, square, level)
        if self.best is None or square < self.best.square:
            self.best = found
        return found

    def _split(self, variables: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return d, mu and t."""
        if not self.infinite:
            return variables.new_ones(self.inputs), variables.new_ones(self.outputs), variables
        return variables[: self.inputs], variables[self.inputs : self.head], variables[self.head :]

    def _variables(self, place: _Place) -> Tensor:
        """Return rho, or tau and mu of the same sum, and the multipliers."""
        d, mu, t = self._split(place.x.exp())
        if not self.infinite:
            return torch.cat([t.new_tensor([place.level.rho]), t])
        scale = math.sqrt(float(mu.sum()) / (place.level.rho * float(d.sum())))
        return torch.cat([scale * place.level.rho * d, mu / scale, scale * t])


def _direction(slope: Tensor, pairs: deque[tuple[Tensor, Tensor]], first: float) -> Tensor:
    """Return the quasi-Newton direction from the last steps and changes of the gradient."""
    found, rates = -slope, []
    for step, change in reversed(pairs):
        rate = (step @ found) / (step @ change)
        rates.append(rate)
        found = found - rate * change
    if not pairs:
        return found * (first / found.abs().max().clamp(min=1e-300))
    step, change = pairs[-1]
    found = found * ((step @ change) / (change @ change))
    for (step, change), rate in zip(pairs, reversed(rates), strict=True):
        found = found + step * (rate - (change @ found) / (step @ change))
    return found
