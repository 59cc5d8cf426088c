"""One-dimensional nonlinearities."""

from verifier.ops.curves.curve import Curve, Piecewise
from verifier.ops.curves.piecewise import Abs, Clip, LeakyRelu, PRelu, Sign
from verifier.ops.curves.relu import Relu

__all__ = ["Abs", "Clip", "Curve", "LeakyRelu", "PRelu", "Piecewise", "Relu", "Sign"]
