"""Random queries of VNNLIB 2.0 in which all numbers are quarters, so that float64 computes without rounding."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tests.specs.standard import holds

Values = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A declared tensor."""

    name: str
    role: str
    shape: tuple[int, ...]
    onnx: str = ""

    def text(self) -> str:
        quoted = f' "{self.onnx}"' if self.onnx else ""
        return f"(declare-{self.role} {self.name} float32 [{','.join(map(str, self.shape))}]{quoted})"

    def elements(self) -> list[str]:
        """Every element as formulas call it."""
        return [
            self.name + (f"[{','.join(map(str, index))}]" if self.shape else "") for index in np.ndindex(*self.shape)
        ]


@dataclass(frozen=True, slots=True)
class Net:
    """A declared network."""

    name: str
    tensors: tuple[Tensor, ...]
    relation: str = ""

    def text(self) -> str:
        related = f"({self.relation}) " if self.relation else ""
        return f"(declare-network {self.name} {related}{' '.join(tensor.text() for tensor in self.tensors)})"

    def of(self, role: str) -> list[Tensor]:
        return [tensor for tensor in self.tensors if tensor.role == role]


@dataclass(slots=True)
class Writer:
    """Draws formulas over the elements of some tensors; those of inputs are equated now and then."""

    draw: random.Random
    nets: list[Net]
    products: bool = True
    lines: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return "\n".join(["(vnnlib-version <2.0>)", *(net.text() for net in self.nets)])

    def text(self, *formulas: str) -> str:
        """The query with a box for all inputs and these formulas."""
        return "\n".join([self.head, *self.lines, *(f"(assert {formula})" for formula in formulas)]) + "\n"

    def elements(self, *roles: str) -> list[str]:
        wanted = roles or ("input", "hidden", "output")
        return [
            name for net in self.nets for tensor in net.tensors if tensor.role in wanted for name in tensor.elements()
        ]

    def box(self, low: float = -2.0, high: float = 2.0) -> None:
        """Assert bounds of all inputs, in one form or another."""
        for name in self.elements("input"):
            parts = [f"(>= {name} {low})", f"(<= {name} {high})"]
            if self.draw.random() < 0.3:
                self.lines.append(f"(assert (and {' '.join(parts)}))")
            else:
                self.lines += [f"(assert {part})" for part in parts]

    def number(self) -> str:
        return f"{self.draw.randint(-8, 8) / 4}"

    def term(self, depth: int = 2, *roles: str) -> str:
        """A number, an element, or a sum, difference or product."""
        kind = self.draw.random()
        if depth == 0 or kind < 0.35:
            return self.number() if self.draw.random() < 0.25 else self.draw.choice(self.elements(*roles))
        if kind < 0.45:
            return f"(- {self.term(depth - 1, *roles)})"
        count = self.draw.randint(1 if kind < 0.6 else 2, 3)
        parts = [self.term(depth - 1, *roles) for _ in range(count)]
        if kind < 0.8:
            return f"({'+' if kind < 0.6 else '-'} {' '.join(parts)})"
        if self.products:
            return f"(* {' '.join(parts[:2])})"
        return f"(* {self.number()} {parts[0]})"

    def comparison(self) -> str:
        operator = self.draw.choice(["<", "<=", ">", ">=", "==", "!="])
        kind = self.draw.random()
        if kind < 0.2:
            return f"({operator} {self.term(0, 'input')} {self.number()})"
        if kind < 0.35:
            return f"({operator} {self.term(1, 'input')} {self.term(1, 'input')})"
        return f"({operator} {self.term()} {self.term(1)})"

    def formula(self, depth: int = 2) -> str:
        """A comparison, or several joined."""
        if depth == 0 or self.draw.random() < 0.4:
            return self.comparison()
        parts = [self.formula(depth - 1) for _ in range(self.draw.randint(1, 3))]
        return f"({self.draw.choice(['and', 'or'])} {' '.join(parts)})"

    def true_formula(self, values: Values, depth: int = 2) -> str:
        """A formula that holds at some values, often only just."""
        for _ in range(20):
            found = self.formula(depth)
            if holds(self.text(found), values):
                return found
        return self.tight(values)

    def tight(self, values: Values) -> str:
        """A comparison of a term with its value, or with a number beside it."""
        term = self.term()
        value = exactly(self.head, term, values)
        operator, beside = self.draw.choice([("<=", 0), (">=", 0), ("==", 0), ("!=", 0.25), ("<", 0.25), (">", -0.25)])
        return f"({operator} {term} {decimal(value + beside)})"

    def equalities(self) -> list[str]:
        """Equations of inputs."""
        names = self.elements("input")
        count = self.draw.randint(0, 2) if len(names) > 1 else 0
        return [f"(== {' '.join(self.draw.sample(names, 2))})" for _ in range(count)]


def exactly(head: str, term: str, values: Values) -> float:
    """The value of a term."""
    from tests.specs import standard

    query = standard.vnnlib.parse_query_string(f"{head}\n(assert (<= {term} 0.0))")
    return float(standard.term(query.assertions[0].expr.lhs, values))


def decimal(value: float) -> str:
    """A number with few binary places, without exponent."""
    return f"{value:.20f}".rstrip("0") + ("0" if value == math.floor(value) else "")


def random_nets(draw: random.Random, hidden: bool = True) -> list[Net]:
    """One to three networks, each with one to three tensors of at most two elements a side."""
    nets: list[Net] = []
    for k in range(draw.randint(1, 3)):
        related = draw.random() < 0.5 and [net for net in nets if not net.relation]
        model = draw.choice(related) if related else None
        relation = f"{draw.choice(['equal-to', 'isomorphic-to'])} {model.name}" if model else ""
        tensors = []
        for role in ("input", "hidden", "output"):
            if model:
                shapes = [tensor.shape for tensor in model.of(role)]
            else:
                count = draw.randint(1, 2) if role != "hidden" else draw.randint(0, 1) * hidden
                shapes = [draw.choice([(), (1,), (2,), (1, 2), (2, 1)]) for _ in range(count)]
            for j, shape in enumerate(shapes):
                tensors.append(Tensor(f"{role[0].upper()}{k}_{j}", role, shape, f"h{j}" if role == "hidden" else ""))
        nets.append(Net(f"n{k}", tuple(tensors), relation))
    return nets


def random_values(draw: random.Random, nets: list[Net]) -> Values:
    """Quarters between -2 and 2."""
    return {
        tensor.name: np.array([draw.randint(-8, 8) / 4 for _ in range(math.prod(tensor.shape))]).reshape(tensor.shape)
        for net in nets
        for tensor in net.tensors
    }


def joined(nets: list[Net], values: Mapping[str, np.ndarray], *roles: str) -> np.ndarray:
    """The values of all tensors of some roles, one behind the other."""
    parts = [values[tensor.name].reshape(-1) for net in nets for tensor in net.tensors if tensor.role in roles]
    return np.concatenate(parts).astype(np.float64)
