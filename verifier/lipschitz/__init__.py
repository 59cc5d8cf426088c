"""Lipschitz constants, certified: local ones by bounding the graph of the Clarke Jacobian, global ones by products.

The package itself can be called: ``verifier.lipschitz(...)`` is ``verifier.lipschitz.api.lipschitz(...)``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verifier.lipschitz.result import LipschitzResult


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> LipschitzResult:
        from verifier.lipschitz.api import lipschitz

        return lipschitz(*args, **options)


sys.modules[__name__].__class__ = _Callable
