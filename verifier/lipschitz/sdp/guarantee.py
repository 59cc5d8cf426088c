"""A bound of a system from multipliers, proved in spite of rounding, however the multipliers were found.

Let xi = (dx, v) be the difference of two runs of the true network, whose matrices are within the radii, and
q(xi) = sum_i t_i xi' F_i xi >= 0 for t >= 0, see ``program``. If ``Z >= -delta I`` for all matrices within the radii:

- norm 2: ``rho |dx|^2 - |dy|^2 - q >= -delta |xi|^2``, so ``L^2 <= rho + delta K`` if ``|xi|^2 <= K |dx|^2``.
- norm inf, k outputs, n inputs, ``|dx|_inf <= 1`` (all is homogeneous), s = sign(dy): the form at (xi, s) is
  ``sum tau dx^2 - q - 2 |dy|_1 + sum mu >= -delta (|xi|^2 + k)``, and ``|dx|^2 <= n``, so
  ``|dy|_1 <= (sum tau + sum mu) / 2 + delta (k + n K) / 2``, given tau >= 0.

K is 1 plus the squares of the layers' gains, or what the multipliers themselves say: let P, Q and S be the parts of
``-sum t_i F_i`` on v v', v dx' and dx dx'. From q >= 0, ``v' P v + 2 v' Q dx + dx' S dx <= 0``; so if ``P >= nu I``,
``|Q| <= beta`` and ``S >= -alpha I``, then ``nu |v|^2 <= 2 beta |v| |dx| + alpha |dx|^2``, that is
``|v| <= (beta + sqrt(beta^2 + alpha nu)) / nu |dx|``.

An implicit network must have one solution v = phi(A_vv v + A_vx x) for each x for all this to speak of it. A
contraction has. So has P > 0: let F(v) = v - phi(A_vv v + c). Two points whose F differ by e have dv - e related to
A_vv dv by the slopes, so ``q(dv - e, A_vv dv) >= 0``, hence ``nu |dv|^2 <= const (|dv| |e| + |e|^2)`` and
``|dv| <= const |e|``. F is thus one-to-one and proper, and being continuous, it is onto by invariance of domain.
(Activations are continuous functions of all that their layer reads, neuron by neuron or tie by tie.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from verifier.bounds.rounding import gamma
from verifier.lipschitz.sdp.gains import acyclic, gains, matrix_norm
from verifier.lipschitz.sdp.reproof import TINY, Proof, least_eigenvalue
from verifier.lipschitz.sdp.stacked import Stacked
from verifier.lipschitz.sdp.system import Block, System

NOTHING = Proof(math.inf, math.inf, -math.inf)

GROW = 1 + gamma(32, torch.float64)

WORTH = 1e-9
"""The relative price of a shift from which a second way to bound K is tried."""


def guarantee(system: System, y: Tensor, infinite: bool) -> Proof:
    """Prove a bound from rho, or tau and mu, and then the multipliers; infinite if nothing can be proved.

    Property: sound in floating point, for any numbers, and for all matrices within their radii.
    """
    form = Stacked.of(system)
    outputs = len(form.output)
    head = form.inputs + outputs if infinite else 1
    t = y[head:]
    if not bool(y.isfinite().all()) or not bool((y >= 0).all()):
        return NOTHING
    reach = gains(system, 2)
    factor = math.fsum(gain * gain for gain in reach) * GROW
    if not math.isfinite(factor) and not acyclic(system):
        factor = _reach(form, t)
        if not math.isfinite(factor):
            return NOTHING
    residual = least_eigenvalue(*_matrix(form, y[:head], t, infinite))
    shift = max(0.0, -residual)
    value = float(y[:head].sum()) / 2 * (1 + gamma(head, torch.float64)) if infinite else float(y[0])
    if system.layers and shift * factor > WORTH * value:
        factor = min(factor, _reach(form, t))
    if not shift:
        return Proof(_root(value, infinite), shift, residual)
    price = shift / 2 * (outputs + form.inputs * factor) if infinite else shift * factor
    return Proof(_root(value + price, infinite), shift, residual)


def _root(value: float, infinite: bool) -> float:
    """Return the bound from what was computed with a few roundings, from above."""
    return value * GROW if infinite else math.sqrt(value * GROW) * GROW


def _matrix(form: Stacked, head: Tensor, t: Tensor, infinite: bool) -> tuple[Tensor, float]:
    """Return Z in floating point, and how far in norm the true one may be from it."""
    size, output = form.size, form.output
    whole = size + (len(output) if infinite else 0)
    z, lost, terms = torch.zeros(whole, whole, dtype=torch.float64), *torch.zeros(2, whole, dtype=torch.float64)
    z[:size, :size] = form.quadratic(t)
    lost[:size], terms[:size] = _rounded(form, t)
    magnitude, wobble = output.abs(), form.wobble
    if infinite:
        z[size:, :size], z[:size, size:] = -output, -output.mT
        lost[size:] += wobble.sum(1)
        lost[:size] += wobble.sum(0)
        at = torch.cat([torch.arange(form.inputs), torch.arange(size, whole)])
    else:
        z -= output.mT @ output
        sums, more = magnitude.sum(1), wobble.sum(1)
        terms += magnitude.mT @ sums
        lost += magnitude.mT @ more + wobble.mT @ (sums + more)
        at, head = torch.arange(form.inputs), head.expand(form.inputs)
    z[at, at] += head
    terms[at] += head
    return _symmetric(z), _error(form, lost, terms)


def _rounded(form: Stacked, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums over the rows of ``-sum t_i F_i``: of what the radii change, and of the terms' absolute values."""
    lost, terms = torch.zeros(2, form.size, dtype=torch.float64)
    each, start = t[form.ties], form.inputs
    for layer in form.layers:
        stop, part = start + len(layer.centre), layer.part
        here = slice(start - form.inputs, stop - form.inputs)
        lower, upper, weight = form.lower[here], form.upper[here], each[here]
        square, cross = 2 * (lower * upper).abs() * weight, (lower.abs() + upper.abs()) * weight
        size, radius = layer.centre.abs(), layer.radius
        sums, more = size.sum(1), radius.sum(1)
        terms[part] += size.mT @ (square * sums + cross)
        terms[start:stop] += cross * sums + 2 * weight
        lost[part] += size.mT @ (square * more) + radius.mT @ (square * (sums + more) + cross)
        lost[start:stop] += cross * more
        start = stop
    return lost, terms


