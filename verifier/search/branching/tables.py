"""Tables of the best points to split a neuron at, for each set of smooth functions that may read one.

The area between the planes of least area over both parts is what a split leaves to overcome. Where it is smallest
depends on the functions and on the neuron's box alone: it is looked up in a table over boxes, which is made when first
needed and kept in the user's cache folder.

Source: Shi et al., TACAS 2025 (arXiv:2405.21063), section 3.4 (branching points optimised ahead of time).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

from verifier.ops.curves.smooth import Smooth
from verifier.sets import Box, Diagonal

VERSION = 1
"""Of the tables: to be raised with every change of the grid, the objective or the relaxations of smooth functions."""

REACH, ENDS = 90.0, 129
"""Ends of boxes in a table: so many, up to this size, dense around 0 and sparse far from it."""


@dataclass(frozen=True, slots=True, eq=False)
class PointTable:
    """The best point of boxes with ends on the grid, as a part of the width, ``(ENDS, ENDS)``, in float64."""

    parts: Tensor

    def at(self, box: Box) -> Tensor:
        """Return a point inside of each box, interpolated from its neighbours on the grid.

        Of a box that leaves the table on one side of 0 it is the middle.
        """
        ends = Box(box.lower.double().clamp(-REACH, REACH), box.upper.double().clamp(-REACH, REACH))
        parts, table = torch.zeros_like(ends.lower), self.parts.to(box.lower.device)
        cells = [_cell(end) for end in (ends.lower, ends.upper)]
        for near in (0, 1):
            for far in (0, 1):
                weight = _weight(cells[0][1], near) * _weight(cells[1][1], far)
                parts += weight * table[cells[0][0] + near, cells[1][0] + far]
        point = (ends.lower + parts * (ends.upper - ends.lower)).to(box.lower).clamp(box.lower, box.upper)
        known = (box.magnitude <= REACH) | ((box.lower < 0) & (box.upper > 0))
        return torch.where(known, point, box.centre)


def grid() -> Tensor:
    """Return the ends of the boxes in a table, increasing."""
    edge = float(np.arcsinh(REACH))
    return torch.linspace(-edge, edge, ENDS, dtype=torch.float64).sinh()


def _cell(end: Tensor) -> tuple[Tensor, Tensor]:
    """Return where ends lie on the grid: the number of the end before, and the part of the way to the next."""
    edge = float(np.arcsinh(REACH))
    place = (end.asinh() + edge) * ((ENDS - 1) / (2 * edge))
    first = place.floor().clamp(0, ENDS - 2)
    return first.long(), place - first


def _weight(part: Tensor, side: int) -> Tensor:
    return part if side else 1 - part


def build(curves: Sequence[Smooth]) -> PointTable:
    """Find the best points for a neuron that all these functions read: the middle where they are undefined.

    Other ends on the grid are tried, with the lowest point of a parabola through the best and its neighbours.
    """
    ends = grid()
    i, j = torch.triu_indices(ENDS, ENDS, 1)
    area = torch.zeros(ENDS, ENDS, dtype=torch.float64)
    area[i, j] = _area(curves, Box(ends[i], ends[j])).nan_to_num(nan=torch.inf)
    k = torch.arange(ENDS)
    inside = (i.unsqueeze(1) < k) & (k < j.unsqueeze(1))
    left = (area[i] + area[:, j].T).masked_fill(~inside, torch.inf)  # (pairs, ENDS)
    best = left.argmin(1)
    low, middle, high = (area[i, k] + area[k, j] for k in (best - 1, best, best + 1))
    before, after = ends[best] - ends[best - 1], ends[best + 1] - ends[best]
    rise, fall = (low - middle) * after, (high - middle) * before
    step = (rise * after - fall * before) / (2 * (rise + fall))
    point = ends[best] + torch.where(step.isfinite(), step.clamp(-before / 2, after / 2), 0)
    part = (point - ends[i]) / (ends[j] - ends[i])
    usable = left.gather(1, best.unsqueeze(1)).squeeze(1).isfinite()
    parts = torch.full((ENDS, ENDS), 0.5, dtype=torch.float64)
    parts[i, j] = torch.where(usable, part, 0.5)
    return PointTable(parts)


def _area(curves: Sequence[Smooth], box: Box) -> Tensor:
    """Return the area between the planes of least area, ``(N,)``: lines enclose what they do at the middle."""
    total, wide = torch.zeros_like(box.lower), Box(box.lower.unsqueeze(0), box.upper.unsqueeze(0))
    for curve in curves:
        lines = curve.relax(wide)
        assert isinstance(lines, Diagonal)
        assert lines.lower_offset is not None
        assert lines.upper_offset is not None
        height = (lines.upper_slope - lines.lower_slope) * wide.centre + (lines.upper_offset - lines.lower_offset)
        total += height.flatten() * (box.upper - box.lower)
    return total


def key(curves: Sequence[Smooth]) -> str | None:
    """Name a set of functions, the same in every run; None where a parameter is no plain number or word."""
    words = []
    for curve in curves:
        values = [getattr(curve, field.name) for field in dataclasses.fields(curve)]
        if not all(isinstance(value, (int, float, str, bool)) for value in values):
            return None
        words.append("_".join([type(curve).__name__, *map(repr, values)]))
    return "-".join(sorted(words))


def table_of(curves: Sequence[Smooth]) -> PointTable | None:
    """Return the table of a set of functions; None where they have no name."""
    name = key(curves)
    if name is not None and name not in _tables:
        _tables[name] = kept(name, curves)
    return None if name is None else _tables[name]


_tables: dict[str, PointTable] = {}


def kept(name: str, curves: Sequence[Smooth]) -> PointTable:
    """Read the table of functions that ``key`` named from the cache folder, or make it and write it there."""
    folder = Path(platformdirs.user_cache_dir("nn-verifier")) / "branching-points" / f"v{VERSION}"
    path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):
        parts = np.load(path)
        if parts.shape == (ENDS, ENDS) and parts.dtype == np.float64 and ((parts > 0) & (parts < 1)).all():
            return PointTable(torch.from_numpy(parts))
    table = build(curves)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".npy", delete=False) as file:
            np.save(file, table.parts.numpy())
        Path(file.name).replace(path)
    return table
