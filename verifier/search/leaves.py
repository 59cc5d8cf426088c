"""The closed leaves of a split tree: with their boxes and multipliers a proof can be checked again later."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from verifier.search.domains import Domains

BUDGET = 1 << 30
"""Bytes of leaves that are kept."""


@dataclass(slots=True)
class Leaves:
    """Closed domains on the host, as they were closed: what a case needs to be covered by.

    An input domain is its box; what was cut off from boxes on the way has no leaf. A neuron domain is the boxes of its
    neurons, and the slopes, multipliers and row combination that excluded it. Cases that were closed whole, before any
    split, have no leaf.

    Attributes:
        parts: closed domains, batch by batch.
        complete: whether all of them are here; keeping them ends when memory would run short.
    """

    parts: list[Domains] = field(default_factory=list)
    complete: bool = True
    _room: int = BUDGET

    def add(self, closed: Domains) -> None:
        """Keep closed domains, if there is room."""
        if not len(closed) or not self.complete:
            return
        self._room -= sum(tensor.numel() * tensor.element_size() for tensor in tensors(closed))
        if self._room < 0:
            self.leave()
        else:
            self.parts.append(closed.map(lambda tensor: tensor.cpu()))

    def leave(self) -> None:
        """Keep none: some were closed where they could not be kept."""
        self.parts, self.complete = [], False

    def __len__(self) -> int:
        """Count the leaves that are kept."""
        return sum(len(part) for part in self.parts)


def tensors(domains: Domains) -> Iterator[Tensor]:
    """Yield every tensor of a struct of domains."""
    for item in dataclasses.fields(domains):
        value = getattr(domains, item.name)
        yield from value.values() if isinstance(value, dict) else (value,)
