"""Scores of splits by bound propagation with shortcuts: what both parts gain, by the neurons' own linear bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.backward import backward
from verifier.bounds.schedule import Bounds
from verifier.bounds.windows import pieces, seen_inputs
from verifier.graph.graph import INPUT
from verifier.search.neuron_batch import NeuronDomains
from verifier.search.neurons import Neurons, Reader
from verifier.sets import Box, Enclosure, Planes

ROOM = 1 << 26
"""Coefficients that the shortcuts of all neurons may have."""


@dataclass(frozen=True, slots=True, eq=False)
class Shortcut:
    """Linear bounds of the K neurons of a node by the input, about the middle of its box and in units of its radius.

    ``lower`` and ``upper`` have shape ``(K, n)``, ``least`` and ``most`` ``(K,)``.
    """

    lower: Tensor
    least: Tensor
    upper: Tensor
    most: Tensor

    def take(self, index: Tensor) -> Shortcut:
        """Select neurons, ``(B, M)``."""
        return Shortcut(self.lower[index], self.least[index], self.upper[index], self.most[index])

    def under(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """Bound each ``k * z`` from below by the input: coefficients with a last axis n, and an offset like ``k``."""
        up, down = k.clamp(min=0), k.clamp(max=0)
        coefficients = up.unsqueeze(-1) * self.lower + down.unsqueeze(-1) * self.upper
        return coefficients, up * self.least + down * self.most

    def total(self, k: Tensor) -> Tensor:
        """Add up the coefficients of ``k * z`` for all neurons: ``(B, K)`` gives ``(B, n)``."""
        return k.clamp(min=0) @ self.lower + k.clamp(max=0) @ self.upper


def shortcuts(bounds: Bounds, neurons: Neurons) -> dict[str, Shortcut] | None:
    """Bound all neurons of a root (B = 1) by the input, up to rounding; None where that would take too much room."""
    graph = bounds.graph
    if 2 * sum(len(index) for index in neurons.elements.values()) * graph.n_inputs > ROOM:
        return None
    box, found = bounds.boxes[INPUT], {}
    for name, index in neurons.elements.items():
        parts, order = [], []
        for piece in pieces(graph, graph.nodes[name], index, 1):
            rows = piece.unit_rows(index[piece.index], box.lower).unsqueeze(0)
            linear = backward(graph, name, rows, bounds.within(piece).enclosures)
            coefficients, seen = linear.coefficients[0], seen_inputs(graph, piece.windows)
            if seen is not None:
                whole = coefficients.new_zeros(len(coefficients), graph.n_inputs)
                coefficients = whole.index_copy(1, seen, coefficients)
            middle = linear.offset[0] + coefficients @ box.centre[0]
            (lower, upper), (least, most) = (coefficients * box.radius[0]).chunk(2), middle.chunk(2)
            parts.append((lower, least, -upper, -most))
            order.append(piece.index)
        back = torch.cat(order).argsort()
        found[name] = Shortcut(*(torch.cat(column)[back] for column in zip(*parts, strict=True)))
    return found


def shortcut_gains(
    neurons: Neurons,
    known: Mapping[str, Shortcut],
    record: Mapping[str, Tensor],
    domains: NeuronDomains,
    name: str,
    places: Tensor,
    point: Tensor,
) -> Tensor:
    """Estimate by how much each split raises the bounds of its parts, in sum and up to 0, ``(B, M)``.

    Only what passes through the split node is bounded anew, all of it together at the input; the rest of the bound is
    frozen. Another operand of a nonlinearity whose plane changes with the split is bounded by its box. A part takes the
    best of what it can have without an ascent: parameters as they are or of least area, and the neuron bounded by the
    input or by its box, as a multiplier would.

    Args:
        neurons: of the root.
        known: their shortcuts.
        record: coefficients at the readers' values, ``(B, E)``.
        domains: what is to be split, with the parameters and multipliers behind the record.
        name: the node to split at.
        places: neurons of the node to try, ``(B, M)``.
        point: where to split them, ``(B, M)``.

    Source: Shi et al., TACAS 2025 (arXiv:2405.21063), section 3.3 (BBPS).
    """
    alpha = {key: value.to(point.dtype).transpose(0, 1).unsqueeze(2) for key, value in domains.alpha.items()}
    ends, shortcut, price = domains.ends, known[name], domains.beta[name]
    slopes, offset = _through(neurons, record, ends, alpha, name, ends[name])
    slopes = slopes - price
    whole, picked, price = shortcut.total(slopes), shortcut.take(places), price.gather(1, places)
    before, bias = picked.under(slopes.gather(1, places))
    start = bias - whole.abs().sum(1, keepdim=True) + offset.gather(1, places)
    start = start + _least(price, Box(ends[name].lower.gather(1, places), ends[name].upper.gather(1, places)))
    others = whole.unsqueeze(1) - before
    low, high = ends[name].lower, ends[name].upper
    gains, missing = torch.zeros_like(point), (-domains.bound).clamp(min=0).to(point).unsqueeze(1)
    for part in (Box(low, high.scatter(1, places, point)), Box(low.scatter(1, places, point), high)):
        best, box = start, Box(part.lower.gather(1, places), part.upper.gather(1, places))
        for chosen in (alpha, {}):
            k, t = (found.gather(1, places) for found in _through(neurons, record, ends, chosen, name, part))
            after, moved = picked.under(k - price)
            by_input = moved - (others + after).abs().sum(2) + _least(price, box)
            by_box = _least(k, box) - others.abs().sum(2)
            best = torch.fmax(best, torch.fmax(by_input, by_box) + t)
        gains += torch.minimum(best - start, missing)
    return gains


def _least(k: Tensor, box: Box) -> Tensor:
    """Return the least ``k * z`` on boxes, elementwise."""
    return k.clamp(min=0) * box.lower + k.clamp(max=0) * box.upper


def _through(
    neurons: Neurons,
    record: Mapping[str, Tensor],
    ends: Mapping[str, Box],
    alpha: Mapping[str, Tensor],
    name: str,
    box: Box,
) -> tuple[Tensor, Tensor]:
    """Relax what reads a node's neurons on boxes ``(B, K)``; return coefficients at them and offsets, ``(B, K)``."""
    slopes, offset = torch.zeros_like(box.lower), torch.zeros_like(box.lower)
    replaced = {**ends, name: box}
    for key, reader in neurons.readers.items():
        if key in record and any(operand.name == name for operand in reader.operands):
            relaxed = reader.op.relax(*reader.boxes(replaced), alpha=alpha.get(key))
            slopes, offset = _reader(reader, relaxed, record[key], ends, name, slopes, offset)
    return slopes, offset


