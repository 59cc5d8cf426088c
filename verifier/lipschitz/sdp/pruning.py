"""Systems without the variables that make no difference."""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.lipschitz.sdp.gains import acyclic
from verifier.lipschitz.sdp.system import Block, Layer, Signal, System


def alive(system: System) -> System:
    """Leave out inputs that nothing reads, and ties that read nothing or that nothing reads.

    A tie that reads nothing gives nothing: all of its neurons have ``v = 0``. Its multiplier has no optimum.
    """
    system = _living(system)[0]
    kept = [torch.ones(layer.before.rows, dtype=torch.bool) for layer in system.layers]
    return _select(system, [_read(system)[0], *kept])


def distinct(system: System) -> tuple[System, Tensor]:
    """Leave out what cannot be told from zero: return a system to solve, and the multipliers that it has kept.

    Entries no larger than their radii are taken for zero. Rounding leaves such entries where the kept part of a group
    passes by and the rest would cancel. A multiplier that matters to nothing else is best at zero, which interior
    points only come near, and its dual is never feasible in floating point. What is solved here is to be proved for the
    whole system, with zeros for the rest. No input is left out.
    """
    output = _clear(system.output)
    if not acyclic(system) or not output.blocks:  # a loop may need all multipliers for it to be well-posed
        return system, torch.arange(system.multipliers)
    layers = tuple(Layer(_clear(each.before), each.lower, each.upper, each.ties) for each in system.layers)
    return _living(System(system.inputs, layers, output))


def _clear(signal: Signal) -> Signal:
    """Keep the entries that are not zero for certain, and no radii."""
    found = {}
    for group, block in signal.blocks.items():
        centre = torch.where(block.centre.abs() > block.radius, block.centre, 0.0)
        if bool(centre.any()):
            found[group] = Block.exact(centre)
    return Signal(signal.rows, found)


def _living(system: System) -> tuple[System, Tensor]:
    """Leave out ties that read nothing or that nothing reads; return the numbers of the multipliers left as well."""
    numbers = torch.arange(system.multipliers)
    while True:
        kept, start, left = [torch.ones(system.inputs, dtype=torch.bool)], 0, [numbers[:0]]
        for layer, used in zip(system.layers, _read(system)[1:], strict=True):
            reads = torch.zeros(layer.before.rows, dtype=torch.bool)
            for block in layer.before.blocks.values():
                reads |= _nonzero(block).any(1)
            kept.append(_any(reads, layer.ties) & _any(used, layer.ties))
            left.append(numbers[start + layer.ties[kept[-1]].unique()])
            start += layer.multipliers
        if all(bool(keep.all()) for keep in kept):
            return system, numbers
        numbers, system = torch.cat(left), _select(system, kept)


def _read(system: System) -> list[Tensor]:
    """Tell which variables something reads, for each group, and one input at least, to start from."""
    read = [torch.zeros(system.inputs, dtype=torch.bool)]
    read += [torch.zeros(layer.before.rows, dtype=torch.bool) for layer in system.layers]
    for signal in system.signals:
        for group, block in signal.blocks.items():
            read[group] |= _nonzero(block).any(0)
    if not bool(read[0].any()):
        read[0][0] = True
    return read


def _nonzero(block: Block) -> Tensor:
    return (block.centre != 0) | (block.radius != 0)


def _any(flags: Tensor, ties: Tensor) -> Tensor:
    """Tell for each neuron whether any of its tie is flagged."""
    if not len(ties):
        return flags
    return torch.zeros(int(ties.max()) + 1, dtype=torch.int64).index_add(0, ties, flags.long())[ties] > 0


def _select(system: System, kept: list[Tensor]) -> System:
    """Keep some variables, and drop the layers and the blocks that become empty or zero."""
    left = [0, *(k + 1 for k in range(len(system.layers)) if bool(kept[k + 1].any()))]
    number = {group: k for k, group in enumerate(left)}

    def cut(signal: Signal, rows: Tensor | None) -> Signal:
        found = {}
        for group, block in signal.blocks.items():
            if group not in number:
                continue
            centre, radius = block.centre[:, kept[group]], block.radius[:, kept[group]]
            if rows is not None:
                centre, radius = centre[rows], radius[rows]
            if bool(centre.any()) or bool(radius.any()):
                found[number[group]] = Block(centre, radius)
        return Signal(signal.rows if rows is None else int(rows.sum()), found)

    layers = []
    for group in left[1:]:
        layer, rows = system.layers[group - 1], kept[group]
        ties = torch.unique(layer.ties[rows], return_inverse=True)[1]
        layers.append(Layer(cut(layer.before, rows), layer.lower[rows], layer.upper[rows], ties))
    return System(int(kept[0].sum()), tuple(layers), cut(system.output, None))
