"""Check that CPU and CUDA agree, and time bounds and search on both: one command for a machine with a GPU.

It needs only torch, numpy and onnx, and takes under ten minutes:

    python benchmarks/gpu.py [--json FILE]

It runs on the networks of ``vnnlib_examples`` and on random ones of the sizes that matter. What it measures: seconds of
one backward bounding pass over many domains, of optimising a root, and domains a second of both searches. Without CUDA
it says so and times the CPU alone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from specs import robustness
from verifier.bounds.schedule import CROWN, bound_nodes
from verifier.graph.graph import INPUT, OUTPUT, Graph, Node, Port
from verifier.ops.conv import Conv
from verifier.ops.curves import Relu
from verifier.ops.linear import Linear
from verifier.ops.shape import Reshape, View
from verifier.problem import Cases
from verifier.result import Progress
from verifier.search.bab import Search
from verifier.search.by_input import InputSplitting
from verifier.search.by_neuron import NeuronSplitting
from verifier.search.root import Roots
from verifier.sets import Box

SECONDS = 20.0
"""Each search runs for so long."""


def dense(inputs: int, width: int, depth: int, outputs: int) -> Graph:
    """Make a random fully connected ReLU network."""
    draw = torch.Generator().manual_seed(0)
    nodes, last, size = [Node(INPUT, None, (), (inputs,))], INPUT, inputs
    for k in range(depth + 1):
        out = outputs if k == depth else width
        name = OUTPUT if k == depth else f"z{k}"
        weight = torch.randn(size, out, generator=draw, dtype=torch.float64) * math.sqrt(2 / size)
        nodes.append(Node(name, Linear(weight, torch.zeros(out, dtype=torch.float64)), (last,), (out,)))
        if k < depth:
            nodes.append(Node(f"h{k}", Relu(), (name,), (out,)))
        last, size = f"h{k}", out
    return Graph(nodes, (Port("x", (inputs,), "float32"),), (Port("y", (outputs,), "float32"),))


def convolutional(channels: int, side: int) -> Graph:
    """Make a random network of two strided convolutions and a linear layer on 3-channel pictures."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64) * math.sqrt(2 / math.prod(shape[1:]))

    def conv(out: int, into: int) -> Conv:
        zeros = torch.zeros(out, dtype=torch.float64)
        return Conv(normal(out, into, 4, 4), zeros, stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=1)

    half, quarter = side // 2, side // 4
    flat = 2 * channels * quarter * quarter
    nodes = [
        Node(INPUT, None, (), (3 * side * side,)),
        Node("x", View(0, (1, 3, side, side)), (INPUT,), (1, 3, side, side)),
        Node("z0", conv(channels, 3), ("x",), (1, channels, half, half)),
        Node("h0", Relu(), ("z0",), (1, channels, half, half)),
        Node("z1", conv(2 * channels, channels), ("h0",), (1, 2 * channels, quarter, quarter)),
        Node("h1", Relu(), ("z1",), (1, 2 * channels, quarter, quarter)),
        Node("flat", Reshape((1, flat)), ("h1",), (1, flat)),
        Node("z2", Linear(normal(10, flat).T.contiguous()), ("flat",), (1, 10)),
        Node(OUTPUT, Reshape((10,)), ("z2",), (10,)),
    ]
    return Graph(nodes, (Port("x", (1, 3, side, side), "float32"),), (Port("y", (1, 10), "float32"),))


def seconds(function: Callable[[], object], device: str) -> float:
    """Time the best of three runs, after one that warms up."""
    function()
    best = math.inf
    for _ in range(3):
        begun = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return best


def problem(graph: Graph, eps: float) -> Cases:
    """State robustness of a random point's label."""
    x = torch.rand(graph.n_inputs, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    label = int(graph(x.unsqueeze(0).to(graph.device)).argmax())
    return Cases.of(robustness(x.numpy(), eps, label, graph.n_outputs), graph)


def measure(graph: Graph, device: str, eps: float, *, by_input: bool) -> dict[str, Any]:
    """Bound and search on one device."""
    graph = graph.to(torch.float64, device)
    cases = problem(graph, eps)
    box = Box(cases.lower[:1], cases.upper[:1])
    many = box.to(torch.float32).expand(16)
    fast = graph.to(torch.float32)
    with torch.no_grad():
        outputs = bound_nodes(graph, box, CROWN).boxes[OUTPUT]
        found: dict[str, Any] = {
            "lower": outputs.lower[0].tolist(),
            "crown_16_boxes_s": seconds(lambda: bound_nodes(fast, many, CROWN), device),
        }
    case = torch.arange(len(cases), device=graph.device)
    progress = Progress()
    if by_input:
        strategy: Any = InputSplitting(graph, cases, batch=2048)
        start = strategy.roots(case, torch.full((len(case),), -math.inf, dtype=torch.float64, device=graph.device))
    else:
        roots = Roots(graph, cases)
        begun = time.perf_counter()
        root = roots.improve(0, case, 20, math.inf)
        found["root_s"] = time.perf_counter() - begun
        least, row = roots.least(cases, root, case).max(1)
        strategy = NeuronSplitting(root, cases, batch=512)
        start = strategy.roots(case, least, row, case * cases.bound.shape[1] + row)
        start = strategy.bound(start)[0]
    search = Search(strategy, lambda *_: None, progress)
    search.frontier.push(start.take(~(start.bound > 0)))
    begun = time.perf_counter()
    search.run(time.monotonic() + SECONDS)
    found["domains"] = progress.visited
    found["domains_per_s"] = progress.visited / max(1e-9, time.perf_counter() - begun)
    return found


def main() -> int:
    """Run everything; exit 1 if the devices disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to a file")
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if len(devices) == 1:
        print("no CUDA device that this torch can use: timing the CPU alone")
    nets = {
        "dense 5-50x6-5, by input": (dense(5, 50, 6, 5), 0.3, True),
        "dense 784-256x4-10, by neuron": (dense(784, 256, 4, 10), 0.01, False),
        "conv 3x32x32, by neuron": (convolutional(16, 32), 0.02, False),
    }
    report, agree = {}, True
    for name, (graph, eps, by_input) in nets.items():
        report[name] = {device: measure(graph, device, eps, by_input=by_input) for device in devices}
        for device, found in report[name].items():
            figures = {key: value for key, value in found.items() if key != "lower"}
            words = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
            print(f"{name:34} {device:5} {words}", flush=True)
        if len(devices) == 2:
            lower = [torch.tensor(report[name][device]["lower"]) for device in devices]
            gap = float((lower[0] - lower[1]).abs().max() / lower[0].abs().max().clamp(min=1))
            agree = agree and gap < 1e-6
            print(f"{name:34} largest relative difference of float64 bounds {gap:.2e}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"torch": torch.__version__, "figures": report}, indent=2))
    if not agree:
        print("CPU and CUDA disagree")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
