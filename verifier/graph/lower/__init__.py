"""ONNX operators in terms of ours: one small function each, entered in ``LOWER`` when its module is imported."""

from verifier.graph.lower import (
    arithmetic,
    einsum,
    normalize,
    piecewise,
    power,
    recurrent,
    reduce,
    resize,
    select,
    shape,
    softmax,
    windows,
)
from verifier.graph.lower.builder import LOWER

__all__ = ["LOWER", "arithmetic", "einsum", "normalize", "piecewise", "power", "recurrent", "reduce"]
__all__ += ["resize", "select", "shape", "softmax", "windows"]
