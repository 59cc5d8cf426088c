"""Double-double arithmetic against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

import verifier.ops.curves  # noqa: F401  enters the curves into the registry
from tests.bounds.nets import drawn
from verifier.ops.double_double import UNIT, DoubleDouble, ExactAffine
from verifier.ops.linear import Linear, Sparse
from verifier.ops.op import OPS, Affine, Shape

EXACT = [
    pytest.param(op, shapes, id=f"{name}-{k}")
    for name, kind in sorted(OPS.items())
    if issubclass(kind, Affine) and (kind.whole or kind.weights)
    for k, (op, shapes) in enumerate(kind.samples())
] + [pytest.param(op, shapes, id=f"Sparse-{k}") for k, (op, shapes) in enumerate(Sparse.samples())]


def numbers(seed: int, *shape: int) -> DoubleDouble:
    """Numbers of all sizes, some zero, some without a low part."""
    generator = drawn(seed)
    size = 10.0 ** torch.randint(-12, 13, shape, generator=generator)
    high = torch.randn(shape, generator=generator, dtype=torch.float64) * size
    high = torch.where(torch.rand(shape, generator=generator) < 0.1, 0, high)
    low = (torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5) * UNIT * high
    low = torch.where(torch.rand(shape, generator=generator) < 0.2, 0, low)
    total = high + low
    return DoubleDouble(total, low - (total - high))


def exact(values: DoubleDouble) -> list[Fraction]:
    pairs = zip(values.high.flatten().tolist(), values.low.flatten().tolist(), strict=True)
    return [Fraction(high) + Fraction(low) for high, low in pairs]


def test_elementwise_steps_keep_their_stated_errors() -> None:
    a, b = numbers(1, 4000), numbers(2, 4000)
    close = DoubleDouble(-a.high, b.low * 0)  # sums that cancel all but the low part
    for other in (b, close):
        for found, want, units in (
            (a + other, [x + y for x, y in zip(exact(a), exact(other), strict=True)], 4),
            (a * other, [x * y for x, y in zip(exact(a), exact(other), strict=True)], 7),
        ):
            for got, value in zip(exact(found), want, strict=True):
                assert abs(got - value) <= units * Fraction(UNIT) ** 2 * abs(value)
    for got, x, y in zip(exact(a / DoubleDouble.of(b.high + 0.5)), exact(a), (b.high + 0.5).tolist(), strict=True):
        assert abs(got * Fraction(y) - x) <= Fraction(2) ** -96 * abs(x)


@pytest.mark.parametrize(("op", "shapes"), EXACT)
@pytest.mark.parametrize("points", [2, 7])
def test_affine_maps_lie_within_their_errors(op: Affine, shapes: list[Shape], points: int) -> None:
    operands = [numbers(k, points, *shape) for k, shape in enumerate(shapes)]
    operands[0].high[:, ..., 0], operands[0].low[:, ..., 0] = 0.75, 0  # the same at all points
    out = tuple(op.forward(*(operand.high for operand in operands)).shape[1:])
    found, lost = ExactAffine(op, shapes, out)(operands)
    want = by_matrix(op, shapes, operands)
    size = max(abs(value) for value in want)
    for got, value, error in zip(exact(found), want, lost.flatten().tolist(), strict=True):
        assert abs(got - value) <= Fraction(error)
        assert Fraction(error) <= Fraction(2) ** -90 * (size + 10**13)


def by_matrix(op: Affine, shapes: list[Shape], operands: list[DoubleDouble]) -> list[Fraction]:
    """Multiply by the matrix of an operator, entry by entry."""
    zeros = [torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes]
    constant = op.offset(shapes, zeros[0])
    start = [0.0] * op.forward(*zeros).numel() if constant is None else constant.flatten().tolist()
    points = len(operands[0].high)
    want = [Fraction(value) for _ in range(points) for value in start]
    for k, (shape, operand) in enumerate(zip(shapes, operands, strict=True)):
        count = zeros[k].numel()
        units = [zero.expand(count, *zero.shape[1:]) for zero in zeros]
        units[k] = torch.eye(count, dtype=torch.float64).reshape(count, *shape)
        matrix: Tensor = op.linear(*units).reshape(count, -1)
        values = exact(operand)
        for i, j in matrix.nonzero().tolist():
            entry = Fraction(matrix[i, j].item())
            for point in range(points):
                want[point * len(start) + j] += entry * values[point * count + i]
    return want


def test_errors_of_operands_are_carried() -> None:
    for case in EXACT:
        op, shapes = case.values
        assert isinstance(op, Affine)
        errors = [torch.rand(3, *shape, generator=drawn(5), dtype=torch.float64) for shape in shapes]
        out = tuple(op.forward(*errors).shape[1:])
        spread = ExactAffine(op, shapes, out).spread(errors)
        for seed in range(5):
            signs = [error * torch.randint(-1, 2, error.shape, generator=drawn(seed)) for error in errors]
            assert (op.linear(*signs).abs() <= spread).all()


def test_operators_without_known_coefficients_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="AveragePool"):
        ExactAffine(next(iter(OPS["AveragePool"].samples()))[0], [(1, 1, 4, 4)], (1, 1, 2, 2))  # type: ignore[arg-type]


def test_coefficients_of_too_many_sizes_are_answered_for() -> None:
    """More sizes than pieces, in the matrix and in the operand: what is left out must be inside the error."""
    weight = torch.zeros(8, 2, dtype=torch.float64)
    weight[:6, 0] = 2.0 ** (100 - 40 * torch.arange(6, dtype=torch.float64)) / 3
    weight[7, 1] = 1.5 * 2.0**-110
    op = Linear(weight)
    for exponent in range(70, 125):
        x = torch.zeros(1, 8, dtype=torch.float64)
        x[0, :3], x[0, 7] = torch.tensor([1 / 3, 2.0**-40 / 3, 2.0**-80 / 3]), 0.6 * 2.0**-exponent
        found, lost = ExactAffine(op, [(8,)], (2,))([DoubleDouble.of(x)])
        want = by_matrix(op, [(8,)], [DoubleDouble.of(x)])
        for got, value, error in zip(exact(found), want, lost[0].tolist(), strict=True):
            assert abs(got - value) <= Fraction(error)
