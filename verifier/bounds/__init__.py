"""Bounds of every node of a network over boxes of its input.

The package itself can be called: ``verifier.bounds(...)`` is ``verifier.output_bounds(...)``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        return import_module("verifier.api").output_bounds(*args, **options)  # of a layer above


sys.modules[__name__].__class__ = _Callable
