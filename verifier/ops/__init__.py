"""Operators; importing the package enters the affine ones into the registry."""

from verifier.ops import arithmetic, conv, linear, pool, reduce, select, shape

__all__ = ["arithmetic", "conv", "linear", "pool", "reduce", "select", "shape"]
