"""CMU Panoptic (Joo et al., TPAMI 2017): groups of people in a dome with 31 HD cameras, at 29.97 Hz.

The layout is that of the Panoptic Toolbox:

    160906_pizza1/calibration_160906_pizza1.json
    160906_pizza1/hdPose3d_stage1_coco19/body3DScene_00000168.json      19 joints with confidence, cm
    160906_pizza1/hdVideos/hd_00_03.mp4                                 or hdImgs/00_03/00_03_00000168.jpg

Split, cameras and steps are those of VoxelPose (Tu et al., ECCV 2020), which counts the first fifteen joints only, all
but eyes and ears, and only people whose mid-hip is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from synpose.calibration import read_calibration
from synpose.skeleton import HALPE26
from synpose_model.datasets.extra import reading
from synpose_model.datasets.sequence import Array, MultiViewSequence, Split, folder_of, found

__all__ = ["CAMERAS", "JOINTS", "SEQUENCES", "STEP", "Panoptic"]

CAMERAS = ("00_03", "00_06", "00_12", "00_13", "00_23")

SEQUENCES: dict[Split, tuple[str, ...]] = {
    "train": (
        "160422_ultimatum1", "160224_haggling1", "160226_haggling1", "161202_haggling1",
        "160906_ian1", "160906_ian2", "160906_ian3", "160906_band1", "160906_band2", "160906_band3",
    ),
    "test": ("160906_pizza1", "160422_haggling1", "160906_ian5", "160906_band4"),
}  # fmt: skip

STEP: dict[Split, int] = {"train": 3, "test": 12}
"""The protocol looks at every `STEP`-th annotated frame."""

JOINTS = tuple(
    HALPE26.joints.index(name)
    for name in (
        "neck", "nose", "pelvis",
        "left_shoulder", "left_elbow", "left_wrist", "left_hip", "left_knee", "left_ankle",
        "right_shoulder", "right_elbow", "right_wrist", "right_hip", "right_knee", "right_ankle",
        "left_eye", "left_ear", "right_eye", "right_ear",
    )
)  # fmt: skip
"""Where each of the 19 joints stands in `HALPE26`; its other joints, head and feet, are unknown here."""

_FPS = 29.97
_SURE = 0.1  # a joint with less confidence counts as unknown, as it does for VoxelPose


class Panoptic:
    """The sequences in `folder`, as seen by the HD `cameras`."""

    def __init__(self, folder: Path, *, cameras: Sequence[str] = CAMERAS) -> None:
        self.folder = folder_of(folder)
        self.cameras = tuple(cameras)

    def sequences(self, split: Split = "test") -> Iterator[MultiViewSequence]:
        """See `Dataset.sequences`. `subject` is the name of the sequence: people have no names across sequences."""
        missing = f"{self.folder} holds none of {', '.join(SEQUENCES[split])} with hdPose3d_stage1_coco19/*.json"
        return found(self._sequences(split), missing)

    def _sequences(self, split: Split) -> Iterator[MultiViewSequence]:
        for name in SEQUENCES[split]:
            folder = self.folder / name
            scenes = _scenes(folder / "hdPose3d_stage1_coco19")
            if scenes:
                yield MultiViewSequence(
                    name=name,
                    subject=name,
                    action=name.partition("_")[2].rstrip("0123456789"),
                    rig=read_calibration(folder / f"calibration_{name}.json").subset(self.cameras),
                    videos=self._videos(folder),
                    skeleton=HALPE26,
                    fps=_FPS,
                    read=partial(_joints, scenes),
                    first=min(scenes),
                )

    def _videos(self, folder: Path) -> dict[str, Path]:
        """Each camera's video or, where there is none, its folder of images."""
        videos = {}
        for camera in self.cameras:
            video, images = folder / "hdVideos" / f"hd_{camera}.mp4", folder / "hdImgs" / camera
            if video.is_file():
                videos[camera] = video
            elif images.is_dir():
                videos[camera] = images
        return videos


def _scenes(folder: Path) -> dict[int, Path]:
    """The annotation of each HD frame that has one."""
    matches = (
        (re.fullmatch(r"body3DScene_(\d{1,9})\.json", path.name), path) for path in sorted(folder.glob("*.json"))
    )
    return {int(match[1]): path for match, path in matches if match}


def _joints(scenes: dict[int, Path]) -> Array:
    """Joints `(P, T, 26, 3)` in metres from the first to the last annotated frame."""
    first = min(scenes)
    frames = max(scenes) - first + 1
    people: dict[int, Array] = {}
    for number, path in scenes.items():
        with reading(path):
            bodies = {int(body["id"]): body["joints19"] for body in json.loads(path.read_bytes())["bodies"]}
            for person, values in bodies.items():
                joints = np.array(values, dtype=np.float64).reshape(19, 4)  # x, y, z, confidence
                joints[joints[:, 3] <= _SURE] = np.nan
                track = people.setdefault(person, np.full((frames, len(HALPE26), 3), np.nan))
                track[number - first, list(JOINTS)] = joints[:, :3] * 0.01
    return np.array([people[person] for person in sorted(people)]).reshape(-1, frames, len(HALPE26), 3)
