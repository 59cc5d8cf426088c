"""Points and their labels: from files, and checked against a network."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from verifier.errors import ShapeError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from verifier.graph.graph import Graph

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


def labelled(x: npt.ArrayLike, y: npt.ArrayLike, graph: Graph) -> tuple[Tensor, Tensor]:
    """Return points ``(N, n)`` and labels ``(N,)`` of a classifier, in float64 on its device.

    Raises:
        UsageError, ShapeError: with what is wrong of them.
    """
    points, labels = _array(x, "points"), _array(y, "labels")
    if points.dtype.kind not in "fiub":
        raise UsageError(f"points are real numbers, not {points.dtype}")
    if labels.dtype.kind not in "iu":
        raise UsageError(f"labels are whole numbers, not {labels.dtype}")
    if points.ndim < 2 or not len(points):
        raise ShapeError(f"points of shape {points.shape}: (N, {graph.n_inputs}) is needed, N at least 1")
    if labels.shape != (len(points),):
        raise ShapeError(f"{len(points)} points need as many labels, (N,), and there are some of shape {labels.shape}")
    _fits(points.shape[1:], graph)
    if len(graph.outputs) > 1:
        raise UsageError(f"a classifier has one output, of all labels; the network has {len(graph.outputs)}")
    if graph.n_outputs < 2:
        raise UsageError("a classifier has at least 2 outputs to compare")
    flat = points.reshape(len(points), -1).astype(np.float64)
    bad = np.argwhere(~np.isfinite(flat))
    if len(bad):
        raise UsageError(f"point {bad[0][0]}: number {bad[0][1]} is {flat[tuple(bad[0])]}, which is not finite")
    strange = np.flatnonzero((labels < 0) | (labels >= graph.n_outputs))
    if strange.size:
        place = strange[0]
        raise UsageError(f"point {place}: there is no label {labels[place]}: the network has {graph.n_outputs} outputs")
    import torch

    return torch.from_numpy(flat).to(graph.device), torch.from_numpy(labels.astype(np.int64)).to(graph.device)


def example_of(model: Any, x: npt.ArrayLike) -> Tensor | None:
    """Return the first point as an input of a torch module, or None for another model.

    Raises:
        ShapeError: there is none.
    """
    import torch

    if not isinstance(model, torch.nn.Module):
        return None
    points = _array(x, "points")
    if points.ndim < 2 or not len(points) or points.dtype.kind not in "fiub":
        there = f"shape {points.shape} and type {points.dtype}"
        raise ShapeError(f"points of {there}: real numbers of shape (N, ...) are needed, N at least 1")
    return torch.as_tensor(points[:1]).to(next((part.dtype for part in model.parameters()), torch.float32))


def _array(values: Any, what: str) -> npt.NDArray[Any]:
    """Turn what a caller gave into an array."""
    import torch

    if isinstance(values, torch.Tensor):
        plain = values.detach().cpu()
        return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    try:
        return np.asarray(values)
    except ValueError:
        raise ShapeError(f"{what} are no array: their parts have different lengths") from None


def _fits(shape: tuple[int, ...], graph: Graph) -> None:
    """Refuse points whose axes are not those of the input: their order would be another one."""
    ports = [tuple(size for size in port.shape if size != 1) for port in graph.inputs]
    axes = tuple(size for size in shape if size != 1)
    if math.prod(shape) != graph.n_inputs or (len(axes) > 1 and [axes] != ports):
        there = " and ".join(str(tuple(port.shape)) for port in graph.inputs)
        raise ShapeError(f"points of shape {shape} do not fit the input {there}, {graph.n_inputs} numbers")
