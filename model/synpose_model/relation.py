"""The frame-image relation module: global self-attention over all images of a clip, over time and views.

After arXiv 2401.16700, whose module sees one sequence of image tokens: here a clip's T×V tokens see each other and
nobody else's, masked views are left out, and what the paper leaves open is given: time as a relative bias, cameras by
their geometry (where they look from, how far their rays pass from the first guess), never by their number, so that
their order cannot matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synpose.skeleton import get_skeleton
from synpose_model.windows import DropPath, attend

__all__ = ["RelationConfig", "RelationEncoder"]

_BLOCKED = -1e4


@dataclass(frozen=True)
class RelationConfig:
    """Sizes of the relation module and its head.

    The `depth` blocks are shared out over `stages`: each looks at the rays from where the one before saw the joints.

    `scope` is what a token attends to: `all` images of the clip, those of its own camera (`time`), those of its own
    instant (`views`), or `none` (each alone: no relation module). What an image's token is made of: its `keypoints`'
    rays and the spatial module's `token` (its width). `head` is `rays` (learned weights and corrections, intersection,
    residual, sigma) or `regression` (the paper's). The `joints` are those of `skeleton`.
    """

    dim: int = 192
    depth: int = 4
    stages: int = 2
    heads: int = 6
    mlp_ratio: float = 2.0
    drop: float = 0.0
    window: int = 16
    smoothing: int = 8
    keypoints: int = 27
    joints: int = 27
    skeleton: str = "body27"
    token: int = 0
    rays: bool = True
    scope: str = "all"
    geometry_bias: bool = True
    residual: bool = True
    head: str = "rays"

    def __post_init__(self) -> None:
        if self.joints != len(get_skeleton(self.skeleton)):
            raise ValueError(f"{self.skeleton} has {len(get_skeleton(self.skeleton))} joints, not {self.joints}")


class _Block(nn.Module):
    def __init__(self, config: RelationConfig, drop: float) -> None:
        super().__init__()
        dim, hidden = config.dim, int(config.dim * config.mlp_ratio)
        self.heads = config.heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.project = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.drop = DropPath(drop)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = x + self.drop(self.project(attend(self.qkv(self.attention_norm(x)), self.heads, bias)))
        out: Tensor = x + self.drop(self.mlp(self.mlp_norm(x)))
        return out


class RelationEncoder(nn.Module):
    """Image tokens `(B, T, V, dim)` → the same, related."""

    def __init__(self, config: RelationConfig, depth: int) -> None:
        super().__init__()
        self.config = config
        drops = torch.linspace(0, config.drop, depth).tolist()
        self.blocks = nn.ModuleList(_Block(config, drop) for drop in drops)
        self.norm = nn.LayerNorm(config.dim)
        self.time_bias = nn.Parameter(torch.zeros(2 * config.window - 1, config.heads))
        self.same_view = nn.Parameter(torch.zeros(config.heads))
        if config.geometry_bias:
            self.angle = nn.Parameter(torch.zeros(config.heads))
            self.quality = nn.Linear(2, config.heads, bias=False)
            nn.init.zeros_(self.quality.weight)

    def forward(self, x: Tensor, sight: Tensor, quality: Tensor, mask: Tensor) -> Tensor:
        """`sight` `(B, T, V, 3)` is the way each camera looks, in the person's frame, unit.

        `quality` `(B, T, V, 2)` is the mean score and mean ray distance of its keypoints, `mask` `(B, T, V)` which
        images there are.
        """
        B, T, V, C = x.shape
        bias = self._bias(sight, quality, mask)
        x = x.reshape(B, T * V, C)
        for block in self.blocks:
            x = block(x, bias)
        out: Tensor = self.norm(x).reshape(B, T, V, C)
        return out

    def _bias(self, sight: Tensor, quality: Tensor, mask: Tensor) -> Tensor:
        """What is added to the logits, `(B, heads, T·V, T·V)`: rows ask, columns answer."""
        B, T, V = mask.shape
        config = self.config
        times = torch.arange(T, device=mask.device)[:, None].expand(T, V).reshape(-1)
        views = torch.arange(V, device=mask.device)[None].expand(T, V).reshape(-1)
        apart = times[:, None] - times[None, :] + config.window - 1
        same_view = views[:, None] == views[None, :]
        same_time = times[:, None] == times[None, :]
        bias = self.time_bias[apart] + same_view[..., None] * self.same_view  # (TV, TV, heads)
        allowed = {
            "all": torch.ones_like(same_view), "time": same_view, "views": same_time, "none": same_view & same_time,
        }[config.scope]  # fmt: skip
        bias = bias.permute(2, 0, 1)[None] + torch.where(allowed, 0.0, _BLOCKED)
        if config.geometry_bias:
            flat = sight.reshape(B, T * V, 3)
            angle = flat @ flat.transpose(-1, -2)  # cosine between the cameras' sights
            bias = bias + angle[:, None] * self.angle[:, None, None]
            bias = bias + self.quality(quality.reshape(B, T * V, 2)).transpose(-1, -2)[:, :, None, :]
        return bias + torch.where(mask.reshape(B, 1, 1, T * V), 0.0, _BLOCKED)
