"""Slopes for functions that have none: steps take those of a slope that a descent can follow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Guided(torch.autograd.Function):
    """Return the first operand, with the gradient of the second."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, guide: Tensor) -> Tensor:
        del ctx, guide
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        del ctx
        return None, gradients[0]


def guided(value: Tensor, guide: Tensor) -> Tensor:
    """Return ``value`` exactly, with the gradient of ``guide``, which has its shape.

    Attacks need it, bounds do not. Source: the straight-through estimator of Bengio et al., 2013 (arXiv:1308.3432).
    """
    found: Tensor = _Guided.apply(value.detach(), guide)  # type: ignore[no-untyped-call]
    return found


def guided_step(value: Tensor, x: Tensor) -> Tensor:
    """Return the values of a step at 0, with the gradient of a smooth step as wide as the operands usually are."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return value
    width = x.detach().abs().mean().clamp(min=1e-30)
    return guided(value, x / (x.abs() + width))
