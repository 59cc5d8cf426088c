"""Einstein sums of any number of operands, pair by pair."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from verifier.graph.lower.arithmetic import between, times, total
from verifier.graph.lower.builder import Builder, Call, Operand, Variable, double, lowers
from verifier.ops.select import Gather

ELLIPSIS = "..."


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """An operand and the label of each of its axes, every one different."""

    value: Operand
    labels: str


@lowers("Einsum")
def einsum(b: Builder, call: Call) -> Operand:
    """Lower an Einstein sum: constants first, then one operand after the other."""
    values = [call.operand(k) for k in range(len(call.args))]
    inputs, out = parsed(call.get("equation"), [len(value.shape) for value in values])
    terms = [distinct(b, value, labels) for value, labels in zip(values, inputs, strict=True)]
    terms = without_ones(b, terms)
    terms.sort(key=lambda term: isinstance(term.value, Variable))
    done = terms[0]
    for k, term in enumerate(terms[1:], start=2):
        needed = out + "".join(other.labels for other in terms[k:])
        done = pair(b, done, term, needed)
    y = arranged(b, reduced(b, done, out), out)
    assert isinstance(y, Variable)
    return y


def parsed(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Return the labels of the operands and of the result; the axes of an ellipsis get labels of their own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(ranks):
        raise ValueError(f"equation {equation!r} is not one of {len(ranks)} operands")
    named = [len(part.replace(ELLIPSIS, "")) for part in parts]
    hidden = [rank - count if ELLIPSIS in part else 0 for part, rank, count in zip(parts, ranks, named, strict=True)]
    fresh = "".join(chr(0xE000 + k) for k in range(max(hidden)))  # letters of private use
    found = [part.replace(ELLIPSIS, fresh[len(fresh) - count :]) for part, count in zip(parts, hidden, strict=True)]
    for labels, rank in zip(found, ranks, strict=True):
        if len(labels) != rank:
            raise ValueError(f"equation {equation!r} gives an operand of {rank} axes {len(labels)} labels")
    if arrow:
        return found, right.replace(ELLIPSIS, fresh)
    every = "".join(part.replace(ELLIPSIS, "") for part in parts)
    return found, fresh + "".join(label for label in sorted(set(every)) if every.count(label) == 1)


def distinct(b: Builder, value: Operand, labels: str) -> Term:
    """Take diagonals where a label repeats."""
    once = "".join(dict.fromkeys(labels))
    if once == labels:
        return Term(value if isinstance(value, Variable) else double(value), labels)
    sizes = [max(value.shape[k] for k, other in enumerate(labels) if other == label) for label in once]
    if not isinstance(value, Variable):
        letters = plain(labels)
        return Term(
            np.einsum(f"{''.join(letters[c] for c in labels)}->{''.join(letters[c] for c in once)}", value), once
        )
    index = np.indices(sizes)
    strides = np.cumprod([1, *value.shape[:0:-1]])[::-1]
    axes = [index[once.index(label)] for label in labels]
    flat = np.sum([axis * stride for axis, stride in zip(axes, strides, strict=True)], axis=0)
    picked = b.apply(Gather(torch.as_tensor(flat.reshape(-1)), 0), b.reshape(value, (math.prod(value.shape),)))
    return Term(b.reshape(picked, sizes), once)


def plain(labels: str) -> dict[str, str]:
    """Return letters that numpy takes for labels."""
    return {
        label: chr(ord("A") + k) if k < 26 else chr(ord("a") + k - 26) for k, label in enumerate(sorted(set(labels)))
    }


def without_ones(b: Builder, terms: list[Term]) -> list[Term]:
    """Drop axes of length 1 where another operand has a longer one of that label: they broadcast."""
    sizes: dict[str, int] = {}
    for term in terms:
        for label, size in zip(term.labels, term.value.shape, strict=True):
            if size != sizes.setdefault(label, size) and 1 not in (size, sizes[label]):
                raise ValueError(f"axes of one label have {sizes[label]} and {size} elements")
            sizes[label] = max(size, sizes[label])

    def dropped(term: Term) -> Term:
        shape = dict(zip(term.labels, term.value.shape, strict=True))
        kept = "".join(label for label in term.labels if shape[label] == sizes[label])
        wanted = tuple(shape[label] for label in kept)
        value = term.value
        return Term(b.reshape(value, wanted) if isinstance(value, Variable) else value.reshape(wanted), kept)

    return [dropped(term) for term in terms]


def reduced(b: Builder, term: Term, needed: str) -> Term:
    """Sum over the axes that nothing else has."""
    axes = tuple(k for k, label in enumerate(term.labels) if label not in needed)
    if not axes:
        return term
    kept = "".join(label for label in term.labels if label in needed)
    value = term.value
    return Term(total(b, value, axes, keep=False) if isinstance(value, Variable) else value.sum(axes), kept)


def arranged(b: Builder, term: Term, order: str) -> Operand:
    """Bring the axes of a term into an order."""
    perm = [term.labels.index(label) for label in order]
    return b.transpose(term.value, perm) if isinstance(term.value, Variable) else term.value.transpose(perm)


def pair(b: Builder, one: Term, other: Term, needed: str) -> Term:
    """Multiply two terms, and sum over what neither the result nor another term needs."""
    if one.value is other.value and one.labels == other.labels:
        assert isinstance(one.value, Variable)
        return reduced(b, Term(b.multiply(one.value, one.value), one.labels), needed)
    one, other = reduced(b, one, needed + other.labels), reduced(b, other, needed + one.labels)
    shared = [label for label in one.labels if label in other.labels]
    stack, summed = ("".join(c for c in shared if (c in needed) is kept) for kept in (True, False))
    left, right = ("".join(c for c in term.labels if c not in shared) for term in (one, other))
    sizes = dict(zip(one.labels + other.labels, one.value.shape + other.value.shape, strict=True))

    def size(labels: str) -> int:
        return math.prod(sizes[label] for label in labels)

    x = reshaped(b, arranged(b, one, stack + left + summed), (size(stack), size(left), size(summed)))
    y = reshaped(b, arranged(b, other, stack + summed + right), (size(stack), size(summed), size(right)))
    labels = stack + left + right
    z = multiplied(b, x, y, contracted=bool(summed))
    return Term(reshaped(b, z, tuple(sizes[label] for label in labels)), labels)


def reshaped(b: Builder, value: Operand, shape: tuple[int, ...]) -> Operand:
    """Reshape a variable or a constant."""
    return b.reshape(value, shape) if isinstance(value, Variable) else value.reshape(shape)


def multiplied(b: Builder, x: Operand, y: Operand, *, contracted: bool) -> Operand:
    """Multiply stacks of matrices; without a sum, element by element."""
    if not isinstance(x, Variable) and not isinstance(y, Variable):
        return x @ y
    if not contracted:
        return b.multiply(x, y)
    if isinstance(x, Variable) and isinstance(y, Variable):
        return between(b, x, y)
    if isinstance(x, Variable):
        assert not isinstance(y, Variable)
        return times(b, x, y)
    assert isinstance(y, Variable)
    turned = times(b, b.transpose(y, (0, 2, 1)), x.transpose(0, 2, 1))
    return b.transpose(turned, (0, 2, 1))
