"""Draws training images: clips of a split's motions, as features and labels, in folders that can be added to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.calibration import write_calibration
from synpose_model.crop import Crop
from synpose_model.data.photograph import compress, jittered_crop, spoil
from synpose_model.data.splits import motions_of
from synpose_model.data.trunk import Trunk
from synpose_model.image import Image
from synpose_model.render.body import BodyModel
from synpose_model.render.clip import Clip, random_clip
from synpose_model.render.environment import environment_files
from synpose_model.render.stage import Stage

__all__ = ["draw"]

Array = NDArray[np.float64]


def draw(
    motions: Path,
    out: Path,
    *,
    split: str,
    count: int,
    seed: int,
    environments: Path | None = None,
    variants: Sequence[str] = ("thunder", "lightning"),
    frames: int | None = None,
    progress: Callable[[int], None] = lambda clips: None,
) -> None:
    """Draw clips 0 to `count` of `seed` into `out`, those that are there already left out.

    `motions` and `environments` are folders, `frames` how many frames are drawn of each clip, spread evenly (None:
    all, for training over time). `progress` is told the number of clips after each one.
    """
    paths, maps = motions_of(motions, split), environment_files(environments)
    body = BodyModel()
    trunks = {variant: Trunk(variant) for variant in variants}
    with Stage() as stage:
        for index in range(count):
            folder = out / f"{split}_{seed}_{index:05d}"
            if (folder / "labels.npz").exists():
                progress(count)
                continue
            clip = random_clip(body, paths, maps, seed, index)
            length = len(clip.joints)
            chosen = (
                range(length) if frames is None else np.linspace(0, length - 1, frames).round().astype(int).tolist()
            )
            _write(clip, stage, trunks, chosen, folder, (seed, index, 1))
            progress(count)


def _write(
    clip: Clip, stage: Stage, trunks: Mapping[str, Trunk], frames: Sequence[int], folder: Path, seed: Sequence[int]
) -> None:
    """Draw the chosen `frames` of `clip` into `folder`. The labels come last: a folder without them is not finished."""
    rng = np.random.default_rng(seed)
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
        motion=clip.people[0].motion,
        **keypoints,  # type: ignore[arg-type]
    )


def _coarser(transform: Array, factor: float) -> Array:
    """`transform` for a crop of the same part of the image whose pixels are `factor` times as wide."""
    out = transform * (factor, factor, 1.0)
    out[:, 2] += transform[:, :2] @ ((factor - 1) / 2, (factor - 1) / 2)
    return out
