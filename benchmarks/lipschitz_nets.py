"""The networks on which local Lipschitz constants are measured, and the boxes, which lipschitz.csv beside this lists.

Networks are trained when they are first asked for, with fixed seeds and on one thread, and kept in the user's cache
folder. The boxes are l_inf balls around a fixed point of the data. Their radii are chosen from forward bounds alone
(CROWN): the least ones at which SHARES of a network's ReLUs are unstable, rounded up to two digits; a network with
smooth nonlinearities gets RADII. Another version of torch may train slightly different networks; lipschitz.csv is then
still a fair choice, but no longer what --choose prints.

    python benchmarks/lipschitz_nets.py            # trains all networks: accuracy and seconds
    python benchmarks/lipschitz_nets.py --choose   # writes lipschitz.csv anew

Source: networks and data after Shi et al., NeurIPS 2022 (arXiv:2210.07394), section 4; "random-k" data after Jordan and
Dimakis, NeurIPS 2020 (arXiv:2003.01219).
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parent.parent / "vnnlib_examples"))

from networks import Recipe, digits, flat_digits, perceptron, train, write_onnx
from smooth import Gelu, curved, sigmoid, tanh

from verifier import load
from verifier.bounds.schedule import CROWN, bound_nodes
from verifier.graph.graph import Graph
from verifier.ops.curves import Relu
from verifier.sets import Box

VERSION = 1
"""Of the networks: to be raised with every change of the data, the layers or the training."""

INSTANCES = Path(__file__).with_name("lipschitz.csv")
COLUMNS = ("net", "eps", "output")
SHARES = (0.03, 0.2, 0.5)
RADII = (0.01, 0.05, 0.2)
WIDEST = 4.0
"""Radius up to which a share is looked for."""

POINTS, LEADERS = 10_000, 5
"""Of the random data: how many points, and how many leaders for each dimension."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What to bound: the gradient of one output over the box of radius ``eps`` around a network's centre."""

    net: str
    eps: float
    output: int

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """The box's ends ``(n,)``."""
        return box(self.net, self.eps)


@cache
def random_k(dimension: int, classes: int) -> tuple[Tensor, Tensor]:
    """Points drawn from the unit cube, with the class of the nearest leader."""
    draw = torch.Generator().manual_seed(0)
    leaders = torch.rand(LEADERS * dimension, dimension, generator=draw)
    points = torch.rand(POINTS, dimension, generator=draw)
    return points, torch.cdist(points, leaders).argmin(1) % classes


def convolutional(channels: int) -> nn.Sequential:
    """Two convolutions of equal width, without padding, and a fully connected layer."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3), nn.ReLU(),
        nn.Conv2d(channels, channels, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * channels, 10),
    )  # fmt: skip


def on_random_k(*widths: int, epochs: int = 20) -> Recipe:
    """A ReLU network that learns random data with as many dimensions as it has inputs."""
    data = partial(random_k, widths[0], widths[-1])
    return Recipe(lambda: perceptron(*widths), (widths[0],), data, epochs)


SIZES = (*((2, width) for width in (8, 16, 32, 64, 128, 256)), *((depth, 32) for depth in range(3, 9)))
"""Depth and width, in hidden layers, of the perceptrons with 16 inputs."""

TINY = {
    "tiny_4_6_6_3": on_random_k(4, 6, 6, 3, epochs=10),
    "tiny_6_8_8_3": on_random_k(6, 8, 8, 3, epochs=10),
}
"""Small enough that all their linear regions can be listed."""

CURVES = {"sigmoid": sigmoid, "tanh": tanh, "gelu": Gelu}
SMOOTH = {
    f"{name}_2x32": Recipe(partial(curved, curve, 64, 32, 32, 10), (64,), flat_digits, 60)
    for name, curve in CURVES.items()
}
RECTIFIED = {
    **TINY,
    **{f"mlp_{depth}x{width}": on_random_k(16, *[width] * depth, 10) for depth, width in SIZES},
    **{f"cnn_{width}": Recipe(partial(convolutional, width), (1, 8, 8), digits, 60) for width in (4, 8)},
}
NETS = RECTIFIED | SMOOTH
"""How each network is trained, by its name."""


def network(name: str, folder: Path | None = None) -> Path:
    """The file of a network, ``X`` of shape (1, *shape) to ``Y``; trained where it is not there yet.

    Args:
        name: a key of NETS.
        folder: where networks are kept; the user's cache folder if left out.

    Raises:
        KeyError: there is no such network.
    """
    recipe = NETS[name]
    if folder is None:
        folder = Path(platformdirs.user_cache_dir("nn-verifier")) / "lipschitz-nets" / f"v{VERSION}"
    path = folder / f"{name}.onnx"
    if not path.exists():
        with alone():
            model = train(recipe, decay=0.0)  # decay would make dead neurons zero, which are no ReLUs to count
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            write_onnx(name, model, recipe.shape, Path(unfinished) / path.name)
            (Path(unfinished) / path.name).replace(path)
    return path


@contextmanager
def alone() -> Iterator[None]:
    """One thread, and random numbers that nobody else sees."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def centre(name: str) -> np.ndarray:
    """The point of the data that a network's boxes lie around: its first one, ``(n,)``."""
    points, _ = NETS[name].data()
    return points[0].flatten().double().numpy()


