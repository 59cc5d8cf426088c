"""Properties built without a file."""

import numpy as np
import pytest

from specs import SpecError, margin, neighbourhood, output_range, robustness


def test_robustness_has_a_case_for_each_other_output() -> None:
    spec = robustness(np.array([0.5, 0.95]), 0.1, 1, 3, clip=(0, 1))
    assert [case.rows.y.tolist() for case in spec.cases] == [[[-1, 1, 0]], [[0, 1, -1]]]
    assert spec.cases[0].inputs is spec.cases[1].inputs
    np.testing.assert_allclose(spec.cases[0].inputs.upper, [0.6, 1.0])
    assert spec.violated_by([0.5, 0.9], [0, 1, 1]) == 1
    assert spec.violated_by([0.5, 0.9], [0, 1, 0.5]) is None


@pytest.mark.parametrize("p", [1, 2])
def test_robustness_in_other_norms_keeps_the_ball(p: float) -> None:
    spec = robustness(np.zeros(2), 1.0, 0, 2, p=p)
    assert spec.violated_by([1.0, 0.0], [0, 0]) == 0
    assert spec.violated_by([0.8, 0.8], [0, 0]) is None


def test_neighbourhood() -> None:
    cut = neighbourhood([0.5, 0.95], 0.1, (0, 1))
    np.testing.assert_allclose((cut.lower, cut.upper), ([0.4, 0.85], [0.6, 1.0]))
    assert cut.ball is None
    assert not neighbourhood([0.0, 0.0], 1.0, p=2).contains([0.8, 0.8])
    with pytest.raises(SpecError, match="empty box"):
        neighbourhood([0.0], 0.1, (1, 2))


def test_output_range() -> None:
    spec = output_range([0], [1], [0, -np.inf], [1, 5])
    assert len(spec.cases) == 3
    found = [spec.violated_by([0.5], y) for y in ([0, 5], [-0.1, 0], [1.1, -99], [0.5, 5.1])]
    assert found == [None, 0, 1, 2]


def test_margin() -> None:
    spec = margin([0], [1], 2, 0, 3, 0.5)
    assert spec.violated_by([0], [1, 9, 1.5]) is None
    assert spec.violated_by([0], [1, 9, 1.25]) == 0


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: robustness([0.0], 0.1, 3, 3), "no output 3 among 3"),
        (lambda: robustness([0.0], 0.1, 0, 1), "at least 2"),
        (lambda: robustness([0.0], -0.1, 0, 2), "radius"),
        (lambda: robustness([0.0], 0.1, 0, 2, clip=(1, 2)), "empty box"),
        (lambda: robustness([0.0], 0.1, 0, 2, clip=([0, 0], 1)), "clip"),
        (lambda: output_range([0], [1], [1], [0]), "out_lower <= out_upper"),
        (lambda: output_range([0], [1], [np.nan], [0]), "no NaN"),
        (lambda: margin([0], [1], 1, 1, 2), "with itself"),
        (lambda: margin([0], [1], 1, -1, 2), "no output -1"),
        (lambda: margin([0], [1], 1, 0, 2, np.inf), "not finite"),
    ],
)
def test_invalid_values_are_refused(build, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build()
