"""Networks for these tests: random ones with their gradients, and the published ones where they are at hand."""

from __future__ import annotations

import csv
from itertools import pairwise

import numpy as np
import pytest

from tests.truth.known import HOME
from verifier.lipschitz.sdp import GroupSort, Slopes

PUBLISHED = HOME.parent / "lipschitz"
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="no published networks here")

Constraint = GroupSort | Slopes


def random_net(rng: np.random.Generator, constraint: Constraint, scale: float = 1.0) -> list[np.ndarray]:
    """Two to four layers of widths that are whole groups."""
    step = constraint.size if isinstance(constraint, GroupSort) else 1
    depth = int(rng.integers(2, 5))
    inner = [step * int(rng.integers(1, 8 // step + 1)) for _ in range(depth - 1)]
    widths = [int(rng.integers(1, 7)), *inner, int(rng.integers(1, 4))]
    return [scale * rng.normal(size=(m, n)) for n, m in pairwise(widths)]


def jacobians(weights: list[np.ndarray], constraint: Constraint, biases: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Of the network at points ``(B, n)``: slopes are at the ends of their interval."""
    value, slope = x, np.tile(np.eye(x.shape[1]), (len(x), 1, 1))
    for weight, bias in zip(weights[:-1], biases, strict=True):
        value, slope = value @ weight.T + bias, weight @ slope
        if isinstance(constraint, Slopes):
            rate = np.where(value > 0, constraint.upper, constraint.lower)
            value, slope = value * rate, slope * rate[..., None]
        else:
            groups = value.reshape(len(x), -1, constraint.size)
            order = (np.argsort(groups, 2) + constraint.size * np.arange(groups.shape[1])[:, None]).reshape(len(x), -1)
            value = np.take_along_axis(value, order, 1)
            slope = np.take_along_axis(slope, order[..., None], 1)
    return weights[-1] @ slope


def steepest(weights: list[np.ndarray], constraint: Constraint, norm: str, rng: np.random.Generator) -> float:
    """The largest norm of a gradient that sampling and random moves find."""
    best, centre = 0.0, np.zeros(weights[0].shape[1])
    for trial in range(8):
        biases = [rng.normal(size=len(w)) * (trial % 2) for w in weights[:-1]]
        for size in (3.0, 1.0, 0.3):
            x = centre + size * rng.normal(size=(100, len(centre)))
            found = jacobians(weights, constraint, biases, x)
            sizes = np.linalg.norm(found, 2, axis=(1, 2)) if norm == "2" else np.abs(found).sum(2).max(1)
            centre = x[sizes.argmax()]
            best = max(best, float(sizes.max()))
    return best


def expected(file: str) -> list[dict[str, str]]:
    """A table of published bounds; empty where there is none."""
    if not (PUBLISHED / file).is_file():
        return []
    with (PUBLISHED / file).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
