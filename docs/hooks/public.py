"""The public names of a package, for mkdocstrings to describe."""

from __future__ import annotations

import inspect
from importlib import import_module


def directives(package: str) -> str:
    """Return a directive for each name that a package exports: what is called first, then the rest."""
    module = import_module(package)
    found = [getattr(module, name) for name in module.__all__ if not name.startswith("__")]
    functions = dict.fromkeys(path(value) for value in found if not inspect.isclass(value))
    classes = [path(value) for value in found if inspect.isclass(value)]
    return "\n\n".join(f"::: {place}" for place in (*functions, *classes))


def path(value: object) -> str:
    """Return where a function or class is defined; a module that can be called stands for its function."""
    if inspect.ismodule(value):
        return str(value.CALLED)
    return f"{value.__module__}.{value.__qualname__}"  # type: ignore[attr-defined]
