"""Draws training images: clips of a split's motions, as features and labels, in folders that can be added to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from synpose_model.data.rendered import write_rendered
from synpose_model.data.splits import motions_of
from synpose_model.data.trunk import Trunk
from synpose_model.render.body import BodyModel
from synpose_model.render.clip import random_clip
from synpose_model.render.environment import environment_files
from synpose_model.render.stage import Stage

__all__ = ["draw"]


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
            write_rendered(clip, stage, trunks, chosen, folder, seed)
            progress(count)
