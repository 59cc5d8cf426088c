"""ONNX operators in terms of ours: one small function each, entered in ``LOWER`` when its module is imported."""

from verifier.graph.lower import arithmetic, choice, piecewise, resize, scatter, select, shape, truth, windows
from verifier.graph.lower.builder import LOWER

__all__ = ["LOWER", "arithmetic", "choice", "piecewise", "resize", "scatter", "select", "shape", "truth", "windows"]
