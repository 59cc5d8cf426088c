"""Fusing a number times a sigmoid of it: Gelu by erf or tanh, Silu, Mish, HardSwish."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from verifier.graph.forms import Nodes, Peeled, Terms, bases, peeled, polynomial
from verifier.graph.fuse_draft import LINEAR, ONE, Draft
from verifier.graph.graph import Node
from verifier.ops.curves import Clip, Erf, Gelu, GeluTanh, HardSwish, Mish, Sigmoid, Silu, Softplus, Tanh
from verifier.ops.curves.gelu import CUBIC
from verifier.ops.op import Op
from verifier.ops.product import Product

CUBE = Fraction(3)
DIGITS = 10**40
ROOT_2 = Fraction(math.isqrt(2 * DIGITS**2), DIGITS)
PI = Fraction("3.1415926535897932384626433832795028841971")
ROOT_2_BY_PI = Fraction(math.isqrt(int(2 / PI * DIGITS**2)), DIGITS)

NEAR = Fraction(1, 1000)
"""How far the coefficient in Gelu by tanh may be from the usual one."""


def gate(nodes: Nodes, node: Node) -> Draft | None:
    """A number times a sigmoid of it: Gelu by erf or tanh, Silu, Mish, HardSwish."""
    if not isinstance(node.op, Product):
        return None
    for number, other in (node.parents, node.parents[::-1]):
        form = peeled(nodes, other)
        if form.core.op is None or not form.factor or type(form.core.op) not in GATES:
            continue
        for multiple, base in bases(nodes, number):
            argument = polynomial(nodes, form.core.parents[0], base)
            if argument is not None:
                return GATES[type(form.core.op)](Draft(node), form, argument, multiple * form.factor, base)
        if isinstance(form.core.op, Tanh) and (found := mish(nodes, node, form, number)) is not None:
            return found
    return None


def by_erf(draft: Draft, form: Peeled, argument: Terms, factor: Fraction, base: str) -> Draft | None:
    """Gelu: x * (1 + erf(c x)) = gelu(s x) * 2 / s with s = sqrt(2) c."""
    sign = form.shift / form.factor
    if abs(sign) != 1 or set(argument) != {LINEAR}:
        return None
    scale = sign * argument[LINEAR] * ROOT_2
    return draft.curve(Gelu(), base, scale, sign * factor * 2 / scale)


def by_sigmoid(draft: Draft, form: Peeled, argument: Terms, factor: Fraction, base: str) -> Draft | None:
    """Silu: x * sigmoid(c x) = silu(c x) / c, and x * (1 - sigmoid(c x)) the same for -c."""
    if form.shift / form.factor not in (0, -1) or set(argument) != {LINEAR}:
        return None
    sign = 1 if not form.shift else -1
    scale = sign * argument[LINEAR]
    return draft.curve(Silu(), base, scale, sign * factor / scale)


def by_tanh(draft: Draft, form: Peeled, argument: Terms, factor: Fraction, base: str) -> Draft | None:
    """Silu or Gelu by tanh: x * (1 + tanh(p(x))) = 2 x sigmoid(2 p(x)), p linear or cubic as usual."""
    sign = form.shift / form.factor
    if abs(sign) != 1:
        return None
    if set(argument) == {LINEAR}:
        scale = 2 * sign * argument[LINEAR]
        return draft.curve(Silu(), base, scale, sign * factor * 2 / scale)
    if set(argument) != {LINEAR, CUBE}:
        return None
    scale = sign * argument[LINEAR] / ROOT_2_BY_PI
    cubic = argument[CUBE] / argument[LINEAR] / scale**2
    if abs(cubic / Fraction(CUBIC) - 1) > NEAR:
        return None
    return draft.curve(GeluTanh(float(cubic)), base, scale, sign * factor * 2 / scale)


def by_clip(draft: Draft, form: Peeled, argument: Terms, factor: Fraction, base: str) -> Draft | None:
    """HardSwish: x * (clip(c x + d, low, high) - low) = (high - low) / s * hardswish(s x), if d is the middle."""
    op = form.core.op
    assert isinstance(op, Clip)
    if not (math.isfinite(op.low) and math.isfinite(op.high)) or op.low >= op.high or LINEAR not in argument:
        return None
    low, height = Fraction(op.low), Fraction(op.high) - Fraction(op.low)
    centred = argument.get(ONE, ONE) - low == height / 2 and set(argument) <= {ONE, LINEAR}
    if not centred or form.factor * low + form.shift != 0:
        return None
    scale = 6 * argument[LINEAR] / height
    return draft.curve(HardSwish(), base, scale, factor * height / scale)


def mish(nodes: Nodes, node: Node, form: Peeled, number: str) -> Draft | None:
    """Mish, for ``x * tanh(softplus(c x))`` is ``mish(c x) / c``."""
    inner = nodes[form.core.parents[0]]
    if not isinstance(inner.op, Softplus) or form.shift:
        return None
    for multiple, base in bases(nodes, number):
        argument = polynomial(nodes, inner.parents[0], base)
        if argument is not None and set(argument) == {LINEAR}:
            scale = argument[LINEAR]
            return Draft(node).curve(Mish(), base, scale, multiple * form.factor / scale)
    return None


GATES: dict[type[Op], Callable[[Draft, Peeled, Terms, Fraction, str], Draft | None]] = {
    Erf: by_erf,
    Sigmoid: by_sigmoid,
    Tanh: by_tanh,
    Clip: by_clip,
}
"""What is done with each kind of gate."""
