"""The task `spatial`: the spatial module on the features of a frozen trunk, or on raw pixels, from rendered images.

`--data` is a folder with folders of rendered clips (`synpose render training`): it trains on `stills`, single frames
far apart, and validates on `val_stills`. Whole sequences stay out: the network's errors on them are what `rays` learns
from, and on what a network was trained on it errs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synpose.errors import InvalidInput
from synpose_model.data.expectation import expectation
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
        images = self._train
        chosen = generator.integers(len(images), size=self.config.batch)
        maps = images.inputs(chosen)
        pixels, visibility = images.pixels[chosen], images.visibility[chosen]
        gains = generator.normal(0, self.config.noise, (len(chosen), maps.shape[1], 1, 1))
        maps *= np.exp(gains).astype(np.float32)
        tensors = _tensors(maps, pixels, visibility, self.config.hidden)
        if self.config.network.expects:
            tensors["expected"] = torch.from_numpy(expectation(generator, pixels, visibility))
        return tensors

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
                told = expectation(chance, images.pixels[some], images.visibility[some])
                batch["expected"] = torch.from_numpy(told)
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
        return _Images(self._clips(validation=False), self.config.network)

    @cached_property
    def _validation(self) -> _Images:
        return _Images(self._clips(validation=True), self.config.network)

    def _clips(self, *, validation: bool) -> list[RenderedClip]:
        if self._data is None:
            raise InvalidInput("this task needs --data: a folder of rendered clips", field="data")
        return read_clips(self._data / ("val_stills" if validation else "stills"))


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
        self._starts = np.cumsum([0, *(clip.pixels.shape[0] * clip.pixels.shape[1] for clip in clips)])

    def __len__(self) -> int:
        return len(self.pixels)

    def inputs(self, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the spatial module reads, `(len(chosen), channels, h, w)`."""
        clip = np.searchsorted(self._starts, chosen, side="right") - 1
        parts = [
            self._clips[c].inputs(np.array([i - self._starts[c]]), self._config)
            for c, i in zip(clip, chosen, strict=True)
        ]
        return np.concatenate(parts)


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
