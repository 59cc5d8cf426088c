"""The same programs for a generic solver, to compare with: slow, not certified, and meant for small networks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from verifier.lipschitz.sdp.constraints.groupsort import GroupSort
from verifier.lipschitz.sdp.constraints.slopes import Slopes
from verifier.lipschitz.sdp.system import Signal, System

Matrix = npt.NDArray[np.float64]


def slopes(weights: list[Matrix], constraint: Slopes, solver: str = "CLARABEL") -> float:
    """Return the Lipschitz bound, norm 2, of a network with slopes in an interval; not certified."""
    cp: Any = import_module("cvxpy")

    *inner, last = weights
    sizes = [weights[0].shape[1], *(len(weight) for weight in inner)]
    ends = np.cumsum(sizes)
    selectors = [np.eye(ends[-1])[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    rho, middle = cp.Variable(), constraint.lower + constraint.upper
    z: Any = rho * (selectors[0].T @ selectors[0]) - selectors[-1].T @ last.T @ last @ selectors[-1]
    for weight, before, after in zip(inner, selectors, selectors[1:], strict=False):
        t = cp.diag(cp.Variable(len(weight), nonneg=True))
        row = weight @ before
        cross = row.T @ t @ after
        z += 2 * constraint.lower * constraint.upper * (row.T @ t @ row) - middle * (cross + cross.T)
        z += 2 * after.T @ t @ after
    return float(np.sqrt(_solve(rho, [(z + z.T) / 2 >> 0], solver)))


def groupsort(weights: list[Matrix], constraint: GroupSort, norm: str = "2", solver: str = "CLARABEL") -> float:
    """Return the Lipschitz bound of a GroupSort network by multipliers T, norm 2, or inf for one row; not certified."""
    cp: Any = import_module("cvxpy")

    *inner, last = weights
    tau = cp.Variable(weights[0].shape[1], nonneg=True)
    rho, conditions = cp.Variable(), []
    before: Any = cp.diag(tau) if norm == "inf" else rho * np.eye(weights[0].shape[1])
    for weight in inner:
        count, size = constraint.groups(len(weight)), constraint.size
        lam, gam = cp.Variable(count, nonneg=True), cp.Variable(count)
        here = cp.diag(np.kron(np.eye(count), np.ones((size, 1))) @ lam)
        ones = np.kron(np.eye(count), np.ones((1, size)))
        here = here + ones.T @ cp.diag(gam) @ ones
        difference = before - weight.T @ here @ weight
        conditions.append((difference + difference.T) / 2 >> 0)
        before = here
    if norm == "inf":
        corner = cp.reshape(2 * rho - cp.sum(tau), (1, 1), order="C")
        conditions.append(cp.bmat([[before, last.T], [last, corner]]) >> 0)
        return _solve(rho, conditions, solver)
    conditions.append(before - last.T @ last >> 0)
    return float(np.sqrt(_solve(rho, conditions, solver)))


def system(network: System, norm: str = "2", solver: str = "CLARABEL") -> float:
    """Return the Lipschitz bound of any system for a norm; not certified, and blind to the radii of its matrices.

    The norms are ``2``, ``inf,1`` (from the largest input to the sum of the outputs), and ``inf``, the greatest of the
    bounds of the outputs one by one.
    """
    cp: Any = import_module("cvxpy")

    sizes = [network.inputs, *(layer.before.rows for layer in network.layers)]
    total, output = sum(sizes), _rows(network.output, sizes)
    form: Any = np.zeros((total, total))  # at least 0 for all slopes
    for k, layer in enumerate(network.layers, start=1):
        after = np.eye(total)[sum(sizes[:k]) : sum(sizes[: k + 1])]
        before, numbers = _rows(layer.before, sizes), layer.ties.tolist()
        t = cp.Variable(max(numbers, default=-1) + 1, nonneg=True)
        low = after - layer.lower.numpy()[:, None] * before
        high = layer.upper.numpy()[:, None] * before - after
        half = low.T @ cp.diag(np.eye(t.size)[numbers] @ t) @ high
        form = form + half + half.T
    first = np.eye(total)[: sizes[0]]
    if norm == "2":
        rho = cp.Variable()
        matrix = rho * (first.T @ first) - output.T @ output - form
        return float(np.sqrt(max(_solve(rho, [_psd(matrix)], solver), 0.0)))
    tau, found = cp.Variable(sizes[0], nonneg=True), []
    for rows in [output] if norm == "inf,1" else np.split(output, len(output)):
        mu = cp.Variable(len(rows), nonneg=True)
        matrix = cp.bmat([[first.T @ cp.diag(tau) @ first - form, -rows.T], [-rows, cp.diag(mu)]])
        found.append(_solve((cp.sum(tau) + cp.sum(mu)) / 2, [_psd(matrix)], solver))
    return max(found)


def _rows(signal: Signal, sizes: list[int]) -> Matrix:
    """Return a signal as a matrix over the variables of all groups."""
    blocks = {group: block.centre.numpy() for group, block in signal.blocks.items()}
    return np.hstack([blocks.get(group, np.zeros((signal.rows, size))) for group, size in enumerate(sizes)])


def _psd(matrix: Any) -> Any:
    return (matrix + matrix.T) / 2 >> 0


def _solve(objective: Any, conditions: list[Any], solver: str) -> float:
    cp: Any = import_module("cvxpy")

    problem = cp.Problem(cp.Minimize(objective), conditions)
    return float(problem.solve(solver=solver))
