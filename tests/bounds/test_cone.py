"""What one element reads, as a network of its own, computes that element and is bounded like it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.bounds.nets import Net, boxes, dense, drawn, normal, residual
from tests.bounds.test_windows import strided, upsampled
from tests.rules.instances import INSTANCES
from verifier.bounds.cone import Cone, window_of
from verifier.bounds.schedule import CROWN, INTERVAL, bound_nodes
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.ops.arithmetic import Scale, Sub, Translate
from verifier.ops.conv import Conv
from verifier.ops.curves import PRelu, Sigmoid
from verifier.ops.op import Affine, Shape
from verifier.ops.part import Part
from verifier.ops.shape import Reshape, View
from verifier.sets import Window, cut


def placed(seed: int) -> Graph:
    """Constants and slopes that differ from place to place, on a line."""
    generator, net = drawn(seed), Net(2 * 11)
    net.add(View(0, (1, 2, 11)))
    net.add(Conv(normal(generator, 3, 2, 3), normal(generator, 3), (1,), (2,), (2,)))
    shape = net.shapes[net.nodes[-1].name]
    net.add(Translate(normal(generator, *shape)))
    curved = net.add(PRelu(normal(generator, *shape)))
    net.add(Sigmoid())
    net.add(Scale(normal(generator, 1, 1, shape[2])))
    net.add(Sub(), net.nodes[-1].name, curved)
    net.add(Conv(normal(generator, 2, 3, 2), None, (3,), (1,), (1,)))
    return net.graph()


GRAPHS = {"strided": strided(0), "upsampled": upsampled(2), "placed": placed(3)}


def cones(graph: Graph) -> Iterator[tuple[str, int, Cone]]:
    """Yield cones of the nodes' corner elements and of some between."""
    for name, node in graph.nodes.items():
        size = math.prod(node.shape)
        for element in sorted({0, size // 3, size // 2, size - 1}):
            if name not in (INPUT, OUTPUT) and (cone := Cone.of(graph, name, element)) is not None:
                yield name, element, cone


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_cones_compute_what_they_are_cut_from(graph: Graph) -> None:
    x = normal(drawn(1), 5, graph.n_inputs)
    values, smaller, found = graph.values(x), 0, set[str]()
    for name, element, cone in cones(graph):
        torch.testing.assert_close(cone.graph(x[:, cone.inputs])[:, 0], values[name].flatten(1)[:, element])
        for above, window in cone.windows.items():
            if above != INPUT:
                inside = cone.graph.values(x[:, cone.inputs])[above]
                torch.testing.assert_close(inside, cut(values[above], window))
        smaller += len(cone.inputs) < graph.n_inputs
        found.add(name)
    assert smaller >= 4
    assert len(found) >= 5


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_cones_are_bounded_like_what_they_are_cut_from(graph: Graph) -> None:
    box = boxes(graph.n_inputs, (0.3,), 4)
    for method in (INTERVAL, CROWN):
        bounds = bound_nodes(graph, box, method).boxes
        for name, element, cone in cones(graph):
            known = {above: bounds[above].within(window) for above, window in cone.windows.items() if above != INPUT}
            least, most = (end.flatten(1)[:, element] for end in (bounds[name].lower, bounds[name].upper))
            alone = bound_nodes(cone.graph, box.columns(cone.inputs), method)
            if method == INTERVAL:
                torch.testing.assert_close(alone.boxes[OUTPUT].lower[:, 0], least)
                torch.testing.assert_close(alone.boxes[OUTPUT].upper[:, 0], most)
            better = bound_nodes(cone.graph, box.columns(cone.inputs), method, known).boxes[OUTPUT]
            assert (better.lower[:, 0] >= least - 1e-12).all()
            assert (better.upper[:, 0] <= most + 1e-12).all()
            row = torch.ones(1, 1, 1, dtype=torch.float64)
            assert (alone.rows(row).minimum(box.columns(cone.inputs)) <= most + 1e-9).all()


def test_without_windows_there_is_no_cone() -> None:
    flat, whole = dense(0, [3, 5, 2]), residual(0)
    assert all(Cone.of(flat, name, 0) is None for name in flat.nodes)
    joined = next(name for name, node in whole.nodes.items() if node.shape == (32,) and isinstance(node.op, Reshape))
    assert Cone.of(whole, joined, 0) is None


@pytest.mark.parametrize("space", [(7,), (3, 4), (2, 3, 2)])
def test_an_element_has_one_window(space: Shape) -> None:
    numbers = torch.arange(2 * math.prod(space)).view(2, *space)
    for element in range(numbers.numel()):
        assert element in cut(numbers, window_of(space, element))[..., :].flatten().tolist()
        assert cut(numbers, window_of(space, element)).numel() == 2


def given(x: Tensor, window: Window) -> Tensor:
    """Cut a window out of an operand ``(B, *operand)``, with zeros beyond it."""
    if not window:
        return x
    sizes = x.shape[-len(window) :]
    pads = [(max(-part.start, 0), max(part.stop - size, 0)) for part, size in zip(window, sizes, strict=True)]
    wide = functional.pad(x, [length for ends in reversed(pads) for length in ends])
    return cut(wide, tuple(slice(w.start + b, w.stop + b) for w, (b, _) in zip(window, pads, strict=True)))


AFFINE = [(op, shapes) for op, shapes in INSTANCES if isinstance(op, Affine)]


@pytest.mark.parametrize(("op", "shapes"), AFFINE, ids=[f"{type(op).__name__}-{k}" for k, (op, _) in enumerate(AFFINE)])
def test_parts_of_operators(op: Affine, shapes: list[Shape]) -> None:
    """Values and transposes of a window are those of the whole operator, for every affine operator."""
    generator = drawn(5)
    x = [normal(generator, 2, *shape) for shape in shapes]
    y = op.forward(*x)
    out = tuple(y.shape[1:])
    for axes in range(1, len(out) - 1):
        space = out[-axes:]
        for corner in {tuple(0 for _ in space), tuple(size - 1 for size in space), tuple(size // 2 for size in space)}:
            window = tuple(slice(k, min(k + 2, size)) for k, size in zip(corner, space, strict=True))
            part, reads = Part.of(op, window, shapes, out)
            operands = [given(value, read) for value, read in zip(x, reads, strict=True)]
            wanted = cut(y, window)
            torch.testing.assert_close(part.forward(*operands), wanted)
            rows = normal(generator, 2, *wanted.shape[1:])
            pulled = part.transpose(rows, [tuple(value.shape[1:]) for value in operands])
            moved = sum((p * v).flatten(1).sum(1) for p, v in zip(pulled, operands, strict=True))
            constant = part.offset([tuple(value.shape[1:]) for value in operands], rows)
            plain = (rows * (wanted if constant is None else wanted - constant)).flatten(1).sum(1)
            torch.testing.assert_close(torch.as_tensor(moved), plain)
