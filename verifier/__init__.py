"""Sound and complete verification of neural networks.

``load`` reads a network, ``verify`` decides a property of it, ``output_bounds`` bounds its outputs, ``lipschitz`` its
Lipschitz constants, ``monotone`` decides the sign of a derivative, ``robust_radius`` finds how far an input can move,
and ``certified_radii`` proves it for many at once. Importing this package is cheap: what a name needs is imported when
the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verifier import lipschitz
    from verifier.api import output_bounds
    from verifier.config import Config
    from verifier.graph.onnx_import import load
    from verifier.lipschitz.certificates import CertifiedRadii, certified_radii
    from verifier.lipschitz.monotone import Direction, MonotoneResult, monotone, monotone_inputs
    from verifier.lipschitz.radius import RadiusResult, robust_radius
    from verifier.lipschitz.result import LipschitzResult
    from verifier.pipeline import verify
    from verifier.result import Reason, Result, Verdict

__all__ = [
    "CertifiedRadii",
    "Config",
    "Direction",
    "LipschitzResult",
    "MonotoneResult",
    "RadiusResult",
    "Reason",
    "Result",
    "Verdict",
    "__version__",
    "certified_radii",
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
    "CertifiedRadii": "verifier.lipschitz.certificates",
    "Config": "verifier.config",
    "Direction": "verifier.lipschitz.monotone",
    "LipschitzResult": "verifier.lipschitz.result",
    "MonotoneResult": "verifier.lipschitz.monotone",
    "RadiusResult": "verifier.lipschitz.radius",
    "Reason": "verifier.result",
    "Result": "verifier.result",
    "Verdict": "verifier.result",
    "certified_radii": "verifier.lipschitz.certificates",
    "load": "verifier.graph.onnx_import",
    "monotone": "verifier.lipschitz.monotone",
    "monotone_inputs": "verifier.lipschitz.monotone",
    "output_bounds": "verifier.api",
    "robust_radius": "verifier.lipschitz.radius",
    "verify": "verifier.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name == "lipschitz":  # a package that can be called
        return import_module("verifier.lipschitz")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
