"""Numbers that make no sense are named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import verifier
from verifier.config import Config, seconds
from verifier.errors import UsageError


@pytest.mark.parametrize("wrong", ["10", math.nan, True, [1]])
def test_a_timeout_is_a_number(wrong: Any) -> None:
    with pytest.raises(UsageError, match="number of seconds, or None for no limit, not"):
        Config(timeout=wrong)
    layer = torch.nn.Linear(2, 2)
    for call in (
        lambda: verifier.lipschitz(layer, timeout=wrong, example_input=torch.zeros(1, 2)),
        lambda: verifier.robust_radius(layer, [0.0, 0.0], timeout=wrong),
        lambda: verifier.certified_radii(layer, [[0.0, 0.0]], [0], timeout=wrong),
    ):
        with pytest.raises(UsageError, match="number of seconds"):
            call()


def test_timeouts_of_numpy_and_none() -> None:
    assert seconds(None) == math.inf
    assert seconds(np.float32(2)) == 2
    assert Config(timeout=np.int64(3)).timeout == 3


@pytest.mark.parametrize(
    ("name", "wrong"), [("threads", 0), ("threads", 1.5), ("threads", True), ("seed", None), ("max_iterations", -1)]
)
def test_counts_are_whole_numbers(name: str, wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} is a whole number from"):
        Config(**{name: wrong})
    assert getattr(Config(**{name: 2}), name) == 2
