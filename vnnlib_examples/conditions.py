"""Queries of VNNLIB 2.0 whose conditions are polynomials compared with a number: their text, and their values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from intervals import Interval, Value
from properties import Box


@dataclass(frozen=True, slots=True)
class Tensor:
    """A declared tensor; ``onnx`` names a hidden one."""

    name: str
    role: str
    shape: tuple[int, ...]
    onnx: str = ""

    def text(self) -> str:
        """The declaration."""
        quoted = f' "{self.onnx}"' if self.onnx else ""
        return f"(declare-{self.role} {self.name} real [{','.join(map(str, self.shape))}]{quoted})"

    def elements(self) -> list[str]:
        """Every element as conditions call it."""
        if not self.shape:
            return [self.name]
        return [f"{self.name}[{','.join(map(str, index))}]" for index in np.ndindex(*self.shape)]


@dataclass(frozen=True, slots=True)
class Declared:
    """A network: its file's name, and its tensors."""

    name: str
    net: str
    tensors: tuple[Tensor, ...]
    relation: str = ""

    def text(self) -> str:
        """The declaration."""
        lines = [tensor.text() for tensor in self.tensors]
        if self.relation:
            lines.insert(0, f"({self.relation})")
        return f"(declare-network {self.name}\n    " + "\n    ".join(lines) + "\n)"

    def of(self, role: str) -> list[Tensor]:
        """The tensors of a role."""
        return [tensor for tensor in self.tensors if tensor.role == role]


@dataclass(frozen=True, slots=True)
class Condition:
    """``sum of c * product of elements`` compared with a number: the text, and ``a <= 0`` for the referees."""

    terms: tuple[tuple[float, tuple[str, ...]], ...]
    operator: str
    bound: float

    def text(self) -> str:
        """The comparison."""
        parts = []
        for c, names in self.terms:
            product = " ".join(([] if c == 1 else [_number(c)]) + list(names))
            parts.append(f"(* {product})" if " " in product else product)
        total = parts[0] if len(parts) == 1 else f"(+ {' '.join(parts)})"
        return f"({self.operator} {total} {_number(self.bound)})"

    def excess(self, values: Mapping[str, Value]) -> Value:
        """By how much it is missed."""
        sign = 1.0 if self.operator in ("<=", "<") else -1.0
        found = None
        for c, names in self.terms:
            product = values[names[0]]
            for name in names[1:]:
                product = product * values[name]
            product = product.scaled(Interval.exactly(np.array(sign * c)))
            found = product if found is None else found + product
        return found.plus(np.array(-sign * self.bound))

    def missed(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The same of numbers."""
        sign = 1.0 if self.operator in ("<=", "<") else -1.0
        total = sum(c * np.prod([values[name] for name in names], axis=0) for c, names in self.terms)
        return sign * (total - self.bound)


@dataclass(frozen=True, slots=True)
class Query:
    """Unsafe: inputs in the box at which all conditions hold. Inputs that ``same`` lists in pairs are equated."""

    name: str
    says: str
    networks: tuple[Declared, ...]
    box: Box
    conditions: tuple[Condition, ...]
    settle: "Callable[[Query, Path], tuple[str, str, str]]"
    same: tuple[tuple[str, str], ...] = ()

    def inputs(self) -> list[str]:
        """Every element of the inputs, in the order of the box."""
        return [name for net in self.networks for tensor in net.of("input") for name in tensor.elements()]

    def columns(self) -> dict[str, int]:
        """The column of the box for every input; equated ones share it."""
        found = {name: k for k, name in enumerate(self.inputs())}
        return found | {other: found[one] for one, other in self.same}

    def text(self) -> str:
        """The file."""
        lines = ["(vnnlib-version <2.0>)", "", f"; {self.says}", ""]
        lines += [*(net.text() for net in self.networks), ""]
        for name, low, high in zip(self.inputs(), self.box.lower, self.box.upper, strict=True):
            lines += [f"(assert (>= {name} {_number(low)}))", f"(assert (<= {name} {_number(high)}))"]
        lines += ["", *(f"(assert (== {one} {other}))" for one, other in self.same)]
        return "\n".join([*lines, *(f"(assert {one.text()})" for one in self.conditions)]) + "\n"

    def files(self) -> str:
        """The networks as expected.csv has them: a path, or the list of several."""
        paths = [(net.name, f"nets/{net.net}.onnx") for net in self.networks]
        return paths[0][1] if len(paths) == 1 else repr(paths)


def _number(value: float) -> str:
    return f"{value + 0.0:.6f}".rstrip("0") + ("0" if float(value).is_integer() else "")
