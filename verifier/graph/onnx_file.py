"""Reading an ONNX file: parsing, and its constants as numpy arrays. Nothing here knows operators."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from verifier.errors import ModelError, UnsupportedError
from verifier.files import content

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

RAW: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype("<f4"),
    TensorProto.DOUBLE: np.dtype("<f8"),
    TensorProto.FLOAT16: np.dtype("<f2"),
    TensorProto.INT64: np.dtype("<i8"),
    TensorProto.INT32: np.dtype("<i4"),
    TensorProto.BOOL: np.dtype("?"),
    TensorProto.UINT8: np.dtype("u1"),
    TensorProto.INT8: np.dtype("i1"),
}
"""Types whose raw bytes numpy reads without a copy."""


def read(source: str | Path | onnx.ModelProto) -> tuple[str, onnx.ModelProto]:
    """Return a name for messages, and the parsed model, from a file (``.onnx``, gzipped or not) or a model.

    Raises:
        ModelError: the file cannot be read or parsed, or lacks external data.
    """
    if isinstance(source, onnx.ModelProto):
        return "model", source
    path = Path(source)
    try:
        data = content(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    except EOFError:
        raise ModelError(f"{path}: the gzip stream ends too early") from None
    except zlib.error as error:
        raise ModelError(f"{path}: is damaged gzip: {error}") from None
    model = parse(data, path)
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        load_external(model, path)
    return str(path), model


def parse(data: bytes, path: Path) -> onnx.ModelProto:
    """Parse the bytes of a model."""
    if not data:
        raise ModelError(f"{path}: is empty")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(f"{path}: is not an ONNX model, or is cut off") from None
    return model


def load_external(model: onnx.ModelProto, path: Path) -> None:
    """Read the initialisers that lie in files beside the model."""
    from onnx.external_data_helper import load_external_data_for_model

    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: external data cannot be read: {reason}") from None


def to_array(tensor: TensorProto) -> Array:
    """Return a constant in the file's precision (bfloat16 as float32), read-only where no copy was needed."""
    shape = tuple(tensor.dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ModelError(f"constant {tensor.name!r} lies in an external file, which a model in memory cannot have")
    dtype = RAW.get(tensor.data_type)
    if dtype is not None and tensor.HasField("raw_data"):
        flat = np.frombuffer(tensor.raw_data, dtype)
        if flat.size != math.prod(shape):
            raise ModelError(
                f"constant {tensor.name!r} has {flat.size} elements, its shape {shape} needs another number"
            )
        return flat.reshape(shape)
    if tensor.data_type == TensorProto.STRING:
        raise UnsupportedError(f"constant {tensor.name!r} holds strings; numbers are supported")
    from onnx import numpy_helper

    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"constant {tensor.name!r} cannot be read: {error}") from None
    return array if array.dtype.kind in "fiub" else array.astype(np.float32)


def all_finite(array: Array) -> bool:
    """Tell whether no entry is NaN or infinite; one pass without temporaries in the usual case."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum(dtype=None if array.itemsize > 2 else np.float64))) or bool(
            np.isfinite(array).all()
        )
