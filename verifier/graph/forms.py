"""What a node is as a function of another one: an affine function, a polynomial, a sum of exponentials, two slopes.

All constants are rational numbers, exactly those of the file, so that no rounding enters a comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from verifier.graph.graph import Node
from verifier.ops.arithmetic import Add, Neg, Scale, Sub, Translate
from verifier.ops.curves import Abs, Exp, LeakyRelu, Power, Relu
from verifier.ops.op import Op
from verifier.ops.product import Product

DEPTH = 8
"""How far from a node it is looked for what it depends on."""

DEGREE = 8
"""Largest degree of polynomials."""

Terms = dict[Fraction, Fraction]
"""Coefficients by exponent, of powers or of exponentials; none is zero."""

Nodes = Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class Peeled:
    """A node as ``factor * core + shift``."""

    factor: Fraction
    shift: Fraction
    core: Node


def scalar(op: Scale | Translate) -> Fraction | None:
    """Return a constant that is the same for all elements."""
    flat = op.constant.reshape(-1)
    if len(flat) > 1 and not (flat[0] == flat[-1] and bool((flat == flat[0]).all())):
        return None
    return Fraction(flat[0].item()) if len(flat) and bool(flat[0].isfinite()) else None


def affine(op: Op | None) -> tuple[Fraction, Fraction] | None:
    """Return factor and shift of an operator that has one of each for all elements."""
    if isinstance(op, Neg):
        return Fraction(-1), Fraction(0)
    if isinstance(op, (Scale, Translate)) and not op.roundings and (constant := scalar(op)) is not None:
        return (constant, Fraction(0)) if isinstance(op, Scale) else (Fraction(1), constant)
    return None


def peeled(nodes: Nodes, name: str) -> Peeled:
    """Take off factors and shifts."""
    factor, shift, node = Fraction(1), Fraction(0), nodes[name]
    while (step := affine(node.op)) is not None:
        factor, shift = factor * step[0], factor * step[1] + shift
        node = nodes[node.parents[0]]
    return Peeled(factor, shift, node)


def bases(nodes: Nodes, name: str) -> Iterator[tuple[Fraction, str]]:
    """Yield nodes of which a node is a multiple, the node itself first."""
    factor = Fraction(1)
    yield factor, name
    while (step := affine(nodes[name].op)) is not None and not step[1] and step[0]:
        factor, name = factor * step[0], nodes[name].parents[0]
        yield factor, name


def polynomial(nodes: Nodes, name: str, base: str, depth: int = DEPTH) -> Terms | None:
    """Return a node as a polynomial of another one."""
    if name == base:
        return {Fraction(1): Fraction(1)}
    node = nodes[name]
    if not depth or node.op is None:
        return None
    if (step := affine(node.op)) is not None:
        inner = polynomial(nodes, node.parents[0], base, depth - 1)
        return None if inner is None else plus(times(inner, {Fraction(0): step[0]}), {Fraction(0): step[1]})
    power = node.op.exponent if isinstance(node.op, Power) else 0
    if not isinstance(node.op, (Add, Sub, Product)) and power not in range(2, DEGREE + 1):
        return None
    operands = [polynomial(nodes, parent, base, depth - 1) for parent in node.parents]
    if any(operand is None for operand in operands):
        return None
    terms = [operand for operand in operands if operand is not None]
    if isinstance(node.op, Product):
        result = times(*terms)
    elif isinstance(node.op, Power):
        result = {Fraction(0): Fraction(1)}
        for _ in range(int(power)):
            result = times(result, terms[0])
    else:
        result = plus(terms[0], terms[1], Fraction(1 if isinstance(node.op, Add) else -1))
    return result if max(result, default=0) <= DEGREE else None


def exponentials(nodes: Nodes, name: str, base: str, depth: int = DEPTH) -> Terms | None:
    """Return a node as a sum of multiples of ``exp(rate * base)``, by the rate."""
    node = nodes[name]
    if not depth or node.op is None or name == base:
        return None
    if isinstance(node.op, Exp):
        rate = polynomial(nodes, node.parents[0], base)
        return None if rate is None or set(rate) != {Fraction(1)} else {rate[Fraction(1)]: Fraction(1)}
    if (step := affine(node.op)) is not None:
        inner = exponentials(nodes, node.parents[0], base, depth - 1)
        return None if inner is None else plus(times(inner, {Fraction(0): step[0]}), {Fraction(0): step[1]})
    if not isinstance(node.op, (Add, Sub)):
        return None
    first, second = (exponentials(nodes, parent, base, depth - 1) for parent in node.parents)
    if first is None or second is None:
        return None
    return plus(first, second, Fraction(1 if isinstance(node.op, Add) else -1))


def slopes(nodes: Nodes, name: str, base: str, depth: int = DEPTH) -> tuple[Fraction, Fraction] | None:
    """Return the slopes left and right of 0 of a node that is linear on either side, as a function of another one."""
    if name == base:
        return Fraction(1), Fraction(1)
    node = nodes[name]
    if not depth or not isinstance(node.op, (Scale, Neg, Add, Sub, Relu, Abs, LeakyRelu)):
        return None
    operands = [slopes(nodes, parent, base, depth - 1) for parent in node.parents]
    if operands[0] is None:
        return None
    left, right = operands[0]
    if isinstance(node.op, (Relu, Abs, LeakyRelu)):
        below = Fraction(
            0 if isinstance(node.op, Relu) else -1 if isinstance(node.op, Abs) else node.op.slope,
        )
        return (left if left <= 0 else below * left), (right if right >= 0 else below * right)
    if isinstance(node.op, (Scale, Neg)):
        step = affine(node.op)
        return None if step is None else (step[0] * left, step[0] * right)
    if operands[1] is None:
        return None
    sign = 1 if isinstance(node.op, Add) else -1
    return left + sign * operands[1][0], right + sign * operands[1][1]


def plus(first: Terms, second: Terms, factor: Fraction = Fraction(1)) -> Terms:
    """Add a multiple of the second to the first."""
    keys = {*first, *second}
    total = {key: first.get(key, Fraction(0)) + factor * second.get(key, Fraction(0)) for key in keys}
    return {key: value for key, value in total.items() if value}


def times(first: Terms, second: Terms) -> Terms:
    """Multiply: exponents add up."""
    product: Terms = {}
    for one, a in first.items():
        for other, b in second.items():
            product = plus(product, {one + other: a * b})
    return product
