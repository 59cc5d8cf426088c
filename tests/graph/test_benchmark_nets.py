"""Networks of the competition, where they are at hand, against onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from verifier.check.replay import Replay
from verifier.graph.onnx_import import load

HOME = Path(os.environ.get("VERIFIER_BENCHMARKS", Path(__file__).parents[3] / "shared" / "benchmarks"))
PATTERNS = (
    "acasxu/onnx/*_1_1_*",
    "acasxu/onnx/*_5_9_*",
    "cifar10_resnet_2021/onnx/*",
    "cifar_biasfield/onnx/*_0.*",
    "collins_rul_cnn/onnx/*",
    "cora/onnx/*",
    "eran_2021/onnx/mnist_relu*",
    "metaroom/onnx/*",
    "mnist_fc/onnx/*",
    "oval21/onnx/*",
    "rl_benchmarks/onnx/*",
    "safenlp/onnx/*/*",
    "sri_resnet_a/onnx/*",
    "test/onnx/*",
    "tllverifybench/onnx/*_0_1.*",
    "tllverifybench/onnx/*_2_2.*",
    "verivital_2021/onnx/*",
    "yolo/onnx/*",
)
LARGE = ("nn4sys_2021/onnx/normal_100.*", "nn4sys_2021/onnx/lognormal_1000.*", "tllverifybench/onnx/*_7_0.*")


def nets(patterns: tuple[str, ...]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(HOME.glob(pattern))]


def short_name(path: Path) -> str:
    return str(path.relative_to(HOME)).replace("/onnx/", "-").removesuffix(".onnx.gz")


def assert_same_as_onnxruntime(path: Path) -> None:
    graph, replay = load(path), Replay(path)
    draw = torch.Generator().manual_seed(0)
    for scale in (0.1, 1.0, 10.0):
        x = (scale * (2 * torch.rand(2, graph.n_inputs, generator=draw) - 0.5)).double()
        y = graph(x).numpy()
        expected = np.stack([replay.run(point.numpy()) for point in x])
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=2e-5 * (1 + np.abs(expected).max()))


@pytest.mark.skipif(not HOME.is_dir(), reason="no benchmarks here")
@pytest.mark.parametrize(
    "path", nets(PATTERNS), ids=lambda path: f"{path.parts[-3]}-{path.name.removesuffix('.onnx.gz')}"
)
def test_same_as_onnxruntime(path: Path) -> None:
    assert_same_as_onnxruntime(path)


@pytest.mark.slow
@pytest.mark.skipif(not HOME.is_dir(), reason="no benchmarks here")
@pytest.mark.parametrize("path", nets(LARGE), ids=short_name)
def test_large_networks_are_the_same(path: Path) -> None:
    assert_same_as_onnxruntime(path)
