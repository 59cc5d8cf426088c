"""Assertions of VNNLIB 2.0 computed as they are written, in floating point: how a counterexample is judged by others.

The cases of a query hold its assertions with constants folded and sums rearranged in float64. Computed term by term in
float32, a condition that holds only just there may fail.
"""

import operator
import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np

from specs.lexer import Source

_OPERATORS: dict[str, Callable[[list[Any]], Any]] = {
    "and": all,
    "or": any,
    "<=": lambda sides: sides[0] <= sides[1],
    "<": lambda sides: sides[0] < sides[1],
    ">=": lambda sides: sides[0] >= sides[1],
    ">": lambda sides: sides[0] > sides[1],
    "==": lambda sides: sides[0] == sides[1],
    "!=": lambda sides: sides[0] != sides[1],
    "+": lambda terms: reduce(operator.add, terms),
    "-": lambda terms: reduce(operator.sub, terms) if len(terms) > 1 else -terms[0],
    "*": lambda terms: reduce(operator.mul, terms),
}
_NUMBER = re.compile(r"-?[0-9]")


def holds(source: Source, start: int, values: Mapping[str, np.ndarray]) -> bool:
    """Tell whether a formula holds.

    Args:
        source: a text that was read without errors.
        start: where the formula begins.
        values: of all tensors, in the type to compute in; numbers in the text are rounded to it.

    Cost: linear in the formula's length; any depth.
    """
    dtype = next(iter(values.values())).dtype.type
    stack: list[tuple[str, list[Any]]] = []
    tokens = source.tokens(start)
    with np.errstate(all="ignore"):
        for token in tokens:
            if token.text == "(":
                stack.append((next(tokens).text, []))
                continue
            if token.text == ")":
                name, operands = stack.pop()
                value: Any = _OPERATORS[name](operands)
                if not stack:
                    return bool(value)
            elif token.text == "[":
                index: list[int] = []
                while (token := next(tokens)).text != "]":
                    index += [int(token.text)] if token.text != "," else []
                value = stack[-1][1].pop()[tuple(index)]
            elif _NUMBER.match(token.text):
                value = dtype(token.text)
            else:
                value = values[token.text]
            stack[-1][1].append(value)
    raise ValueError("the formula is not complete")
