"""Instances of the competition, where they are at hand, and models built for a test."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

HOME = Path(os.environ.get("VERIFIER_BENCHMARKS", Path(__file__).parents[3] / "shared" / "benchmarks"))
needs_benchmarks = pytest.mark.skipif(not HOME.is_dir(), reason="no benchmarks here")

Instance = tuple[str, str, str]
"""Benchmark, network and property, the files relative to the benchmark's folder."""


def known_sat(benchmarks: set[str]) -> list[Instance]:
    """Instances with a published counterexample that was replayed strictly, and whose files are here."""
    if not (HOME / "truth.csv").is_file():
        return []
    with (HOME / "truth.csv").open(newline="", encoding="utf-8") as file:
        return [
            (line["benchmark"], line["onnx"], line["vnnlib"])
            for line in csv.DictReader(file)
            if line["benchmark"] in benchmarks
            and (line["expected"], line["ce_check"]) == ("sat", "strict")
            and (HOME / line["benchmark"] / line["onnx"]).is_file()
            and (HOME / line["benchmark"] / line["vnnlib"]).is_file()
        ]


def dense_model(layers: list[tuple[np.ndarray, np.ndarray]], dtype: int = TensorProto.FLOAT) -> ModelProto:
    """Build ``x -> W_k relu(... relu(W_1 x + b_1)) + b_k`` from pairs ``(W, b)``."""
    array = np.float32 if dtype == TensorProto.FLOAT else np.float64
    constants, nodes, last = [], [], "x"
    for k, (weight, bias) in enumerate(layers):
        constants += [
            numpy_helper.from_array(np.asarray(weight, dtype=array), f"w{k}"),
            numpy_helper.from_array(np.asarray(bias, dtype=array), f"b{k}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [f"z{k}"], transB=1))
        last = f"z{k}"
        if k + 1 < len(layers):
            nodes.append(helper.make_node("Relu", [last], [f"a{k}"]))
            last = f"a{k}"
    sizes = (("x", layers[0][0].shape[1]), (last, layers[-1][0].shape[0]))
    ports = [helper.make_tensor_value_info(name, dtype, [1, size]) for name, size in sizes]
    graph = helper.make_graph(nodes, "dense", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
