"""A counterexample of VNNLIB 2.0 judged as the competition does: read strictly, and replayed by onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tests.specs.standard import satisfied, vnnlib

HEADER = re.compile(r"^(\S+)\s+(\S+)\s+\[([0-9,\s]*)\]$")


def correct(text: str, models: Mapping[str, Path], witness: str) -> bool:
    """Whether a results file holds a counterexample; outputs are computed anew."""
    first, *lines = witness.splitlines()
    assert first == "sat"
    query, given, values = vnnlib.parse_query_string(text), {}, {}
    for network in query.networks:
        for tensor in (*network.inputs, *network.hidden, *network.outputs):
            match = HEADER.match(lines.pop(0))
            assert match is not None
            shape = [int(size) for size in match[3].split(",") if size]
            assert (match[1], match[2], shape) == (tensor.name, "real", list(tensor.shape))
            count = int(np.prod(shape))
            given[tensor.name] = np.array([np.float32(line) for line in lines[:count]]).reshape(shape)
            del lines[:count]
    assert not lines
    for network in query.networks:
        model = onnx.load(models[network.name])
        model.graph.output.extend(onnx.ValueInfoProto(name=tensor.onnx_name.strip('"')) for tensor in network.hidden)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        pairs = zip(session.get_inputs(), network.inputs, strict=True)
        found = session.run(None, {port.name: given[tensor.name] for port, tensor in pairs})
        values |= {tensor.name: given[tensor.name] for tensor in network.inputs}
        tensors = (*network.outputs, *network.hidden)
        values |= {tensor.name: np.asarray(value) for tensor, value in zip(tensors, found, strict=True)}
    return satisfied(text, values)
