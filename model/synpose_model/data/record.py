"""Records the errors of a spatial network on rendered sequences that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose_model.data.errors import Errors, azimuth, collect
from synpose_model.data.rendered import RenderedClip, read_clips
from synpose_model.movenet import VARIANTS
from synpose_model.spatial import SpatialNetwork, keypoints_of
from synpose_model.training.checkpoint import load_network

__all__ = ["record_errors"]

Says = Callable[[RenderedClip], NDArray[np.float32]]


def record_errors(spatial: str, sequences: Path, progress: Callable[[int], None] = lambda clips: None) -> Errors:
    """What `spatial` gets wrong on the clips in the folder `sequences`.

    `spatial` is `thunder` or `lightning` (MoveNet's own keypoints), or the path of a checkpoint of the task `spatial`.
    `progress` is told the number of clips after each one. Raises `InvalidInput` for neither.
    """
    says = _movenet(spatial) if spatial in VARIANTS else _trained(Path(spatial))
    clips = read_clips(sequences)
    found = []
    for clip in clips:
        found.append(says(clip))
        progress(len(clips))
    eyes = [np.stack([camera.center for camera in clip.rig]) for clip in clips]
    stands = [azimuth(clip.joints, at) for clip, at in zip(clips, eyes, strict=True)]
    return collect(found, [clip.pixels for clip in clips], stands)


def _movenet(variant: str) -> Says:
    return lambda clip: clip.keypoints[variant]


def _trained(path: Path) -> Says:
    network, config = load_network(path)
    if config.run.task != "spatial":
        raise InvalidInput(f"{path} is a checkpoint of the task {config.run.task}, not of spatial", field="spatial")
    spatial = network.network
    assert isinstance(spatial, SpatialNetwork), spatial
    module = spatial.module
    variant = module.config.embedding

    def say(clip: RenderedClip) -> NDArray[np.float32]:
        maps = clip.maps(variant)
        with torch.inference_mode():
            parts = [
                keypoints_of(module(torch.from_numpy(maps[start : start + 64].astype(np.float32)))[0]).numpy()
                for start in range(0, len(maps), 64)
            ]
        return np.concatenate(parts).reshape(*clip.pixels.shape[:-1], 3)

    return say
