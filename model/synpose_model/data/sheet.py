"""A picture of what the networks are trained on: crops of a data folder, with their true joints."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from synpose_model.data.rendered import read_clips
from synpose_model.render.contact_sheet import with_joints

__all__ = ["write_sheet"]

_ROWS, _COLUMNS = 4, 8


def write_sheet(data: Path, path: Path, seed: int = 0) -> None:
    """Draw 32 random crops of the stills in the folder `data` to the picture `path`: green joints can be seen."""
    rng = np.random.default_rng(seed)
    clips = [clip for clip in read_clips(data / "stills") if (clip.folder / "crops.npz").exists()]
    cells = []
    for _ in range(_ROWS * _COLUMNS):
        clip = clips[int(rng.integers(len(clips)))]
        count = clip.pixels.shape[0] * clip.pixels.shape[1]
        index = int(rng.integers(count))
        crop = clip.crop(index)
        pixels = clip.pixels.reshape(count, -1, 2)[index].astype(np.float64) * len(crop) - 0.5
        cells.append(with_joints(crop, pixels, clip.visibility.reshape(count, -1)[index]))
    rows = [np.concatenate(cells[row * _COLUMNS : (row + 1) * _COLUMNS], 1) for row in range(_ROWS)]
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])
