"""The conformance suite has to notice every operator that is wrong on purpose, and nothing else."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from tests.rules import test_conformance as suite
from tests.rules import test_values as values
from tests.rules.containment import check
from tests.rules.instances import concrete
from tests.rules.mutants import MUTANTS, IsImprecise
from tests.rules.references import SMOOTH, name_of
from verifier.ops.curves.shifted import Shifted
from verifier.ops.curves.smooth import Smooth
from verifier.ops.op import Affine, Op, Shape

DOMAINS = 300


def conforms(op: Op, shapes: list[Shape]) -> bool:
    """Whether an operator passes all of the suite's checks that are meant for it, on fewer boxes."""
    try:
        for dtype in (torch.float64, torch.float32):
            check(op, shapes, dtype, DOMAINS)
        if isinstance(op, Affine):
            suite.test_affine_parts_fit_together(op, shapes)
            suite.test_affine_claims_are_true(op, shapes)
            values.test_other_operators_are_as_precise_as_stated((op, shapes))
        elif not isinstance(op, Shifted):
            suite.test_absolute_terms_cover_every_plane(op, shapes)
            precise = values.test_curves_are_as_precise_as_stated
            if name_of(op) not in SMOOTH:
                precise = values.test_other_operators_are_as_precise_as_stated
            precise((op, shapes))
    except AssertionError:
        return False
    return True


def made_of(op: Op) -> type[Op]:
    (parent,) = type(op).__bases__
    return parent


def label(mutant: Any) -> str | None:
    return type(mutant).__name__ if isinstance(mutant, Op) else None


@pytest.mark.parametrize(("op", "shapes"), MUTANTS, ids=label)
def test_every_mutant_is_caught(op: Op, shapes: list[Shape]) -> None:
    assert not conforms(op, shapes)


@pytest.mark.parametrize(("op", "shapes"), MUTANTS, ids=label)
def test_what_they_were_made_of_is_right(op: Op, shapes: list[Shape]) -> None:
    parent = made_of(op)
    given = {field.name: getattr(op, field.name) for field in fields(parent) if field.init}
    assert conforms(parent(**given), shapes)


def test_every_family_has_a_mutant() -> None:
    """A family is a file of operators."""
    families = {kind.__module__ for kind in concrete()}
    assert families == {made_of(op).__module__ for op, _ in MUTANTS}


def test_mutants_are_of_the_kind_they_seem() -> None:
    assert isinstance(IsImprecise(), Smooth)
    assert not any(type(op) in set(concrete()) for op, _ in MUTANTS)
