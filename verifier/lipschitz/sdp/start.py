"""A first point at which all matrices are positive definite."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from verifier.lipschitz.sdp.gains import acyclic
from verifier.lipschitz.sdp.margin import multipliers
from verifier.lipschitz.sdp.spectrum import eigenvalues
from verifier.lipschitz.sdp.stacked import Stacked
from verifier.lipschitz.sdp.system import Layer, Signal, System

INSIDE = 1.05
"""How much more than is needed each layer of the first point gets."""


def start(system: System, infinite: bool, seconds: float) -> Tensor | None:
    """Return rho (or tau and mu) and multipliers; None for an implicit network that none is found for in time."""
    if acyclic(system):
        most, t = _recursion(system)
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
    head = [torch.full((inputs,), most * level), torch.full((outputs,), INSIDE / level)]
    return torch.cat([*(part.double() for part in head), level * t])


def _recursion(system: System) -> tuple[float, Tensor]:
    """Return rho and one multiplier a layer, a little above what is needed, from the output to the input.

    Each layer supplies ``s |v|^2`` to those that read it. With c and r the middle and half the length of a neuron's
    slopes, for any T = 2 t > s,

        T (v - c z)^2 - T r^2 z^2 >= s v^2 - (T r^2 + s T c^2 / (T - s)) z^2,

    and of n blocks, ``|sum A_j v_j|^2 <= n sum |A_j|^2 |v_j|^2``.
    """
    demand, found = [0.0] * (len(system.layers) + 1), [torch.zeros(0, dtype=torch.float64)]
    _charge(demand, system.output, 1.0)
    for k, layer in reversed(list(enumerate(system.layers, 1))):
        twice, need = _layer(layer, INSIDE * max(demand[k], 1e-12))
        found.append(torch.full((int(layer.ties.max()) + 1,), twice / 2, dtype=torch.float64))
        _charge(demand, layer.before, need)
    return INSIDE * max(demand[0], 1e-12), torch.cat(found[::-1])


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


def _layer(layer: Layer, supply: float) -> tuple[float, float]:
    """Return T, and what its neurons need for each unit of ``|z|^2``."""
    middle, radius = (layer.upper + layer.lower).abs() / 2, (layer.upper - layer.lower) / 2
    twice = supply * (1 + float((torch.maximum(middle, 0.1 * radius) / radius.clamp(min=1e-9)).max()))
    need = twice * radius.square() + supply * middle.square() * twice / (twice - supply)
    return twice, float(need.max())


def _charge(demand: list[float], signal: Signal, need: float) -> None:
    """Add what a signal demands of the groups that it reads."""
    for group, block in signal.blocks.items():
        norm = float(torch.linalg.matrix_norm(block.centre, 2)) ** 2
        demand[group] += INSIDE * need * len(signal.blocks) * norm


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2
