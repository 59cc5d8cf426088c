"""ONNX operators in terms of ours: one small function each, entered in ``LOWER`` when its module is imported."""

from verifier.graph.lower import (
    arithmetic,
    choice,
    einsum,
    equilibrium,
    normalize,
    piecewise,
    power,
    recurrent,
    reduce,
    resize,
    scatter,
    select,
    shape,
    softmax,
    topk,
    truth,
    windows,
)
from verifier.graph.lower.builder import LOWER

__all__ = ["LOWER", "arithmetic", "choice", "einsum", "equilibrium", "normalize", "piecewise", "power"]
__all__ += ["recurrent", "reduce", "resize", "scatter", "select", "shape", "softmax", "topk", "truth", "windows"]
