"""A specification as tensors beside the network it speaks of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from specs import Spec
from verifier.balls import sets_of
from verifier.bounds.backward import LinearBound
from verifier.errors import ShapeError
from verifier.graph.graph import Graph
from verifier.sets import Box


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """C ways to be unsafe, each with up to R linear conditions on (x, y), in one dtype.

    Case c is unsafe at x iff x lies in set ``set_of[c]`` and ``y_rows[c] . f(x) + x_rows[c] . x <= bound[c]`` in every
    row; the conditions are closed here (proving that excludes strict ones as well). Cases with fewer rows are padded by
    the row 0 <= 0.

    Attributes:
        boxes: distinct input sets ``(K, n)``, all boxes or all balls.
        set_of: index of each case's set, ``(C,)``.
        y_rows: ``(C, R, m)``.
        x_rows: ``(C, R, n)``, or None where no condition reads an input.
        bound: ``(C, R)``.
    """

    boxes: Box
    set_of: Tensor
    y_rows: Tensor
    x_rows: Tensor | None
    bound: Tensor

    @staticmethod
    def of(spec: Spec, graph: Graph) -> Cases:
        """Convert a specification, in float64 on the graph's device.

        Raises:
            ShapeError: the specification has other numbers of inputs or outputs than the network.
            UnsupportedError: its input sets are of different kinds.
        """
        for what, stated, found in (
            ("input", spec.n_inputs, graph.n_inputs),
            ("output", spec.n_outputs, graph.n_outputs),
        ):
            if stated != found:
                raise ShapeError(f"the specification has {stated} {what} variables, the network has {found}")
        sets = list({id(case.inputs): case.inputs for case in spec.cases}.values())
        place = {id(inputs): k for k, inputs in enumerate(sets)}
        count, height = len(spec.cases), max((len(case.rows) for case in spec.cases), default=0) or 1
        y_rows, bound = np.zeros((count, height, spec.n_outputs)), np.zeros((count, height))
        mixed = any(case.rows.x is not None for case in spec.cases)
        x_rows = np.zeros((count, height, spec.n_inputs)) if mixed else None
        for k, case in enumerate(spec.cases):
            y_rows[k, : len(case.rows)] = case.rows.y
            bound[k, : len(case.rows)] = case.rows.bound
            if x_rows is not None and case.rows.x is not None:
                x_rows[k, : len(case.rows)] = case.rows.x

        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(graph.device)

        nothing = tensor(np.zeros((0, spec.n_inputs)))
        return Cases(
            sets_of(sets, graph.device) if sets else Box(nothing, nothing),
            torch.tensor([place[id(case.inputs)] for case in spec.cases], dtype=torch.long, device=graph.device),
            tensor(y_rows),
            None if x_rows is None else tensor(x_rows),
            tensor(bound),
        )

    def __len__(self) -> int:
        """Return C."""
        return len(self.set_of)

    @property
    def ranks(self) -> bool:
        """Whether all conditions only compare two outputs, so that nothing but the outputs' order counts."""
        rows = self.y_rows
        compares = ((rows != 0).sum(-1) == 2) & (rows.amax(-1) == -rows.amin(-1))
        nothing = (rows == 0).all(-1)
        plain = self.x_rows is None or not self.x_rows.any()
        return plain and not self.bound.any() and bool((compares | nothing).all())

    @property
    def lower(self) -> Tensor:
        """Lower ends of the boxes about the distinct input sets, ``(K, n)``."""
        return self.boxes.lower

    @property
    def upper(self) -> Tensor:
        """Upper ends, likewise."""
        return self.boxes.upper

    def to(self, dtype: torch.dtype) -> Cases:
        """Convert; sets are rounded outward, rows to nearest (for search only)."""
        x_rows = None if self.x_rows is None else self.x_rows.to(dtype)
        return Cases(self.boxes.to(dtype), self.set_of, self.y_rows.to(dtype), x_rows, self.bound.to(dtype))

    def excess(self, case: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return by how much each condition is missed at points, ``(..., R)``: all <= 0 means a counterexample.

        Args:
            case: index of the case of each point, ``(...)``.
            x: ``(..., n)``.
            y: ``(..., m)``.
        """
        excess = (self.y_rows[case] @ y.unsqueeze(-1)).squeeze(-1) - self.bound[case]
        if self.x_rows is not None:
            excess = excess + (self.x_rows[case] @ x.unsqueeze(-1)).squeeze(-1)
        return excess

    def close(self, case: Tensor, found: LinearBound, box: Box) -> tuple[LinearBound, Tensor]:
        """Complete bounds of the output rows of cases to bounds of ``excess``.

        Returns:
            The linear bound with input rows and right-hand sides added, and its least value over the boxes ``(B, R)``.
        """
        eps, tiny = torch.finfo(found.offset.dtype).eps, torch.finfo(found.offset.dtype).tiny
        bound = self.bound[case]
        offset, coefficients, error = found.offset - bound, found.coefficients, found.error
        slack = eps * (2 * bound.abs() + found.offset.abs()) + 4 * tiny
        if self.x_rows is not None:
            coefficients = coefficients + self.x_rows[case]
            sizes = (self.x_rows[case].abs() @ box.magnitude.unsqueeze(-1)).squeeze(-1)
            lost = tiny * (box.lower.shape[1] + box.magnitude.sum(1, keepdim=True))
            slack = slack + 4 * eps * sizes * box.lower.shape[1] + 4 * lost
        full = LinearBound(coefficients, offset, slack if error is None else error + slack)
        return full, full.minimum(box)

    def close_combined(self, case: Tensor, weights: Tensor, found: LinearBound, box: Box) -> tuple[LinearBound, Tensor]:
        """Complete bounds of one non-negative combination of each case's output rows, as ``close`` does.

        If a combination with weights >= 0 is above 0 everywhere, no point satisfies all conditions.

        Args:
            case: ``(B,)``.
            weights: ``(B, R)``, not negative.
            found: bounds of the combined output rows, S = 1.
            box: input boxes ``(B, n)``.
        """
        eps, tiny = torch.finfo(found.offset.dtype).eps, torch.finfo(found.offset.dtype).tiny
        count = self.bound.shape[1] + 2
        bound = (weights * self.bound[case]).sum(1, keepdim=True)
        offset, coefficients, error = found.offset - bound, found.coefficients, found.error
        slack = eps * (count * (weights * self.bound[case].abs()).sum(1, keepdim=True) + found.offset.detach().abs())
        slack = slack + 4 * count * tiny
        if self.x_rows is not None:
            mixed = weights.unsqueeze(1) @ self.x_rows[case]
            coefficients = coefficients + mixed
            sizes = (weights.unsqueeze(1) @ self.x_rows[case].abs() @ box.magnitude.unsqueeze(-1)).squeeze(-1)
            lost = tiny * (box.lower.shape[1] + box.magnitude.sum(1, keepdim=True))
            slack = slack + eps * (box.lower.shape[1] + count) * sizes + 4 * count * lost
        full = LinearBound(coefficients, offset, None if error is None else error + slack)
        return full, full.minimum(box)
