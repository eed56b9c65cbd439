"""MoveNet (Google, Apache-2.0): finds the 17 COCO keypoints of the one person in the middle of a crop.

A MobileNetV2 trunk (arXiv 1801.04381) with a feature pyramid on top, and CenterNet's heads (arXiv 1904.07850). It
answers what the published graphs "singlepose/lightning/4" and "singlepose/thunder/4" answer, for a batch of any size
and in pixels. Constants that those graphs hold rounded to float16 (1/127.5, 1/48, 1.8) are exact here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FEATURES", "KEYPOINTS", "STRIDE", "VARIANTS", "Head", "MoveNet", "Trunk", "Variant"]

FEATURES = 24
"""Channels of the trunk's feature map."""

KEYPOINTS = 17
"""COCO's, in the order of `synpose.skeleton.COCO17`."""

STRIDE = 4
"""Pixels from one cell of the feature map to the next."""


@dataclass(frozen=True)
class Variant:
    """A size of the network: `width` multiplies MobileNetV2's channels, `side` is that of its crops in pixels."""

    width: float
    side: int


VARIANTS = {"lightning": Variant(width=1.0, side=192), "thunder": Variant(width=1.75, side=256)}

# MobileNetV2, table 2: (expansion, channels, repeats, stride of the first) of each run of blocks
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_LATERALS = (2, 5, 9)  # the blocks whose outputs, at strides 4, 8 and 16, join the pyramid
_TOP = 1280
_SOFTENING = 1.8  # cells; added to a distance before dividing by it
_ZERO = 0.25  # pixels; see `yx_to_pixels`


def _channels(base: int, width: float) -> int:
    """`base * width` to the nearest multiple of 8, but never more than a tenth below it (MobileNet's rule)."""
    scaled = base * width
    rounded = int(scaled + 4) // 8 * 8
    return rounded if rounded >= 0.9 * scaled else rounded + 8


class Conv(nn.Conv2d):
    """A convolution of 1×1 or 3×3 with TensorFlow's SAME padding, for even sides.

    At stride 2 that padding is not symmetric: nothing at the top and left, one zero at the bottom and right.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, size, stride, size // 2 if stride == 1 else 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (0, 1, 0, 1)) if self.stride == (2, 2) else x)


class Block(nn.Module):
    """MobileNetV2's inverted residual: expand, filter each channel, project."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand = Conv(in_channels, inner) if expansion > 1 else None
        self.depthwise = Conv(inner, inner, 3, stride, groups=inner)
        self.project = Conv(inner, out_channels)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else functional.relu6(self.expand(x))
        out: Tensor = self.project(functional.relu6(self.depthwise(inner)))
        return x + out if self.residual else out


