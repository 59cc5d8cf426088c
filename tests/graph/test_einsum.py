"""Einstein sums, against onnxruntime."""

from __future__ import annotations

import pytest
from onnx import helper

from tests.graph.models import assert_same_function, model, weights

EINSUMS = [
    "ij->ji",
    "ii->i",
    "ii->",
    "ij->",
    "ij->i",
    "ij,jk->ik",
    "ij,jk",
    "ij,jk->ki",
    "ij,kj->ik",
    "bij,bjk->bik",
    "bhid,bhjd->bhij",
    "...ij,...jk->...ik",
    "...ij,jk->...ik",
    "ij,ij->ij",
    "ij,ij->",
    "ij,ij->i",
    "i,j->ij",
    "ij,k->ikj",
    "ij,kl->jk",
    "ij,jk,kl->il",
    "ij,jk,ik->i",
    "iij,jk->ik",
    "bi,oij,bj->bo",
    "...i,...i->...",
    "...,...j->...j",
]
SIZES = {"i": 3, "j": 2, "k": 4, "l": 2, "b": 2, "h": 3, "d": 2, "o": 3}


def shapes_of(equation: str) -> list[tuple[int, ...]]:
    """Return shapes that fit an equation; the first operand's ellipsis stands for (2, 1), the others' for (1, 3)."""
    found = []
    for k, part in enumerate(equation.split("->")[0].split(",")):
        front = () if "..." not in part else (2, 1) if k == 0 else (1, 3)
        found.append((*front, *(SIZES[label] for label in part.replace("...", ""))))
    return found


@pytest.mark.parametrize("constant", [(), (0,), (1,), (2,), (0, 1), (0, 2)])
@pytest.mark.parametrize("equation", EINSUMS)
def test_einstein_sums(equation: str, constant: tuple[int, ...]) -> None:
    shapes = shapes_of(equation)
    if len(constant) >= len(shapes) or any(k >= len(shapes) for k in constant):
        return
    names = [f"o{k}" for k in range(len(shapes))]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    constants = {names[k]: weights(*shapes[k]) for k in constant}
    inputs = {name: shape for name, shape in zip(names, shapes, strict=True) if name not in constants}
    assert_same_function(model([node], inputs, constants))


def test_an_einstein_sum_of_one_tensor_with_itself_squares_it() -> None:
    proto = model([helper.make_node("Einsum", ["x", "x"], ["y"], equation="ij,ij->i")], {"x": (2, 3)})
    graph = assert_same_function(proto)
    assert [type(node.op).__name__ for node in graph.nodes.values()].count("Power") == 1
