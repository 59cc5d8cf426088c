"""Layers of constant 1 in the norm 2 and implicit ones, as torch modules; ``verifier.export`` writes them to ONNX."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = {"Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh}
"""What an equilibrium layer may have, by the names of ONNX."""

DOMAIN = "verifier"
"""The operator set of what ONNX has no operator for, until it is spelled out."""


class GroupSort(nn.Module):
    """Sorts groups of ``size`` neighbours along an axis, the least first; 1-Lipschitz in the norms 1, 2 and inf.

    Source: Anil, Lucas and Grosse, ICML 2019 (arXiv:1811.05381).
    """

    def __init__(self, size: int, axis: int = -1) -> None:
        super().__init__()
        self.size, self.axis = size, axis

    def forward(self, x: Tensor) -> Tensor:
        """Sort; the axis must hold whole groups."""
        axis = self.axis % x.dim()
        groups: Tensor = x.unflatten(axis, (-1, self.size))
        return groups.sort(axis + 1).values.flatten(axis, axis + 1)


class MaxMin(nn.Module):
    """``GroupSort`` of pairs, spelled by maxima and minima: the lesser of two neighbours comes first."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Sort; the axis must have an even length."""
        axis = self.axis % x.dim()
        a, b = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
        return torch.stack([torch.minimum(a, b), torch.maximum(a, b)], axis + 1).flatten(axis, axis + 1)


class FullSort(nn.Module):
    """Sorts a whole axis, the least first; 1-Lipschitz in the norms 1, 2 and inf."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Sort."""
        return x.sort(self.axis).values


class Householder(nn.Module):
    """Reflects each group z of neighbours along an axis where ``v'z < 0``, v its unit vector; 1-Lipschitz in norm 2.

    ``vector`` has the shape ``(size,)``, or ``(groups, size)``; its rows are normalised.
    Source: Singla, Singla and Feizi, ICLR 2022 (arXiv:2108.04062).
    """

    def __init__(self, vector: Tensor, axis: int = -1) -> None:
        super().__init__()
        self.vector, self.axis = nn.Parameter(vector), axis

    def forward(self, x: Tensor) -> Tensor:
        """Reflect; the axis must hold whole groups."""
        axis = self.axis % x.dim()
        z: Tensor = x.unflatten(axis, (-1, self.vector.shape[-1]))
        v = nn.functional.normalize(self.vector, dim=-1)
        v = v.reshape(*v.shape, *[1] * (x.dim() - axis - 1))
        along = (z * v).sum(axis + 1, keepdim=True)
        return (z + 2 * torch.relu(-along) * v).flatten(axis, axis + 1)


class Equilibrium(nn.Module):
    """The z with ``z = f(W z + U x + b)``, found by averaging: ``z <- z + step * (f(W z + U x + b) - z)`` from 0.

    It ends when no element moves by more than ``tolerance``, or after ``most`` steps. Averaging converges where the
    largest eigenvalue of ``(W + W') / 2`` is below 1 and the step small enough, for activations with slopes in [0, 1].

    Args:
        inner: W, ``(n, n)``.
        outer: U, ``(n, inputs)``.
        bias: b, ``(n,)``.
        activation: ``Relu``, ``Sigmoid`` or ``Tanh``.
        step: the part of the way that is gone, in (0, 1].
        tolerance: absolute.
        most: steps at most.

    Raises:
        KeyError: there is no such activation.
    """

    def __init__(
        self,
        inner: Tensor,
        outer: Tensor,
        bias: Tensor,
        activation: str = "Relu",
        *,
        step: float = 0.5,
        tolerance: float = 1e-6,
        most: int = 1000,
    ) -> None:
        super().__init__()
        self.inner, self.outer, self.bias = nn.Parameter(inner), nn.Parameter(outer), nn.Parameter(bias)
        self.function, self.activation = ACTIVATIONS[activation], activation
        self.step, self.tolerance, self.most = step, tolerance, most

    def forward(self, x: Tensor) -> Tensor:
        """Solve; ``(..., inputs)`` gives ``(..., n)``."""
        fixed = nn.functional.linear(x, self.outer, self.bias)
        if torch.onnx.is_in_onnx_export():
            options = self.activation, self.step, self.tolerance, self.most
            found: Tensor = _Exported.apply(fixed, self.inner, *options)  # type: ignore[no-untyped-call]
            return found
        z = torch.zeros_like(fixed)
        for _ in range(self.most):
            move = self.step * (self.function(nn.functional.linear(z, self.inner) + fixed) - z)
            z = z + move
            if not (move.abs() > self.tolerance).any():
                break
        return z


class _Exported(torch.autograd.Function):
    """An equilibrium while a network is traced: one node, which ``verifier.export`` spells out."""

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, *options: Any) -> Tensor:
        """Return something of the result's shape."""
        del ctx, options
        return fixed.clone()

    @staticmethod
    def symbolic(g: Any, fixed: Any, inner: Any, activation: str, step: float, tolerance: float, most: int) -> Any:
        """Return the node."""
        found = g.op(
            f"{DOMAIN}::Equilibrium",
            fixed,
            inner,
            activation_s=activation,
            step_f=step,
            tolerance_f=tolerance,
            most_i=most,
        )
        found.setType(fixed.type())
        return found
