"""Sound and complete verification of neural networks.

``load`` reads a network, ``verify`` decides a property of it, ``certify`` robustness at many points, ``bounds`` (or
``output_bounds``) bounds its outputs, ``lipschitz`` its Lipschitz constants, ``monotone`` decides the sign of a
derivative, ``robust_radius`` finds how far an input can move, and ``certified_radii`` proves it for many at once.
Networks are ONNX files or models, or torch modules. Importing this package is cheap: what a name needs is imported when
the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verifier import bounds, lipschitz
    from verifier.api import output_bounds
    from verifier.certification import Certified, Standing, certify
    from verifier.config import Config
    from verifier.graph.onnx_import import load
    from verifier.lipschitz.certificates import CertifiedRadii, certified_radii
    from verifier.lipschitz.monotone import Direction, MonotoneResult, monotone, monotone_inputs
    from verifier.lipschitz.radius import RadiusResult, robust_radius
    from verifier.lipschitz.result import LipschitzResult
    from verifier.pipeline import verify
    from verifier.result import Reason, Result, Verdict

__all__ = [
    "Certified",
    "CertifiedRadii",
    "Config",
    "Direction",
    "LipschitzResult",
    "MonotoneResult",
    "RadiusResult",
    "Reason",
    "Result",
    "Standing",
    "Verdict",
    "__version__",
    "bounds",
    "certified_radii",
    "certify",
    "lipschitz",
    "load",
    "monotone",
    "monotone_inputs",
    "output_bounds",
    "robust_radius",
    "verify",
]

__version__ = "0.1.0"

_HOME = {
    "Certified": "verifier.certification",
    "CertifiedRadii": "verifier.lipschitz.certificates",
    "Config": "verifier.config",
    "Direction": "verifier.lipschitz.monotone",
    "LipschitzResult": "verifier.lipschitz.result",
    "MonotoneResult": "verifier.lipschitz.monotone",
    "RadiusResult": "verifier.lipschitz.radius",
    "Reason": "verifier.result",
    "Result": "verifier.result",
    "Standing": "verifier.certification",
    "Verdict": "verifier.result",
    "certified_radii": "verifier.lipschitz.certificates",
    "certify": "verifier.certification",
    "load": "verifier.graph.onnx_import",
    "monotone": "verifier.lipschitz.monotone",
    "monotone_inputs": "verifier.lipschitz.monotone",
    "output_bounds": "verifier.api",
    "robust_radius": "verifier.lipschitz.radius",
    "verify": "verifier.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name in ("bounds", "lipschitz"):  # packages that can be called
        return import_module(f"verifier.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
