"""Better boxes for hidden neurons: a small search for each end of each undecided neuron, before the search itself.

Every relaxation below a neuron gets tighter with its box, in all domains of the search at once, so a few splits spent
on a neuron here save many times as many later. The idea is that of refining bounds by small mixed-integer programs
(Singh et al., ICLR 2019, "Boosting robustness certification of neural networks"); here branch and bound, in batches,
takes their place.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from verifier.bounds.schedule import INTERVAL, bound_nodes
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node
from verifier.ops.select import Gather
from verifier.ops.shape import Reshape
from verifier.problem import Cases
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.neuron_batch import NeuronDomains
from verifier.search.root import Root, rounded
from verifier.sets import Box, flat

BATCH = 512
"""Domains that are split at once; time is looked at after each batch."""


def refine(root: Root, rounds: int, until: float, deadline: float = math.inf) -> Root:
    """Narrow the boxes of undecided neurons, node by node, by searches of so many rounds.

    Each node gets an equal part of the time that is left; nodes behind the last one that got any, and all outputs, gain
    by plain backward bounds until the deadline.

    Property: sound in floating point; no box is wider than the root's.
    """
    names = list(root.neurons().elements)
    for k, name in enumerate(names):
        now = time.monotonic()
        elements = root.neurons().elements.get(name)
        if elements is not None and now < until:
            box = narrowed(root, name, elements, rounds, now + (until - now) / (len(names) - k), deadline)
            root = root if box is None else root.knowing({name: box})
    return root.crown(deadline)


def narrowed(
    root: Root, name: str, elements: Tensor, rounds: int, until: float, deadline: float = math.inf
) -> Box | None:
    """Search for better ends ``(K,)`` of some elements of a node; None where that cannot gain or does not pay.

    Returns:
        The node's box ``(1, *node)``, not wider than the root's. Sound.
    """
    part, cases = reading(root, name, elements)
    strategy = NeuronSplitting(part, cases, deadline, candidates=1)
    if not strategy.neurons.elements or strategy.folded is None:
        return None
    box, count = root.exact.boxes[name], len(elements)
    lower, upper = flat(box.lower).clone(), flat(box.upper).clone()
    case = torch.arange(len(cases), device=elements.device)
    leaves = strategy.roots(case, torch.cat([lower[0, elements], -upper[0, elements]]), torch.zeros_like(case), case)
    leaves = grow(strategy, leaves, rounds, until)
    least = torch.full((len(cases),), math.inf).to(leaves.bound).scatter_reduce(0, leaves.case, leaves.bound, "amin")
    lower[0, elements] = torch.fmax(lower[0, elements], least[:count])
    upper[0, elements] = torch.fmin(upper[0, elements], -least[count:])
    return Box(lower.view_as(box.lower), upper.view_as(box.upper))


def reading(root: Root, name: str, elements: Tensor) -> tuple[Root, Cases]:
    """Cut the network at a node; make a case of the lower end of each element, then of each upper end.

    The excess of case k < K is the value of element k, that of case K + k its negative. The bounds of the part are the
    root's.
    """
    graph, box, count = root.exact.graph, root.box, len(elements)
    size = math.prod(graph.nodes[name].shape)
    joined, picked = f"{name} joined", Gather(elements, 0)
    nodes = [
        *(graph.nodes[above] for above in graph.ancestors(name)),
        Node(joined, Reshape((size,)), (name,), (size,)),
        Node(OUTPUT, picked, (joined,), (count,)),
    ]
    part = Graph(nodes, graph.inputs, graph.outputs, graph.dtype, graph.device)
    known = {above: root.exact.boxes[above] for above in graph.ancestors(name) if above != INPUT}
    exact = bound_nodes(part, box, INTERVAL, known, relevant=root.exact.relevant)
    eye = torch.eye(count, dtype=graph.dtype, device=graph.device)
    rows = torch.cat([eye, -eye]).unsqueeze(1)
    which = torch.zeros(2 * count, dtype=torch.long, device=graph.device)
    cases = Cases(Box(box.lower, box.upper), which, rows, None, rows.new_zeros(2 * count, 1))
    return Root(exact, rounded(exact), {}), cases


def grow(strategy: NeuronSplitting, leaves: NeuronDomains, rounds: int, until: float) -> NeuronDomains:
    """Bound a domain of each case, then split in each round the worse leaves of every case, while there is time.

    Leaves whose bound is above 0 are left alone. The leaves that are returned cover all cases at any time.
    """
    for step in range(rounds + 1):
        pick = (worse(leaves) if step else torch.ones_like(leaves.case, dtype=torch.bool)).nonzero().flatten()
        whole, parts = torch.ones_like(leaves.case, dtype=torch.bool), []
        for piece in pick.split(BATCH) if len(pick) else ():
            if time.monotonic() > until:
                break
            some = leaves.take(piece)
            parts.append(strategy.measure(strategy.halve(some, some.candidates[:, 0]) if step else some)[0])
            whole[piece] = False
        if not parts:
            break
        leaves = NeuronDomains.cat([leaves.take(whole), *parts])
    return leaves


def worse(leaves: NeuronDomains) -> Tensor:
    """Mark the open leaves that can be split and are no better than the mean of these in their case, ``(B,)``."""
    still = ~(leaves.bound > 0) & ~leaves.final
    mean = torch.zeros_like(leaves.bound).scatter_reduce(
        0, leaves.case[still], leaves.bound[still], "mean", include_self=False
    )
    return still & (leaves.bound <= mean[leaves.case])
