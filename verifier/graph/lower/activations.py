"""The activation functions of recurrent cells, by name and parameters."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from verifier.graph.lower.builder import Builder, Call, Variable
from verifier.ops.curves import Clip, Elu, LeakyRelu, Relu, Sigmoid, Softplus, Softsign, Tanh, ThresholdedRelu

Activation = Callable[[Builder, Variable], Variable]

Number = float | None

DEFAULTS: dict[str, tuple[Number, Number]] = {
    "relu": (None, None),
    "tanh": (None, None),
    "sigmoid": (None, None),
    "softsign": (None, None),
    "softplus": (None, None),
    "affine": (1.0, 0.0),
    "leakyrelu": (float(np.float32(0.01)), None),
    "thresholdedrelu": (1.0, None),
    "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (float(np.float32(0.2)), 0.5),
    "elu": (1.0, None),
}
"""Alpha and beta of each function; None where it has none."""

EXPLICIT = {"affine", "thresholdedrelu", "scaledtanh"}
"""Functions whose parameters must be given."""

PLAIN = {"relu": Relu(), "tanh": Tanh(), "sigmoid": Sigmoid(), "softsign": Softsign(), "softplus": Softplus()}


def activations(call: Call, defaults: list[str], directions: int) -> list[list[Activation]]:
    """Return the functions of each direction; functions that have parameters take the next ones of the lists."""
    names = call.get("activations") or defaults * directions
    if len(names) != len(defaults) * directions:
        raise ValueError(f"{len(names)} activations are given for {len(defaults)} places and {directions} directions")
    alphas, betas = list(call.get("activation_alpha") or []), list(call.get("activation_beta") or [])
    found = []
    for given in names:
        name = given.lower()
        if name not in DEFAULTS:
            raise call.unsupported(f"activation {given!r}; supported are {', '.join(sorted(DEFAULTS))}")
        alpha, beta = DEFAULTS[name]
        wanted = (name in EXPLICIT) + (name in EXPLICIT and beta is not None)
        if wanted > len(alphas[:1]) + (len(betas[:1]) if wanted == 2 else 0):
            missing = "activation_alpha" if beta is None else "activation_alpha and activation_beta"
            raise call.unsupported(f"activation {given!r} without {missing}, for which runtimes take other numbers")
        alpha = float(alphas.pop(0)) if alpha is not None and alphas else alpha
        beta = float(betas.pop(0)) if beta is not None and betas else beta
        found.append(activation(call, name, alpha or 0.0, beta or 0.0))
    return [found[k * len(defaults) : (k + 1) * len(defaults)] for k in range(directions)]


def activation(call: Call, name: str, alpha: float, beta: float) -> Activation:
    """Return one function."""
    if name in PLAIN:
        return lambda b, x: b.apply(PLAIN[name], x)
    if name == "affine":
        return lambda b, x: b.translate(b.scale(x, alpha), np.array(beta))
    if name == "leakyrelu":
        return lambda b, x: b.apply(LeakyRelu(alpha), x)
    if name == "thresholdedrelu":
        return lambda b, x: b.apply(ThresholdedRelu(alpha), x)
    if name == "scaledtanh":
        return lambda b, x: b.scale(b.apply(Tanh(), b.scale(x, beta)), alpha)
    if name == "hardsigmoid":
        return lambda b, x: b.apply(Clip(0.0, 1.0), b.translate(b.scale(x, alpha), np.array(beta)))
    if alpha <= 0:
        raise call.unsupported(f"Elu with alpha = {alpha:g}; positive ones are supported")
    return lambda b, x: b.apply(Elu(alpha), x)


def clipped(b: Builder, x: Variable, threshold: float | None) -> Variable:
    """Clip what goes into an activation, where the cell says so."""
    return x if threshold is None or math.isinf(threshold) else b.apply(Clip(-threshold, threshold), x)
