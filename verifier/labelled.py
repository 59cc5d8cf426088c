"""Points and their labels, as files hold them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from verifier.errors import UsageError

POINTS, LABELS = ("x", "X", "inputs"), ("y", "labels")
"""Names that the two arrays of a file may have."""


def points_of(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Read points ``(N, ...)`` and labels from a file in numpy's format .npz.

    Raises:
        UsageError: the file cannot be read, or has no such arrays.
    """
    try:
        data = np.load(path, allow_pickle=False)
        if not isinstance(data, np.lib.npyio.NpzFile):
            raise UsageError(f"{path}: one array alone; points and labels are needed, as numpy.savez writes them")
        with data:
            return _one_of(data, POINTS, path), _one_of(data, LABELS, path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, SyntaxError, TypeError, zipfile.BadZipFile, zlib.error):
        raise UsageError(f"{path}: not arrays of numbers in numpy's format .npz") from None


def _one_of(data: Any, names: Sequence[str], path: Path) -> npt.NDArray[Any]:
    """Return the array that has one of the names."""
    there = [name for name in names if name in data.files]
    if len(there) != 1:
        found = f"it holds {', '.join(data.files) or 'nothing'}"
        raise UsageError(f"{path}: one array named {', '.join(names[:-1])} or {names[-1]} is needed; {found}")
    array: npt.NDArray[Any] = data[there[0]]
    return array
