"""Bounds of residual and implicit networks that are given as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from verifier.errors import ShapeError, UsageError
from verifier.lipschitz.sdp.bound import bound, within
from verifier.lipschitz.sdp.constraints.parts import NEURON, Activation
from verifier.lipschitz.sdp.gains import answer_norm, contraction, matrix_norm, times
from verifier.lipschitz.sdp.loops import loop
from verifier.lipschitz.sdp.result import SdpResult
from verifier.lipschitz.sdp.system import Block, Builder

Array = npt.NDArray[np.floating] | Tensor

Step = tuple[Array, Array, Array]
"""F, H and G of ``x <- F x + H phi(G x + b)``."""


def residual(
    first: Array,
    inner: Sequence[Array | Step],
    last: Array,
    constraint: Activation,
    norm: str = "2",
    *,
    variant: str = NEURON,
    timeout: float | None = 60.0,
    gap: float = 1e-8,
) -> SdpResult:
    """Bound the Lipschitz constant of a residual network on the whole space.

    Args:
        first: the layer before the residual ones, ``(out, in)``, without an activation.
        inner: of each residual layer ``x <- F x + H phi(G x + b)`` the matrices (F, H, G), or G alone for
            ``x <- x + phi(G x + b)``. Biases do not matter.
        last: the layer after them.
        constraint: what is known of the activations.
        norm: see ``bound``.
        variant: one multiplier a ``neuron`` (or group), or one a ``layer``.
        timeout: seconds, see ``bound``.
        gap: see ``bound``.

    Returns:
        A certified bound, never above the product of the layers' norms ``|last| prod (|F| + m |H| |G|) |first|``.

    Raises:
        UsageError: no such norm or variant, or weights that are not finite.
        ShapeError: the matrices do not fit together, or the activations into a layer.

    Property: sound in floating point, for the weights as real numbers; incomplete.
    Source: Pauli et al., ICLR 2024 (arXiv:2401.14033).
    """
    start, end = _matrix(first), _matrix(last)
    builder = Builder(start.shape[1])
    state = builder.input.after(start)
    order = 2.0 if norm == "2" else math.inf
    reach = matrix_norm(Block.exact(start), order)
    for item in inner:
        if isinstance(item, tuple):
            keep, give, read = (_matrix(part) for part in item)
        else:
            read = _matrix(item)
            keep, give = torch.eye(state.rows, dtype=torch.float64), torch.eye(len(read), dtype=torch.float64)
        state = state.after(keep) + constraint.apply(builder, state.after(read), variant).after(give)
        kept, given, gained = (matrix_norm(Block.exact(part), order) for part in (keep, give, read))
        reach = times(reach, kept + times(times(given, gained), constraint.stretch(order)))
    found = bound(builder.finish(state.after(end)), norm, timeout=timeout, gap=gap)
    return within(found, times(reach, answer_norm(Block.exact(end), norm)))


def implicit(
    inner: Array,
    entry: Array,
    last: Array,
    constraint: Activation,
    norm: str = "2",
    *,
    variant: str = NEURON,
    timeout: float | None = 60.0,
    gap: float = 1e-8,
) -> SdpResult:
    """Bound the Lipschitz constant of ``y = C z`` with ``z = phi(W z + U x + b)`` on the whole space.

    Args:
        inner: W ``(n, n)``.
        entry: U ``(n, in)``.
        last: C ``(out, n)``.
        constraint: what is known of the activations.
        norm: see ``bound``.
        variant: one multiplier a ``neuron`` (or group), or one a ``layer``.
        timeout: seconds, see ``bound``.
        gap: see ``bound``.

    Returns:
        A certified bound, with the proof that there is one z for each x; infinite, the reason being
        ``not well-posed``, where neither multipliers nor norms (``m |W| < 1``) prove that.

    Raises:
        UsageError: no such norm or variant, or weights that are not finite; or what the activations pass by has no one
            solution.
        ShapeError: the matrices do not fit together, or the activations into a layer.

    Property: sound in floating point, for the weights as real numbers; incomplete.
    Source: Revay, Wang, Manchester (arXiv:2010.01732) for implicit networks and slopes; Pauli et al., ICLR 2024
    (arXiv:2401.14033) for the other activations.
    """
    weight, into, end = _matrix(inner), _matrix(entry), _matrix(last)
    builder = Builder(into.shape[1])
    state = loop(builder, weight, builder.input.after(into), constraint, variant)
    found = bound(builder.finish(state.after(end)), norm, timeout=timeout, gap=gap)
    order = 2.0 if norm == "2" else math.inf
    read, own = (times(constraint.stretch(order), matrix_norm(Block.exact(part), order)) for part in (into, weight))
    reach = contraction(read, own)
    return within(found, times(reach, answer_norm(Block.exact(end), norm)) if math.isfinite(reach) else math.inf)


def _matrix(weight: Array) -> Tensor:
    """Turn weights into float64."""
    found = torch.as_tensor(weight).detach().to("cpu", torch.float64)
    if found.dim() != 2 or not found.numel():
        raise ShapeError(f"weights of shape {tuple(found.shape)} are no matrix")
    if not bool(found.isfinite().all()):
        raise UsageError("not all weights are finite")
    return found