def _error(form: Stacked, lost: Tensor, terms: Tensor) -> float:
    """Bound the norm of a symmetric error by its greatest sum of a row."""
    longest = max([len(form.output), *(len(layer.centre) for layer in form.layers)])
    unit = gamma(longest + 4 * len(form.layers) + 16, torch.float64)
    wide = 1 + gamma(2 * len(lost) + 2 * longest + len(form.layers) + 16, torch.float64)
    return float((lost + unit * terms).max()) * wide + 4 * len(lost) ** 2 * TINY


def _reach(form: Stacked, t: Tensor) -> float:
    """Bound K by the multipliers; infinite unless P is proved positive definite."""
    count = form.inputs
    matrix = form.quadratic(t)
    lost, terms = _rounded(form, t)
    error = _error(form, lost, terms)
    nu = least_eigenvalue(_symmetric(matrix[count:, count:]), error)
    if not nu > 0:
        return math.inf
    cross = matrix[count:, :count]
    beta = (matrix_norm(Block.exact(cross), 2.0) + error) * GROW
    alpha = max(0.0, -least_eigenvalue(_symmetric(matrix[:count, :count]), error))
    gain = (beta + math.sqrt(beta * beta + alpha * nu)) / nu
    return (1 + gain * gain) * GROW


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2
