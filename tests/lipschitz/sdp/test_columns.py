"""Affine operators on signals: every one that there is, against its own values."""

from __future__ import annotations

import math

import pytest
import torch

from verifier.errors import UnsupportedError
from verifier.lipschitz.sdp.columns import image, scaled, take
from verifier.lipschitz.sdp.system import Block, Signal
from verifier.ops.linear import Linear
from verifier.ops.op import OPS, Affine, Shape

SAMPLES = [
    pytest.param(op, shapes, id=f"{name}-{k}")
    for name, kind in sorted(OPS.items())
    if issubclass(kind, Affine)
    for k, (op, shapes) in enumerate(kind.samples())
]


@pytest.mark.parametrize(("op", "shapes"), SAMPLES)
def test_every_affine_operator(op: Affine, shapes: list[Shape]) -> None:
    """Of three variables that all operands read, at differences of random values."""
    draw = torch.Generator().manual_seed(0)
    op = op.to(torch.float64, torch.device("cpu"))
    centres = [torch.randn(math.prod(shape), 3, dtype=torch.float64, generator=draw) for shape in shapes]
    signals = [Signal(len(centre), {0: Block.exact(centre)}) for centre in centres]
    out = tuple(op.forward(*(torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes)).shape[1:])
    found = image(op, signals, shapes, out)

    def values(variables: torch.Tensor) -> torch.Tensor:
        columns = (centre @ variables for centre in centres)
        operands = (column.reshape(1, *shape) for column, shape in zip(columns, shapes, strict=True))
        return op.forward(*operands).reshape(-1)

    x, y = torch.randn(2, 3, dtype=torch.float64, generator=draw)
    expected = values(x) - values(y)
    block = found.blocks.get(0, Block.exact(torch.zeros(found.rows, 3, dtype=torch.float64)))
    assert torch.allclose(block.centre @ (x - y), expected, rtol=1e-9, atol=1e-9)
    assert float(block.radius.max()) <= 1e-9 * (1 + float(block.centre.abs().max()))


def test_numbers_too_small_become_radii() -> None:
    tiny = torch.tensor([[1e-200], [1.0]], dtype=torch.float64)
    op = Linear(torch.tensor([[1e-120], [1.0]], dtype=torch.float64))
    block = image(op, [Signal(2, {0: Block.exact(tiny)})], [(2,)], (1,)).blocks[0]
    assert float(block.centre) == 1
    assert float(block.radius) >= 1e-260
    with pytest.raises(UnsupportedError, match="below"):
        image(Linear(1e-150 * torch.ones(2, 1, dtype=torch.float64)), [Signal(2, {0: Block.exact(tiny)})], [(2,)], (1,))


def test_a_matrix_may_be_too_large() -> None:
    signal = Signal(1, {0: Block.exact(torch.ones(1, 1 << 14, dtype=torch.float64))})
    with pytest.raises(UnsupportedError, match="16384 x 16384 numbers"):
        image(Linear(torch.ones(1, 1 << 14, dtype=torch.float64)), [signal], [(1,)], (1 << 14,))


def test_scaling_and_taking() -> None:
    centre = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=torch.float64)
    signal = Signal(3, {0: Block(centre, 0.1 * centre)})
    factor, error = torch.tensor([1.0, 0.3, 0.0]).double(), torch.tensor([0.0, 0.2, 0.0]).double()
    block = scaled(signal, factor, error).blocks[0]
    assert torch.allclose(block.radius[0], 0.1 * centre[0])
    assert not block.radius[2].any()
    assert (block.radius[1] >= 0.3 * 0.1 * centre[1] + 0.2 * 1.1 * centre[1]).all()
    assert torch.equal(take(signal, torch.tensor([2, 0])).blocks[0].centre, centre[[2, 0]])
    assert not scaled(signal, 0 * factor, 0 * error).blocks
