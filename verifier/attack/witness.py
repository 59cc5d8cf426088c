"""The test that a point must pass to be called a counterexample."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from specs import Query, Spec
from specs.sets import Float
from verifier.attack.objective import Objective, project
from verifier.check.networks import Networks
from verifier.check.replay import Replay
from verifier.graph.graph import Graph
from verifier.problem import Cases
from verifier.result import Counterexample
from verifier.sets import Box

if TYPE_CHECKING:
    import onnx

KEPT = 16
"""Points of a batch that are looked at closely."""
REPLAYS = 4
"""Points of one round that are replayed on the file, deepest first."""
ROUNDS = 3
"""How often a point at the border is pushed further inside."""
PATIENCE = 32
"""Batches without success after which points are no longer pushed."""
STEPS = 10.0 ** torch.arange(-7, 0)
"""Lengths of a push, as parts of the box's width."""


def coarsest(graph: Graph) -> torch.dtype:
    """Return the least precise type among the model's inputs: its numbers are numbers of all the others."""
    types = [getattr(torch, port.dtype) for port in graph.inputs]
    return max(types, key=lambda dtype: torch.finfo(dtype).eps, default=torch.float32)


def round_inside(x: Tensor, box: Box, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Project points into boxes, and round them to numbers of a narrower type inside.

    Args:
        x: points, ``(B, n)``, float64.
        box: ``(B, n)``, float64.
        dtype: the narrower type.

    Returns:
        The rounded points in float64, ``(B, n)``; and the points to use for the network in float64: the same but for
        coordinates whose box has no number of the type, such as a point 0.3, which stay as they are projected.
    """
    exact = project(x, box)
    nearest = exact.to(dtype)
    infinity = torch.full_like(nearest, torch.inf)
    above = torch.where(nearest.double() < box.lower, torch.nextafter(nearest, infinity), nearest)
    inner = torch.where(nearest.double() > box.upper, torch.nextafter(nearest, -infinity), above).double()
    inside = (box.lower <= inner) & (inner <= box.upper)
    return torch.where(inside, inner, nearest.double()), torch.where(inside, inner, exact)


class Checker:
    """Confirms counterexamples: a ``Witness``.

    A point is confirmed iff (1) it is a point of the model's input type inside its case's box, exactly; where a
    coordinate's box holds no such number (a point 0.3), the nearest one is taken, which is inside once the box is
    rounded to that type; (2) the network in float64 meets all conditions there; (3) so does the model's file, run by
    onnxruntime, its outputs judged in float64, and assertions of VNNLIB 2.0 as they are written in the model's type
    as well. Strict conditions have to hold strictly. Without a file, (1) and (2).
    """

    def __init__(
        self,
        graph: Graph,
        cases: Cases,
        spec: Spec,
        source: str | Path | onnx.ModelProto | None,
        screen: Objective | None = None,
        replay: Replay | Networks | None = None,
    ) -> None:
        """Take the problem in float64.

        Args:
            graph: the network in float64.
            cases: of ``spec``, in float64.
            spec: the property.
            source: what to replay, or None for a network without a file.
            screen: the problem in float32, where it exists already.
            replay: how to run the files, if ``source`` was made of several.
        """
        self.exact, self.spec, self.source = Objective(graph, cases), spec, source
        self.dtype = torch.float64 if source is None else coarsest(graph)
        self._given, self._replay = screen, replay
        self._failures = 0

    def without_file(self) -> Checker:
        """Return one that leaves (3) out, where the file is not at hand: a first look, with points of the same type."""
        other = copy.copy(self)
        other.source = None
        vars(other).pop("replay", None)  # a session of onnxruntime
        return other

    @property
    def query(self) -> Query | None:
        """The property, if it is one of VNNLIB 2.0."""
        return self.spec if isinstance(self.spec, Query) else None

    @cached_property
    def screen(self) -> Objective:
        """The problem in a type that is fast and good enough for a first look."""
        if self.dtype == torch.float64:
            return self.exact
        if self._given is not None:
            return self._given
        return Objective(self.exact.graph.to(torch.float32), self.exact.cases.to(torch.float32))

    @cached_property
    def replay(self) -> Replay | Networks | None:
        """The model's file, or files, opened once."""
        return self._replay or (None if self.source is None else Replay(self.source))

    def __call__(self, case: Tensor, x: Tensor) -> Counterexample | None:
        """Return a confirmed counterexample among points ``(B, n)`` of cases ``(B,)``, if one is found.

        Raises:
            ReplayError: onnxruntime cannot run the model.

        Cost: one forward pass in float32; more only if a point all but meets its conditions.
        """
        if not len(case):
            return None
        kept = self._promising(case, x)
        if not len(kept):
            return None
        case, x = case[kept], x[kept].double()
        for _ in range(ROUNDS if self._failures < PATIENCE else 1):
            found = self._confirm(case, x)
            if found is not None:
                return found
            case, x = self._push(case, x)
        self._failures += 1
        return None

    def _promising(self, case: Tensor, x: Tensor) -> Tensor:
        """Return the indices of the best points that meet their conditions up to rounding."""
        screen, cases = self.screen, self.screen.cases
        points = project(x.to(cases.lower.dtype), screen.box(case))
        worst = screen.worst(case, points).nan_to_num(nan=torch.inf)
        best = worst.argsort()[:KEPT]
        with torch.no_grad():
            y = screen.graph(points[best])
        terms = (cases.y_rows[case[best]].abs() @ y.abs().unsqueeze(-1)).squeeze(-1) + cases.bound[case[best]].abs()
        return best[worst[best] <= 16 * torch.finfo(cases.lower.dtype).eps * terms.amax(-1)]

    def _confirm(self, case: Tensor, x: Tensor) -> Counterexample | None:
        """Check a few points in float64 and on the file, deepest first."""
        box = self.exact.box(case)
        rounded, exact = round_inside(x, box, self.dtype)
        with torch.no_grad():
            outputs = self.exact.graph(exact)
            order = self.exact.excess(case, exact, outputs).amax(-1).argsort().tolist()
        tried = 0
        for k in order:
            index = int(case[k])
            if not self.spec.cases[index].rows.hold(exact[k].cpu().numpy(), outputs[k].cpu().numpy()).all():
                continue
            point, tried = rounded[k].cpu().numpy(), tried + 1
            if self.replay is None:
                return Counterexample(point, outputs[k].cpu().numpy(), index, self.query)
            y = self.replay.run(point)
            inside = ((box.lower[k] <= rounded[k]) & (rounded[k] <= box.upper[k])) | (rounded[k] != exact[k])
            if bool(inside.all()) and self._violates(index, point, y):
                return Counterexample(point, y, index, self.query)
            if tried == REPLAYS:
                break
        return None

    def _violates(self, index: int, x: np.ndarray, y: np.ndarray) -> bool:
        """Tell whether a replayed point meets a case of the specification."""
        case = self.spec.cases[index]
        dtype: Float = np.float64 if self.dtype == torch.float64 else np.float32
        if not case.inputs.contains(x, dtype) or not case.rows.hold(x, y).all():
            return False
        return self.query is None or self.query.asserted(x, y, dtype)

    def _push(self, case: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Step from the first points along the gradient's sign, by several lengths; ``(steps * points)`` points."""
        case, x = case[:REPLAYS], x[:REPLAYS]
        box = self.exact.box(case)
        with torch.enable_grad():
            leaf = project(x, box).requires_grad_()
            worst = self.exact.excess(case, leaf).amax(-1).sum()
            gradient = torch.autograd.grad(worst, leaf)[0] if worst.requires_grad else torch.zeros_like(leaf)
        towards = -gradient.sign() * (box.upper - box.lower)
        points = leaf.detach() + STEPS.to(x).reshape(-1, 1, 1) * towards
        points, cases = points.flatten(0, 1), case.repeat(len(STEPS))
        order = self.exact.worst(cases, project(points, self.exact.box(cases))).argsort()
        return cases[order], points[order]
