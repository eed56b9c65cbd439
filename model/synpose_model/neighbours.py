"""Instants and those around them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["around"]


def around(x: Tensor, reach: int) -> Tensor:
    """`x` `(B, T, ...)` at each instant and `reach` before and after, `(B, T, 2 reach + 1, ...)`; 0 beyond the ends."""
    T, width = x.shape[1], 2 * reach + 1
    padded = functional.pad(x, (*(0, 0) * (x.ndim - 2), reach, reach))
    if x.requires_grad:  # the gradient of a selection takes longer than all the rest
        return torch.stack([padded[:, i : i + T] for i in range(width)], 2)
    places = torch.arange(T, device=x.device)[:, None] + torch.arange(width, device=x.device)
    out: Tensor = padded.index_select(1, places.flatten()).unflatten(1, (-1, width))  # type: ignore[no-untyped-call]
    return out
