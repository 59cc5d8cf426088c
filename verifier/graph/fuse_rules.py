"""What exporters spell out, rule by rule: each looks at one node, and says what to put in its place, or nothing.

A rule is an identity between real functions, with the constants that the file has: ``x * 0.5 * (1 + erf(c x))`` is
``gelu(s x) / s`` with s = sqrt(2) c, whether or not c is the nearest number to 1 / sqrt(2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from verifier.graph.forms import Nodes, Peeled, Terms, affine, bases, exponentials, peeled, polynomial, slopes
from verifier.graph.fuse_choices import choice
from verifier.graph.fuse_draft import LINEAR, ONE, Draft, Rule, exact, roundings
from verifier.graph.fuse_gates import gate
from verifier.graph.graph import Node
from verifier.ops.arithmetic import Add, Neg, Scale, Sub, Translate
from verifier.ops.curves import Abs, Clip, Exp, LeakyRelu, Log, Power, Relu, Sigmoid, Softplus, Tanh
from verifier.ops.op import Op
from verifier.ops.product import Product
from verifier.ops.select import Expand
from verifier.ops.shape import Reshape

FAR = 30
"""How many nodes are looked at as what a node may be a function of."""


def monomial(nodes: Nodes, node: Node) -> Draft | None:
    """Products of multiples and whole powers of one number."""
    if isinstance(node.op, Product):
        for _, base in bases(nodes, node.parents[0]):
            for below in (base, *nodes[base].parents[:1]):
                terms = polynomial(nodes, node.name, below)
                if terms is not None and len(terms) == 1 and (degree := max(terms)) >= 2:
                    return Draft(node).curve(Power(float(degree)), below, LINEAR, terms[degree])
    return None


def power_of_power(nodes: Nodes, node: Node) -> Draft | None:
    """``(x ** p) ** q``, where ``x ** (p q)`` is defined for the same numbers; the root of a square, too."""
    inner = nodes[node.parents[0]] if node.parents else node
    if not isinstance(node.op, Power) or not isinstance(inner.op, Power):
        return None
    first, second = Fraction(inner.op.exponent), Fraction(node.op.exponent)
    if first == 2 and second == Fraction(1, 2):
        return Draft(node).curve(Abs(), inner.parents[0], LINEAR, LINEAR)
    both = first * second
    if first.denominator > 1:  # for positive numbers, and 0 where no exponent is negative
        same_domain = both.denominator > 1 and (first > 0 or both < 0)
    else:
        same_domain = second.denominator == 1 and min(first, second) > 0
    if not same_domain or not exact(both):
        return None
    return Draft(node).curve(Power(float(both)), inner.parents[0], LINEAR, LINEAR)


def around(nodes: Nodes, names: Iterable[str], through: tuple[type[Op], ...]) -> list[str]:
    """Return nodes, and the nearest that they depend on through operators of some kinds."""
    found = list(names)
    k = 0
    while k < min(len(found), FAR):
        node = nodes[found[k]]
        if isinstance(node.op, through):
            found.extend(parent for parent in node.parents if parent not in found)
        k += 1
    return found


def exponential_base(nodes: Nodes, name: str) -> list[str]:
    """Return nodes of which the exponents below a node may be multiples."""
    for other in around(nodes, [name], (Add, Sub, Scale, Translate, Neg)):
        if isinstance(nodes[other].op, Exp):
            return [base for _, base in bases(nodes, nodes[other].parents[0])]
    return []


def reciprocal(nodes: Nodes, node: Node) -> Draft | None:
    """1 / (1 + exp(c x)) = sigmoid(-c x)."""
    if not isinstance(node.op, Power) or node.op.exponent != -1:
        return None
    for base in exponential_base(nodes, node.parents[0]):
        terms = exponentials(nodes, node.parents[0], base)
        if terms is not None and len(terms) == 2 and ONE in terms:
            (rate,) = set(terms) - {ONE}
            if terms[rate] == terms[ONE]:
                return Draft(node).curve(Sigmoid(), base, -rate, 1 / terms[ONE])
    return None


def quotient(nodes: Nodes, node: Node) -> Draft | None:
    """(a exp(c x) + b exp(d x)) / (exp(c x) + exp(d x)) = (a - b) sigmoid((c - d) x) + b: sigmoids and tanh."""
    if not isinstance(node.op, Product):
        return None
    for above, below in (node.parents, node.parents[::-1]):
        form = peeled(nodes, below)
        for base in exponential_base(nodes, above):
            over = exponentials(nodes, above, base)
            under = divisor(nodes, form, base)
            if over is None or under is None or not set(over) <= set(under):
                continue
            one, other = sorted(under, reverse=True)
            a, b = (over.get(rate, ONE) / under[rate] for rate in (one, other))
            if a == -b:
                return Draft(node).curve(Tanh(), base, (one - other) / 2, a)
            if not a:
                return Draft(node).curve(Sigmoid(), base, other - one, b)
            draft = Draft(node)
            draft.translate(draft.scale(draft.apply(Sigmoid(), draft.scale(base, one - other)), a - b), b)
            return draft
    return None


def divisor(nodes: Nodes, form: Peeled, base: str) -> Terms | None:
    """Return y as a sum of two exponentials with one coefficient, where the form is that of 1 / y."""
    if form.shift or not form.factor or not form.core.parents:
        return None
    if isinstance(form.core.op, Sigmoid):
        rate = polynomial(nodes, form.core.parents[0], base)
        if rate is None or set(rate) != {LINEAR}:
            return None
        return {ONE: 1 / form.factor, -rate[LINEAR]: 1 / form.factor}
    if not isinstance(form.core.op, Power) or form.core.op.exponent != -1:
        return None
    terms = exponentials(nodes, form.core.parents[0], base)
    if terms is None or len(terms) != 2 or len(set(terms.values())) != 1:
        return None
    return {rate: value / form.factor for rate, value in terms.items()}


def logarithm(nodes: Nodes, node: Node) -> Draft | None:
    """log(1 + exp(x)) = softplus(x), log(sigmoid(x)) = -softplus(-x), log(exp(x) / s) = x - log(s)."""
    if not isinstance(node.op, Log):
        return None
    inner = nodes[node.parents[0]]
    if isinstance(inner.op, Sigmoid):
        return Draft(node).curve(Softplus(), inner.parents[0], Fraction(-1), Fraction(-1))
    for base in exponential_base(nodes, inner.name):
        terms = exponentials(nodes, inner.name, base)
        if terms is not None and len(terms) == 2 and ONE in terms and set(terms.values()) == {LINEAR}:
            (rate,) = set(terms) - {ONE}
            return Draft(node).curve(Softplus(), base, rate, LINEAR)
    if isinstance(inner.op, Product):
        for above, below in (inner.parents, inner.parents[::-1]):
            path, other = [], nodes[below]
            while isinstance(other.op, (Expand, Reshape)):
                path.append(other.op)
                other = nodes[other.parents[0]]
            if isinstance(nodes[above].op, Exp) and isinstance(other.op, Power) and other.op.exponent == -1:
                draft = Draft(node)
                name = draft.apply(Log(), other.parents[0])
                for op in reversed(path):
                    name = draft.apply(op, name)
                draft.apply(Sub(), nodes[above].parents[0], name)
                return draft
    return None


def hinge(nodes: Nodes, node: Node) -> Draft | None:
    """Sums of rectified multiples of one number, as max(x, a x) is lowered: LeakyRelu, Abs, or nothing at all."""
    if not isinstance(node.op, (Add, Sub)):
        return None
    below = around(nodes, node.parents, (Relu, Abs, LeakyRelu, Add, Sub, Scale, Neg))
    if not any(isinstance(nodes[name].op, (Relu, Abs, LeakyRelu)) for name in below):
        return None
    for base in below:
        found = slopes(nodes, node.name, base)
        if found is not None:
            return two_slopes(Draft(node), base, *found)
    return None


def two_slopes(draft: Draft, base: str, left: Fraction, right: Fraction) -> Draft | None:
    """Put in the function that is ``left * x`` for x < 0 and ``right * x`` above."""
    if left == right:
        draft.apply(Scale(draft.constant(right), roundings(right)), base)
        return draft
    if left == -right:
        return draft.curve(Abs(), base, LINEAR, right)
    if not left:
        return draft.curve(Relu(), base, LINEAR, right)
    if not right:
        return draft.curve(Relu(), base, Fraction(-1), -left)
    return draft.curve(LeakyRelu(float(left / right)), base, LINEAR, right) if exact(left / right) else None


def clip_by_rectifiers(nodes: Nodes, node: Node) -> Draft | None:
    """relu(b - a relu(x)) = b - a clip(x, 0, b / a) for positive a and b, as min(max(x, c), d) is lowered."""
    if not isinstance(node.op, Relu):
        return None
    form = peeled(nodes, node.parents[0])
    if not isinstance(form.core.op, Relu) or form.factor >= 0 or form.shift <= 0:
        return None
    end = form.shift / -form.factor
    if not exact(end):
        return None
    draft = Draft(node)
    clipped = draft.apply(Clip(0.0, float(end)), form.core.parents[0])
    draft.translate(draft.scale(clipped, form.factor), form.shift)
    return draft


def clip_between(nodes: Nodes, node: Node) -> Draft | None:
    """``A + a clip(B + b x, low, high)`` that is x inside, which is ``clip(x)`` to other ends."""
    if affine(node.op) is None:
        return None
    outer = peeled(nodes, node.name)
    if not isinstance(outer.core.op, Clip):
        return None
    inner = peeled(nodes, outer.core.parents[0])
    if inner.factor * outer.factor != 1 or outer.factor * inner.shift + outer.shift != 0:
        return None
    ends = []
    for end in (outer.core.op.low, outer.core.op.high):
        if math.isinf(end):
            ends.append(end if outer.factor > 0 else -end)
            continue
        moved = outer.factor * Fraction(end) + outer.shift
        if not exact(moved):
            return None
        ends.append(float(moved))
    return Draft(node).curve(Clip(min(ends), max(ends)), inner.core.name, LINEAR, LINEAR)


RULES: tuple[Rule, ...] = (
    power_of_power,
    reciprocal,
    logarithm,
    quotient,
    choice,
    gate,
    monomial,
    clip_by_rectifiers,
    clip_between,
    hinge,
)
"""In the order in which they are tried."""
