"""Layers that read themselves: ``z = phi(W z + u)``.

With phi(p) = M p + B h(D p) and p = W z + u, ``(I - W M) p = W B v + u`` for v = h(D p): so p is linear in v and u once
I - W M is inverted, which is proved: for any real X, if ``|I - X N|_inf <= e < 1``, then N has an inverse, and
``|N^-1 - X| <= e / (1 - e) max_k |X_kj|`` entry by entry, since ``N^-1 = (I - E)^-1 X``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.errors import ShapeError, UsageError
from verifier.lipschitz.sdp.constraints.parts import NEURON, Activation
from verifier.lipschitz.sdp.system import Block, Builder, Signal


def loop(
    builder: Builder, weight: Tensor | Block, entry: Signal, activation: Activation, variant: str = NEURON
) -> Signal:
    """Put a layer ``z = phi(W z + u)`` behind a signal u, and return z.

    Raises:
        ShapeError: W does not fit.
        UsageError: what the activation passes by cannot be solved for; the layer has no one solution, or nearly none.
    """
    weight = Block.exact(weight) if isinstance(weight, Tensor) else weight
    if tuple(weight.centre.shape) != (entry.rows, entry.rows):
        raise ShapeError(f"weights of shape {tuple(weight.centre.shape)} do not fit a loop of {entry.rows} values")
    parts = activation.parts(entry.rows, variant)
    if parts is None:
        return entry.after(_inverse(_loss(weight)))
    count = len(parts.lower)
    own = Signal(count, {len(builder.layers) + 1: Block.exact(torch.eye(count, dtype=torch.float64))})
    before = (own if parts.gives is None else own.after(parts.gives)).after(weight) + entry
    if parts.kept is not None:
        before = before.after(_inverse(_loss(parts.kept.after(weight))))
    return parts.onto(builder, before)


def _loss(matrix: Block) -> Block:
    """Return ``I - K``."""
    return Block(-matrix.centre, matrix.radius) + Block.exact(torch.eye(len(matrix.centre), dtype=torch.float64))


def _inverse(matrix: Block) -> Block:
    """Return the inverse of all matrices within the radii, or raise an error."""
    count = len(matrix.centre)
    found, info = torch.linalg.inv_ex(matrix.centre)
    rest = matrix.after(found)
    size = (rest.centre - torch.eye(count, dtype=torch.float64)).abs() * (1 + gamma(1, torch.float64)) + rest.radius
    error = float(size.sum(1).max()) * (1 + gamma(count + 4, torch.float64))
    if int(info) or not error < 0.5:
        raise UsageError("an implicit layer is not well-posed: what its activation passes by has no one solution")
    column = found.abs().amax(0, keepdim=True).expand_as(found)
    return Block(found, column * (error / (1 - error)) * (1 + gamma(8, torch.float64)))
