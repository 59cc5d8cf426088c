"""What every operator says of ten thousand boxes holds at points of them, in either precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.rules.boxes import draw_box
from tests.rules.containment import check, made
from tests.rules.instances import INSTANCES, SHIFTED, Instance, concrete
from tests.rules.references import RATIONAL, SMOOTH
from verifier.bounds.rounding import rounding
from verifier.ops.curves import Curve
from verifier.ops.curves.shifted import Shifted
from verifier.ops.elementwise import Elementwise
from verifier.ops.linear import Sparse
from verifier.ops.op import Op, Shape

BOXES = 10_000
"""Boxes for each curve and each of its samples, and for each other operator, shared out among its samples."""

BOUNDED = [(op, shapes) for op, shapes in INSTANCES if not isinstance(op, Sparse)]  # which nobody bounds


def label(instance: Instance) -> str:
    op = instance[0]
    return f"{type(op).__name__}-{type(op.curve).__name__}" if isinstance(op, Shifted) else type(op).__name__


def domains(op: Op, shapes: list[Shape]) -> int:
    """Return how many domains there are to be of an instance."""
    if isinstance(op, Shifted):
        return -(-BOXES // (len(SHIFTED) * 7)) * 2
    if isinstance(op, Elementwise):
        return -(-BOXES // math.prod(shapes[0]))
    return -(-BOXES // sum(type(other) is type(op) for other, _ in INSTANCES))


def test_every_operator_has_a_reference_and_samples() -> None:
    """An operator that is not entered here is not tested: this fails when one is added."""
    names = {kind.__name__ for kind in concrete()}
    assert names == {*RATIONAL, *SMOOTH, "Shifted"}  # which is said by its curve
    assert names == {type(op).__name__ for op, _ in INSTANCES}
    assert not set(RATIONAL) & set(SMOOTH)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("instance", BOUNDED, ids=label)
def test_bounds_hold_the_values(instance: Instance, dtype: torch.dtype) -> None:
    check(*instance, dtype, domains(*instance))


@pytest.mark.parametrize("instance", BOUNDED, ids=label)
def test_single_precision_holds_double_precision(instance: Instance) -> None:
    """The interval in float32, widened by its margin, holds the one in float64 of the same box."""
    op, shapes = instance
    generator = torch.Generator().manual_seed(0)
    boxes = [draw_box(op, shape, 100, torch.float32, generator) for shape in shapes]
    graph, node = made(op, shapes, torch.float32)
    assert node.op is not None
    small, large = op.interval(*(box.to(torch.float64) for box in boxes)), node.op.interval(*boxes)
    margin = rounding(graph, node, boxes).forward
    known = small.lower.isfinite() & small.upper.isfinite()  # else beyond an end of the domain that float32 lacks
    assert (~known | (small.lower >= (large.lower - margin).double())).all()
    assert (~known | (small.upper <= (large.upper + margin).double())).all()


def test_boxes_are_hard() -> None:
    """Boxes have all widths, and begin, end and just miss where a curve bends."""
    op = next(op for op, _ in INSTANCES if type(op).__name__ == "Gelu")
    assert isinstance(op, Curve)
    box = draw_box(op, (7,), 2000, torch.float64, torch.Generator().manual_seed(0))
    width = (box.upper - box.lower).flatten()
    for low in range(-9, 3):
        assert ((width > 10.0**low) & (width < 10.0 ** (low + 1))).sum() > 500
    bend = math.sqrt(2)
    for side in (box.lower, box.upper):
        assert (side == bend).sum() > 50
        assert (side == np.nextafter(bend, 2)).sum() > 5
        assert (side == np.nextafter(bend, 1)).sum() > 5
