"""Running the networks of a VNNLIB 2.0 query, each by itself from its own file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from specs import Query
from verifier.check.replay import Replay

if TYPE_CHECKING:
    import onnx


class Networks:
    """All networks behind a flat interface: the query's inputs to its hidden tensors, outputs and products."""

    def __init__(self, query: Query, sources: Sequence[str | Path | onnx.ModelProto]) -> None:
        """Take a model for each network; hidden tensors are outputs behind its own."""
        self.query = query
        self.replays = [
            Replay(source, [entry.size for entry in network.inputs])
            for network, source in zip(query.networks, sources, strict=True)
        ]

    def run(self, x: np.ndarray) -> np.ndarray:
        """Evaluate at one point ``(n,)``; return ``(m,)`` in float64, in which products are computed.

        Raises:
            ReplayError: onnxruntime cannot load or run a model.
        """
        inputs, parts = x[self.query.shared], []
        for network, replay in zip(self.query.networks, self.replays, strict=True):
            given = np.concatenate([inputs[entry.part] for entry in network.inputs])
            found = replay.run(given)
            outputs = sum(entry.size for entry in network.outputs)
            parts += [found[outputs:], found[:outputs]]
        values = {"X": x, "Y": np.concatenate(parts)}
        with np.errstate(over="ignore", invalid="ignore"):
            products = [math.prod(float(values[v.kind][v.number]) for v in one) for one in self.query.products]
        return np.concatenate([values["Y"], products])
