"""Projected gradient descent on the excess, from many points and on all cases at once."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.attack.objective import Objective, project
from verifier.half_spaces import HalfSpaces
from verifier.result import Counterexample
from verifier.search.bab import Witness
from verifier.sets import Box

SHARE = 0.25
"""Part of the time that ordering the cases may take."""

FOCUS = 4
"""How many times its share of all descents the most promising case may have, at the cost of the least promising."""

FIRST = 16
"""Descents in the first batch; each later one has four times as many, up to what fits into memory and time."""


@dataclass(frozen=True, slots=True)
class Pgd:
    """Descent by the gradient's sign with momentum, its step halved where it stalls, from several points a case.

    A case's first descents begin at the points given, then one at the centre of its box, then at random points. Of
    these each fourth goes down at once; the others first walk a little where one output, or a random mix of all, goes
    up: out of the basin around the centre, in which they would all end.

    Attributes:
        steps: of each descent.
        restarts: descents for each case, on average.
        stride: length of the first step, as a part of the box's width.
        momentum: part of the last move that is added.
        spread: steps of the walk.

    Property: see ``Attack``. Cost: a forward and a backward pass for each step.
    Source: Madry et al., ICLR 2018 (arXiv:1706.06083); the step's length as in Croce and Hein, ICML 2020
    (arXiv:2003.01690); random output directions: Tashiro et al., NeurIPS 2020 (arXiv:2003.06878).
    """

    steps: int = 50
    restarts: int = 8
    stride: float = 0.5
    momentum: float = 0.25
    spread: int = 5

    def run(
        self,
        problem: Objective,
        which: Tensor,
        checker: Witness,
        until: float,
        generator: torch.Generator,
        starts: Tensor | None = None,
    ) -> Counterexample | None:
        """See ``Attack.run``: the most promising cases go first, and get most restarts where time is short."""
        if not len(which) or time.monotonic() >= until:
            return None
        rank, seconds = rank_cases(problem, which, until)
        seconds *= 4  # the gradient costs about three passes more
        given = 0 if starts is None else len(starts)
        count = len(which) * (given + self.restarts)
        place, trial = (part[:count] for part in queue(rank, given + FOCUS * self.restarts))
        done, planned = 0, FIRST
        while done < len(place):
            left = until - time.monotonic()
            if left <= 0:
                return None
            # Only where time runs out does the clock decide what is tried: otherwise a seed gives the same points.
            size = max(1, int(min(left / (seconds * self.steps), planned, problem.batch)))
            take = slice(done, done + size)
            begun = time.monotonic()
            x = first_points(problem, which[place[take]], trial[take] - given, generator)
            if starts is not None:
                known = trial[take] < given
                x[known] = starts[trial[take][known], place[take][known]].to(x)
            uphill = first_directions(problem.graph.n_outputs, trial[take] - given, generator, x)
            descent = Descent.start(problem, which[place[take]], x, self.stride)
            found, steps = self._descend(descent, uphill, checker, until)
            if found is not None:
                return found
            done, planned = done + size, 4 * planned
            seconds = (time.monotonic() - begun) / (size * max(1, steps))
        return None

    def _descend(
        self, descent: Descent, uphill: Tensor, checker: Witness, until: float
    ) -> tuple[Counterexample | None, int]:
        """Step until a point is confirmed, the steps are used up, or it is too late; also return the steps made."""
        walks = (uphill != 0).any(-1)
        walking = bool(walks.any())
        needed = 0.0
        for step in range(self.steps):
            worst = descent.evaluate(-uphill if walking and step < self.spread else None)
            hits = (worst <= needed).nonzero().flatten()
            if len(hits):
                found = checker(descent.case[hits], descent.x[hits])
                if found is not None:
                    return found, step + 1
                needed = min(2 * float(worst[hits].min()), -torch.finfo(worst.dtype).tiny)
            if walking and step == self.spread:
                descent.reset(walks)
            if step % max(4, self.steps // 8) == 0 and step > self.spread:
                descent.shorten()
            descent.move(self.momentum)
            if time.monotonic() >= until:
                return None, step + 1
        return None, self.steps


@dataclass(slots=True, eq=False)
class Descent:
    """Points on their way down: P points of cases ``case``, with the best each has met.

    ``x``, ``last``, ``best``, ``gradient`` (at ``x``) and ``best_gradient`` have shape ``(P, n)``; ``low``, the best
    excess, ``mark``, what it was when the step was last judged, and ``stride`` have shape ``(P,)``.
    """

    problem: Objective
    case: Tensor
    box: Box
    half_spaces: HalfSpaces | None
    x: Tensor
    last: Tensor
    best: Tensor
    gradient: Tensor
    best_gradient: Tensor
    low: Tensor
    mark: Tensor
    stride: Tensor

    @staticmethod
    def start(problem: Objective, case: Tensor, x: Tensor, stride: float) -> Descent:
        """Begin at points ``(P, n)``."""
        box, half_spaces = problem.box(case), HalfSpaces.of(problem.cases)
        x = project(x, box) if half_spaces is None else half_spaces.project(case, x, box)
        far = torch.full_like(x[:, 0], torch.inf)
        zero = torch.zeros_like(x)
        return Descent(problem, case, box, half_spaces, x, x, x, zero, zero, far, far, torch.full_like(far, stride))

    def evaluate(self, directions: Tensor | None = None) -> Tensor:
        """Take the gradient at the points and note the best ones; return the worst excess of each, ``(P,)``.

        Where a row of ``directions`` ``(P, m)`` is not zero, the gradient is that of its product with the output.
        """
        with torch.enable_grad():
            leaf = self.x.detach().requires_grad_()
            y = self.problem.graph(leaf)
            excess = self.problem.excess(self.case, leaf, y)
            worst = excess.amax(-1)
            goal = (
                worst if directions is None else torch.where((directions != 0).any(-1), (directions * y).sum(-1), worst)
            )
            total = goal.sum()
            gradient = torch.autograd.grad(total, leaf)[0] if total.requires_grad else torch.zeros_like(leaf)
        self.gradient = gradient.nan_to_num_(nan=0.0)
        worst = worst.detach()
        better = worst < self.low
        self.low = torch.where(better, worst, self.low)
        self.best = torch.where(better.unsqueeze(-1), self.x, self.best)
        self.best_gradient = torch.where(better.unsqueeze(-1), self.gradient, self.best_gradient)
        return worst

    def reset(self, which: Tensor) -> None:
        """Forget the past of some points, ``(P,)``: what they met by chance is no measure of a descent."""
        wide = which.unsqueeze(-1)
        self.last = torch.where(wide, self.x, self.last)
        self.best = torch.where(wide, self.x, self.best)
        self.best_gradient = torch.where(wide, self.gradient, self.best_gradient)

    def shorten(self) -> None:
        """Halve the steps of points that found nothing better since the last call, and set them back to their best."""
        stalled = ~(self.low < self.mark)
        self.stride = torch.where(stalled, self.stride / 2, self.stride)
        wide = stalled.unsqueeze(-1)
        self.x = torch.where(wide, self.best, self.x)
        self.last = torch.where(wide, self.best, self.last)
        self.gradient = torch.where(wide, self.best_gradient, self.gradient)
        self.mark = self.low

    def move(self, momentum: float) -> None:
        """Step against the gradient's sign, or along the gradient itself where more than a box confines the points."""
        width = self.stride.unsqueeze(-1) * (self.box.upper - self.box.lower)
        direction = self.gradient.sign()
        if self.half_spaces is not None:  # signs alone may lead straight out, to be projected back to where they began
            direction = self.gradient / self.gradient.abs().amax(1, keepdim=True).clamp(min=1e-30)
        stepped = self.inside(self.x - width * direction)
        moved = self.x + (1 - momentum) * (stepped - self.x) + momentum * (self.x - self.last)
        self.last, self.x = self.x, self.inside(moved)

    def inside(self, x: Tensor) -> Tensor:
        """Move points into their cases' boxes, and towards what else their inputs have to satisfy."""
        return project(x, self.box) if self.half_spaces is None else self.half_spaces.project(self.case, x, self.box)


