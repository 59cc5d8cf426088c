"""Constant matrices, dense or sparse: rows of vectors times a matrix, with its gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

LARGE = 1 << 17
"""Entries from which on it is worth asking whether a matrix is sparse."""

DENSITY = 0.05
"""Part of entries that are not zero up to which the sparse product is faster."""


class Matrix:
    """A constant matrix ``(k, n)``; what it needs besides is made when first used."""

    def __init__(self, dense: Tensor) -> None:
        """Take the dense matrix."""
        self.dense = dense

    @cached_property
    def fan(self) -> int:
        """The largest number of nonzero entries in a row or a column."""
        if not self.dense.numel():
            return 0
        if self.dense.numel() < LARGE:
            return max(self.dense.shape)
        nonzero = self.dense != 0
        return int(max(nonzero.sum(0).max(), nonzero.sum(1).max()))

    @cached_property
    def is_sparse(self) -> bool:
        """Whether few entries are not zero."""
        size = self.dense.numel()
        return size >= LARGE and int(torch.count_nonzero(self.dense)) <= DENSITY * size

    @cached_property
    def transposed(self) -> Matrix:
        """The transposed matrix, ``(n, k)``."""
        other = Matrix(self.dense.T)
        if self.is_sparse:
            table = self.compressed.to_sparse_csc()
            self._share(other, compressed(table.ccol_indices(), table.row_indices(), table.values(), self.dense.shape))
        other.__dict__["transposed"] = self
        return other

    @cached_property
    def absolute(self) -> Matrix:
        """The absolute values."""
        return self._like(self.dense.abs(), Tensor.abs)

    def to(self, dense: Tensor) -> Matrix:
        """Return the matrix for ``dense``, which is this one in another dtype or on another device."""
        return self if dense is self.dense else self._like(dense, lambda values: values.to(dense))

    def _like(self, dense: Tensor, change: Callable[[Tensor], Tensor]) -> Matrix:
        """Return a matrix whose entries are zero where these are."""
        other = Matrix(dense)
        if self.is_sparse:
            table, device = self.compressed, dense.device
            indices = table.crow_indices().to(device), table.col_indices().to(device)
            self._share(other, compressed(*indices, change(table.values()), self.dense.T.shape))
        return other

    def _share(self, other: Matrix, table: Tensor) -> None:
        """Tell another matrix what is known of it from this one."""
        other.__dict__.update(fan=self.fan, is_sparse=True, compressed=table)

    @cached_property
    def compressed(self) -> Tensor:
        """The transposed matrix in compressed rows: the sparse product has the sparse factor on the left."""
        with quiet():
            return self.dense.T.to_sparse_csr()

    def product(self, x: Tensor) -> Tensor:
        """Return ``x @ matrix`` for ``(N, k)``, without a gradient where sparse."""
        if not self.is_sparse:
            return x @ self.dense
        return (self.compressed @ x.T.contiguous()).T.contiguous()

    def __rmatmul__(self, x: Tensor) -> Tensor:
        """Return ``x @ matrix`` for ``(..., k)``."""
        if not x.numel() or not self.is_sparse:
            return x @ self.dense
        flat = x.reshape(-1, x.shape[-1])
        y = _Product.apply(flat, self) if x.requires_grad else self.product(flat)  # type: ignore[no-untyped-call]
        assert isinstance(y, Tensor)
        return y.reshape(*x.shape[:-1], self.dense.shape[1])


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warning that sparse tensors are young."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)
        yield


def compressed(first: Tensor, index: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Make a matrix of compressed rows: row j has ``values[first[j]:first[j + 1]]`` in the columns ``index`` there."""
    with quiet():
        return torch.sparse_csr_tensor(first, index, values, shape, check_invariants=False)


class _Product(torch.autograd.Function):
    """The sparse product, whose gradient is the product with the transposed matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Matrix) -> Tensor:
        ctx.matrix = matrix
        return matrix.product(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.transposed.product(gradients[0]), None
