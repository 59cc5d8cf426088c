"""Where to split a neuron: as the nonlinearities that read it want it."""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.ops.curves.setvalued import SetValued
from verifier.ops.curves.smooth import Smooth
from verifier.ops.elementwise import Elementwise
from verifier.ops.product import Product
from verifier.search.branching.tables import PointTable, table_of
from verifier.search.neurons import Neurons, Operand
from verifier.sets import Box


class BranchPoints:
    """Where to split the neurons of a root."""

    def __init__(self, neurons: Neurons) -> None:
        self.neurons = neurons
        pairs = [(reader, operand) for reader in neurons.readers.values() for operand in reader.operands]
        pairs.sort(key=lambda pair: _bent(pair[0].op))  # kinks and jumps come first
        self.readers = {name: [pair for pair in pairs if pair[1].name == name] for name in neurons.elements}
        self._found: dict[str, list[tuple[Tensor, PointTable]]] = {}

    def at(self, name: str, places: Tensor, box: Box) -> Tensor:
        """Return a point for each of some neurons of a node: the middle where nothing that reads them has an opinion.

        Neurons are given by places among those of their node, with a box of the same shape.
        """
        point = torch.full_like(box.lower, torch.nan)
        for reader, operand in self.readers[name]:
            mine = point.isnan() & _among(operand, places)
            point = torch.where(mine, reader.op.branch_point(box), point)
        for mask, table in self._tables(name):
            mine = mask[places] & box.wide
            if mine.any():
                point = torch.where(mine, table.at(box), point)
        return torch.where(point.isnan(), box.centre, point)

    def _tables(self, name: str) -> list[tuple[Tensor, PointTable]]:
        """Return masks ``(K,)`` of neurons of a node that smooth functions read, with tables for them.

        Products of the neuron, which like the middle best, do not count; a neuron with other readers has no table.
        """
        if name not in self._found:
            elements, found = self.neurons.elements[name], []
            if not self.readers[name]:
                return self._found.setdefault(name, [])
            places = torch.arange(len(elements), device=elements.device)
            read = torch.stack([_among(operand, places) for _, operand in self.readers[name]])
            for pattern in read.unique(dim=1).T:
                ops = [reader.op for (reader, _), here in zip(self.readers[name], pattern, strict=True) if here]
                curves = [op for op in ops if isinstance(op, Smooth)]
                if curves and all(_bent(op) for op in ops):
                    table = table_of(curves)
                    if table is not None:
                        found.append(((read == pattern.unsqueeze(1)).all(0), table))
            self._found[name] = found
        return self._found[name]


def _among(operand: Operand, places: Tensor) -> Tensor:
    """Tell which of some neurons an operator reads."""
    return torch.ones_like(places, dtype=torch.bool) if operand.places is None else torch.isin(places, operand.places)


def _bent(op: Elementwise) -> bool:
    """Tell whether no place is special for a split: a smooth function, or a product."""
    return isinstance(op, (Smooth, Product)) and not isinstance(op, SetValued)
