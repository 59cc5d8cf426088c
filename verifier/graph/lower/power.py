"""Powers."""

from __future__ import annotations

import numpy as np
import torch

from verifier.graph.lower.builder import Builder, Call, Operand, Variable, double, lift, lowers, tensor
from verifier.graph.onnx_file import Array
from verifier.ops.arithmetic import Scale
from verifier.ops.curves import Exp, Log, Power
from verifier.ops.select import Concat, Gather


@lowers("Pow")
def power(b: Builder, call: Call) -> Operand:
    """Lower a power; one with a variable exponent, by logarithm and exponential, has a positive base only."""
    base, exponent = call.operand(0), call.operand(1)
    if isinstance(exponent, Variable):
        return exponential(b, call, base, exponent)
    x, exponents = call.variable(), double(exponent)
    if len(kinds := np.unique(exponents)) == 1:
        x = b.expand(x, np.broadcast_shapes(x.shape, exponents.shape))
        return constant_power(b, x, float(kinds[0]))
    return several_powers(b, x, exponents)


def exponential(b: Builder, call: Call, base: Operand, exponent: Variable) -> Variable:
    """Return ``exp(exponent * log(base))``."""
    if isinstance(base, Variable):
        return b.apply(Exp(), b.multiply(exponent, b.apply(Log(), base)))
    if not (base > 0).all():
        raise call.unsupported("a base that is not positive, with an exponent that depends on the input")
    x = b.expand(exponent, np.broadcast_shapes(exponent.shape, base.shape))
    return b.apply(Exp(), b.apply(Scale(tensor(lift(np.log(double(base)), x.rank)), roundings=2), x))


def constant_power(b: Builder, x: Variable, exponent: float) -> Variable:
    """Return a power of all elements; the exponent 0 makes 1 of every number."""
    if exponent == 0:
        return b.translate(b.scale(x, 0.0), np.ones(1))
    return x if exponent == 1 else b.apply(Power(exponent), x)


def several_powers(b: Builder, x: Variable, exponents: Array) -> Variable:
    """Return the elements' own powers: those of one exponent together, then back to their places."""
    shape = np.broadcast_shapes(x.shape, exponents.shape)
    flat = b.reshape(b.expand(x, shape), (int(np.prod(shape)),))
    wanted = np.broadcast_to(exponents, shape).reshape(-1)
    places = [np.flatnonzero(wanted == kind) for kind in np.unique(wanted)]
    pieces = [
        constant_power(b, b.apply(Gather(torch.as_tensor(place), 0), flat), float(wanted[place[0]])) for place in places
    ]
    joined = b.apply(Concat(0, (0,) * (len(pieces) + 1)), *pieces)
    back = np.argsort(np.concatenate(places))
    return b.reshape(b.apply(Gather(torch.as_tensor(back), 0), joined), shape)
