"""The device and the threads of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from verifier.config import Config
from verifier.errors import UsageError
from verifier.graph.graph import Graph

SMALL = 200
"""Rows of square matrices below which two threads take as long for their products and factors as one."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep to one CPU thread, for steps so short that handing work over costs more than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def threads_for(size: int) -> AbstractContextManager[None]:
    """Keep to one CPU thread for matrices of a size at which more of them take as long."""
    return one_thread() if size < SMALL else nullcontext()


def device_of(config: Config) -> torch.device:
    """Choose the device.

    TF32 and cuDNN, whose fast convolutions are not plain sums of products, are switched off: the rounding margins do
    not hold for them.
    """
    name = config.device
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"there is no device {name!r}; choose from auto, cpu, cuda")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("there is no CUDA device that this installation of torch can use; choose --device cpu")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.enabled = False
    return torch.device(name)


def choose_threads(config: Config, graph: Graph) -> None:
    """Set the CPU threads: one for small networks, where handing work over costs more than it saves."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    elif sum(math.prod(node.shape) for node in graph.nodes.values()) < 2000:
        torch.set_num_threads(1)
