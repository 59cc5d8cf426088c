"""The sets of inputs that options name."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np

import specs
from specs import InputSet, Spec
from specs.sets import Array
from verifier.errors import UsageError


def region_of(options: argparse.Namespace) -> InputSet | Spec | None:
    """Return the property or the ball that options name, if they do.

    Raises:
        UsageError, SpecError: it cannot be read, or is empty.
    """
    if options.spec is not None:
        return specs.load(options.spec)
    if options.center is None:
        return None
    return specs.neighbourhood(
        center_of(options.center), options.eps, options.clip, math.inf if options.ball is None else float(options.ball)
    )


def center_of(path: Path) -> Array:
    """Read a point, as one axis.

    Raises:
        UsageError: the file is not an array of finite real numbers.
    """
    try:
        with path.open("rb") as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, SyntaxError, TypeError) as error:
        raise UsageError(f"{path}: not an array of numbers in numpy's format .npy: {error}") from None
    if found.dtype.kind not in "fiub":
        raise UsageError(f"{path}: real numbers are needed, not {found.dtype}")
    point = found.astype(np.float64).reshape(-1)
    bad = np.flatnonzero(~np.isfinite(point))
    if bad.size:
        raise UsageError(f"{path}: number {bad[0]} is {point[bad[0]]}, which is not finite")
    return point
