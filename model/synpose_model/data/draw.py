"""Draws training images: clips of a split's motions, as features and labels, in folders that can be added to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.rig import Camera
from synpose_model.crop import Crop
from synpose_model.data.photograph import compress, jittered_crop, spoil
from synpose_model.data.rendered import write_clip
from synpose_model.data.splits import motions_of
from synpose_model.data.trunk import Trunk
from synpose_model.image import Image
from synpose_model.render.body import BodyModel
from synpose_model.render.clip import Clip, random_clip
from synpose_model.render.crowd import random_crowd
from synpose_model.render.environment import environment_files
from synpose_model.render.stage import Stage
from synpose_model.silhouette import paint_over, silhouette

__all__ = ["draw"]

Array = NDArray[np.float64]

_STRETCH = 60  # frames of a clip of several people that are drawn one after the other


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
    crowds: float = 0.0,
    progress: Callable[[int], None] = lambda clips: None,
) -> None:
    """Draw clips 0 to `count` of `seed` into `out`, those that are there already left out.

    `motions` and `environments` are folders, `frames` how many frames are drawn of each clip, spread evenly (None:
    all, for training over time). The share `crowds` of the clips has two to four people, of whom the first is labelled:
    of those clips the half is drawn in which someone else is near (a stretch of 60 frames, if `frames` is None), and in
    two of three crops, or stretches, the others are painted over as a server does that follows them. `progress` is told
    the number of clips after each one.
    """
    steady = frames is None
    paths, maps = motions_of(motions, split), environment_files(environments)
    body = BodyModel()
    trunks = {variant: Trunk(variant) for variant in variants}
    with Stage() as stage:
        for index in range(count):
            folder = out / f"{split}_{seed}_{index:05d}"
            if (folder / "labels.npz").exists():
                progress(count)
                continue
            chance = np.random.default_rng((seed, index, 2))
            if chance.random() < crowds:
                clip = random_crowd(body, paths, maps, seed, index, int(chance.integers(2, 5)))
                among = _close(clip, _STRETCH if steady else len(clip.joints) // 2, steady=steady)
            else:
                clip = random_clip(body, paths, maps, seed, index)
                among = np.arange(len(clip.joints))
            chosen = among if frames is None else among[np.linspace(0, len(among) - 1, frames).round().astype(int)]
            _write(clip, stage, trunks, chosen, folder, (seed, index, 1), steady=steady)
            progress(count)


def _close(clip: Clip, count: int, *, steady: bool) -> NDArray[np.int64]:
    """The `count` frames in which someone else is nearest to the first person; `steady`: one after the other."""
    first, *others = (person.joints.mean(1) for person in clip.people)
    gaps = np.min([np.linalg.norm(first - other, axis=-1) for other in others], axis=0)  # (T,) metres
    if not steady:
        return np.sort(np.argsort(gaps)[:count])
    begin = int(np.argmin(np.convolve(gaps, np.ones(count), "valid")))
    return np.arange(begin, begin + count)


def _write(
    clip: Clip,
    stage: Stage,
    trunks: Mapping[str, Trunk],
    frames: NDArray[np.int64],
    folder: Path,
    seed: Sequence[int],
    *,
    steady: bool,
) -> None:
    """Draw the chosen `frames` of `clip` into `folder`. The labels come last: a folder without them is not finished."""
    rng = np.random.default_rng(seed)
    followed = rng.random((len(frames), len(clip.rig))) > 1 / 3  # everyone; else there are bystanders
    if steady:
        followed[:] = followed[0, 0]
    side = max(trunk.side for trunk in trunks.values())
    crops: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in trunks}
    pixels, visibility, transforms = [], [], []
    for frame, views, everyone in zip(frames, clip.frames(stage, frames.tolist()), followed, strict=True):
        for camera, view, known in zip(clip.rig, views, everyone, strict=True):
            truth = camera.project(clip.joints[frame])
            crop = jittered_crop(rng, truth[:17], side)
            image = Image((compress(rng, view.image),))
            painted = _painted(rng, clip, frame, camera, crop) if len(clip.people) > 1 and known else None
            unit = crop.shares(truth)
            chance = np.random.default_rng(rng.integers(2**63))
            state = chance.bit_generator.state
            for name, trunk in trunks.items():
                chance.bit_generator.state = state  # the same mishap for every trunk
                read = crop.at(trunk.side).read(image)
                if painted is not None:
                    mask = cv2.resize(painted.view(np.uint8), read.shape[1::-1], interpolation=cv2.INTER_NEAREST)
                    read = paint_over(read, mask.astype(np.bool_))
                spoiled, covered = spoil(chance, read, unit[0] * trunk.side - 0.5)
                crops[name].append(spoiled)
            seen = view.visibility.copy()
            if covered is not None:  # the last trunk's rectangle, in its pixels
                box = np.array(covered) / spoiled.shape[0]
                under = ((unit > box[:2]) & (unit < box[2:])).all(-1)
                seen[under & (seen == 2)] = 1
            within = ((unit > 0) & (unit < 1)).all(-1)
            if painted is not None:
                column, row = np.floor(unit[within] * side).astype(int).T
                under = np.zeros_like(within)
                under[within] = painted[row, column]
                seen[under & (seen == 2)] = 1
            seen[~within] = 0
            pixels.append(unit.astype(np.float32))
            visibility.append(seen)
            transforms.append(crop.unit)
    write_clip(
        folder, trunks, crops, rig=clip.rig, fps=clip.fps, motion=clip.people[0].motion, joints=clip.joints[frames],
        pixels=pixels, visibility=visibility, transforms=transforms,
    )  # fmt: skip


def _painted(rng: np.random.Generator, clip: Clip, frame: int, camera: Camera, crop: Crop) -> NDArray[np.bool_]:
    """Which pixels of `crop` a server paints over that follows everyone and knows about where they are."""

    def figure(joints: Array) -> NDArray[np.bool_]:
        off = rng.normal(0, 0.02, 3) + rng.normal(0, 0.02, (17, 3))
        off[rng.random(17) < 0.05] *= 6  # a quick hand, or one that was misread
        return silhouette(crop, camera, joints[:17] + off)

    own, *others = (figure(person.joints[frame]) for person in clip.people)
    return np.asarray(np.any(others, axis=0) & ~own)
