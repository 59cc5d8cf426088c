"""Which neurons decide the slopes of a Jacobian, and how much the bound owes to each: where to split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.graph.graph import Graph
from verifier.ops.arithmetic import Scale, Translate
from verifier.ops.elementwise import Elementwise
from verifier.ops.gate import Gate
from verifier.ops.op import Affine
from verifier.search.neurons import Neurons
from verifier.sets import Box


@dataclass(frozen=True, slots=True, eq=False)
class Lever:
    """A gate's elements and the neurons that set their slopes.

    Attributes:
        gate: name of the gate's node.
        neuron: name of the node of the neurons.
        elements: of the reader that can be split, ``(M,)``.
        places: the neuron that sets each of them, among the node's, ``(M,)``.
    """

    gate: str
    neuron: str
    elements: Tensor
    places: Tensor


def levers(graph: Graph, neurons: Neurons) -> list[Lever]:
    """Find the neuron behind each slope: the operand of its curve, or the slope itself where it is no function of one.

    Slopes without such a neuron are left out.
    """
    found = []
    for name, reader in neurons.readers.items():
        if not isinstance(reader.op, Gate):
            continue
        source = graph.sources[graph.nodes[name].parents[0]]
        positions, node = source.positions(reader.elements), graph.nodes[source.name]
        while isinstance(node.op, (Scale, Translate)) or (
            isinstance(node.op, Affine) and node.op.pointwise and len(node.parents) == 1
        ):
            node = graph.nodes[node.parents[0]]
        if isinstance(node.op, Elementwise) and len(node.parents) == 1:
            source = graph.sources[node.parents[0]]
            positions = source.positions(positions)
        if source.name in neurons.elements:
            known = neurons.elements[source.name]
            places = torch.searchsorted(known, positions).clamp(max=len(known) - 1)
            here = (known[places] == positions).nonzero().flatten()
            found.append(Lever(name, source.name, here, places[here]))
    return found


def slope_scores(
    found: list[Lever], neurons: Neurons, record: Mapping[str, Tensor], ends: Mapping[str, Box]
) -> dict[str, Tensor]:
    """Score neurons by the areas that their slopes leave open, weighted as the bound sees them.

    The area is that between rows times the least and the greatest slope, over the rows' box: for slopes in [0, 1] and
    rows in [l, u], ``(u |u| - l |l|) / 2``.

    Args:
        found: from ``levers``.
        neurons: of the root.
        record: coefficients at the elements of readers, ``(B, E)``.
        ends: boxes of the neurons, ``(B, K)`` by node.

    Returns:
        ``(B, K)`` by node; 0 where no slope is open.

    Source: Shi et al., NeurIPS 2022 (arXiv:2210.07394), section 3.3.
    """
    scores = {name: torch.zeros_like(box.lower) for name, box in ends.items()}
    for lever in found:
        if lever.gate not in record:
            continue
        slope, rows = neurons.readers[lever.gate].boxes(ends)
        area = (slope.upper - slope.lower) * (rows.upper * rows.upper.abs() - rows.lower * rows.lower.abs()) / 2
        lost = (area * record[lever.gate].abs())[:, lever.elements]
        scores[lever.neuron] = scores[lever.neuron].index_add(1, lever.places, lost)
    return scores
