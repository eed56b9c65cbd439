"""Records what a spatial network says of rendered sequences that it was not trained on: its errors, or all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose_model.data.errors import Errors, azimuth, collect
from synpose_model.data.expectation import expectation
from synpose_model.data.rendered import RenderedClip, read_clips
from synpose_model.data.sightings import Sighting
from synpose_model.movenet import VARIANTS
from synpose_model.spatial import SpatialNetwork, keypoints_of
from synpose_model.training.checkpoint import load_network

__all__ = ["record_errors", "record_sightings"]

_BATCH = 64

Says = Callable[[RenderedClip], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Keypoints `(F, V, K, 3)` in shares of the crop, and tokens `(F, V, D)`."""


def record_errors(spatial: str, sequences: Path, progress: Callable[[int], None] = lambda clips: None) -> Errors:
    """What `spatial` gets wrong on the clips in the folder `sequences`.

    `spatial` is `thunder` or `lightning` (MoveNet's own keypoints), or the path of a checkpoint of the task `spatial`.
    `progress` is told the number of clips after each one. Raises `InvalidInput` for neither.
    """
    says = _says(spatial)
    clips = read_clips(sequences)
    found = []
    for clip in clips:
        found.append(says(clip)[0])
        progress(len(clips))
    eyes = [np.stack([camera.center for camera in clip.rig]) for clip in clips]
    stands = [azimuth(clip.joints, at) for clip, at in zip(clips, eyes, strict=True)]
    return collect(found, [clip.pixels for clip in clips], stands)


def record_sightings(
    spatial: str, sequences: Path, progress: Callable[[int], None] = lambda clips: None
) -> list[Sighting]:
    """All that `spatial` says of the clips in the folder `sequences`; arguments and errors as for `record_errors`."""
    says = _says(spatial)
    clips = read_clips(sequences)
    out = []
    for clip in clips:
        keypoints, tokens = says(clip)
        out.append(_sighting(clip, keypoints, tokens))
        progress(len(clips))
    return out


def _sighting(clip: RenderedClip, keypoints: NDArray[np.float32], tokens: NDArray[np.float32]) -> Sighting:
    to_image = clip.transforms[:, :, None]  # (F, V, 1, 2, 3)
    pixels = (to_image[..., :2] * keypoints[..., None, :2]).sum(-1) + to_image[..., 2]  # (F, V, K, 2)
    rays = np.stack([camera.rays(pixels[:, view]) for view, camera in enumerate(clip.rig)], 1)
    known = np.asarray(np.isfinite(rays).all(-1))  # where the lens model has no inverse there is no ray
    return Sighting(
        np.stack([camera.center for camera in clip.rig]).astype(np.float32),
        np.where(known[..., None], rays, 0.0).astype(np.float32),
        np.where(known, keypoints[..., 2], 0.0).astype(np.float32),
        tokens,
        clip.joints.astype(np.float32),
    )


def _says(spatial: str) -> Says:
    return _movenet(spatial) if spatial in VARIANTS else _trained(Path(spatial))


def _movenet(variant: str) -> Says:
    def say(clip: RenderedClip) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        keypoints = clip.keypoints[variant]
        return keypoints, np.zeros((*keypoints.shape[:2], 0), np.float32)

    return say


def _trained(path: Path) -> Says:
    network, config = load_network(path)
    if config.run.task != "spatial":
        raise InvalidInput(f"{path} is a checkpoint of the task {config.run.task}, not of spatial", field="spatial")
    spatial = network.network
    assert isinstance(spatial, SpatialNetwork), spatial
    module = spatial.module

    def say(clip: RenderedClip) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        F, V = clip.pixels.shape[:2]
        chance, keypoints, tokens = np.random.default_rng(0), [], []
        pixels, visibility = clip.pixels.reshape(F * V, -1, 2), clip.visibility.reshape(F * V, -1)
        with torch.inference_mode():
            for start in range(0, F * V, _BATCH):
                some = np.arange(start, min(start + _BATCH, F * V))
                told = None
                if module.config.expects:
                    told = torch.from_numpy(expectation(chance, pixels[some], visibility[some]))
                maps, token = module(torch.from_numpy(clip.inputs(some, module.config)), told)
                keypoints.append(keypoints_of(maps).numpy())
                tokens.append(token.numpy())
        at, all_tokens = np.concatenate(keypoints), np.concatenate(tokens)
        return at.reshape(F, V, *at.shape[1:]), all_tokens.reshape(F, V, -1)

    return say
