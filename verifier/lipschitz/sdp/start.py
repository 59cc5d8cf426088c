"""A first point at which all matrices are positive definite."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from verifier.lipschitz.sdp.gains import acyclic
from verifier.lipschitz.sdp.margin import multipliers
from verifier.lipschitz.sdp.spectrum import eigenvalues
from verifier.lipschitz.sdp.stacked import Stacked
from verifier.lipschitz.sdp.system import System

INSIDE = 2.0
"""How much more than is needed each layer of the first point gets."""

AWAY = 4.0
"""How much more than is needed tau and mu are, of which there are many."""


def start(system: System, infinite: bool, seconds: float) -> Tensor | None:
    """Return rho (or tau and mu) and multipliers, or None if none are found: of an implicit network, or by rounding."""
    if acyclic(system):
        found = _backward(Stacked.of(system))
    else:
        inner = multipliers(system, seconds)
        found = None if inner is None else _completed(Stacked.of(system), inner)
    if found is None:
        return None
    most, t = found
    if not infinite:
        return torch.cat([torch.tensor([most], dtype=torch.float64), t])
    inputs, outputs = system.inputs, system.output.rows
    level = math.sqrt(outputs / (inputs * most))  # where tau and mu cost the same
    head = [torch.full((inputs,), AWAY * most * level), torch.full((outputs,), AWAY / level)]
    return torch.cat([*(part.double() for part in head), level * t])


def _backward(form: Stacked) -> tuple[float, Tensor] | None:
    """Return rho and one multiplier a layer, a little above what is needed, from the output to the input.

    M is what is needed of all variables so far, at first C' C. A layer with c and r the middle and half the length of
    its slopes takes T = 2 t a little above ``(1 + |c| / r) |M_vv|``, where ``T (v - c z)^2 - T r^2 z^2`` supplies
    ``|M_vv| v^2`` for the least z^2; with v eliminated, what is needed of the variables before it is left.
    """
    need, end, t = form.output.mT @ form.output, form.size, torch.zeros(form.multipliers, dtype=torch.float64)
    for layer in reversed(form.layers):
        begin = end - len(layer.centre)
        neurons = slice(begin - form.inputs, end - form.inputs)
        middle, radius = (form.upper + form.lower)[neurons].abs() / 2, (form.upper - form.lower)[neurons] / 2
        supply = INSIDE * max(float(torch.linalg.matrix_norm(need[begin:end, begin:end], 2)), 1e-12)
        rate = float((torch.maximum(middle, 0.1 * radius) / radius.clamp(min=1e-9)).max())
        here = torch.zeros_like(t)
        here[form.ties[neurons]] = supply * (1 + rate) / 2
        left = form.quadratic(here)[:end, :end] - need
        factor, info = torch.linalg.cholesky_ex(left[begin:, begin:])
        if int(info) or not bool(left.isfinite().all()):
            return None
        half = torch.linalg.solve_triangular(factor, left[begin:, :begin], upper=False)
        need, end, t = half.mT @ half - left[:begin, :begin], begin, t + here
    most = float(torch.linalg.matrix_norm(_symmetric(need), 2))
    return INSIDE * max(most, 1e-12), t


def _completed(form: Stacked, t: Tensor) -> tuple[float, Tensor] | None:
    """Scale multipliers of a well-posed network to what its output needs, and return rho that its input needs."""
    inputs, output = form.inputs, form.output[:, form.inputs :]
    matrix = _symmetric(form.quadratic(t))
    factor, info = torch.linalg.cholesky_ex(matrix[inputs:, inputs:])
    if int(info):
        return None
    half = torch.linalg.solve_triangular(factor, output.mT, upper=False)
    scale = 2 * max(float(torch.linalg.matrix_norm(half, 2)) ** 2, 1e-12)
    whole = scale * matrix - form.output.mT @ form.output
    factor, info = torch.linalg.cholesky_ex(whole[inputs:, inputs:])
    if int(info):
        return None
    half = torch.linalg.solve_triangular(factor, whole[inputs:, :inputs], upper=False)
    spectrum = eigenvalues(half.mT @ half - whole[:inputs, :inputs])
    return None if spectrum is None else (INSIDE * max(float(spectrum[-1]), 1e-12), scale * t)


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2
