"""Bounds of feed-forward networks ``x -> W_L phi(.. phi(W_1 x + b_1) ..) + b_L``."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.config import seconds
from verifier.errors import ShapeError, UsageError
from verifier.lipschitz.sdp import reproof
from verifier.lipschitz.sdp.bound import bound, times_power, within
from verifier.lipschitz.sdp.chain import Chain
from verifier.lipschitz.sdp.constraints.groupsort import GroupSort
from verifier.lipschitz.sdp.constraints.parts import Activation
from verifier.lipschitz.sdp.interior import Interior
from verifier.lipschitz.sdp.reproof import Proof
from verifier.lipschitz.sdp.result import Answer, SdpResult, summary
from verifier.lipschitz.sdp.system import Builder, System
from verifier.machine import threads_for

Weights = Sequence[npt.NDArray[np.floating] | Tensor]


def feedforward(
    weights: Weights,
    constraint: Activation,
    norm: str = "2",
    *,
    output: int | None = None,
    timeout: float | None = 60.0,
    gap: float = 1e-8,
) -> SdpResult:
    """Bound the Lipschitz constant of a feed-forward network on the whole space.

    Args:
        weights: of the layers in order, each ``(out, in)``; biases do not matter.
        constraint: what is known of the activations, ``GroupSort(2)`` for MaxMin or ``Slopes(0, 1)`` for ReLU.
        norm: ``2``, or ``inf``: the greatest of the bounds of the outputs one by one.
        output: an index, counted from 0, or None for all.
        timeout: seconds until the solver stops where it is, or None for no limit; proving comes after it.
        gap: of the program and its dual, relative, at which to stop.

    Returns:
        A certified bound, never above the product of the layers' norms; a looser one if the time was too short.

    Raises:
        UsageError: no such norm or output.
        ShapeError: the weights do not fit together, or the groups do not fit into a layer.

    Property: sound in floating point, for the weights as real numbers; incomplete. Cost: some 10 to 30 steps, each of
    a few products of matrices as large as a layer (GroupSort), or as all neurons together (slopes).
    Source: Fazlyab et al., NeurIPS 2019 (arXiv:1906.04893); Pauli et al., ICLR 2024 (arXiv:2401.14033).
    """
    started = time.monotonic()
    matrices = _read(weights, output)
    if norm not in ("2", "inf"):
        raise UsageError(f"there is no semidefinite bound for norm {norm!r}: choose 2 or inf")
    infinite = norm == "inf"
    if isinstance(constraint, GroupSort):
        for weight in matrices[:-1]:
            constraint.groups(len(weight))
    product = _product(matrices, constraint, infinite)
    if not isinstance(constraint, GroupSort):
        return within(bound(_system(matrices, constraint), norm, timeout=timeout, gap=gap), product)
    limit = seconds(timeout)
    tasks = [[*matrices[:-1], row.unsqueeze(0)] for row in matrices[-1]] if infinite else [matrices]
    if len(matrices) == 1 or product == 0:
        tasks = []
    answers = []
    with threads_for(sum(len(weight) for weight in matrices)):
        for k, task in enumerate(tasks):
            left = (limit - (time.monotonic() - started)) / (len(tasks) - k)
            answers.append(_program(task, constraint, infinite, Interior(gap, max(left, 0.0))))
    upper = max((answer.proof.upper for answer in answers), default=math.inf)
    numbers = [answer.multipliers for answer in answers]
    return summary(upper, product, norm, answers, numbers, time.monotonic() - started)


def _system(weights: list[Tensor], constraint: Activation) -> System:
    """Compose the layers."""
    builder = Builder(weights[0].shape[1])
    signal = builder.input.after(weights[0])
    for weight in weights[1:]:
        signal = constraint.apply(builder, signal).after(weight)
    return builder.finish(signal)


def _program(weights: list[Tensor], constraint: GroupSort, infinite: bool, method: Interior) -> Answer:
    """Solve and prove one program, with weights that are balanced first."""
    try:
        balanced, exponent = _balanced(weights)
    except OverflowError:
        return Answer(Proof(math.inf, 0.0, -math.inf), "out of range")
    model = Chain(balanced, constraint, infinite)
    outcome = method.solve(model)
    proof = reproof.chain(balanced, constraint, model.numbers(outcome.y), infinite)
    upper = times_power(proof.upper, exponent)
    done = Proof(upper, proof.shift, proof.residual)
    return Answer(done, outcome.reason, outcome.gap, outcome.iterations, outcome.y.numpy())


def _balanced(weights: list[Tensor]) -> tuple[list[Tensor], int]:
    """Scale all weights by powers of two to norms near 1, and return the exponent of what was taken out.

    The activation ``phi(c z) / c`` has the same slopes, or sorts the same groups, so the bound is that of the scaled
    network times the power, and the scaling is exact.

    Raises:
        OverflowError: numbers are so large or so small that it would not be.
    """
    found, total = [], 0
    for weight in weights:
        size = float(torch.linalg.matrix_norm(weight, 2))
        exponent = round(math.log2(size)) if size > 0 else 0
        scaled = weight * 2.0**-exponent
        if not torch.equal(scaled * 2.0**exponent, weight):
            raise OverflowError("weights too far from 1")
        found.append(scaled)
        total += exponent
    return found, total


def _product(weights: list[Tensor], constraint: Activation, infinite: bool) -> float:
    """Bound the product of the layers' norms and the activations' constants from above."""
    if infinite:
        sizes = [float(w.abs().sum(1).max()) * (1 + gamma(w.shape[1], torch.float64)) for w in weights]
    else:
        sizes = reproof.norms(weights)
    if not all(sizes):
        return 0.0
    parts = [
        math.frexp(size) for size in [*sizes, *[constraint.stretch(math.inf if infinite else 2.0)] * (len(weights) - 1)]
    ]
    found = math.prod(mantissa for mantissa, _ in parts) * (1 + gamma(4 * len(weights), torch.float64))
    return times_power(found, sum(exponent for _, exponent in parts))


def _read(weights: Weights, output: int | None) -> list[Tensor]:
    """Turn the weights into float64, and keep the rows of an output."""
    found = [torch.as_tensor(weight).detach().to("cpu", torch.float64) for weight in weights]
    if not found:
        raise ShapeError("a network has at least one layer")
    for k, weight in enumerate(found):
        if weight.dim() != 2 or not weight.numel():
            raise ShapeError(f"the weights of layer {k + 1} have shape {tuple(weight.shape)}, not (out, in)")
        if not bool(weight.isfinite().all()):
            raise UsageError(f"the weights of layer {k + 1} are not all finite")
        if k and weight.shape[1] != len(found[k - 1]):
            raise ShapeError(f"layer {k + 1} reads {weight.shape[1]} values, and layer {k} has {len(found[k - 1])}")
    if output is not None:
        if not 0 <= output < len(found[-1]):
            raise UsageError(f"there is no output {output}: the network has {len(found[-1])}, counted from 0")
        found[-1] = found[-1][output : output + 1]
    return found
