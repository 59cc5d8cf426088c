"""Networks, specifications and measures that the tests of splitting share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from specs import Case, InputSet, Rows, Spec
from tests.bounds.nets import bilinear, dense, residual
from verifier.graph.graph import Graph
from verifier.ops.curves import Abs, Clip, LeakyRelu, PRelu, Sign
from verifier.ops.op import Op
from verifier.problem import Cases
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.neuron_batch import Batch, NeuronDomains, Variables
from verifier.search.root import Root, Roots
from verifier.sets import Box

CURVES: dict[str, Op] = {
    "leaky": LeakyRelu(-0.3),
    "prelu": PRelu(torch.tensor([0.25, -1.0, 3.0, 0.5], dtype=torch.float64)),
    "abs": Abs(),
    "clip": Clip(-1.0, 0.5),
    "sign": Sign(),
}

NETS = {"residual": residual, "bilinear": bilinear}

THREE = [([[1.0, -1.0]], [-0.5]), ([[-1.0, 0.0], [0.0, 1.0]], [0.2, 0.1]), ([[0.0, 1.0]], [-1.0])]


def network(name: str) -> Graph:
    return NETS[name](0) if name in NETS else dense(0, [3, 4, 4, 2], curve=CURVES.get(name))


def spec_of(box: Box, conditions: Sequence[tuple[Sequence[Sequence[float]], Sequence[float]]]) -> Spec:
    """One box, and a case for each list of rows with their bounds: unsafe iff all ``row . y <= bound``."""
    inputs = InputSet(box.lower[0].numpy(), box.upper[0].numpy())
    cases = [
        Case(inputs, Rows(np.array(rows, dtype=float), None, np.array(bounds), np.zeros(len(bounds), dtype=bool)))
        for rows, bounds in conditions
    ]
    return Spec(tuple(cases), box.lower.shape[1], len(conditions[0][0][0]))


def excess(cases: Cases, graph: Graph, case: int, points: Tensor) -> Tensor:
    """The largest excess of a case at points ``(K, n)``."""
    return cases.excess(torch.full((len(points),), case), points, graph(points)).amax(-1)


def by_neuron(graph: Graph, cases: Cases, improved: bool = False) -> tuple[NeuronSplitting, NeuronDomains, Root]:
    case, roots = torch.arange(len(cases)), Roots(graph, cases)
    root = roots.improve(0, case, 10, math.inf) if improved else roots.of(0)
    found = root.rows(cases.y_rows[case].flatten(0, 1).unsqueeze(0)).reshape(*cases.bound.shape)
    least, row = cases.close(case, found, root.box.expand(len(case)))[1].max(1)
    strategy = NeuronSplitting(root, cases, iterations=10)
    return strategy, strategy.roots(case, least, row, case * cases.bound.shape[1] + row), root


def certified(strategy: NeuronSplitting, domains: NeuronDomains, dtype: torch.dtype) -> Tensor:
    """Bounds of domains, rounding included, with the variables they have."""
    side = strategy.fast if dtype == torch.float32 else strategy.exact
    batch = Batch(*side, strategy.neurons, domains)
    return batch.evaluate(Variables.of(domains, dtype, list(domains.beta)), certify=True).least.double()
