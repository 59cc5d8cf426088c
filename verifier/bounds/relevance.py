"""What of a network given rows of its output can depend on: where tighter boxes may help, and where they cannot."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from verifier.bounds.backward import backward
from verifier.graph.graph import OUTPUT, Graph
from verifier.ops.elementwise import Elementwise
from verifier.sets import Box, Enclosure, Planes


def relevance(
    graph: Graph, boxes: Mapping[str, Box], enclosures: Mapping[str, Enclosure], rows: Tensor
) -> dict[str, Tensor]:
    """Tell on which elements of nonlinear nodes output rows depend, as long as operands are in their boxes.

    A mix of the rows is pulled back as in ``backward``, by random slopes instead of a relaxation's wherever a function
    is not constant: so that nothing cancels but with probability 0. Only what is bounded depends on it, not whether
    bounds hold.

    Args:
        graph: the network.
        boxes: of all nodes, ``(1, *node)``.
        enclosures: of the affine nodes.
        rows: shape ``(S, m)``.

    Returns:
        Masks ``(1, *node)`` by name.
    """
    generator = torch.Generator(rows.device).manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return 0.5 + torch.rand(shape, generator=generator, dtype=rows.dtype, device=rows.device)

    planes: dict[str, Enclosure] = dict(enclosures)
    for node in graph.nodes.values():
        if isinstance(node.op, Elementwise):
            *steepness, low, high = node.op.parallel(*(boxes[parent] for parent in node.parents))
            slopes = tuple((((steep != 0) | (low < high)) * drawn(*low.shape)).unsqueeze(1) for steep in steepness)
            zeros = torch.zeros_like(low).unsqueeze(1)
            planes[node.name] = Planes(slopes, zeros, slopes, zeros)
    record: dict[str, Tensor] = {}
    mixed = (drawn(1, len(rows)) @ rows).unsqueeze(0)
    backward(graph, OUTPUT, mixed, planes, record=record)
    return {name: found[0] != 0 for name, found in record.items()}
