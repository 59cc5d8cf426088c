"""Bounds of a network of 4 x 256 neurons by all methods: samples inside alpha inside crown inside interval."""

from __future__ import annotations

import time

import numpy as np
import torch

import verifier
from tests.truth.known import HOME, needs_benchmarks
from verifier.api import OutputBounds

pytestmark = needs_benchmarks


def test_methods_lie_inside_one_another() -> None:
    folder = HOME / "mnist_fc"
    graph = verifier.load(folder / "onnx" / "mnist-net_256x4.onnx.gz")
    found: dict[str, OutputBounds] = {}
    lines = []
    for method in ("interval", "forward", "crown", "alpha"):
        begun = time.monotonic()
        (found[method],) = verifier.output_bounds(graph, folder / "vnnlib" / "prop_5_0.05.vnnlib.gz", method)
        width = float((found[method].upper - found[method].lower).mean())
        lines.append(f"{method:8} mean width {width:9.3f}  {time.monotonic() - begun:6.2f} s")
    print("\n" + "\n".join(lines))  # noqa: T201  (figures for whoever runs this with -s)
    box = found["alpha"].box
    draw = np.random.default_rng(0)
    inner = draw.uniform(box.lower, box.upper, (2000, box.lower.size))
    corners = np.where(draw.random(inner.shape) < 0.5, box.lower, box.upper)
    y = graph(torch.from_numpy(np.concatenate([inner, corners]))).numpy()
    assert (found["alpha"].lower <= y).all()
    assert (y <= found["alpha"].upper).all()
    for tight, loose in (("alpha", "crown"), ("crown", "interval"), ("forward", "interval")):
        assert (found[loose].lower <= found[tight].lower).all()
        assert (found[tight].upper <= found[loose].upper).all()
    assert (found["alpha"].upper < found["crown"].upper).any()
