"""The standard's own reader of VNNLIB 2.0 as an oracle: what assertions say about values, computed on its tree."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import pytest

vnnlib = pytest.importorskip("vnnlib")

COMPARISONS = {
    "LessEqual": operator.le,
    "LessThan": operator.lt,
    "GreaterEqual": operator.ge,
    "GreaterThan": operator.gt,
    "Equal": operator.eq,
    "NotEqual": operator.ne,
}

Values = Mapping[str, np.ndarray]


def accepts(text: str) -> bool:
    """Whether the standard's reader takes a query."""
    try:
        vnnlib.parse_query_string(text)
    except (vnnlib.VNNLibException, IndexError):  # the latter for numbers beyond float64
        return False
    return True


def holds(text: str, values: Values) -> bool:
    """Whether all assertions hold, in the arithmetic of the values' own type."""
    return all(formula(one.expr, values) for one in vnnlib.parse_query_string(text).assertions)


def satisfied(text: str, values: Values, rounding: float = 0.0) -> bool:
    """Whether values are a counterexample to the competition's checker, which allows 1e-4 in conditions on inputs."""
    for one in vnnlib.parse_query_string(text).assertions:
        tolerance = 1e-4 if variables(one.expr) == {"Input"} else rounding
        if not formula(one.expr, values, tolerance):
            return False
    return True


def formula(node: Any, values: Values, tolerance: float = 0.0) -> bool:
    """The truth of a formula; comparisons that are closed may be missed by the tolerance."""
    kind = type(node).__name__
    if kind == "And":
        return all(formula(part, values, tolerance) for part in node.args)
    if kind == "Or":
        return any(formula(part, values, tolerance) for part in node.args)
    left, right = term(node.lhs, values), term(node.rhs, values)
    if tolerance and kind != "NotEqual" and abs(left - right) <= tolerance:
        return True
    return bool(COMPARISONS[kind](left, right))


def term(node: Any, values: Values) -> Any:
    """The value of a term."""
    kind = type(node).__name__
    if kind == "Var":
        return values[node.name][tuple(node.indices)]
    if kind == "Float":
        like = next(iter(values.values())).reshape(-1)[0]
        return type(like)(node.lexeme)
    if kind == "Negate":
        return -term(node.expr, values)
    if kind == "Minus":
        return reduce(operator.sub, [term(part, values) for part in node.rest], term(node.head, values))
    parts = [term(part, values) for part in node.args]
    return reduce(operator.add if kind == "Plus" else operator.mul, parts)


def variables(node: Any) -> set[str]:
    """The roles of all variables below a node."""
    if type(node).__name__ == "Var":
        return {node.kind.name}
    return set().union(*(variables(child) for child in node.children()))
