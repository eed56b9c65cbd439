"""Exponential moving average of a network's weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

__all__ = ["Ema"]


class Ema:
    """`network`, in evaluation mode, follows the weights of another one of the same kind."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Follow `network` after update `step` (0, 1, …).

        The decay starts low, min(decay, (1 + step) / (10 + step)), so that the first weights are soon forgotten.
        Buffers are copied: a batch norm's statistics are averages already.
        """
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        own: list[Tensor] = list(self.network.parameters())
        their: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(own, their, share)
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)
