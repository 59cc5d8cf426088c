"""Hard problems, and processes that are told apart from all others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
MARK = "NN_VERIFIER_TEST"


def hard(folder: Path, inputs: int, width: int, most: float) -> tuple[Path, Path]:
    """A random network with two hidden layers, and the property that its output stays below ``most`` on [-1, 1]^n."""
    random = np.random.default_rng(7)
    sizes = (inputs, width, width, 1)
    tensors, nodes, value = [], [], "X"
    for k in range(3):
        weight = random.standard_normal((sizes[k + 1], sizes[k])) / np.sqrt(sizes[k])
        bias = 0.1 * random.standard_normal(sizes[k + 1])
        tensors += [
            numpy_helper.from_array(weight.astype(np.float32), f"W{k}"),
            numpy_helper.from_array(bias.astype(np.float32), f"b{k}"),
        ]
        nodes.append(helper.make_node("Gemm", [value, f"W{k}", f"b{k}"], [f"H{k}"], transB=1))
        value = f"H{k}"
        if k < 2:
            nodes.append(helper.make_node("Relu", [value], [f"R{k}"]))
            value = f"R{k}"
    ends = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])]
        for name, size in (("X", inputs), (value, 1))
    )
    graph = helper.make_graph(nodes, "hard", *ends, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "hard.onnx")
    lines = [f"(declare-const X_{k} Real)" for k in range(inputs)] + ["(declare-const Y_0 Real)"]
    lines += [f"(assert (>= X_{k} -1.0))\n(assert (<= X_{k} 1.0))" for k in range(inputs)]
    (folder / "hard.vnnlib").write_text("\n".join([*lines, f"(assert (>= Y_0 {most}))"]) + "\n")
    return folder / "hard.onnx", folder / "hard.vnnlib"


def environment(mark: str) -> dict[str, str]:
    """An environment that marks a process and all that it starts; Ray asks for no tokens in it."""
    settings = {MARK: mark, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    return {**os.environ, **settings, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def start(*arguments: object, mark: str) -> subprocess.Popen[str]:
    """Start ``verifier`` with arguments."""
    words = [sys.executable, "-m", "verifier", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(words, env=environment(mark), text=True, **pipes)


def marked(mark: str, title: str = "") -> list[int]:
    """The processes with a mark that run, or those of them whose title begins so."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if ours and (folder / "cmdline").read_text().startswith(title):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    """Wait for something that must happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
