"""What is tried on a problem, and in which order: attacks, bounds, searches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from specs import Spec
from verifier import strict
from verifier.attack import Checker, Corners, Lp, Objective, Pgd
from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.config import Config
from verifier.graph.graph import Graph
from verifier.machine import choose_threads, one_thread
from verifier.ops.elementwise import Elementwise
from verifier.problem import Cases
from verifier.ready import Ready
from verifier.result import Counterexample, Progress, Reason
from verifier.search.bab import Search
from verifier.search.by_input import InputSplitting, varying
from verifier.search.by_line import LineSearch
from verifier.search.leaves import Leaves
from verifier.search.portfolio import Arm, InputArm, NeuronArm, take_turns
from verifier.search.root import Root, Roots
from verifier.search.signs import decide
from verifier.sets import Box
from verifier.twins import Twins

LOW_DIMENSION = 12
"""Varying inputs up to which input splitting is tried first; up to ``FEW_INPUTS`` it takes its turns."""

LINE_SHARE = 0.5
"""Part of the time that following lines may take; an attack and a search go on with what is open then."""

TWINS_SHARE, TWINS_MOST = 0.5, 60.0
"""Part of the time that derivatives may take where a query is about one network at two inputs; seconds if unlimited."""

ATTACK_SHARE = 0.2
"""Part of the time that goes into bounds and searches to attack for in between."""

SIGNS_SHARE = 0.9
"""Part of the time left that proving the signs that a network goes by may take."""

FEW_INPUTS = 50
FEW_BOXES = 8


@dataclass
class Run:
    """One problem on its way: what the steps share."""

    graph: Graph
    spec: Spec
    cases: Cases
    config: Config
    progress: Progress
    deadline: float
    fast: Objective
    checker: Watched
    generator: torch.Generator
    twins: Twins | None = None
    leaves: list[Leaves] = field(default_factory=list)
    roots: Roots | None = None
    attacked: float = -math.inf

    @staticmethod
    def of(
        problem: Ready,
        config: Config,
        progress: Progress,
        deadline: float,
        watch: Callable[[Progress], None] | None,
    ) -> Run:
        """Set the machine up."""
        graph = problem.graph
        choose_threads(config, graph)
        return Run(
            graph,
            problem.spec,
            problem.cases,
            config,
            progress,
            deadline,
            problem.fast,
            Watched(problem.checker, progress, watch),
            torch.Generator(graph.device).manual_seed(config.seed),
            problem.twins,
        )

    def solve(self) -> tuple[Counterexample | None, Tensor]:
        """Attack, bound, search. Return a counterexample, and the cases that are still open."""
        case = torch.arange(len(self.cases), device=self.graph.device)
        if not len(case):
            return None, case
        roots = self.roots = Roots(self.graph, self.cases, self.deadline)
        lines = self.lines()
        if lines is None:
            case, found = self.first_look(case, roots.first)
        else:
            case, found = self.along_lines(case, lines)
        if found is None and len(case) and self.config.attack:
            found = self.attack(case, 0.01, 0.3)
        if found is None and len(case) and self.twins is not None:
            case = self.by_derivatives(case, self.twins)
        if found is None and len(case) and (self.few_boxes or self.few_strict):
            case, found = self.look_at_boxes(case, roots.of), None
        inputs = varying(self.cases)
        if found is None and len(case) and self.config.attack and inputs > LOW_DIMENSION:
            found = self.attack(case, 0.03, max(1.0, self.due))
        if found is None and len(case) and self.few_boxes:
            case = self.by_signs(case, roots)
        if found is not None or not len(case):
            return found, case
        with self.progress.timed("search"), self.searches() as search:
            arms = self.arms(case, roots, search)
            self.leaves = [arm.leaves for arm in arms]
            return take_turns(arms, case, self.deadline, self.config.max_iterations, self.between)

    def arms(self, case: Tensor, roots: Roots, search: Callable[..., Search[Any]]) -> list[Arm]:
        """Return the ways to search, the most promising first."""
        inputs, arms = varying(self.cases), list[Arm]()
        arms.append(NeuronArm(roots, case, self.checker, self.progress, self.on_root, search))
        if inputs <= FEW_INPUTS:
            arm = InputArm(self.by_input, case, self.checker, self.progress, search)
            arms = [arm, *arms] if inputs <= LOW_DIMENSION else [*arms, arm]
            arms = [arm] if self.by_input.counting else arms
        return arms

    def searches(self) -> AbstractContextManager[Callable[..., Search[Any]]]:
        """Return what makes searches: on this machine, or spread over a cluster."""
        if self.config.cluster is None:
            return nullcontext(Search)
        from verifier.cluster.spread import team

        return team(self.config.cluster, self.checker.checker, self.deadline)

    def why(self) -> tuple[Reason, str]:
        """Say why cases are left open."""
        known = [] if self.roots is None else [root.exact.boxes for root in self.roots.known]
        if not known:  # inputs were split at once
            box = Box(self.cases.lower[:FEW_BOXES], self.cases.upper[:FEW_BOXES])
            known = [bound_nodes(self.graph, box, INTERVAL).boxes]
        for boxes in known:
            for node in self.graph.nodes.values():
                operands = [boxes[name] for name in node.parents]
                if isinstance(node.op, Elementwise) and node.op.outside(*operands).any():
                    kind, detail = type(node.op).__name__, "its operand may leave its domain on the input set"
                    return Reason.UNSUPPORTED, f"node {node.name!r} ({kind}): {detail}"
        return (Reason.TIMEOUT if time.monotonic() >= self.deadline else Reason.GAVE_UP), ""

    @cached_property
    def by_input(self) -> InputSplitting:
        """Input splitting; in float64 alone for a model whose inputs are."""
        return InputSplitting(self.graph, self.cases, double=self.fast.graph.dtype == torch.float64)

    @property
    def few_boxes(self) -> bool:
        """Whether input boxes are worth bounding one by one: there are few, with many inputs or many cases each."""
        boxes = len(self.cases.lower)
        return boxes <= FEW_BOXES and (varying(self.cases) > LOW_DIMENSION or len(self.cases) > 4 * boxes)

    @property
    def few_strict(self) -> bool:
        """Whether few boxes are worth bounding one by one because of strict conditions."""
        return len(self.cases.lower) <= FEW_BOXES and any(case.rows.strict.any() for case in self.spec.cases)

    def first_look(self, case: Tensor, bounded: Callable[[int], Root]) -> tuple[Tensor, Counterexample | None]:
        """Bound every case on its whole box, cheaply; return the open ones, and a counterexample if one turns up."""
        if self.few_boxes:
            return self.look_at_boxes(case, bounded), None
        still = []
        with self.progress.timed("bound"), torch.no_grad():
            for part in case.split(self.by_input.batch):
                if time.monotonic() > self.deadline:
                    raise TimeoutError
                domains = self.by_input.roots(part, torch.full_like(part, -math.inf, dtype=torch.float64))
                found, points = self.by_input.bound(domains)
                kept = ~(found.bound > 0)
                still.append(part[kept])
                self.progress.visited += len(part)
                self.progress.closed += int((~kept).sum())
                if (witness := self.checker(part[kept], points[kept])) is not None:
                    return case, witness
        return torch.cat(still), None

    def look_at_boxes(self, case: Tensor, bounded: Callable[[int], Root]) -> Tensor:
        """Bound the cases box by box; return the open ones."""
        which = self.cases.set_of[case]
        still = [case[:0]]
        with self.progress.timed("bound"), torch.no_grad():
            for k in which.unique().tolist():
                part = case[which == k]
                root = bounded(k)
                part = part[~(Roots.least(self.cases, root, part).amax(1) > 0)]
                out = strict.excluded([self.spec.cases[number] for number in part.tolist()], root.exact)
                still.append(part[[not gone for gone in out]])
        return torch.cat(still)

    def by_signs(self, case: Tensor, roots: Roots) -> Tensor:
        """Bound the cases box by box with signs that are proved for it; return the open ones."""
        which = self.cases.set_of[case]
        with self.progress.timed("signs"):
            for k in which.unique().tolist():
                self.decide_signs(roots, k, case[which == k])
        return self.look_at_boxes(case, roots.of)

    def decide_signs(self, roots: Roots, which: int, case: Tensor) -> None:
        """Improve the root of an input box by signs, until they close its cases or it is late."""

        def enough(root: Root) -> bool:
            return bool((Roots.least(self.cases, root, case).amax(1) > 0).all())

        now = time.monotonic()
        until = now + SIGNS_SHARE * (self.deadline - now)
        roots.replace(which, decide(roots.of(which), enough, until, self.deadline))

    def by_derivatives(self, case: Tensor, twins: Twins) -> Tensor:
        """Exclude cases about one network at two inputs by its derivatives; return the open ones."""
        left = self.deadline - time.monotonic()
        until = time.monotonic() + (TWINS_MOST if math.isinf(left) else TWINS_SHARE * left)
        with self.progress.timed("derivatives"):
            gone = twins.excluded(case.tolist(), until)
        self.progress.closed += len(gone)
        return case[[number not in gone for number in case.tolist()]]

    def lines(self) -> LineSearch | None:
        """Return a search along lines, where at most one coordinate varies in each box and the network allows it."""
        if ((self.cases.lower < self.cases.upper).sum(1) > 1).any():
            return None
        try:
            return LineSearch(self.graph.exact(), self.cases, self.checker, self.progress)
        except NotImplementedError:
            return None

    def along_lines(self, case: Tensor, lines: LineSearch) -> tuple[Tensor, Counterexample | None]:
        """Follow the network along lines for a part of the time; return the open cases, and a counterexample if any."""
        until = time.monotonic() + LINE_SHARE * (self.deadline - time.monotonic())
        with self.progress.timed("lines"), torch.no_grad(), one_thread():
            return lines.run(case, until)

    def attack(self, case: Tensor, share: float, least: float, most: float = math.inf) -> Counterexample | None:
        """Look for a counterexample for a part of the time that is left, or a few tenths of a second."""
        left = self.deadline - time.monotonic()
        budget = least if math.isinf(left) else min(max(least, min(share * left, most)), left)
        self.attacked = until = time.monotonic() + budget
        with self.progress.timed("attack"):
            if varying(self.cases) <= LOW_DIMENSION:
                found = Corners().run(self.fast, case, self.checker, until, self.generator)
                if found is not None:
                    return found
            return Pgd().run(self.fast, case, self.checker, until, self.generator)

    def on_root(self, root: Root, case: Tensor) -> Counterexample | None:
        """Try the candidates of a linear program on a root's bounds."""
        attack, problem = Lp(), Objective(self.graph, self.cases)
        boxes = root.exact.boxes
        if not self.config.attack or not len(case) or self.graph.device.type != "cpu":
            return None
        if not attack.accepts(problem, boxes):
            return None
        left = self.deadline - time.monotonic()
        with self.progress.timed("lp"):
            return attack.run(problem, boxes, case, self.checker, time.monotonic() + min(2.0, 0.05 * left))

    def between(self, case: Tensor) -> Counterexample | None:
        """Attack again between two turns of the search, for a part of the time since the last attack."""
        return self.attack(case, 0.03, 0.2, self.due) if self.config.attack else None

    @property
    def due(self) -> float:
        """Seconds of attack that the time since the last one is worth, and the time left allows."""
        now = time.monotonic()
        return ATTACK_SHARE * min(now - self.attacked, self.deadline - now)


@dataclass
class Watched:
    """A witness that also reports progress, a few times a second at most."""

    checker: Checker
    progress: Progress
    watch: Callable[[Progress], None] | None
    last: float = 0.0

    def __call__(self, case: Tensor, x: Tensor) -> Counterexample | None:
        """Check candidates."""
        now = time.monotonic()
        if self.watch is not None and now - self.last > 0.2:
            self.last = now
            self.watch(self.progress)
        return self.checker(case, x)
