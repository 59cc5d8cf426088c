"""Packages that can be called like the function they are about."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class CalledPackage(ModuleType):
    """A package that passes calls on to the function that its ``CALLED`` names, which is imported then."""

    CALLED: str

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        home, _, name = self.CALLED.rpartition(".")
        return getattr(import_module(home), name)(*args, **options)


def make_callable(package: str) -> None:
    """Turn a package into one that can be called."""
    sys.modules[package].__class__ = CalledPackage
