"""The operator of the page on adding one: it passes the checks that every operator has to pass."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from specs import neighbourhood
from tests.graph.models import one
from tests.rules import containment, derivatives, test_conformance
from tests.rules.references import SMOOTH
from verifier import lipschitz, output_bounds
from verifier.graph.lower import LOWER
from verifier.ops.op import OPS, Op

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")

FLAT = [(1, 7)]
REFERENCES: dict[str, Any] = {
    "BentIdentity": lambda op, x: x + (mpmath.sqrt(x**2 + 1) - 1) / 2,
    "BentSlope": lambda op, x: 1 + x / mpmath.sqrt(x**2 + 1) / 2,
}
CHECKS = (
    test_conformance.test_a_batch_is_its_rows_one_by_one,
    test_conformance.test_no_domains_are_as_good_as_any,
    test_conformance.test_interval_of_a_point_is_the_value,
    test_conformance.test_a_smaller_box_has_no_larger_interval,
    test_conformance.test_the_parameters_to_start_from_are_those_of_the_plain_relaxation,
    test_conformance.test_absolute_terms_cover_every_plane,
    test_conformance.test_single_precision_is_near,
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The code of the page as a module; what it enters into registries is taken out again."""
    before = dict(OPS), dict(LOWER)
    file = tmp_path_factory.mktemp("page") / "bent.py"
    file.write_text("\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("bent", file)
    assert spec is not None and spec.loader is not None
    module = sys.modules["bent"] = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name, reference in REFERENCES.items():
            patch.setitem(SMOOTH, name, reference)
        spec.loader.exec_module(module)
        yield module
    del sys.modules["bent"]
    for registry, old in zip((OPS, LOWER), before, strict=True):
        registry.clear()
        registry.update(old)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_its_contract(page: ModuleType, name: str, check: Any) -> None:
    check(getattr(page, name)(), FLAT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", REFERENCES)
def test_bounds_hold_the_values(page: ModuleType, name: str, dtype: torch.dtype) -> None:
    containment.check(getattr(page, name)(), FLAT, dtype, 200)
    test_conformance.test_infinite_boxes_prove_nothing_wrong(getattr(page, name)(), FLAT, dtype)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", REFERENCES)
def test_every_slope_is_sound(page: ModuleType, name: str, seed: int) -> None:
    test_conformance.test_pullback_is_a_lower_bound(getattr(page, name)(), FLAT, seed)
    test_conformance.test_pullback_is_a_lower_bound_for_any_alpha(getattr(page, name)(), FLAT, seed)


def test_derivatives_lie_in_their_bounds(page: ModuleType) -> None:
    derivatives.check(derivatives.alone_on_boxes(page.BentIdentity(), FLAT, torch.float64))
    derivatives.check(derivatives.between_on_boxes(page.BentIdentity(), FLAT, torch.float64))


def test_the_difference_that_cancels_is_found(page: ModuleType) -> None:
    class Cancelling(page.BentIdentity, register=False):  # type: ignore[misc, name-defined]
        def forward(self, *x: Tensor) -> Tensor:
            return x[0] + ((x[0] * x[0] + 1).sqrt() - 1) / 2

    mistaken: Op = Cancelling()
    with pytest.raises(AssertionError):
        containment.check(mistaken, FLAT, torch.float64, 200)


def test_a_model_with_it_is_bounded_and_differentiated(page: ModuleType) -> None:
    del page
    model = one("BentIdentity", (1, 3))
    region = neighbourhood(np.array([0.0, 1.0, -2.0]), 0.5)
    (found,) = output_bounds(model, region)
    ends = region.lower, region.upper
    for end, bound in zip(ends, (found.lower, found.upper), strict=True):
        np.testing.assert_allclose(bound, end + (np.sqrt(end**2 + 1) - 1) / 2, rtol=1e-9)
    exact = 1 + 1.5 / np.sqrt(1.5**2 + 1) / 2
    assert lipschitz(model, region, gap=1e-3).upper == pytest.approx(exact, rel=2e-3)
