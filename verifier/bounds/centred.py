"""The network about a point: every value as its difference to the value there.

Where the input varies little, values are large beside what they vary by, and rounding margins, which know only the
size of values, are large beside the bounds' width. Differences are as small as the variation, so that float32 does
where the network itself would need float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.interval import interval_step
from verifier.bounds.rounding import rounding
from verifier.bounds.schedule import CoarseError, Method, bound_nodes
from verifier.graph.graph import INPUT, Graph, Node
from verifier.ops.curves import Curve
from verifier.ops.curves.shifted import Shifted
from verifier.ops.op import Affine, Op
from verifier.sets import Box, widened


@dataclass(frozen=True, slots=True, eq=False)
class Centred:
    """A network about a point, in float32.

    A node's value is that of the same node of ``graph`` plus a constant, of which ``places`` ``(1, *node)``, in
    float64, hold all that is known: a point at the input and at curves, and elsewhere what affine operators make of it.
    """

    graph: Graph
    places: dict[str, Box]

    @staticmethod
    def about(graph: Graph, x: Tensor) -> Centred:
        """Shift a network in float64 to a point ``(1, n)``.

        Raises:
            NotImplementedError: some operator is neither a curve nor known to be affine.
        """
        places, nodes = {INPUT: Box(x, x)}, []
        for node in graph.nodes.values():
            op: Op | None = node.op
            if op is not None:
                operands = [places[parent] for parent in node.parents]
                if isinstance(op, Curve):
                    value = op.forward(operands[0].centre)
                    places[node.name] = Box(value, value)
                    op = Shifted(op, operands[0].lower, operands[0].upper, value)
                elif isinstance(op, Affine):
                    places[node.name] = interval_step(node, operands, rounding(graph, node, operands).forward)
                    op = op.homogeneous()
                else:
                    raise NotImplementedError(f"{type(op).__name__} is not centred")
            nodes.append(Node(node.name, op, node.parents, node.shape))
        centred = Graph(nodes, graph.inputs, graph.outputs, graph.dtype, graph.device)
        return Centred(centred.to(torch.float32), places)

    def bound(
        self,
        boxes: Mapping[str, Box],
        method: Method,
        until: float = math.inf,
        relevant: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Box]:
        """Return better boxes for a network's nodes than the given ones ``(1, *node)``; see ``bound_nodes``."""
        known = {name: self._shift(name, box) for name, box in boxes.items()}
        box = known.pop(INPUT)
        try:
            found = bound_nodes(self.graph, box, method, known, until=until, relevant=relevant).boxes
        except CoarseError as error:
            raise CoarseError(self._restored(error.boxes)) from error
        return self._restored(found)

    def _restored(self, boxes: Mapping[str, Box]) -> dict[str, Box]:
        return {name: self._restore(name, box) for name, box in boxes.items()}

    def _shift(self, name: str, box: Box) -> Box:
        place = self.places[name]
        return widened(box.lower - place.upper, box.upper - place.lower).to(torch.float32)

    def _restore(self, name: str, box: Box) -> Box:
        place = self.places[name]
        return widened(box.lower.double() + place.lower, box.upper.double() + place.upper)
