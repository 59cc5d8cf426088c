"""Random systems, composed layer by layer."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from verifier.lipschitz.sdp.constraints.parts import Activation
from verifier.lipschitz.sdp.system import Builder, System


def network(widths: tuple[int, ...], activation: Activation, skip: bool = False) -> System:
    """A random network; with ``skip``, every inner layer is added to what it reads."""
    generator = torch.Generator().manual_seed(sum(widths))
    builder = Builder(widths[0])
    signal = builder.input
    weights = [torch.randn(m, n, generator=generator).double() / math.sqrt(n) for n, m in pairwise(widths)]
    for k, weight in enumerate(weights[:-1]):
        after = activation.apply(builder, signal.after(weight))
        signal = signal + after if skip and k else after
    return builder.finish(signal.after(weights[-1]))
