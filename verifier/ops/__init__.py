"""Operators; importing the package enters the registry's operators, except curves."""

from verifier.ops import arithmetic, conv, linear, pool, product, reduce, select, shape

__all__ = ["arithmetic", "conv", "linear", "pool", "product", "reduce", "select", "shape"]
