"""Windowed self-attention with shifted windows and a relative position bias, and patch merging.

The blocks of Swin Transformer (arXiv 2103.14030, sections 3.1-3.2), of which arXiv 2401.16700 builds its spatial
module. Maps are `(N, H, W, C)`, their sides fixed when a block is made.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DropPath", "PatchMerging", "WindowBlock", "attend"]

_BLOCKED = -1e4  # added to a logit; finite, so that a row of nothing but blocked keys stays finite, too


class DropPath(nn.Module):
    """Leaves out a residual branch of whole samples with a chance of `rate` while training (arXiv 1603.09382)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = torch.rand(x.shape[0], *(1,) * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


def attend(qkv: Tensor, heads: int, bias: Tensor) -> Tensor:
    """Multi-head attention: `qkv` `(N, L, 3C)` with `bias` on the logits, which broadcasts to `(N, heads, L, L)`."""
    N, L, width = qkv.shape
    q, k, v = (
        qkv.reshape(N, L, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)
    )  # (N, heads, L, C/heads)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias
    out: Tensor = (logits.softmax(-1) @ v).transpose(1, 2).reshape(N, L, width // 3)
    return out


class WindowBlock(nn.Module):
    """Self-attention within `window`×`window` cells, then an MLP, both residual with the norm before.

    `shift` moves the windows by half of one, so that neighbours of the last block's borders meet; cells that the
    shift brought together from opposite sides do not see each other. A window as large as the map is global attention.
    """

    def __init__(
        self, side: int, dim: int, heads: int, window: int, *, shift: bool, mlp_ratio: float = 4.0, drop: float = 0.0
    ) -> None:
        super().__init__()
        assert side % window == 0, (side, window)
        self.side, self.heads, self.window = side, heads, window
        self.shift = window // 2 if shift and window < side else 0
        self.attention_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.project = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.drop = DropPath(drop)
        self.position_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.position_bias, std=0.02)
        self.register_buffer("offsets", _offsets(window), persistent=False)
        self.register_buffer("blocked", _blocked(side, window, self.shift), persistent=False)
        self.offsets: Tensor
        self.blocked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """`(N, side, side, dim)` → the same shape."""
        x = x + self.drop(self._attention(self.attention_norm(x)))
        out: Tensor = x + self.drop(self.mlp(self.mlp_norm(x)))
        return out

    def _attention(self, x: Tensor) -> Tensor:
        (N, C), S, w = (x.shape[0], x.shape[-1]), self.side, self.window
        count = S // w
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        windows = x.reshape(N, count, w, count, w, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, C)
        bias = self.position_bias[self.offsets].permute(2, 0, 1)  # (heads, w², w²)
        if self.shift:
            bias = (self.blocked[:, None] + bias).repeat(N, 1, 1, 1)  # (N·count², heads, w², w²)
        out: Tensor = self.project(attend(self.qkv(windows), self.heads, bias))
        out = out.reshape(N, count, count, w, w, C).permute(0, 1, 3, 2, 4, 5).reshape(N, S, S, C)
        return out.roll((self.shift, self.shift), (1, 2)) if self.shift else out


class PatchMerging(nn.Module):
    """Joins 2×2 cells into one: `(N, H, W, C)` → `(N, H/2, W/2, out)`."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduce = nn.Linear(4 * dim, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        N, H, W, C = x.shape
        cells = x.reshape(N, H // 2, 2, W // 2, 2, C).permute(0, 1, 3, 2, 4, 5).reshape(N, H // 2, W // 2, 4 * C)
        out: Tensor = self.reduce(self.norm(cells))
        return out


def _offsets(window: int) -> Tensor:
    """Which entry of the bias table each pair of cells of a window reads, `(w², w²)`: one for each relative place."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    cells = torch.stack((rows.flatten(), columns.flatten()))  # (2, w²)
    apart = cells[:, :, None] - cells[:, None, :] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def _blocked(side: int, window: int, shift: int) -> Tensor:
    """What is added to the logits of each window's pairs `(windows, w², w²)`: nothing within one region of the map."""
    region = torch.zeros(side)
    if shift:
        region[side - window : side - shift] = 1
        region[side - shift :] = 2
    regions = 3 * region[:, None] + region  # (side, side)
    count = side // window
    cells = regions.reshape(count, window, count, window).permute(0, 2, 1, 3).reshape(-1, window * window)
    return torch.where(cells[:, :, None] == cells[:, None, :], 0.0, _BLOCKED)
