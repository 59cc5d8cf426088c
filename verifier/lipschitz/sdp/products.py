"""Products of matrices with the rows of all constraints, of which the Newton systems are made."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verifier.lipschitz.sdp.stacked import Stacked


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """What a matrix X becomes between U and W: ``U X``, ``W X``, ``U X U'``, ``U X W'``, ``W X W'``."""

    u: Tensor
    w: Tensor
    uu: Tensor
    uw: Tensor
    ww: Tensor

    @staticmethod
    def of(form: Stacked, matrix: Tensor) -> Products:
        """Multiply a matrix from both sides."""
        a, b = form.lower, form.upper
        rows, past = form.rows(matrix), matrix[form.inputs : form.size]
        both, own = form.rows(rows.mT), past[:, form.inputs : form.size]
        mixed = rows[:, form.inputs : form.size]
        low, high = a.unsqueeze(1) * mixed, b.unsqueeze(1) * mixed
        return Products(
            u=past - a.unsqueeze(1) * rows,
            w=b.unsqueeze(1) * rows - past,
            uu=own - low - low.mT + a.unsqueeze(1) * both * a,
            uw=high.mT - own - a.unsqueeze(1) * both * b + low,
            ww=b.unsqueeze(1) * both * b - high - high.mT + own,
        )

    def with_each_other(self, right: Products) -> Tensor:
        """Return ``tr(X F_i Y F_j)`` of all pairs of neurons, X being on the left and Y on the right."""
        half = self.uw * right.uw.mT
        return half + half.mT + self.uu * right.ww + self.ww * right.uu

    def with_selectors(self, right: Products, at: Tensor) -> Tensor:
        """Return ``-tr(X F_i Y e_j e_j')`` for all neurons and some variables."""
        return -(self.w[:, at] * right.u[:, at] + self.u[:, at] * right.w[:, at])
