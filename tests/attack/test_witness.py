from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto

from specs import Case, InputSet, Rows, Spec
from tests.attack.small import Setting, below, relu_model
from verifier.attack.witness import round_inside
from verifier.result import Counterexample
from verifier.sets import Box

IDENTITY = [[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [[1.0, -1.0, 1.0]]]
"""y = relu(x0) - relu(-x0) + relu(x1) = x0 + relu(x1)"""


def test_a_point_is_confirmed_and_replayed() -> None:
    setting = Setting(relu_model(IDENTITY), below([-1, 0], [1, 1], -0.5))
    found = setting.check([0.5, 0.5], [-0.75, 0.125])
    assert isinstance(found, Counterexample)
    assert found.x.tolist() == [-0.75, 0.125]
    assert found.y.tolist() == [-0.625]
    assert found.case == 0


def test_points_outside_are_projected_before_they_are_judged() -> None:
    setting = Setting(relu_model(IDENTITY), below([-1, 0], [1, 1], -0.5))
    found = setting.check([-7.0, -7.0])
    assert isinstance(found, Counterexample)
    assert found.x.tolist() == [-1, 0]
    assert Setting(relu_model(IDENTITY), below([-0.25, 0], [1, 1], -0.5)).check([-7.0, 0.0]) is None


def test_no_points_and_no_promising_points() -> None:
    setting = Setting(relu_model(IDENTITY), below([-1, 0], [1, 1], -0.5))
    assert setting.checker(torch.zeros(0, dtype=torch.long), torch.zeros(0, 2)) is None
    assert setting.check([0.0, 0.0], [float("nan"), 0.0]) is None
    assert "replay" not in vars(setting.checker), "onnxruntime is not started for nothing"


def test_the_border_counts_only_where_the_condition_is_not_strict() -> None:
    model = relu_model(IDENTITY)
    assert Setting(model, below([-1, 0], [1, 1], -1.0)).check([-1.0, 0.0]) is not None
    assert Setting(model, below([-1, 0], [1, 1], -1.0, strict=True)).check([-1.0, 0.0]) is None


def test_a_point_just_outside_the_condition_is_pushed_inside() -> None:
    setting = Setting(relu_model(IDENTITY), below([-1, 0], [1, 1], -0.5, strict=True))
    found = setting.check([-0.5, 0.0])
    assert isinstance(found, Counterexample)
    assert found.y[0] < -0.5


@pytest.mark.parametrize("lower, upper", [(0.3, 0.3), (-0.3, -0.3), (0.30000001, 0.300000011)])
def test_a_coordinate_without_a_float32_number_takes_the_nearest(lower: float, upper: float) -> None:
    found = Setting(relu_model(IDENTITY), below([-1, lower], [1, upper], 0.0)).check([-1.0, lower])
    assert isinstance(found, Counterexample)
    assert found.x.astype(np.float32).astype(np.float64).tolist() == found.x.tolist()
    assert abs(found.x[1] - lower) < 1e-7


def test_points_are_rounded_to_float32_inside_the_box() -> None:
    generator = torch.Generator().manual_seed(0)
    lower = torch.rand(1000, 3, generator=generator, dtype=torch.float64)
    box = Box(lower, lower + 1e-6 * torch.rand(1000, 3, generator=generator, dtype=torch.float64))
    rounded, exact = round_inside(torch.rand(1000, 3, generator=generator, dtype=torch.float64), box, torch.float32)
    assert torch.equal(rounded, rounded.float().double())
    assert ((box.lower <= exact) & (exact <= box.upper)).all()
    holds = torch.nextafter(box.lower.float(), torch.tensor(2.0)).double() <= box.upper
    assert torch.equal(rounded[holds], exact[holds])


def test_models_in_float64_are_checked_in_float64() -> None:
    tiny = 1e-12
    model = relu_model(IDENTITY, TensorProto.DOUBLE)
    found = Setting(model, below([-tiny, 0], [1, 1], -tiny)).check([-tiny, 0.0])
    assert isinstance(found, Counterexample)
    assert found.x[0] == -tiny
    assert Setting(model, below([-tiny, 0], [1, 1], -2 * tiny)).check([-tiny, 0.0]) is None


def test_what_the_file_says_decides() -> None:
    setting = Setting(relu_model(IDENTITY), below([-1, 0], [1, 1], -0.5))
    other = Setting(relu_model([IDENTITY[0], [[-1.0, 1.0, 1.0]]]), below([-1, 0], [1, 1], -0.5))
    setting.checker.source = other.checker.source
    assert setting.check([-1.0, 0.0]) is None


def test_without_a_file_the_network_itself_decides() -> None:
    found = Setting(relu_model(IDENTITY), below([-1, 0.3], [1, 0.3], 0.0), replay=False).check([-1.0, 0.3])
    assert isinstance(found, Counterexample)
    assert found.x.tolist() == [-1, 0.3]


def test_conditions_on_the_input_count() -> None:
    rows = Rows(np.array([[1.0], [0.0]]), np.array([[0.0, 0.0], [0.0, -1.0]]), np.array([0.0, -0.5]), np.zeros(2, bool))
    setting = Setting(relu_model(IDENTITY), Spec((Case(InputSet([-1, 0], [1, 1]), rows),), 2, 1))
    assert setting.check([-1.0, 0.25]) is None
    assert setting.check([-1.0, 0.75]) is not None
