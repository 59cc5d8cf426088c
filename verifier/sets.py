"""Boxes of tensors, and linear enclosures of operators over them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Window = tuple[slice, ...]
"""A range on each of a node's last axes, with both ends given; none at all means the whole node."""


def cut(values: Tensor, window: Window) -> Tensor:
    """Return the part of ``(..., *node)`` inside a window."""
    subscript: tuple[Any, ...] = (..., *window)
    return values[subscript] if window else values


def shape_within(shape: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """Return the shape of the part of a node of the given shape inside a window."""
    return (*shape[: len(shape) - len(window)], *(part.stop - part.start for part in window))


def hull(one: Window, other: Window) -> Window:
    """Return the least window that holds two windows of a node."""
    if not one or not other:
        return ()
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def place(values: Tensor, window: Window, larger: Window, shape: tuple[int, ...]) -> Tensor:
    """Surround values ``(..., *node)`` on a window by zeros up to a larger window of a node of the given shape."""
    if window == larger:
        return values
    outer = larger or tuple(slice(0, size) for size in shape[-len(window) :])
    pads = [
        pad
        for inner, wide in zip(reversed(window), reversed(outer), strict=True)
        for pad in (inner.start - wide.start, wide.stop - inner.stop)
    ]
    return functional.pad(values, pads) if any(pads) else values


NARROW = 1e-6
"""Relative width below which splitting a box is no use."""


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """An axis-aligned box for each domain: ``lower <= value <= upper``, both of shape ``(B, *node)``."""

    lower: Tensor
    upper: Tensor

    @property
    def centre(self) -> Tensor:
        """Midpoint, shape ``(B, *node)``."""
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Tensor:
        """Half the width, shape ``(B, *node)``; with ``centre`` it may miss the ends by a rounding error."""
        return (self.upper - self.lower) / 2

    @property
    def magnitude(self) -> Tensor:
        """Largest absolute value in the box, elementwise, shape ``(B, *node)``."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    @property
    def wide(self) -> Tensor:
        """Where the box is not too narrow for a split to matter, ``(B, *node)``."""
        return (self.upper - self.lower) > NARROW * (1 + self.centre.abs())

    def intersect(self, other: Box) -> Box:
        """Elementwise intersection; an end that is NaN in one box is taken from the other.

        Ends that cross are left crossed, for the caller to judge.
        """
        return Box(torch.fmax(self.lower, other.lower), torch.fmin(self.upper, other.upper))

    def least(self, rows: Tensor) -> Tensor:
        """Minimise linear functions ``(B, S, n)`` over boxes ``(B, n)``, ``(B, S)``, up to rounding."""
        below, above = self.lower.unsqueeze(1), self.upper.unsqueeze(1)
        return dot(rows.clamp(min=0), below) + dot(rows.clamp(max=0), above)

    def project(self, x: Tensor) -> Tensor:
        """Move points ``(B, n)`` into boxes ``(B or 1, n)``."""
        return x.clamp(self.lower, self.upper)

    def take(self, index: Tensor) -> Box:
        """Select domains by an index or a mask over B."""
        return Box(self.lower[index], self.upper[index])

    def columns(self, index: Tensor) -> Box:
        """Keep some coordinates of boxes ``(B, n)`` alone."""
        return Box(self.lower[:, index], self.upper[:, index])

    def within(self, window: Window) -> Box:
        """Keep the elements of a window alone."""
        return Box(cut(self.lower, window), cut(self.upper, window))

    def expand(self, domains: int) -> Box:
        """Repeat a box of one domain (B = 1) for a number of domains, without copying."""
        return Box(
            self.lower.expand(domains, *self.lower.shape[1:]),
            self.upper.expand(domains, *self.upper.shape[1:]),
        )

    def to(self, dtype: torch.dtype) -> Box:
        """Convert; narrowing rounds outward, so that the new box holds the old one."""
        if dtype == self.lower.dtype:
            return self
        lower, upper = self.lower.to(dtype), self.upper.to(dtype)
        infinity = torch.tensor(math.inf, dtype=dtype, device=lower.device)
        return Box(
            torch.where(lower.to(self.lower.dtype) > self.lower, torch.nextafter(lower, -infinity), lower),
            torch.where(upper.to(self.upper.dtype) < self.upper, torch.nextafter(upper, infinity), upper),
        )

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw points, half of the coordinates at an end of the box, shape ``(count, B, *node)``."""
        shape = (count, *self.lower.shape)
        draws = torch.rand(shape, generator=generator, dtype=self.lower.dtype, device=self.lower.device)
        weight = (3 * draws - 1).clamp(0, 1)
        return torch.lerp(self.lower.expand(shape), self.upper.expand(shape), weight).clamp(self.lower, self.upper)


def widened(lower: Tensor, upper: Tensor) -> Box:
    """Make a box of sums or differences, each rounded once, wide enough for the exact ends; zeros are exact."""
    infinity = torch.tensor(math.inf, dtype=lower.dtype, device=lower.device)
    return Box(
        torch.where(lower == 0, lower, torch.nextafter(lower, -infinity)),
        torch.where(upper == 0, upper, torch.nextafter(upper, infinity)),
    )


class Enclosure(Protocol):
    """An operator enclosed between two affine functions of its operands, on given boxes."""

    def pullback(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Bound linear functions of the operator's output from below by linear functions of its operands.

        Args:
            rows: coefficients at the output, shape ``(B, S, *out)``.

        Returns:
            Coefficients at each operand, shape ``(B, S, *operand)``, and an offset ``(B, S)``, such that on the boxes
            ``(rows * y).sum() >= sum_k (coefficients_k * x_k).sum() + offset``.
        """
        ...

    def take(self, index: Tensor) -> Enclosure:
        """Select domains by an index over B."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Diagonal:
    """Enclosure of an elementwise operator: two lines for each element.

    All four have shape ``(B, S, *node)`` or ``(B, 1, *node)``:
    ``lower_slope * x + lower_offset <= f(x) <= upper_slope * x + upper_offset``.
    An offset that is None is zero everywhere.
    """

    lower_slope: Tensor
    lower_offset: Tensor | None
    upper_slope: Tensor
    upper_offset: Tensor | None

    def pullback(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """See ``Enclosure.pullback``: positive coefficients take the lower line, negative ones the upper line."""
        pulled, offset = _Pullback.apply(  # type: ignore[no-untyped-call]
            rows, self.lower_slope, self.lower_offset, self.upper_slope, self.upper_offset
        )
        return (pulled,), offset

    def take(self, index: Tensor) -> Diagonal:
        """See ``Enclosure.take``."""
        lines = (self.lower_slope, self.lower_offset, self.upper_slope, self.upper_offset)
        return Diagonal(*(None if line is None else line[index] for line in lines))  # type: ignore[arg-type]

    def within(self, window: Window) -> Diagonal:
        """Keep the elements of a window alone."""
        lines = (self.lower_slope, self.lower_offset, self.upper_slope, self.upper_offset)
        return Diagonal(*(None if line is None else cut(line, window) for line in lines))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """Enclosure of an elementwise operator of several operands: two planes for each element.

    All have shape ``(B, S, *node)`` or ``(B, 1, *node)``, the slopes one for each operand:
    ``sum_k lower_slopes[k] * x_k + lower_offset <= f(x) <= sum_k upper_slopes[k] * x_k + upper_offset``.
    """

    lower_slopes: tuple[Tensor, ...]
    lower_offset: Tensor
    upper_slopes: tuple[Tensor, ...]
    upper_offset: Tensor

    def pullback(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """See ``Enclosure.pullback``: positive coefficients take the lower plane, negative ones the upper plane."""
        positive, negative = rows.clamp(min=0), rows.clamp(max=0)
        pulled = tuple(
            torch.addcmul(positive * lower, negative, upper)
            for lower, upper in zip(self.lower_slopes, self.upper_slopes, strict=True)
        )
        return pulled, dot(positive, self.lower_offset) + dot(negative, self.upper_offset)

    def take(self, index: Tensor) -> Planes:
        """See ``Enclosure.take``."""
        return self._each(lambda part: part[index])

    def within(self, window: Window) -> Planes:
        """Keep the elements of a window alone."""
        return self._each(lambda part: cut(part, window))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Planes:
        lower, upper = (tuple(change(part) for part in slopes) for slopes in (self.lower_slopes, self.upper_slopes))
        return Planes(lower, change(self.lower_offset), upper, change(self.upper_offset))


class _Pullback(torch.autograd.Function):
    """The pullback through two lines, and its gradient, in fewer passes over memory than by their parts."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        lower_slope: Tensor,
        lower_offset: Tensor | None,
        upper_slope: Tensor,
        upper_offset: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        negative = rows.clamp(max=0)
        pulled = rows - negative
        offset = rows.new_zeros(rows.shape[:2])
        if lower_offset is not None:
            offset = offset + dot(pulled, lower_offset)
        if upper_offset is not None:
            offset = offset + dot(negative, upper_offset)
        ctx.save_for_backward(rows, lower_slope, lower_offset, upper_slope, upper_offset)
        return pulled.mul_(lower_slope).addcmul_(negative, upper_slope), offset  # one of the two terms is 0

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pulled, offset = gradients
        rows, *lines = ctx.saved_tensors
        each = offset.reshape(*offset.shape, *[1] * (rows.dim() - 2))
        needed = ctx.needs_input_grad
        found: list[Tensor | None] = [None] * 5
        if needed[0]:
            low, high = (
                pulled * slope if line is None else torch.addcmul(pulled * slope, each, line)
                for slope, line in (lines[:2], lines[2:])
            )
            found[0] = torch.lerp(low, high, (rows < 0).to(rows.dtype))
        if any(needed[1:]):
            negative = rows.clamp(max=0)
            for k, part in ((1, rows - negative), (3, negative)):
                if needed[k]:
                    found[k] = (part * pulled).sum_to_size(lines[k - 1].shape)
                if lines[k] is not None and needed[k + 1]:
                    found[k + 1] = (part * each).sum_to_size(lines[k].shape)
        return tuple(found)


BLOCK = 64
"""Length of the pieces in which ``dot`` sums, so that few roundings pile up on any term."""

PLAIN = BLOCK
"""Length up to which ``dot`` sums at once."""


def flat(values: Tensor) -> Tensor:
    """Join a node's axes, which may be none: ``(B, *node)`` gives ``(B, N)``."""
    return values.reshape(len(values), -1)


def dot(rows: Tensor, values: Tensor) -> Tensor:
    """Sum of products over the node's axes: ``(B, S, *node)`` with ``(B or 1, S or 1, *node)`` gives ``(B, S)``.

    No term takes part in more than ``summands(size of the node)`` additions.
    """
    joined, other = rows.reshape(*rows.shape[:2], -1), values.reshape(*values.shape[:2], -1)
    length = joined.shape[2]
    if length <= PLAIN:
        return _plain(joined, other)
    whole = length - length % BLOCK
    blocks = [part[..., :whole].unflatten(2, (-1, BLOCK)) for part in (joined, other)]
    if other.shape[1] == 1:
        # (B, N / BLOCK, S, 1)
        pieces = torch.matmul(blocks[0].transpose(1, 2), blocks[1].squeeze(1).unsqueeze(-1))
        total = pieces.sum(1).squeeze(-1)
    else:
        total = (blocks[0] * blocks[1]).sum(-1).sum(-1)
    return total if whole == length else total + _plain(joined[..., whole:], other[..., whole:])


def _plain(joined: Tensor, other: Tensor) -> Tensor:
    if other.shape[1] == 1:
        product: Tensor = torch.matmul(joined, other.transpose(1, 2))
        return product.squeeze(-1)
    return (joined * other).sum(-1)


def summands(length: int) -> int:
    """Bound the additions that a term of ``dot`` takes part in, for a node of at most the given size."""
    return length if length <= PLAIN else BLOCK + length // BLOCK + 1
