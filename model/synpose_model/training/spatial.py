"""The task `spatial`: the spatial module on the features of a frozen trunk, or on raw pixels, from rendered images.

`--data` is a folder with folders of rendered clips (`synpose render training`): it trains on `stills`, single frames
far apart, and validates on `val_stills`. A network that is told what to expect can learn from what a server read, too:
`served`, of `synpose render served`. Whole sequences stay out: the network's errors on them are what `rays` learns
from, and on what a network was trained on it errs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synpose.errors import InvalidInput
from synpose_model.crop import NOWHERE
from synpose_model.data.expectation import ServerErrors, expectation
from synpose_model.data.rendered import RenderedClip, read_clips
from synpose_model.data.trunk import GRAPHS
from synpose_model.movenet import MoveNet
from synpose_model.pretrained import load_graph
from synpose_model.spatial import Heatmaps, SpatialConfig, SpatialNetwork, keypoints_of, mixture_loss
from synpose_model.training.task import TaskSpec

__all__ = ["SPEC", "SpatialTask", "SpatialTaskConfig"]

_NEAR, _BEYOND = 0.25, 0.02  # shares of the crop: how far outside it joints are learned, and the weight of those


@dataclass(frozen=True)
class SpatialTaskConfig:
    """`[task]` of `spatial`."""

    network: SpatialConfig = field(default_factory=SpatialConfig)
    batch: int = 32
    hidden: float = 0.5  # weight of joints that cannot be seen
    noise: float = 0.05  # on features: what a trunk says shifts a little from camera to camera
    served: float = 0.0  # share of the crops that a server read, with what it expected there,
    replayed: float = 0.0  # and of the others the share that is told with the server's errors; else they are made up
    most_images: int = 4000  # of validation


class SpatialTask:
    """Batches of cached features with exact keypoints."""

    def __init__(self, config: SpatialTaskConfig, data: Path | None) -> None:
        self.config, self._data = config, data

    def build(self) -> nn.Module:
        network = SpatialNetwork(self.config.network)
        variant = self.config.network.embedding
        if variant != "patches":
            movenet = MoveNet(variant)
            load_graph(movenet, GRAPHS[variant])
            network.trunk.load_state_dict(movenet.trunk.state_dict())
            network.heatmap.load_state_dict(movenet.heatmap.state_dict())
        return _Cached(network)

    def batch(self, step: int, rank: int, generator: np.random.Generator) -> Mapping[str, Tensor]:
        served = round(self.config.served * self.config.batch)
        parts = [(self._train, self.config.batch - served), *([(self._served, served)] if served else [])]
        drawn = [self._drawn(images, generator.integers(len(images), size=count), generator) for images, count in parts]
        return {name: torch.cat([part[name] for part in drawn]) for name in drawn[0]}

    def _drawn(self, images: _Images, chosen: NDArray[np.int64], rng: np.random.Generator) -> dict[str, Tensor]:
        maps = images.inputs(chosen)
        gains = rng.normal(0, self.config.noise, (len(chosen), maps.shape[1], 1, 1))
        maps *= np.exp(gains).astype(np.float32)
        tensors = _tensors(maps, images.pixels[chosen], images.visibility[chosen], self.config.hidden)
        if self.config.network.expects:
            tensors["expected"] = torch.from_numpy(self._told(images, chosen, rng))
        return tensors

    def _told(self, images: _Images, chosen: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
        """Where the joints of the crops `chosen` are expected, in shares of the crop: `(N, 27, 2)`."""
        if images.expected is not None:
            return images.expected[chosen]
        told = expectation(rng, images.pixels[chosen], images.visibility[chosen])
        if self.config.replayed:
            replayed = (rng.random(len(chosen)) < self.config.replayed) & (told != NOWHERE).any((-1, -2))
            told[replayed] = images.replayed(chosen[replayed], self._errors, rng)
        return told

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        logits, places, spreads = network(batch["maps"], batch.get("expected"))
        maps = Heatmaps(logits, places, spreads)
        loss = mixture_loss(maps, batch["pixels"], batch["weights"])
        return loss, {}

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Errors in thousandths of the crop: of seen joints, median and mean; of COCO's, beside MoveNet's own."""
        images, device = self._validation, next(network.parameters()).device
        chosen = np.linspace(0, len(images) - 1, min(len(images), self.config.most_images)).astype(int)
        chance = np.random.default_rng(0)
        found, blind, losses = [], [], []
        for start in range(0, len(chosen), 64):
            some = chosen[start : start + 64]
            batch = _tensors(images.inputs(some), images.pixels[some], images.visibility[some], 0.5)
            if self.config.network.expects:
                batch["expected"] = torch.from_numpy(self._told(images, some, chance))
            batch = {name: value.to(device) for name, value in batch.items()}
            maps = Heatmaps(*network(batch["maps"], batch.get("expected")))
            if self.config.network.expects:
                blind.append(keypoints_of(Heatmaps(*network(batch["maps"], None))).cpu().numpy())
            losses.append(float(mixture_loss(maps, batch["pixels"], batch["weights"])))
            found.append(keypoints_of(maps).cpu().numpy())
        keypoints = np.concatenate(found)
        pixels, visibility = images.pixels[chosen], images.visibility[chosen]
        error = 1e3 * np.linalg.norm(keypoints[..., :2] - pixels, axis=-1)
        movenet = 1e3 * np.linalg.norm(images.movenet[chosen][..., :2] - pixels[:, :17], axis=-1)
        seen, coco = visibility == 2, visibility[:, :17] == 2
        limbs = np.zeros(27, bool)
        limbs[5:17] = True
        limb = seen & limbs
        untold = {}
        if blind:
            blind_error = 1e3 * np.linalg.norm(np.concatenate(blind)[..., :2] - pixels, axis=-1)
            untold = {"untold_limbs_mean": float(blind_error[limb].mean())}
        return untold | {
            "loss": float(np.mean(losses)),
            "seen_mean": float(error[seen].mean()),
            "limbs_mean": float(error[limb].mean()),
            "limbs_median": float(np.median(error[limb])),
            "hidden_mean": float(error[(visibility == 1) & limbs].mean()),
            "movenet_limbs_mean": float(movenet[limb[:, :17]].mean()),
            "movenet_limbs_median": float(np.median(movenet[limb[:, :17]])),
            "coco_mean": float(error[:, :17][coco].mean()),
        }

    @cached_property
    def _train(self) -> _Images:
        return _Images(self._clips("stills"), self.config.network)

    @cached_property
    def _validation(self) -> _Images:
        return _Images(self._clips("val_stills"), self.config.network)

    @cached_property
    def _served(self) -> _Images:
        return _Images(self._clips("served"), self.config.network)

    @cached_property
    def _errors(self) -> ServerErrors:
        clips = [(clip.joints, clip.ahead) for clip in self._clips("served")]
        known = [(joints, ahead - joints) for joints, ahead in clips if ahead is not None]
        return ServerErrors(*(np.concatenate(arrays) for arrays in zip(*known, strict=True)))

    def _clips(self, name: str) -> list[RenderedClip]:
        if self._data is None:
            raise InvalidInput("this task needs --data: a folder of rendered clips", field="data")
        return read_clips(self._data / name)


