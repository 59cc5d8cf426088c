"""Points to split at: inside of every box, hardly worse than the best, and the same from the cache folder."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.bounds.nets import Net, boxes, drawn, linear
from verifier.ops.curves import Elu, Exp, Log, Power, Relu, Sigmoid, Sin, Smooth, Tanh
from verifier.ops.product import Product
from verifier.search.branching import tables
from verifier.search.branching.points import BranchPoints
from verifier.search.branching.tables import PointTable, build, kept, key, table_of
from verifier.search.root import Root
from verifier.sets import Box

CURVES = {"sigmoid": Sigmoid(), "sin": Sin(), "elu": Elu(1.5), "log": Log(), "inverse": Power(-1.0)}


def table_for(*curves: Smooth) -> PointTable:
    table = table_of(curves)
    assert table is not None
    return table


def left(curves: list[Smooth], box: Box, point: Tensor) -> Tensor:
    """The area that a split leaves, of boxes ``(N,)``."""
    return tables._area(curves, Box(box.lower, point)) + tables._area(curves, Box(point, box.upper))


def drawn_boxes(count: int, low: float, high: float) -> Box:
    ends = low + (high - low) * torch.rand(2, count, generator=drawn(0), dtype=torch.float64)
    return Box(ends.amin(0), ends.amax(0))


@pytest.mark.parametrize("name", CURVES)
def test_points_are_hardly_worse_than_the_best_and_better_than_the_middle(name: str) -> None:
    curve = CURVES[name]
    box = drawn_boxes(300, *((0.1, 6.0) if name in ("log", "inverse") else (-6.0, 6.0)))
    width = box.upper - box.lower
    tries = [left([curve], box, box.lower + k / 24 * width) for k in range(1, 24)]
    best, middle = torch.stack(tries).amin(0), left([curve], box, box.centre)
    found = left([curve], box, table_for(curve).at(box))
    scale = middle + 1e-6 * width
    assert ((found - best) / scale).mean() < 0.02
    assert (found / scale).mean() < (middle / scale).mean() - 0.02


@pytest.mark.parametrize("curve", [Power(2.0), Sin(), Sigmoid()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_of_boxes_beyond_the_table_are_inside_of_them(curve: Smooth, dtype: torch.dtype) -> None:
    box = Box(
        torch.tensor([100.0, -200.0, 80.0, -1e6, -1.0, 90.0, -1e3], dtype=dtype),
        torch.tensor([200.0, -100.0, 1e5, -70.0, 1e5, 91.0, 1e3], dtype=dtype),
    )
    point = table_for(curve).at(box)
    assert ((box.lower < point) & (point < box.upper)).all()
    one_sided = (box.lower > 0) | (box.upper < 0)
    torch.testing.assert_close(point[one_sided], box.centre[one_sided])


def test_several_functions_share_a_point() -> None:
    box, curves = drawn_boxes(200, -5.0, 5.0), [Tanh(), Elu(1.5)]
    both = left(curves, box, table_for(*curves).at(box)).sum()
    for curve in curves:
        assert both < left(curves, box, table_for(curve).at(box)).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_lie_inside(dtype: torch.dtype) -> None:
    table = table_for(Sigmoid())
    ends = torch.tensor([-math.inf, -1e30, -200.0, -90.0, -1.0, 0.0, 1e-30, 1.0, 90.0, 1e5, math.inf], dtype=dtype)
    i, j = torch.triu_indices(len(ends), len(ends), 1)
    box = Box(ends[i].unsqueeze(0), ends[j].unsqueeze(0))
    point = table.at(box)
    assert point.dtype == dtype
    assert (point >= box.lower).all()
    assert (point <= box.upper).all()
    ordinary = (box.lower >= -90) & (box.upper <= 90) & (box.upper - box.lower > 1e-3)
    assert ((point > box.lower) & (point < box.upper))[ordinary].all()


def test_tables_are_kept_and_damaged_ones_made_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def counted(curves: list[Smooth]) -> PointTable:
        made.append(curves)
        return build(curves)

    monkeypatch.setattr(tables, "build", counted)
    table = kept("a name", [Exp()])
    again = kept("a name", [Exp()])
    assert len(made) == 1
    assert torch.equal(table.parts, again.parts)
    files = set(cache.rglob("*.npy"))
    kept("another name", [Exp()])
    (file,) = set(cache.rglob("*.npy")) - files
    for damage in (b"", b"\x93NUMPY", file.read_bytes()[:-5]):
        file.write_bytes(damage)
        assert torch.equal(kept("another name", [Exp()]).parts, table.parts)
    np.save(file, np.full((3, 3), 0.5))
    assert torch.equal(kept("another name", [Exp()]).parts, table.parts)
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # no folder can be made below a file
    assert torch.equal(kept("a third name", [Exp()]).parts, table.parts)


def test_keys_tell_functions_apart() -> None:
    assert key([Elu(1.0)]) != key([Elu(0.5)])
    assert key([Sigmoid(), Tanh()]) == key([Tanh(), Sigmoid()]) != key([Tanh()])


def test_what_reads_a_neuron_decides() -> None:
    """Rectifiers are cut at the kink, smooth functions by their table, products alone in the middle."""
    net, generator = Net(4), drawn(0)
    first = net.add(linear(generator, 4, 3, 3.0))
    curved = [net.add(op, first) for op in (Sigmoid(), Tanh())]
    second = net.add(linear(generator, 3, 3, 3.0), curved[0])
    rectified = net.add(Relu(), second)
    product = net.add(
        Product(), net.add(linear(generator, 3, 3), rectified), net.add(linear(generator, 3, 3), curved[1])
    )
    net.add(linear(generator, 3, 1), product)
    graph = net.graph()
    root = Root.cheap(graph, boxes(4, (0.5,), 0))
    points = BranchPoints(root.neurons())
    assert set(root.neurons().elements) >= {first, second}
    wide = Box(torch.full((1, 3), -3.0), torch.full((1, 3), 4.0))
    places = torch.arange(3).unsqueeze(0)
    assert torch.equal(points.at(first, places, wide), table_for(Sigmoid(), Tanh()).at(wide))
    assert not points.at(second, places, wide).any()
    (name, *_) = [name for name in root.neurons().elements if name not in (first, second)]
    assert torch.equal(points.at(name, places, wide), wide.centre)
