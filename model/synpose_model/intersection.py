"""Where weighted rays meet, in closed form: x = (Σ w (I − d dᵀ))⁻¹ Σ w (I − d dᵀ) o.

Coordinates stand before joints, `(..., 3, K)`: the last axis is then long, which is what runtimes are fast over. The
3×3 inverse is written out by cofactors, which exports to ONNX and differentiates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Normal", "across", "intersect", "normal_matrix"]

# a symmetric 3×3 matrix is its xx, yy, zz, xy, xz, yz: the row and the column of each, and where the nine stand in them
_ROWS, _COLUMNS = (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)
_WHOLE = (0, 3, 4, 3, 1, 5, 4, 5, 2)
# each cofactor is the first two's product less the last two's
_MINORS = ((1, 0, 0, 4, 3, 3), (2, 2, 1, 5, 5, 4), (5, 4, 3, 3, 4, 0), (5, 4, 3, 2, 1, 5))


class Normal(NamedTuple):
    """A symmetric matrix `(..., 6, K)` with its `cofactors` `(..., 6, K)` and `determinant` `(..., K)`."""

    matrix: Tensor
    cofactors: Tensor
    determinant: Tensor

    def solve(self, b: Tensor) -> Tensor:
        """x with A x = `b` `(..., 3, K)`."""
        whole = _pick(self.cofactors, _WHOLE).unflatten(-2, (3, 3))  # type: ignore[no-untyped-call]
        out: Tensor = (whole * b[..., None, :, :]).sum(-2) / self.determinant[..., None, :]
        return out


def intersect(origins: Tensor, directions: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points `(..., 3, K)` where rays meet, the trace of the inverse normal matrix `(..., K)`, and which are known.

    `origins` `(..., V, 3, K)` or `(..., V, 3, 1)`, unit `directions` `(..., V, 3, K)`, `weights` `(..., V, K)`.
    """
    total = weights.sum(-2)
    normal = normal_matrix(directions, weights, total)
    b = (weights[..., None, :] * across(origins, directions)).sum(-3)
    scale = normal.matrix[..., :3, :].sum(-2) / 3
    known = ((weights > 0).to(weights.dtype).sum(-2) > 1.5) & (normal.determinant > 1e-4 * scale**3)
    normal = normal._replace(determinant=torch.where(known, normal.determinant, torch.ones_like(scale)))
    return normal.solve(b), normal.cofactors[..., :3, :].sum(-2) / normal.determinant, known


def normal_matrix(directions: Tensor, weights: Tensor, diagonal: Tensor) -> Normal:
    """`diagonal` `(..., K)` times I − Σ w d dᵀ over the views of `directions` `(..., V, 3, K)`."""
    outer = _pick(directions, _ROWS) * _pick(directions, _COLUMNS)  # (..., V, 6, K)
    less = (weights[..., None, :] * outer).sum(-3)
    eye = torch.tensor((1, 1, 1, 0, 0, 0), dtype=less.dtype, device=less.device)[:, None]
    matrix = eye * diagonal[..., None, :] - less
    one, two, other, way = (_pick(matrix, places) for places in _MINORS)
    cofactors = one * two - other * way
    return Normal(matrix, cofactors, (_pick(matrix, (0, 3, 4)) * _pick(cofactors, (0, 3, 4))).sum(-2))


def across(offset: Tensor, directions: Tensor) -> Tensor:
    """What of `offset` `(..., 3, K)` is perpendicular to unit `directions` `(..., 3, K)`."""
    return offset - (offset * directions).sum(-2, keepdim=True) * directions


def _pick(x: Tensor, places: tuple[int, ...]) -> Tensor:
    if x.requires_grad:  # the gradient of a selection takes longer than all the rest
        return torch.stack([x[..., place, :] for place in places], -2)
    return x.index_select(-2, torch.tensor(places, device=x.device))
