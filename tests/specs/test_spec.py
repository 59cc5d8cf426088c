"""Sets, rows, cases and the counterexample check."""

import pickle

import numpy as np
import pytest

from specs import Ball, Case, InputSet, Rows, Spec, SpecError


def rows(y: list[list[float]], bound: list[float], *, strict: bool = False, x: list[list[float]] | None = None) -> Rows:
    inputs = None if x is None else np.array(x, dtype=float)
    return Rows(np.array(y, dtype=float), inputs, np.array(bound, dtype=float), np.full(len(bound), strict))


def unit_box(n: int) -> InputSet:
    return InputSet(np.zeros(n), np.ones(n))


def test_contains_is_exact_in_float64() -> None:
    box = InputSet(np.array([0.3, 0.0]), np.array([0.3, 1.0]))
    assert box.contains([0.3, 1.0])
    assert not box.contains([0.3, np.nextafter(1.0, 2.0)])
    assert not box.contains([0.3, np.nan])
    assert not box.contains(np.array([0.3, 0.0], dtype=np.float32))
    assert box.contains(np.array([[0.3], [0.0]], dtype=np.float32), np.float32)


@pytest.mark.parametrize("p, inside", [(1, False), (2, True), (np.inf, True)])
def test_ball_and_box(p: float, inside: bool) -> None:
    inputs = InputSet(np.zeros(2), np.ones(2), Ball(np.zeros(2), 1.0, p))
    assert inputs.contains([0.6, 0.7]) is inside
    assert not inputs.contains([-0.1, 0.0])


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: InputSet(np.ones(2), np.array([1.0, 0.0])), r"empty box: lower\[1\] = 1.0 > upper\[1\] = 0.0"),
        (lambda: InputSet(np.zeros(2), np.zeros(3)), "lower has shape"),
        (lambda: InputSet(np.zeros((1, 2)), np.zeros((1, 2))), "must have shape"),
        (lambda: InputSet(np.array([np.nan]), np.zeros(1)), r"lower\[0\] is nan"),
        (lambda: InputSet(np.zeros(1), np.array([np.inf])), r"upper\[0\] is inf"),
        (lambda: InputSet(["a"], np.zeros(1)), "not an array of numbers"),
        (lambda: InputSet(np.zeros(2), np.ones(2), Ball(np.zeros(3), 1, 2)), "the ball has shape"),
        (lambda: Ball(np.zeros(2), -1, 2), "radius"),
        (lambda: Ball(np.zeros(2), float("nan"), 2), "radius"),
        (lambda: Ball(np.zeros(2), 1, 3), "p must be"),
        (lambda: rows([[1.0]], [np.inf]), "not finite"),
        (lambda: rows([[1.0]], [0.0, 1.0]), "have shapes"),
        (lambda: Spec((Case(unit_box(2), rows([[1.0]], [0.0])),), 2, 3), "case 0"),
        (lambda: unit_box(2).contains([0.0]), "x has 1 numbers"),
        (lambda: Spec((), 2, 1).violated_by([0.0], [0.0]), "x and y have"),
    ],
)
def test_invalid_values_are_refused(build, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build()


def test_residual_of_points_and_batches() -> None:
    both = rows([[1, -1], [0, 2]], [0.5, 1], x=[[0, 1], [3, 0]])
    assert both.residual([1, 2], [3, 4]).tolist() == [0.5, 10]
    assert both.residual(np.ones((5, 2)), np.ones((5, 2))).shape == (5, 2)


def test_strict_rows_exclude_their_border() -> None:
    assert rows([[1]], [1]).hold([], [1.0]).all()
    assert not rows([[1]], [1], strict=True).hold([], [1.0]).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_undefined_outputs_are_no_counterexample(bad: float) -> None:
    spec = Spec((Case(unit_box(1), rows([[1, -1]], [0])),), 1, 2)
    assert spec.violated_by([0], [bad, bad]) is None


def test_violated_by_gives_the_first_case() -> None:
    low, high = Case(unit_box(1), rows([[1]], [0])), Case(unit_box(1), rows([[-1]], [-1]))
    spec = Spec((low, high), 1, 1)
    assert [spec.violated_by([0.5], [y]) for y in (-1, 0, 0.5, 1)] == [0, 0, None, 1]
    assert spec.violated_by([1.5], [0]) is None


def test_violated_by_in_the_chosen_precision() -> None:
    point = np.array([0.3])
    anywhere = Rows(np.zeros((0, 1)), None, np.zeros(0), np.zeros(0, dtype=bool))
    spec = Spec((Case(InputSet(point, point), anywhere),), 1, 1)
    assert spec.violated_by(point, [0]) == 0
    assert spec.violated_by(point.astype(np.float32), [0]) is None
    assert spec.violated_by(point.astype(np.float32), [0], (np.float32,)) == 0


def test_without_cases_the_property_holds() -> None:
    assert Spec((), 1, 1).violated_by([0], [0]) is None


def test_errors_survive_pickling() -> None:
    error = SpecError("bad\nnews", "a.vnnlib", 3, 4)
    assert str(pickle.loads(pickle.dumps(error))) == "a.vnnlib:3:4: bad news"
    assert str(SpecError("bad")) == "bad"
