"""The spatial module: one image to keypoints and one token (arXiv 2401.16700, section on the spatial module).

Patch embedding → stages of windowed self-attention with patch merging between them → a token, and for each joint a
heatmap over the first stage's cells. The patches are raw pixels, as in the paper, or the feature map of a frozen mobile
trunk, which carries knowledge of real images that no rendered data can teach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from synpose_model.movenet import FEATURES, KEYPOINTS, STRIDE, VARIANTS, MoveNet
from synpose_model.windows import PatchMerging, WindowBlock

__all__ = [
    "Heatmaps",
    "SpatialConfig",
    "SpatialModule",
    "SpatialNetwork",
    "alternatives_of",
    "keypoints_of",
    "mixture_loss",
]

_NEAR = 0.06  # share of the crop: heatmap cells whose guesses are this near the best one belong to the same peak
_SHARP = 0.03  # share of the crop: expected error at which a score is halved
_AROUND = 0.04  # share of the crop: how far around the place where a joint is expected the cells are told of it


@dataclass(frozen=True)
class SpatialConfig:
    """Sizes of the spatial module. The defaults are those for the trunk; `paper` is the published Swin-T.

    `embedding` is `thunder` or `lightning` (a frozen MoveNet trunk) or `patches` (raw pixels of `side`² crops).
    `window` 0 is global attention. `token` is the width of what the relation module gets, 0: none. `keypoints` are read
    off `heatmaps`, or regressed from the `token` as in the paper. With `expects` the network is also told where the
    joints of the person are expected, so that it knows whose joints to read where a crop shows several people.
    """

    embedding: str = "thunder"
    side: int = 256
    patch: int = 2
    dims: tuple[int, ...] = (64, 96, 192)
    depths: tuple[int, ...] = (1, 2, 2)
    heads: tuple[int, ...] = (2, 3, 6)
    window: int = 4
    mlp_ratio: float = 2.0
    drop: float = 0.0
    joints: int = 27
    token: int = 64
    keypoints: str = "heatmaps"
    expects: bool = False

    @property
    def cells(self) -> int:
        """Cells along each side of the first stage's map."""
        stride = self.patch if self.embedding == "patches" else self.patch * STRIDE
        assert self.side % stride == 0, (self.side, stride)
        return self.side // stride


class Heatmaps(NamedTuple):
    """What an image says of each joint, over C cells: a mixture of places.

    `logits` `(N, J, C)`, `places` `(N, 2, J, C)`, x and y in shares of the crop, `spreads` `(N, J, C)` > 0 in the same
    unit.
    """

    logits: Tensor
    places: Tensor
    spreads: Tensor


