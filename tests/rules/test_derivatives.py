"""Derivatives of every operator: bounds of the Jacobian of a network of one operator, against automatic ones."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from tests.rules.derivatives import alone, alone_on_boxes, between_on_boxes, check, has_derivative
from tests.rules.instances import INSTANCES, Instance, concrete
from tests.rules.wrong_derivatives import WRONG, Wrong
from verifier.errors import UnsupportedError
from verifier.graph.jacobian import jacobian
from verifier.ops.curves import Curve, PRelu
from verifier.ops.curves.shifted import Shifted
from verifier.ops.linear import Sparse
from verifier.ops.op import Op

JUMPS = {"Ceil", "Floor", "Heaviside", "Round", "Sign", "Step", "Trunc"}
"""Operators that jump, and so have no derivative."""

JUMPS_PERHAPS = {"Shrink", "ThresholdedRelu"}
"""Operators that jump for some parameters, and are continuous for others."""

GUARDS = {"Within"}
"""What guards whole numbers, which only functions that jump make, and values that are lost."""

SLOPES = {"AcoshSlope", "AsinSlope", "AsinhSlope", "AtanSlope", "AtanhSlope", "EluSlope", "ErfSlope", "GatedSlope"}
SLOPES |= {"HardSwishSlope", "Levels", "Scaled", "SigmoidSlope", "SoftsignSlope", "TanSlope", "TanhSlope"}
"""Derivatives, of which networks of Jacobians are made: they need none themselves. Multiples of powers have one."""

ELSEWHERE = {"Shifted", "Sparse"}
"""What no network has that bounds are asked of: it is put in place of other operators for a while."""

BETWEEN = 12
"""Boxes of an operator between affine layers, where few have to do."""

DOUBLE, SINGLE = torch.float64, torch.float32

GIVEN = [instance for instance in INSTANCES if not isinstance(instance[0], (Sparse, Shifted))]
DIFFERENTIABLE = [instance for instance in GIVEN if has_derivative(*instance)]
FIRST = list({type(op): (op, shapes) for op, shapes in reversed(DIFFERENTIABLE)}.values())[::-1]


def label(value: Any) -> str | None:
    return type(value[0]).__name__ if isinstance(value, tuple) else None


def test_every_operator_has_a_derivative_or_is_said_to_have_none() -> None:
    """Those listed have none in truth; so a new operator is tested below, or has to be entered here."""
    tested = {type(op).__name__ for op, _ in DIFFERENTIABLE}
    untested = {type(op).__name__ for op, shapes in GIVEN if not has_derivative(op, shapes)}
    assert untested == JUMPS | JUMPS_PERHAPS | GUARDS | SLOPES
    assert tested & untested == JUMPS_PERHAPS | {"Scaled"}
    assert {kind.__name__ for kind in concrete()} == tested | untested | ELSEWHERE


def test_every_operator_states_its_own() -> None:
    """What is made of another operator does not silently have that one's derivative; affine ones have transposes."""
    curves = {type(op) for op, _ in DIFFERENTIABLE if isinstance(op, Curve)} - {PRelu}
    assert all("slope_curve" in vars(kind) for kind in curves)
    assert "slope_curve" not in {name for kind in PRelu.__mro__[:-1] if kind is not Curve for name in vars(kind)}


@pytest.mark.parametrize("instance", [case for case in GIVEN if not has_derivative(*case)], ids=label)
def test_what_has_none_is_named(instance: Instance) -> None:
    kind = type(instance[0]).__name__
    with pytest.raises(UnsupportedError, match=rf"node 'n\d+' has no derivative: {kind}"):
        jacobian(alone(*instance))


@pytest.mark.parametrize("instance", DIFFERENTIABLE, ids=label)
def test_bounds_hold_derivatives(instance: Instance) -> None:
    check(alone_on_boxes(*instance, DOUBLE))


@pytest.mark.parametrize("instance", FIRST, ids=label)
def test_bounds_in_single_precision_hold_derivatives_in_double(instance: Instance) -> None:
    check(alone_on_boxes(*instance, SINGLE))


@pytest.mark.parametrize("instance", FIRST, ids=label)
def test_bounds_hold_derivatives_where_what_is_pulled_back_varies(instance: Instance) -> None:
    check(between_on_boxes(*instance, DOUBLE, BETWEEN))


def caught(wrong: Wrong) -> bool:
    try:
        check(alone_on_boxes(wrong.op, wrong.shapes, DOUBLE), wrong.rule)
        check(between_on_boxes(wrong.op, wrong.shapes, DOUBLE), wrong.rule)
    except AssertionError as error:
        return str(error).startswith(("below", "above"))
    return False


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_wrong_derivatives_are_caught(wrong: Wrong) -> None:
    assert caught(wrong)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_what_they_were_made_of_is_right(wrong: Wrong) -> None:
    parent = type(wrong.op) if wrong.rule is not jacobian else type(wrong.op).__bases__[0]
    op = parent(*(getattr(wrong.op, field.name) for field in fields(parent) if field.init))
    assert not caught(Wrong(wrong.name, op, wrong.shapes))


def overflows(op: Op) -> bool:
    """Tell whether slopes next to a pole are beyond what single precision has."""
    return getattr(getattr(op, "curve", op), "exponent", 0) == -1.5


@pytest.mark.slow
@pytest.mark.parametrize("instance", [case for case in DIFFERENTIABLE if not overflows(case[0])], ids=label)
def test_bounds_in_single_precision_hold_derivatives_of_all_instances(instance: Instance) -> None:
    check(alone_on_boxes(*instance, SINGLE))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=["double", "single"])
@pytest.mark.parametrize("instance", DIFFERENTIABLE, ids=label)
def test_bounds_hold_derivatives_where_all_varies_on_many_boxes(instance: Instance, dtype: torch.dtype) -> None:
    check(between_on_boxes(*instance, dtype))
