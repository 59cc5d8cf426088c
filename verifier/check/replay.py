"""Running the model file itself, by onnxruntime: what a counterexample is checked on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verifier.errors import ReplayError
from verifier.files import GZIP_MAGIC, content

if TYPE_CHECKING:
    import onnx

DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


class Replay:
    """The model behind a flat interface: one vector of all inputs to one vector of all outputs.

    Inputs and outputs are row-major and in declaration order; free dimensions are 1, unless the sizes of inputs are
    given and one dimension is free. onnxruntime starts at the first run.
    """

    def __init__(self, source: str | Path | onnx.ModelProto, sizes: Sequence[int] | None = None) -> None:
        """Take the path of an ``.onnx`` file, gzipped or not, or a model in memory; and how large its inputs are."""
        self.source, self.sizes = source, sizes
        self._session: Any = None

    def run(self, x: np.ndarray) -> np.ndarray:
        """Evaluate at one point.

        Args:
            x: all inputs, shape ``(n,)``; rounded to the types that the model declares.

        Returns:
            All outputs, shape ``(m,)``, in float64.

        Raises:
            ReplayError: onnxruntime cannot load or run the model, or the point has another length.
        """
        session = self.session
        sizes = self.sizes or [0] * len(session.get_inputs())
        shapes = [_shape(port.shape, size) for port, size in zip(session.get_inputs(), sizes, strict=True)]
        wanted = sum(math.prod(shape) for shape in shapes)
        if len(x) != wanted:
            raise ReplayError(f"{self.name}: takes {wanted} numbers, not {len(x)}")
        feed, start = {}, 0
        for port, shape in zip(session.get_inputs(), shapes, strict=True):
            if port.type not in DTYPES:
                raise ReplayError(f"{self.name}: input {port.name!r} has type {port.type}, which cannot be replayed")
            piece = x[start : start + math.prod(shape)]
            feed[port.name] = piece.reshape(shape).astype(DTYPES[port.type])
            start += len(piece)
        try:
            outputs = session.run(None, feed)
        except Exception as error:  # noqa: BLE001  onnxruntime's errors have no common base
            raise ReplayError(f"{self.name}: onnxruntime: {str(error).splitlines()[0]}") from None
        return np.concatenate([np.asarray(value, dtype=np.float64).reshape(-1) for value in outputs])

    @property
    def name(self) -> str:
        """What messages call the model."""
        return str(self.source) if isinstance(self.source, (str, Path)) else "model"

    @property
    def session(self) -> Any:
        """The onnxruntime session: one thread, silent."""
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 4
            try:
                self._session = onnxruntime.InferenceSession(self._model(), options, ["CPUExecutionProvider"])
            except Exception as error:  # noqa: BLE001  onnxruntime's errors have no common base
                raise ReplayError(f"{self.name}: onnxruntime: {str(error).splitlines()[0]}") from None
        return self._session

    def _model(self) -> str | bytes:
        """Return the path, or the model's bytes where onnxruntime cannot read the file itself."""
        if not isinstance(self.source, (str, Path)):
            serialised: bytes = self.source.SerializeToString()
            return serialised
        with Path(self.source).open("rb") as file:
            zipped = file.read(2) == GZIP_MAGIC
        return content(Path(self.source)) if zipped else str(self.source)


def _shape(declared: Sequence[Any], size: int) -> list[int]:
    """Return a shape without free dimensions, of so many elements if that is given and one dimension makes it so."""
    known = [k if isinstance(k, int) and k > 0 else 0 for k in declared]
    rest = size // math.prod(k for k in known if k) if known.count(0) == 1 else 1
    return [k or max(rest, 1) for k in known]