class SpatialModule(nn.Module):
    """Maps `(N, channels, h, w)` → `Heatmaps` and tokens `(N, token)`.

    One that `expects` also takes where each joint is expected, `(N, J, 2)` in shares of the crop; a place far outside
    of it, or none at all, says nothing.
    """

    def __init__(self, config: SpatialConfig) -> None:
        super().__init__()
        self.config = config
        channels = 3 if config.embedding == "patches" else FEATURES + KEYPOINTS
        dims = config.dims
        self.embed = nn.Conv2d(channels, dims[0], config.patch, config.patch)
        self.embed_norm = nn.LayerNorm(dims[0])
        if config.expects:
            self.expect = nn.Linear(config.joints, dims[0], bias=False)
            nn.init.zeros_(self.expect.weight)
            self.register_buffer("steps", (torch.arange(config.cells) + 0.5) / config.cells, persistent=False)
            self.steps: Tensor
        self.stages, self.merges = nn.ModuleList(), nn.ModuleList()
        side, drops = config.cells, torch.linspace(0, config.drop, sum(config.depths)).tolist()
        for stage, (dim, depth, heads) in enumerate(zip(dims, config.depths, config.heads, strict=True)):
            if stage:
                self.merges.append(PatchMerging(dims[stage - 1], dim))
                side //= 2
            window = min(config.window or side, side)
            blocks = [
                WindowBlock(side, dim, heads, window, shift=i % 2 == 1, mlp_ratio=config.mlp_ratio, drop=drops.pop(0))
                for i in range(depth)
            ]
            self.stages.append(nn.Sequential(*blocks))
        self.norm = nn.LayerNorm(dims[-1])
        width = config.token or dims[-1]
        self.token = nn.Identity() if width == dims[-1] else nn.Linear(dims[-1], width)
        J = config.joints
        if config.keypoints == "heatmaps":
            # back up to the first stage's cells, coarse added to fine
            self.rises = nn.ModuleList(nn.Linear(coarse, 4 * fine) for fine, coarse in pairwise(dims))
            self.rise_norm = nn.LayerNorm(dims[0])
            self.maps = nn.Linear(dims[0], 4 * J)  # logit, place (2), spread
            rows, columns = torch.meshgrid(*(torch.arange(config.cells),) * 2, indexing="ij")
            centres = (torch.stack((columns, rows)).reshape(2, 1, -1) + 0.5) / config.cells  # (2, 1, cells²)
            self.register_buffer("centres", centres, persistent=False)
            self.centres: Tensor
        else:
            self.regress = nn.Linear(width, 4 * J)

    def forward(self, x: Tensor, expected: Tensor | None = None) -> tuple[Heatmaps, Tensor]:
        levels = []
        x = self.embed(x).permute(0, 2, 3, 1)  # (N, S, S, dim)
        if expected is not None:
            across, down = (
                (-(self.steps[:, None] - at[:, None]).square() / (2 * _AROUND**2)).exp() for at in expected.unbind(-1)
            )  # (N, S, J)
            x = x + self.expect(down[:, :, None] * across[:, None])
        x = self.embed_norm(x)
        for index, stage in enumerate(self.stages):
            if index:
                x = self.merges[index - 1](x)
            x = stage(x)
            levels.append(x)
        token = self.token(self.norm(x).mean((1, 2)))  # (N, token)
        if self.config.keypoints == "heatmaps":
            return self._maps(levels), token
        return self._regressed(token), token

    def _maps(self, levels: list[Tensor]) -> Heatmaps:
        x = levels[-1]
        for rise, fine in zip(reversed(self.rises), reversed(levels[:-1]), strict=True):
            N, H, W, C = fine.shape
            risen = rise(x).reshape(N, H // 2, W // 2, 2, 2, C).permute(0, 1, 3, 2, 4, 5)
            x = fine + risen.reshape(N, H, W, C)
        x = self.maps(self.rise_norm(x)).float().flatten(1, 2)  # (N, cells², 4J)
        maps = x.unflatten(-1, (4, -1)).permute(0, 2, 3, 1)  # (N, 4, J, cells²)
        reach = 2.0 / self.config.cells  # a cell may point two cells away
        places = self.centres + reach * maps[:, 1:3].tanh()
        return Heatmaps(maps[:, 0], places, _spread(maps[:, 3]))

    def _regressed(self, token: Tensor) -> Heatmaps:
        """The paper's way: coordinates straight from the token, a mixture of one."""
        out = self.regress(token).float().unflatten(-1, (-1, 1, 4))  # (N, J, 1, 4)
        return Heatmaps(torch.zeros_like(out[..., 0]), 0.5 + out[..., 1:3].permute(0, 3, 1, 2), _spread(out[..., 3]))


def _spread(raw: Tensor) -> Tensor:
    """A positive expected error, about 0.02 of the crop for zero."""
    return 0.001 - functional.logsigmoid(4.0 - raw)  # softplus, which takes ONNX Runtime four times as long


def keypoints_of(maps: Heatmaps) -> Tensor:
    """Keypoints `(N, J, 3)` of the strongest peak of each joint: x, y in shares of the crop, and a score in [0, 1].

    A soft-argmax over the cells that point near the best one, so that of two arms one is chosen, not the middle. The
    score is the peak's share of all the mass, less for a wide one.
    """
    # x and y apart throughout: what broadcasts along the cells is fast, along pairs of numbers it is not
    share = maps.logits.softmax(-1)  # (N, J, C)
    best = (maps.logits - 2 * maps.spreads.log()).argmax(-1, keepdim=True)  # (N, J, 1), of the greatest density
    x, y = maps.places.unbind(1)  # (N, J, C)
    away = (x - x.gather(-1, best)).square() + (y - y.gather(-1, best)).square()
    mass = share * (away * (-1 / (2 * _NEAR**2))).exp()
    total = mass.sum(-1)  # (N, J)
    place_x, place_y, spread = ((mass * part).sum(-1) / total for part in (x, y, maps.spreads))
    return torch.stack((place_x, place_y, total * _SHARP / (_SHARP + spread)), -1)


def alternatives_of(maps: Heatmaps, keypoints: Tensor) -> Tensor:
    """The next peak of each joint, `(N, J, 3)` as the `keypoints` that `keypoints_of` read: where else it may be.

    It is read off the cells that point elsewhere; the score is as small as their share of all the mass.
    """
    x, y = maps.places.unbind(1)  # (N, J, C)
    elsewhere = (x - keypoints[..., 0, None]).square() + (y - keypoints[..., 1, None]).square() > (1.5 * _NEAR) ** 2
    share = (maps.logits.softmax(-1) * elsewhere).sum(-1, keepdim=True)  # (N, J, 1)
    rest = keypoints_of(maps._replace(logits=maps.logits.masked_fill(~elsewhere, -1e4)))
    return torch.cat((rest[..., :2], rest[..., 2:] * share), -1)


class SpatialNetwork(nn.Module):
    """The spatial graph: `images` uint8 `(N, side, side, 3)` RGB → `keypoints` `(N, J, 3)` in crop pixels, `tokens`.

    And `alternatives` `(N, J, 3)`, where else the joints may be. A network that `expects` is given `expected`
    `(N, J, 2)`, too, in crop pixels: where the joints of the person may be, far outside of the crop if nobody knows.

    With a trunk, only `module` is trained: `trunk` and `heatmap` are MoveNet's own.
    """

    def __init__(self, config: SpatialConfig) -> None:
        super().__init__()
        self.config = config
        self.module = SpatialModule(config)
        if config.embedding != "patches":
            assert config.side == VARIANTS[config.embedding].side, config
            movenet = MoveNet(config.embedding).requires_grad_(False)
            self.trunk, self.heatmap = movenet.trunk, movenet.heatmap

    def forward(self, images: Tensor, expected: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        if expected is not None:
            expected = (expected + 0.5) / self.config.side
        if self.config.embedding == "patches":
            maps, tokens = self.module(images.permute(0, 3, 1, 2).float() / 127.5 - 1, expected)
        else:
            maps, tokens = self.from_features(self.trunk(images), expected)
        keypoints = keypoints_of(maps)
        return self._in_pixels(keypoints), tokens, self._in_pixels(alternatives_of(maps, keypoints))

    def from_features(self, features: Tensor, expected: Tensor | None = None) -> tuple[Heatmaps, Tensor]:
        """What the trunk's `features` `(N, 24, h, w)` give: the part that is trained."""
        maps = torch.cat((features, self.heatmap(features).sigmoid()), 1)
        out: tuple[Heatmaps, Tensor] = self.module(maps, expected)
        return out

    def _in_pixels(self, keypoints: Tensor) -> Tensor:
        pixels = keypoints[..., :2] * self.config.side - 0.5  # pixel 0 is the middle of the first
        return torch.cat((pixels, keypoints[..., 2:]), -1)


def mixture_loss(maps: Heatmaps, truth: Tensor, weights: Tensor) -> Tensor:
    """Negative log-likelihood of `truth` `(N, J, 2)` in shares of the crop, weighted `(N, J)`.

    Each cell's density falls off exponentially with the distance from its place: exp(−r/b) / (2πb²).
    """
    off = (truth.transpose(1, 2)[..., None] - maps.places).square().sum(1).add(1e-10).sqrt()  # (N, J, C)
    density = maps.logits.log_softmax(-1) - off / maps.spreads - 2 * maps.spreads.log() - math.log(2 * math.pi)
    likelihood = density.logsumexp(-1)
    return -(weights * likelihood).sum() / weights.sum().clamp(min=1.0)
