"""Human3.6M (Ionescu et al., TPAMI 2014): one person, four cameras, 50 Hz, eleven subjects in fifteen actions.

The layout is that of the release, its archives unpacked into one folder:

    metadata.xml                                     or Release-v1.2/metadata.xml: the camera parameters
    S1/MyPoseFeatures/D3_Positions/Walking 1.cdf     32 joints, millimetres, world frame
    S1/Videos/Walking 1.54138969.mp4                 one a camera

Protocol #1 of the literature is the MPJPE after both poses are moved to their pelvis, Protocol #2 the P-MPJPE
(`measures.root_relative`, `measures.p_mpjpe`); both train on S1, S5, S6, S7 and S8 and test on S9 and S11. Some papers
look at every 64th frame of the test videos only, and some leave out `MISPLACED`; numbers are comparable only alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from synpose.errors import CalibrationError, InvalidInput
from synpose.rig import Camera, Rig
from synpose.skeleton import H36M17
from synpose_model.datasets.extra import reader, reading
from synpose_model.datasets.sequence import Array, MultiViewSequence, Split, folder_of, found

__all__ = ["CAMERAS", "DAMAGED", "JOINTS", "MISPLACED", "SUBJECTS", "Human36M"]

CAMERAS = {"54138969": (1000, 1002), "55011271": (1000, 1000), "58860488": (1000, 1000), "60457274": (1000, 1002)}
"""Camera and its image size (width, height), in the order of the camera parameters."""

SUBJECTS: dict[Split, tuple[str, ...]] = {"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")}

JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""The joints of `H36M17` among the 32 of the release, of which many are the same point twice."""

DAMAGED = frozenset({("S11", "Directions", "54138969")})
"""Videos (subject, file, camera) that cannot be decoded as released."""

MISPLACED = frozenset({("S9", "Greeting"), ("S9", "SittingDown 1"), ("S9", "Waiting 1")})
"""Sequences (subject, file) whose joints lie about 0.2 m beside the person, which root-aligned measures cannot see."""

_FPS = 50.0
_SUBJECTS_CALIBRATED = 11
_RENAMED = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}  # some subjects' files have the one, some the other name


class Human36M:
    """The sequences in `folder`, without those that are `MISPLACED` if `misplaced` is false."""

    def __init__(self, folder: Path, *, misplaced: bool = True) -> None:
        self.folder = folder_of(folder)
        self.misplaced = misplaced

    def sequences(self, split: Split = "test") -> Iterator[MultiViewSequence]:
        """See `Dataset.sequences`. `action` is the file's name without its number, the same for all subjects."""
        missing = f"{self.folder} holds no S*/MyPoseFeatures/D3_Positions/*.cdf of {', '.join(SUBJECTS[split])}"
        return found(self._sequences(split), missing)

    def _sequences(self, split: Split) -> Iterator[MultiViewSequence]:
        for subject in SUBJECTS[split]:
            poses = self.folder / subject / "MyPoseFeatures" / "D3_Positions"
            for path in sorted(poses.glob("*.cdf"), key=lambda path: path.stem):
                if not self.misplaced and (subject, path.stem) in MISPLACED:
                    continue
                action = path.stem.partition(" ")[0]
                yield MultiViewSequence(
                    name=f"{subject} {path.stem}",
                    subject=subject,
                    action=_RENAMED.get(action, action),
                    rig=self._rig(subject),
                    videos=self._videos(subject, path.stem),
                    skeleton=H36M17,
                    fps=_FPS,
                    read=partial(_joints, path),
                )

    def _videos(self, subject: str, file: str) -> dict[str, Path]:
        paths = {camera: self.folder / subject / "Videos" / f"{file}.{camera}.mp4" for camera in CAMERAS}
        return {
            camera: path for camera, path in paths.items() if (subject, file, camera) not in DAMAGED and path.is_file()
        }

    def _rig(self, subject: str) -> Rig:
        """The cameras as they stood for `subject`; they were calibrated anew for each.

        Of a camera are given three angles and its centre in mm; R = Rx Ry Rz turns world into camera, t = −R centre.
        """
        extrinsics, intrinsics = self._parameters
        cameras = []
        for name, poses, lens in zip(CAMERAS, extrinsics, intrinsics, strict=True):
            pose = poses[int(subject[1:]) - 1]
            R = _rotation(pose[:3])
            fx, fy, cx, cy, k1, k2, k3, p1, p2 = lens
            K = ((fx, 0, cx), (0, fy, cy), (0, 0, 1))
            cameras.append(Camera(name, CAMERAS[name], K, R, -R @ pose[3:] * 1e-3, (k1, k2, p1, p2, k3)))
        return Rig(tuple(cameras))

    @cached_property
    def _parameters(self) -> tuple[Array, Array]:
        """Extrinsics `(4, 11, 6)` by camera and subject and intrinsics `(4, 9)` of the release's metadata."""
        paths = [*self.folder.glob("metadata.xml"), *sorted(self.folder.glob("Release-*/metadata.xml"), reverse=True)]
        if not paths:
            raise CalibrationError(f"{self.folder} holds no metadata.xml", field="calibration")
        try:
            text = ElementTree.parse(paths[0]).findtext("w0", "")
            numbers = np.array([float(number) for number in re.split(r"[\s,;]+", text.strip("[] \n\t"))])
        except (ElementTree.ParseError, ValueError):
            raise CalibrationError(f"{paths[0]} does not hold numbers in w0", field="calibration.w0") from None
        poses = len(CAMERAS) * _SUBJECTS_CALIBRATED * 6
        if len(numbers) != poses + len(CAMERAS) * 9:
            raise CalibrationError(f"w0 must hold 300 numbers, not {len(numbers)}", field="calibration.w0")
        return numbers[:poses].reshape(len(CAMERAS), _SUBJECTS_CALIBRATED, 6), numbers[poses:].reshape(-1, 9)


def _rotation(angles: Array) -> Array:
    """Rx Ry Rz `(3, 3)` of the three `angles` in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    x = np.array(((1, 0, 0), (0, cx, -sx), (0, sx, cx)))
    y = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    z = np.array(((cz, -sz, 0), (sz, cz, 0), (0, 0, 1)))
    return np.asarray(x @ y @ z)


def _joints(path: Path) -> Array:
    """Joints `(1, T, 17, 3)` in metres of a file whose `Pose` is `(1, T, 96)` in mm."""
    cdflib = reader("cdflib")
    with reading(path):
        pose = np.asarray(cdflib.CDF(path).varget("Pose"), dtype=np.float64)
    if pose.shape[-1] != 96:
        raise InvalidInput(f"a row of Pose in {path} must hold 32 joints, not {pose.shape[-1]} numbers", field="joints")
    return pose.reshape(1, -1, 32, 3)[:, :, list(JOINTS)] * 1e-3
