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
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.calibration import read_calibration, write_calibration
from synpose.errors import InvalidInput
from synpose.rig import Rig
from synpose_model.data.trunk import Trunk
from synpose_model.spatial import SpatialConfig

__all__ = ["RenderedClip", "read_clips", "write_clip"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """One clip of a folder: F frames of V views, everything `(F, V, ...)`.

    `pixels` `(F, V, 27, 2)` are the true joints in crop coordinates in [0, 1] (0 and 1 are the outer edges of the first
    and last pixel), `visibility` `(F, V, 27)` as COCO counts, `keypoints` by variant `(F, V, 17, 3)` what MoveNet says,
    in the same coordinates; `transforms` `(F, V, 2, 3)` take them to the image's pixels; `joints` `(F, 27, 3)` are
    metres in the world of `rig`. Where a server read the crops (`synpose render served`), `ahead` `(F, 27, 3)` is where
    it expected the joints in that world, and `expected` `(F, V, 27, 2)` in the crops, `NOWHERE` where it did not.
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
    ahead: Array | None = None
    expected: NDArray[np.float32] | None = None

    def maps(self, variant: str) -> NDArray[np.float16]:
        """The trunk's features and heatmaps `(F·V, 41, h, w)`, on disk."""
        return np.asarray(np.load(self.folder / f"{variant}.npy", mmap_mode="r"))

    def crop(self, index: int) -> NDArray[np.uint8]:
        """Crop number `index` of the F·V, as the largest trunk saw it: `(side, side, 3)` RGB."""
        with np.load(self.folder / "crops.npz") as file:
            data = file["data"][file["starts"][index] : file["starts"][index + 1]]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1]

    def inputs(self, chosen: NDArray[np.int64], config: SpatialConfig) -> NDArray[np.float32]:
        """What the spatial module of `config` reads of the crops number `chosen`: maps, or pixels in [−1, 1].

        `(len(chosen), channels, h, w)`.
        """
        if config.embedding != "patches":
            return self.maps(config.embedding)[chosen].astype(np.float32)
        size = (config.side, config.side)
        crops = [cv2.resize(self.crop(int(i)), size, interpolation=cv2.INTER_AREA) for i in chosen]
        return np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1

    @cached_property
    def directions(self) -> Array:
        """True unit rays `(F, V, 27, 3)`, world."""
        to = self.joints[:, None] - np.stack([camera.center for camera in self.rig])[:, None]
        return np.asarray(to / np.linalg.norm(to, axis=-1, keepdims=True))


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
            labels.get("ahead"),
            labels.get("expected"),
        )


def write_clip(
    folder: Path,
    trunks: Mapping[str, Trunk],
    crops: Mapping[str, Sequence[NDArray[np.uint8]]],
    *,
    rig: Rig,
    fps: float,
    motion: str,
    joints: Array,
    **labels: Sequence[NDArray[Any]] | NDArray[Any],
) -> None:
    """Write a clip that `read_clips` reads. `crops` are those that each of `trunks` sees, F × V in one row.

    `labels` are `RenderedClip`'s: those of each crop as sequences of F × V, others as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = (len(joints), len(rig))
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
    shaped = {
        name: label if isinstance(label, np.ndarray) else np.stack(label).reshape(*count, *label[0].shape)
        for name, label in labels.items()
    }
    written: dict[str, Any] = {**shaped, **keypoints, "rig": write_calibration(rig), "fps": fps, "motion": motion}
    np.savez(folder / "labels.npz", joints=joints, **written)