def _reader(
    reader: Reader,
    relaxed: Enclosure,
    rows: Tensor,
    ends: Mapping[str, Box],
    name: str,
    slopes: Tensor,
    offset: Tensor,
) -> tuple[Tensor, Tensor]:
    """Add one reader's coefficients and offsets."""
    up, down = rows.clamp(min=0), rows.clamp(max=0)
    if isinstance(relaxed, Planes):
        lower, upper = relaxed.lower_slopes, relaxed.upper_slopes
        bias = up * relaxed.lower_offset.squeeze(1) + down * relaxed.upper_offset.squeeze(1)
    else:
        lower, upper = (relaxed.lower_slope,), (relaxed.upper_slope,)  # type: ignore[attr-defined]
        bias = torch.zeros_like(rows)
        for part, line in ((up, relaxed.lower_offset), (down, relaxed.upper_offset)):  # type: ignore[attr-defined]
            bias = bias if line is None else bias + part * line.squeeze(1)
    for operand, low, high in zip(reader.operands, lower, upper, strict=True):
        k = up * low.squeeze(1) + down * high.squeeze(1)
        if operand.name == name:
            slopes = operand.add(slopes, k)
        else:
            other = Box(operand.read(ends[operand.name].lower), operand.read(ends[operand.name].upper))
            bias = bias + _least(k, other)
    for operand in reader.operands:
        if operand.name == name:
            return slopes, operand.add(offset, bias)
    return slopes, offset
