"""Sub-problems of a search as structs of tensors, and the frontier of open ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Domains:
    """B sub-problems; every field is a tensor, or a dict of tensors, with B as its first axis.

    Attributes:
        case: which case of the specification each is a part of, ``(B,)``.
        bound: a lower bound of the largest excess over the domain, ``(B,)``; the domain is closed once it is above 0.
        weight: its share of the whole problem, halved by every split and less what is cut off, ``(B,)``: a measure of
            progress only.
    """

    case: Tensor
    bound: Tensor
    weight: Tensor

    def __len__(self) -> int:
        """Return B."""
        return len(self.case)

    @property
    def final(self) -> Tensor:
        """Tell which domains have nothing left to split, ``(B,)``."""
        return torch.zeros_like(self.case, dtype=torch.bool)

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply a function to every tensor."""
        return dataclasses.replace(
            self, **{field.name: _map(getattr(self, field.name), function) for field in dataclasses.fields(self)}
        )

    def take(self, index: Tensor) -> Self:
        """Select domains by an index or a mask."""
        return self.map(lambda tensor: tensor[index])

    @classmethod
    def cat(cls, parts: list[Self]) -> Self:
        """Join."""
        joined: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            values = [getattr(part, field.name) for part in parts]
            if isinstance(values[0], dict):
                joined[field.name] = {key: torch.cat([value[key] for value in values]) for key in values[0]}
            else:
                joined[field.name] = torch.cat(values)
        return cls(**joined)


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, dict):
        return {key: function(tensor) for key, tensor in value.items()}
    return function(value)


D = TypeVar("D", bound=Domains)


class Frontier(Generic[D]):
    """Open domains in a growing pool of slots: taking and adding some costs nothing for the others."""

    def __init__(self) -> None:
        """Start empty."""
        self._pool: D | None = None
        self._bound = torch.empty(0)
        self._live = torch.empty(0, dtype=torch.long)
        self._free = torch.empty(0, dtype=torch.long)

    def __len__(self) -> int:
        """Count the open domains."""
        return len(self._live)

    @property
    def weight(self) -> float:
        """The open domains' share of the whole problem."""
        return float(self._pool.weight[self._live].sum()) if self._pool is not None else 0.0

    @property
    def worst(self) -> float | None:
        """The least bound of an open domain."""
        if self._pool is None or not len(self):
            return None
        return float(self._pool.bound[self._live.to(self._pool.case.device)].nan_to_num(nan=-torch.inf).min())

    def pop(self, count: int) -> D:
        """Take out the domains with the least bounds, at most ``count``."""
        assert self._pool is not None
        if count >= len(self):
            chosen, self._live = self._live, self._live[:0]
        else:
            order = self._bound[self._live].topk(count, largest=False, sorted=False).indices
            chosen = self._live[order]
            keep = torch.ones(len(self), dtype=torch.bool)
            keep[order] = False
            self._live = self._live[keep]
        self._free = torch.cat([self._free, chosen])
        return self._pool.take(chosen.to(self._pool.case.device))

    def cases(self) -> Tensor:
        """Return the cases that have an open domain."""
        return torch.empty(0, dtype=torch.long) if self._pool is None else self._pool.case[self._live].unique()

    def drop(self, case: Tensor) -> None:
        """Forget the open domains of cases that were decided elsewhere."""
        if self._pool is not None and len(case):
            gone = torch.isin(self._pool.case[self._live], case)
            self._free = torch.cat([self._free, self._live[gone]])
            self._live = self._live[~gone]

    def push(self, domains: D) -> None:
        """Add domains."""
        if not len(domains):
            return
        if self._pool is None:
            self._pool = domains.take(torch.arange(0, device=domains.case.device))
        if (missing := len(domains) - len(self._free)) > 0:
            grown = max(missing, len(self._pool))
            self._free = torch.cat([self._free, len(self._pool) + torch.arange(grown)])
            self._pool = self._pool.map(lambda tensor: torch.cat([tensor, tensor.new_empty(grown, *tensor.shape[1:])]))
            self._bound = torch.cat([self._bound, torch.empty(grown)])
        slots, self._free = self._free[: len(domains)], self._free[len(domains) :]
        self._live = torch.cat([self._live, slots])
        self._bound[slots] = domains.bound.float().nan_to_num(nan=-torch.inf).cpu()
        here = slots.to(domains.case.device)
        for field in dataclasses.fields(domains):
            target, source = getattr(self._pool, field.name), getattr(domains, field.name)
            pairs = [(target[key], source[key]) for key in source] if isinstance(source, dict) else [(target, source)]
            for place, values in pairs:
                place[here] = values