class Separable(nn.Module):
    """A 3×3 filter on each channel, then a 1×1 convolution and a ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.pointwise(self.depthwise(x)))


class Trunk(nn.Module):
    """MobileNetV2 and a feature pyramid from stride 32 up to stride 4."""

    def __init__(self, width: float) -> None:
        super().__init__()
        channels = _channels(32, width)
        self.stem = Conv(3, channels, 3, stride=2)
        self.blocks = nn.ModuleList()
        laterals = []
        for expansion, base, repeats, stride in _STAGES:
            for i in range(repeats):
                out = _channels(base, width)
                self.blocks.append(Block(channels, out, expansion, stride if i == 0 else 1))
                channels = out
                if len(self.blocks) - 1 in _LATERALS:
                    laterals.append(channels)
        self.top = Conv(channels, _TOP)
        # from coarse to fine: 64 channels at stride 16, 32 at stride 8, 24 at stride 4
        self.reduce = Conv(_TOP, 64)
        self.laterals = nn.ModuleList(Conv(a, b) for a, b in zip(reversed(laterals), (64, 32, FEATURES), strict=True))
        self.merges = nn.ModuleList(Separable(a, b) for a, b in ((64, 32), (32, FEATURES), (FEATURES, FEATURES)))

    def forward(self, images: Tensor) -> Tensor:
        """RGB uint8 `(N, H, W, 3)`, sides multiples of 32, → features `(N, 24, H/4, W/4)`."""
        x: Tensor = images.permute(0, 3, 1, 2).float() / 127.5 - 1  # (N, 3, H, W) in [-1, 1]
        x = functional.relu6(self.stem(x))  # (N, C, H/2, W/2)
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _LATERALS:
                levels.append(x)
        x = self.reduce(functional.relu6(self.top(x)))  # (N, 64, H/32, W/32)
        for lateral, merge in zip(self.laterals, self.merges, strict=True):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = merge(x + lateral(levels.pop()))
        return x


class Head(nn.Sequential):
    """Features `(N, 24, h, w)` → one map `(N, channels, h, w)` for each answer."""

    def __init__(self, channels: int) -> None:
        super().__init__(Separable(FEATURES, 96), nn.Conv2d(96, channels, 1))


class MoveNet(nn.Module):
    """Single pose: `images` uint8 `(N, side, side, 3)` RGB → keypoints float32 `(N, 17, 3)`: x, y, score.

    x, y are pixels of the crop; score is in [0, 1].
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.variant = VARIANTS[variant]
        self.trunk = Trunk(self.variant.width)
        self.centre = Head(1)
        self.heatmap = Head(KEYPOINTS)
        self.displacement = Head(2 * KEYPOINTS)
        self.offset = Head(2 * KEYPOINTS)

    def features(self, images: Tensor) -> Tensor:
        """The trunk's features `(N, 24, side/4, side/4)`: what a network trained on top of this one reads."""
        features: Tensor = self.trunk(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return decode(
            self.heatmap(features).sigmoid(),
            self.centre(features).sigmoid(),
            self.displacement(features),
            self.offset(features),
        )


def decode(heatmap: Tensor, centre: Tensor, displacement: Tensor, offset: Tensor) -> Tensor:
    """Keypoints `(N, 17, 3)`: x, y in pixels and score, of the person nearest the middle of maps of h×w cells.

    `heatmap` `(N, 17, h, w)` and `centre` `(N, 1, h, w)` hold scores in [0, 1]; `displacement` `(N, 34, h, w)` is, at
    a person's centre, the way from there to each keypoint; `offset` `(N, 34, h, w)` is, at a keypoint's cell, the
    way from there to the keypoint. Both are pairs of (y, x) in cells.
    """
    height, width = heatmap.shape[2:]
    rows = torch.arange(height, dtype=torch.float32)[:, None]  # (h, 1)
    columns = torch.arange(width, dtype=torch.float32)  # (w,)

    off_middle = ((rows - height // 2).square() + (columns - width // 2).square()).sqrt()  # (h, w)
    person = (centre / (off_middle + _SOFTENING)).flatten(1).argmax(1, keepdim=True)  # (N, 1)
    guess = cells_to_yx(person[..., None], width) + read_at(displacement, person[..., None].expand(-1, -1, KEYPOINTS))

    y, x = guess[:, 0, ..., None, None].unbind(2)  # both (N, 17, 1, 1)
    off_guess = ((rows - y).square() + (columns - x).square()).sqrt()  # (N, 17, h, w)
    cells = (heatmap / (off_guess + _SOFTENING)).flatten(2).argmax(2)  # (N, 17)
    scores = heatmap.flatten(2).gather(2, cells[..., None])  # (N, 17, 1)
    found = cells_to_yx(cells, width) + read_at(offset, cells[:, None])[:, 0]  # (N, 17, 2)
    return torch.cat((yx_to_pixels(found), scores), -1)


def read_at(maps: Tensor, cells: Tensor) -> Tensor:
    """The pairs `(N, P, K, 2)` that `maps` `(N, 2K, h, w)` hold at `cells` `(N, P, K)`, counted row by row."""
    pairs: Tensor = maps.unflatten(1, (-1, 2)).flatten(3)  # type: ignore[no-untyped-call]  # (N, K, 2, h*w)
    index = cells.transpose(1, 2)[:, :, None].expand(-1, -1, 2, -1)  # (N, K, 2, P)
    return pairs.gather(3, index).permute(0, 3, 1, 2)


def cells_to_yx(cells: Tensor, width: int) -> Tensor:
    """Row and column `(..., 2)` of `cells` `(...)` in maps that are `width` cells wide."""
    index = cells.float()  # exact below 2**24, and one ONNX node where // of integers takes six
    rows = (index / width).floor()
    return torch.stack((rows, index - rows * width), -1)


def yx_to_pixels(yx: Tensor) -> Tensor:
    """x, y in pixels of (y, x) in cells; pixel (0, 0) is the middle of the top left one.

    The published graphs give cells divided by the map's sides, and leave open where in a pixel their zero lies. Crops
    of real frames and their mirror images tell: a keypoint and its mirrored self are symmetric about the crop's middle
    only where zero lies a quarter of a pixel left of the first pixel's middle (Lightning 0.21 ± 0.09, Thunder
    0.25 ± 0.04 pixels), half-way between the two usual conventions: as if taught by whole-numbered annotations of
    images twice as large. Turned and scaled crops were too noisy to tell anything about y, which is taken to be as x.
    """
    return yx.flip(-1) * STRIDE - _ZERO
