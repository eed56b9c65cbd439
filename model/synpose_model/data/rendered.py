"""Rendered clips as the networks are trained on them: maps of frozen trunks with exact joints.

A clip is a folder: `{variant}.npy` the maps `(N, 41, h, w)` float16 of N = frames × views crops, `crops.npz` the crops
themselves as JPEG, for people to look at and for networks that read pixels, and `labels.npz`.
Drawing an image and running a trunk takes ten times as long as a training step on it: both are done once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.calibration import read_calibration, write_calibration
from synpose.errors import InvalidInput
from synpose.rig import Rig
from synpose_model.crop import Crop
from synpose_model.data.photograph import compress, jittered_crop, spoil
from synpose_model.data.trunk import Trunk
from synpose_model.image import Image
from synpose_model.render.clip import Clip
from synpose_model.render.stage import Stage

__all__ = ["RenderedClip", "read_clips", "write_rendered"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """One clip of a folder: F frames of V views, everything `(F, V, ...)`.

    `pixels` `(F, V, 27, 2)` are the true joints in crop coordinates in [0, 1] (0 and 1 are the outer edges of the first
    and last pixel), `visibility` `(F, V, 27)` as COCO counts, `keypoints` by variant `(F, V, 17, 3)` what MoveNet says,
    in the same coordinates; `transforms` `(F, V, 2, 3)` take them to the image's pixels; `joints` `(F, 27, 3)` are
    metres in the world of `rig`.
    """

    folder: Path
    pixels: NDArray[np.float32]
    visibility: NDArray[np.uint8]
    keypoints: Mapping[str, NDArray[np.float32]]
    transforms: Array
    joints: Array
    rig: Rig
    fps: float
    motion: str

    def maps(self, variant: str) -> NDArray[np.float16]:
        """The trunk's features and heatmaps `(F·V, 41, h, w)`, on disk."""
        return np.asarray(np.load(self.folder / f"{variant}.npy", mmap_mode="r"))

    def crop(self, index: int) -> NDArray[np.uint8]:
        """Crop number `index` of the F·V, as the largest trunk saw it: `(side, side, 3)` RGB."""
        with np.load(self.folder / "crops.npz") as file:
            data = file["data"][file["starts"][index] : file["starts"][index + 1]]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1]

    @cached_property
    def directions(self) -> Array:
        """True unit rays `(F, V, 27, 3)`, world."""
        to = self.joints[:, None] - np.stack([camera.center for camera in self.rig])[:, None]
        return np.asarray(to / np.linalg.norm(to, axis=-1, keepdims=True))


def write_rendered(
    clip: Clip, stage: Stage, trunks: Mapping[str, Trunk], frames: Sequence[int], folder: Path, seed: int
) -> None:
    """Draw the chosen `frames` of `clip` into `folder`. The labels come last: a folder without them is not finished."""
    rng = np.random.default_rng((seed, 1))
    side = max(trunk.side for trunk in trunks.values())
    crops: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in trunks}
    pixels, visibility, transforms = [], [], []
    for frame, views in zip(frames, clip.frames(stage, frames), strict=True):
        for camera, view in zip(clip.rig, views, strict=True):
            truth = camera.project(clip.joints[frame])
            crop = jittered_crop(rng, truth[:17], side)
            image = Image((compress(rng, view.image),))
            to_crop = np.linalg.inv(np.vstack((crop.transform, (0, 0, 1))))[:2]
            inside = truth @ to_crop[:, :2].T + to_crop[:, 2]
            chance = np.random.default_rng(rng.integers(2**63))
            state = chance.bit_generator.state
            for name, trunk in trunks.items():
                chance.bit_generator.state = state  # the same mishap for every trunk
                scale = trunk.side / side
                own = Crop(_coarser(crop.transform, 1 / scale), trunk.side)
                spoiled, covered = spoil(chance, own.read(image), (inside[0] + 0.5) * scale - 0.5)
                crops[name].append(spoiled)
            unit = (inside + 0.5) / side
            seen = view.visibility.copy()
            if covered is not None:  # the last trunk's rectangle, in its pixels
                box = np.array(covered) / spoiled.shape[0]
                under = ((unit > box[:2]) & (unit < box[2:])).all(-1)
                seen[under & (seen == 2)] = 1
            seen[~((unit > 0) & (unit < 1)).all(-1)] = 0
            pixels.append(unit)
            visibility.append(seen)
            transforms.append(np.column_stack((crop.transform[:, :2] * side, crop.transform @ (-0.5, -0.5, 1.0))))
    folder.mkdir(parents=True, exist_ok=True)
    count = (len(frames), len(clip.rig))
    keypoints = {}
    for name, trunk in trunks.items():
        parts = [trunk(np.stack(crops[name][i : i + 8])) for i in range(0, len(crops[name]), 8)]
        np.save(folder / f"{name}.npy", np.concatenate([maps for maps, _ in parts]))
        found = np.concatenate([found for _, found in parts])
        found[..., :2] = (found[..., :2] + 0.5) / trunk.side
        keypoints[f"keypoints_{name}"] = found.reshape(*count, *found.shape[1:])
    largest = max(trunks, key=lambda name: trunks[name].side)
    files = [cv2.imencode(".jpg", crop[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 92))[1] for crop in crops[largest]]
    np.savez(folder / "crops.npz", data=np.concatenate(files), starts=np.cumsum([0, *map(len, files)]))
    np.savez(
        folder / "labels.npz",
        pixels=np.stack(pixels).astype(np.float32).reshape(*count, -1, 2),
        visibility=np.stack(visibility).reshape(*count, -1),
        transforms=np.stack(transforms).reshape(*count, 2, 3),
        joints=clip.joints[list(frames)],
        rig=write_calibration(clip.rig),
        fps=clip.fps,
        motion=clip.motion,
        **keypoints,  # type: ignore[arg-type]
    )


def read_clips(folder: Path) -> list[RenderedClip]:
    """The finished clips of `folder`, sorted; raises `InvalidInput` where there are none."""
    clips = [_read(path.parent) for path in sorted(folder.glob("*/labels.npz"))]
    if not clips:
        raise InvalidInput(f"no rendered clips in {folder}: make them with `synpose render`", field="data")
    return clips


def _read(folder: Path) -> RenderedClip:
    with np.load(folder / "labels.npz") as labels:
        return RenderedClip(
            folder,
            labels["pixels"],
            labels["visibility"],
            {name.removeprefix("keypoints_"): labels[name] for name in labels if name.startswith("keypoints_")},
            labels["transforms"],
            labels["joints"],
            read_calibration({"rig.json": str(labels["rig"]).encode()}),
            float(labels["fps"]),
            str(labels["motion"]),
        )


def _coarser(transform: Array, factor: float) -> Array:
    """`transform` for a crop of the same part of the image whose pixels are `factor` times as wide."""
    out = transform * (factor, factor, 1.0)
    out[:, 2] += transform[:, :2] @ ((factor - 1) / 2, (factor - 1) / 2)
    return out
