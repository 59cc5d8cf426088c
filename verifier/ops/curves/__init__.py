"""One-dimensional nonlinearities."""

from verifier.ops.curves.algebraic import AcoshSlope, AsinhSlope, AsinSlope, AtanhSlope, AtanSlope
from verifier.ops.curves.bells import ErfSlope, SigmoidSlope, SoftsignSlope, TanhSlope
from verifier.ops.curves.curve import Curve, Piecewise
from verifier.ops.curves.exponential import Elu, Exp, HardSwish, Log, Softplus
from verifier.ops.curves.gelu import GatedSlope, Gelu, GeluTanh, Mish, Silu
from verifier.ops.curves.heaviside import Heaviside
from verifier.ops.curves.hyperbolic import Acosh, Asinh, Atanh, Cosh, Sinh
from verifier.ops.curves.jumps import Shrink, Sign, Step, ThresholdedRelu, Within
from verifier.ops.curves.piecewise import Abs, Clip, LeakyRelu, PRelu
from verifier.ops.curves.power import Power
from verifier.ops.curves.relu import Relu
from verifier.ops.curves.scaled import Scaled
from verifier.ops.curves.setvalued import EluSlope, HardSwishSlope, Levels
from verifier.ops.curves.sigmoid import Atan, Erf, Sigmoid, Softsign, Tanh
from verifier.ops.curves.smooth import Smooth
from verifier.ops.curves.stairs import Ceil, Floor, Round, Trunc
from verifier.ops.curves.trigonometric import Asin, Cos, Sin, Tan, TanSlope

__all__ = ["Abs", "Atan", "Clip", "Cos", "Curve", "Elu", "Erf", "Exp", "Gelu", "GeluTanh", "HardSwish", "LeakyRelu"]
__all__ += ["Log", "Mish", "PRelu", "Piecewise", "Power", "Relu", "Sigmoid", "Sign", "Silu", "Sin", "Smooth"]
__all__ += ["Ceil", "Floor", "Round", "Softplus", "Softsign", "Tan", "Tanh", "ThresholdedRelu"]
__all__ += ["Acosh", "Asin", "Asinh", "Atanh", "Cosh", "Shrink", "Sinh"]
__all__ += ["AcoshSlope", "AsinSlope", "AsinhSlope", "AtanSlope", "AtanhSlope", "EluSlope", "ErfSlope", "GatedSlope"]
__all__ += ["HardSwishSlope", "Scaled", "SigmoidSlope", "SoftsignSlope", "TanSlope", "TanhSlope"]
__all__ += ["Heaviside", "Levels", "Step", "Trunc", "Within"]