SPEC = TaskSpec(SpatialTaskConfig, SpatialTask)


class _Cached(nn.Module):
    """The spatial network from the trunk's maps on, which is what is trained; what it says as plain tensors."""

    def __init__(self, network: SpatialNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, maps: Tensor, expected: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        said, _ = self.network.module(maps, expected)
        return said.logits, said.places, said.spreads


class _Images:
    """All crops of `clips` in one row."""

    def __init__(self, clips: Sequence[RenderedClip], config: SpatialConfig) -> None:
        self._clips, self._config = clips, config
        # beside raw patches stand the keypoints of the larger trunk
        variant = "thunder" if config.embedding == "patches" else config.embedding
        self.pixels = np.concatenate([clip.pixels.reshape(-1, 27, 2) for clip in clips])
        self.visibility = np.concatenate([clip.visibility.reshape(-1, 27) for clip in clips])
        self.movenet = np.concatenate([clip.keypoints[variant].reshape(-1, 17, 3) for clip in clips])
        told = [clip.expected for clip in clips if clip.expected is not None]
        self.expected = np.concatenate([one.reshape(-1, 27, 2) for one in told]) if len(told) == len(clips) else None
        self._starts = np.cumsum([0, *(clip.pixels.shape[0] * clip.pixels.shape[1] for clip in clips)])

    def __len__(self) -> int:
        return len(self.pixels)

    def inputs(self, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the spatial module reads, `(len(chosen), channels, h, w)`."""
        return np.concatenate([clip.inputs(np.array([i]), self._config) for clip, i in self._at(chosen)])

    def replayed(
        self, chosen: NDArray[np.int64], errors: ServerErrors, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Where a server that errs like `errors` expects the joints, in shares of the crop: `(len(chosen), 27, 2)`."""
        places = [(clip, *divmod(i, len(clip.rig))) for clip, i in self._at(chosen)]
        joints = np.array([clip.joints[f] for clip, f, _ in places]).reshape(-1, 27, 3)
        told = np.full((len(chosen), 27, 2), NOWHERE, np.float32)
        for n, ((clip, f, v), expected) in enumerate(zip(places, errors.expected(rng, joints), strict=True)):
            to_crop = cv2.invertAffineTransform(clip.transforms[f, v])
            pixels = clip.rig.cameras[v].project(expected) @ to_crop[:, :2].T + to_crop[:, 2]
            told[n] = np.where(np.isfinite(pixels), pixels, NOWHERE)
        return told

    def _at(self, chosen: NDArray[np.int64]) -> list[tuple[RenderedClip, int]]:
        """Of each of the crops `chosen` its clip and its number in that."""
        clips = np.searchsorted(self._starts, chosen, side="right") - 1
        return [(self._clips[c], int(i - self._starts[c])) for c, i in zip(clips, chosen, strict=True)]


def _tensors(
    maps: NDArray[np.float32], pixels: NDArray[np.float32], visibility: NDArray[np.uint8], hidden: float
) -> dict[str, Tensor]:
    near = ((pixels > -_NEAR) & (pixels < 1 + _NEAR)).all(-1)
    weights = np.where(visibility == 2, 1.0, np.where(visibility == 1, hidden, _BEYOND)) * near
    return {
        "maps": torch.from_numpy(maps),
        "pixels": torch.from_numpy(np.nan_to_num(pixels).astype(np.float32)),
        "weights": torch.from_numpy(weights.astype(np.float32)),
    }
