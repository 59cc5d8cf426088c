"""Domains whose neurons are all decided: the network is affine there; a linear program finds the best multipliers."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verifier.bounds.backward import backward
from verifier.graph.graph import OUTPUT
from verifier.search.neuron_batch import Batch, NeuronDomains
from verifier.sets import flat

ENTRIES = 1 << 24
"""Entries of a program beyond which it is too large to be of use."""


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """Affine functions of the input, ``matrix @ x + constant <= 0`` for a counterexample in a domain.

    First those of the case, ``rows`` says which of them, then for every node how far the elements that were undecided
    at the root are below their boxes, then how far above.
    """

    matrix: np.ndarray
    constant: np.ndarray
    rows: Tensor


def multipliers(batch: Batch, until: float) -> tuple[NeuronDomains, Tensor] | None:
    """Look for the multipliers and the row combination that exclude a domain without undecided neurons.

    The program minimises over the input box the largest of all that a counterexample in the domain would have to keep
    below zero: the excesses of the case, and how far each neuron is outside of its box. It always has a solution, and
    its multipliers exclude the domain if that is positive, an empty domain too.

    Args:
        batch: one domain, in float64.
        until: value of ``time.monotonic()`` at which to give up.

    Returns:
        The domain with multipliers and weights in place, and the point ``(1, n)`` of least excess: in a domain where
        that is not positive, a counterexample up to rounding. None where the program is too large, or time ran out.

    Property: proves nothing itself; the multipliers are for a certified bound.
    """
    conditions = _conditions(batch)
    solved = None if conditions is None else _solve(conditions, batch, until)
    if conditions is None or solved is None:
        return None
    prices, x = solved
    domains = batch.domains
    weights = torch.zeros_like(domains.weights)
    count = len(conditions.rows)
    weights[0, conditions.rows] = prices[:count].to(weights)
    beta = {}
    for name, index in batch.neurons.elements.items():
        below, above = prices[count : count + len(index)], prices[count + len(index) : count + 2 * len(index)]
        beta[name] = (below - above).unsqueeze(0).to(domains.beta[name])
        count += 2 * len(index)
    return dataclasses.replace(domains, beta=beta, weights=weights), x


def _conditions(batch: Batch) -> Conditions | None:
    """Collect the conditions on the input; None where they are too many, or not finite."""
    graph, cases, case = batch.bounds.graph, batch.cases, batch.domains.case
    y_rows, bound = cases.y_rows[case], cases.bound[case]
    used = (y_rows[0] != 0).any(1) | (bound[0] != 0)
    if cases.x_rows is not None:
        used |= (cases.x_rows[case][0] != 0).any(1)
    rows = used.nonzero().flatten()
    height = len(rows) + 2 * sum(len(index) for index in batch.neurons.elements.values())
    if height * graph.n_inputs > ENTRIES:
        return None
    enclosures = dict(batch.bounds.enclosures)
    enclosures.update({name: relaxation(None) for name, relaxation in batch.relaxations.items()})
    found = backward(graph, OUTPUT, y_rows[:, rows], enclosures)
    coefficients = found.coefficients[0]
    if cases.x_rows is not None:
        coefficients = coefficients + cases.x_rows[case][0, rows]
    matrix, constant = [coefficients], [found.offset[0] - bound[0, rows]]
    for name, index in batch.neurons.elements.items():
        units = coefficients.new_zeros(len(index), flat(batch.boxes[name].lower).shape[1])
        units[torch.arange(len(index)), index] = 1
        found = backward(graph, name, units.view(1, len(index), *graph.nodes[name].shape), enclosures)
        box = batch.boxes[name]
        lower, upper = flat(box.lower)[0, index], flat(box.upper)[0, index]
        matrix += [-found.coefficients[0], found.coefficients[0]]
        constant += [lower - found.offset[0], found.offset[0] - upper]
    left, right = torch.cat(matrix), torch.cat(constant)
    if not (left.isfinite().all() and right.isfinite().all()):
        return None
    return Conditions(left.cpu().numpy(), right.cpu().numpy(), rows)


def _solve(conditions: Conditions, batch: Batch, until: float) -> tuple[Tensor, Tensor] | None:
    """Minimise the largest value of all conditions; return their multipliers ``(M,)`` and the point ``(1, n)``."""
    import highspy

    left = until - time.monotonic()
    if left <= 0:
        return None
    count, size = conditions.matrix.shape
    infinite = np.full(count, np.inf)
    matrix = np.concatenate([-conditions.matrix, np.ones((count, 1))], axis=1)
    row, column = matrix.nonzero()
    box = batch.input
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = size + 1, count
    program.col_cost_ = np.append(np.zeros(size), 1.0)
    program.col_lower_ = np.append(box.lower[0].cpu().numpy(), -np.inf)
    program.col_upper_ = np.append(box.upper[0].cpu().numpy(), np.inf)
    program.row_lower_, program.row_upper_ = conditions.constant, infinite
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.searchsorted(row, np.arange(count + 1)).astype(np.int32)
    program.a_matrix_.index_ = column.astype(np.int32)
    program.a_matrix_.value_ = matrix[row, column]
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", min(left, 1e10))
    solver.passModel(program)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    solution = solver.getSolution()
    prices = torch.from_numpy(np.maximum(np.asarray(solution.row_dual), 0))
    return prices, torch.from_numpy(np.asarray(solution.col_value)[:size]).unsqueeze(0)