def first_points(problem: Objective, case: Tensor, trial: Tensor, generator: torch.Generator) -> Tensor:
    """Return where descents begin, ``(P, n)``: the centre in trial 0, random points of the cases' boxes later."""
    box = problem.box(case)
    noise = torch.rand(box.lower.shape, generator=generator, dtype=box.lower.dtype, device=box.lower.device)
    return torch.lerp(box.lower, box.upper, torch.where((trial > 0).unsqueeze(-1), noise, 0.5))


def first_directions(outputs: int, trial: Tensor, generator: torch.Generator, like: Tensor) -> Tensor:
    """Return along which directions of the output descents walk first, ``(P, m)``: zero for those that do not."""
    device = like.device
    place = torch.randint(outputs, trial.shape, generator=generator, device=device)
    single = torch.nn.functional.one_hot(place, outputs).to(like)
    mixed = 2 * torch.rand(single.shape, generator=generator, dtype=like.dtype, device=device) - 1
    kind = torch.where(trial > 0, trial % 4, 0).unsqueeze(-1)
    return torch.where(kind == 0, torch.zeros_like(mixed), torch.where(kind == 2, mixed, single))


def rank_cases(problem: Objective, which: Tensor, until: float) -> tuple[Tensor, float]:
    """Order cases by the excess at their centres, least first, as far as a share of the time allows.

    Returns:
        Places in ``which``, ``(W,)``, best first and those not looked at last; and the seconds for one point.
    """
    begun = time.monotonic()
    stop = begun + SHARE * (until - begun)
    worst = problem.cases.bound.new_full((len(which),), torch.inf)
    done, size, seconds = 0, 1, 0.0
    while done < len(which) and begun < stop:
        some = which[done : done + size]
        worst[done : done + size] = problem.worst(some, problem.box(some).centre).nan_to_num(nan=torch.inf)
        seconds, begun = (time.monotonic() - begun) / len(some), time.monotonic()
        done, size = done + size, min(4 * size, problem.batch)
    return worst.argsort(stable=True), max(seconds, 1e-9)


def queue(rank: Tensor, trials: int) -> tuple[Tensor, Tensor]:
    """List (case, trial) pairs so that the k-th best case has had about 1/k of the first one's trials at any time.

    Args:
        rank: places of the W cases, best first.
        trials: T, for each case.

    Returns:
        Two tensors ``(W * T,)``: the case's place and the number of the trial.
    """
    trial = torch.arange(trials, device=rank.device)
    order = torch.arange(1, len(rank) + 1, device=rank.device)
    urgency = (order.unsqueeze(1) * (trial + 1)).flatten().argsort(stable=True)
    return rank[urgency // trials], trial[urgency % trials]
