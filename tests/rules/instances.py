"""What the suite is run on: samples of every operator that the package defines, and some more."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import torch

import verifier.graph.jacobian
import verifier.graph.onnx_import
import verifier.ops.part  # noqa: F401  these define all operators
from verifier.ops.curves import (
    Clip,
    Cos,
    Elu,
    Erf,
    Gelu,
    GeluTanh,
    LeakyRelu,
    Mish,
    Power,
    PRelu,
    Relu,
    Round,
    Shrink,
    Sigmoid,
    Sign,
    Sin,
    ThresholdedRelu,
    Within,
)
from verifier.ops.curves.curve import Curve
from verifier.ops.curves.shifted import Shifted
from verifier.ops.op import Op, Shape
from verifier.ops.unbounded import Unbounded

Instance = tuple[Op, list[Shape]]

EXPONENTS = (0.0, 1.0, 5.0, 8.0, -3.0, 1 / 3, 0.75, 1.1, 2.5, -0.1, -1.5)


def more() -> Iterator[Op]:
    yield from (Power(exponent) for exponent in EXPONENTS)
    yield from (Power(exponent).slope_curve() for exponent in (0.0, 1.0, 2.0, 3.0, 0.5, 1.1, 2.5, -1.0, -2.0, -0.5))
    yield Cos().slope_curve()
    yield from (LeakyRelu(), LeakyRelu(0.0), LeakyRelu(1.0))
    yield from (Clip(), Clip(0.1, 0.7), Clip(3.0, -3.0), Clip(2.0, 2.0))
    yield from (Elu(alpha=1e-3), Elu(alpha=0.2, gain=3.0, width=2.5))
    yield from (Shrink(1.5, 0.1), ThresholdedRelu(0.0), ThresholdedRelu(100.0), Within(low=-0.5), Within(-1e9, 1e9))


HERE = (-3.0, -0.5, 0.0, 1e-3, 0.5, 2.0, 40.0)
TAIL = (-3.0, -5.0, -7.3, -9.1, -11.0, -14.0, -17.7)


def shifted(curve: Curve, spread: float, places: tuple[float, ...] = HERE) -> Shifted:
    """Put a curve at seven places, each known up to a spread."""
    middle = torch.tensor([[places]], dtype=torch.float64)
    return Shifted(curve, middle - spread, middle + spread, curve.forward(middle))


PLACED = (Relu(), LeakyRelu(-0.5), Sigmoid(), Sin(), Gelu(), Erf(), Power(3.0), Sign(), Round(), Clip(-1.0, 0.5))

SHIFTED = [shifted(curve, spread) for curve in PLACED for spread in (0.0, 1e-12)]
SHIFTED += [shifted(curve, 0.0, TAIL) for curve in (Gelu(), GeluTanh(), Mish())]  # whose values are relatively rough


def concrete(kind: type[Op] = Op) -> Iterator[type[Op]]:
    """Yield every operator that the package defines, that can be made and that has bounds over boxes."""
    for child in kind.__subclasses__():
        if child is Unbounded:
            continue
        if child.__module__.startswith("verifier.") and not inspect.isabstract(child):
            yield child
        yield from concrete(child)


INSTANCES: list[Instance] = [
    *(instance for kind in sorted(set(concrete()), key=lambda kind: kind.__name__) for instance in kind.samples()),
    *((op, [(1, 7)]) for op in more()),
    (PRelu(torch.tensor([0.0, 1.0, -2.0, 0.1, 5.0, 0.9, 1e-3], dtype=torch.float64)), [(1, 7)]),
    *((op, [(1, 7)]) for op in SHIFTED),
]