def box(name: str, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """The ends ``(n,)`` of the box around a network's centre; it is not cut off at the ends of the data's range."""
    middle = centre(name)
    return middle - eps, middle + eps


def instances(path: Path = INSTANCES) -> list[Instance]:
    """What lipschitz.csv lists."""
    with path.open(newline="", encoding="utf-8") as file:
        return [Instance(line["net"], float(line["eps"]), int(line["output"])) for line in csv.DictReader(file)]


def accuracy(name: str) -> float:
    """The share of the data that a network gets right: data that it has learned from."""
    points, labels = NETS[name].data()
    found = load(network(name))(points.flatten(1).double())
    return float((found.argmax(1) == labels).double().mean())


def unstable(graph: Graph, name: str, eps: float) -> tuple[int, int]:
    """How many of a network's ReLUs CROWN leaves undecided on a box, and how many there are."""
    lower, upper = (torch.from_numpy(end).unsqueeze(0) for end in box(name, eps))
    boxes = bound_nodes(graph, Box(lower, upper), CROWN).boxes
    read = [boxes[node.parents[0]] for node in graph.nodes.values() if isinstance(node.op, Relu)]
    return sum(int(((one.lower < 0) & (one.upper > 0)).sum()) for one in read), sum(one.lower.numel() for one in read)


def choose(name: str) -> list[Instance]:
    """The boxes of a network."""
    graph = load(network(name))
    output = int(graph(torch.from_numpy(centre(name)).unsqueeze(0)).argmax())
    radii: Iterable[float] = RADII if name in SMOOTH else (radius_of(graph, name, share) for share in SHARES)
    return [Instance(name, eps, output) for eps in radii]


def radius_of(graph: Graph, name: str, share: float) -> float:
    """The least radius at which a share of the ReLUs is unstable, by bisection, rounded up to two digits.

    Raises:
        ValueError: there is none up to WIDEST.
    """
    low, high = 0.0, WIDEST
    found, count = unstable(graph, name, high)
    if found < share * count:
        raise ValueError(f"{name}: no radius up to {WIDEST} makes {share:.0%} of the ReLUs unstable")
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if unstable(graph, name, middle)[0] >= share * count else (middle, high)
    unit = 10.0 ** (math.floor(math.log10(high)) - 1)
    return float(f"{math.ceil(high / unit) * unit:.2g}")


def main() -> int:
    """Train what is not there yet; print accuracies, or choose the boxes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choose", action="store_true", help="write lipschitz.csv anew")
    options = parser.parse_args()
    chosen: list[Instance] = []
    for name in NETS:
        start = time.monotonic()
        path = network(name)
        seconds = time.monotonic() - start
        print(f"{name:14} {100 * accuracy(name):5.1f} % of its data right, {seconds:5.1f} s, {path}", flush=True)
        for one in choose(name) if options.choose else ():
            shares = "" if name in SMOOTH else "{} of {} ReLUs unstable".format(*unstable(load(path), name, one.eps))
            print(f"    {one.eps:<8g} output {one.output}  {shares}", flush=True)
            chosen.append(one)
    if options.choose:
        with INSTANCES.open("w", newline="", encoding="utf-8") as file:
            lines = [(one.net, f"{one.eps:g}", one.output) for one in chosen]
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
