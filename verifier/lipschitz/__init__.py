"""Lipschitz constants, certified: local ones by bounding Clarke Jacobians, global ones by semidefinite programs.

The package itself can be called: ``verifier.lipschitz(...)`` is ``verifier.lipschitz.api.lipschitz(...)``.
"""

from verifier.called import make_callable

CALLED = "verifier.lipschitz.api.lipschitz"

make_callable(__name__)
