"""MPI-INF-3DHP (Mehta et al., 3DV 2017): one person without markers, fourteen cameras, eight subjects.

    S1/Seq1/annot.mat, camera.calibration, imageSequence/video_0.avi …      training set: in a studio, many views
    mpi_inf_3dhp_test_set/TS1/annot_data.mat, imageSequence/img_000001.jpg  test set: one camera, also outdoors

The test set has one view, so what needs several is measured on subjects held out of the training set, by `subject`.
Truth is `annot3`, which agrees with the images. `univ_annot3`, the same scaled to one height, does not; the official
evaluation of the test set uses it, so its numbers and ours differ. Measures are `measures.pck` and `measures.auc` of
the `PCK_JOINTS` after both poses are moved to their pelvis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from synpose.calibration.fields import camera_of, numbers
from synpose.errors import CalibrationError, InvalidInput
from synpose.rig import Camera, Rig
from synpose.skeleton import H36M17
from synpose_model.datasets.extra import reader, reading
from synpose_model.datasets.sequence import Array, MultiViewSequence, Split, folder_of, found

__all__ = [
    "CHEST_CAMERAS", "DAMAGED", "JOINTS", "PCK_JOINTS", "TEST_JOINTS", "VNECT_CAMERAS", "MpiInf3dhp",
]  # fmt: skip

VNECT_CAMERAS = ("0", "1", "2", "4", "5", "6", "7", "8")
"""The cameras that most work uses (of VNect, SIGGRAPH 2017): at chest and knee height, and two that look down."""

CHEST_CAMERAS = ("0", "2", "4", "7", "8")
"""Those at the height of the chest (of the dataset's paper)."""

JOINTS = (4, 23, 24, 25, 18, 19, 20, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16)
"""The joints of `H36M17` among the 28 of the training set. Its `head`, inside the skull, stands for our `nose`."""

TEST_JOINTS = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
"""The same among the 17 of the test set."""

PCK_JOINTS = (10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6)
"""The fourteen joints of `H36M17` that PCK and AUC count: top of the head, neck, arms and legs."""

DAMAGED = frozenset({("S6", "Seq2", "2")})
"""Videos (subject, sequence, camera) that end long before the others."""

_FRAMES = {  # frames that the videos have, at 25 Hz up to 7000 and else at 50; annotations may go on beyond
    "S1": (6416, 12430), "S2": (6502, 6081), "S3": (12488, 12283), "S4": (6171, 6675),
    "S5": (12820, 12312), "S6": (6188, 6145), "S7": (6239, 6320), "S8": (6468, 6054),
}  # fmt: skip
_TEST_SIZES = {**dict.fromkeys(("TS1", "TS2", "TS3", "TS4"), (2048, 2048)), "TS5": (1920, 1080), "TS6": (1920, 1080)}


class MpiInf3dhp:
    """The sequences in `folder`; those of the training set as seen by `cameras`."""

    def __init__(self, folder: Path, *, cameras: Sequence[str] = VNECT_CAMERAS) -> None:
        self.folder = folder_of(folder)
        self.cameras = tuple(cameras)

    def sequences(self, split: Split = "test") -> Iterator[MultiViewSequence]:
        """See `Dataset.sequences`. The `action` is the name of the sequence: each holds several activities."""
        if split == "train":
            return found(self._train(), f"{self.folder} holds no S*/Seq*/annot.mat")
        return found(self._test(), f"{self.folder} holds no TS*/annot_data.mat")

    def _train(self) -> Iterator[MultiViewSequence]:
        for subject, counts in _FRAMES.items():
            for action, frames in zip(("Seq1", "Seq2"), counts, strict=True):
                folder = self.folder / subject / action
                if not (folder / "annot.mat").is_file():
                    continue
                rig = _read_rig(folder / "camera.calibration").subset(self.cameras)
                videos = {camera: folder / "imageSequence" / f"video_{camera}.avi" for camera in self.cameras}
                yield MultiViewSequence(
                    name=f"{subject} {action}",
                    subject=subject,
                    action=action,
                    rig=rig,
                    videos={
                        camera: path
                        for camera, path in videos.items()
                        if (subject, action, camera) not in DAMAGED and path.is_file()
                    },
                    skeleton=H36M17,
                    fps=25.0 if frames < 7000 else 50.0,
                    read=partial(_joints, folder / "annot.mat", rig.cameras[0], frames),
                )

    def _test(self) -> Iterator[MultiViewSequence]:
        root = self.folder / "mpi_inf_3dhp_test_set"
        for name, size in _TEST_SIZES.items():
            folder = (root if root.is_dir() else self.folder) / name
            path, images = folder / "annot_data.mat", folder / "imageSequence"
            if path.is_file():
                yield MultiViewSequence(
                    name=name,
                    subject=name,
                    action=name,
                    rig=Rig((_test_camera(path, size),)),
                    videos={"0": images} if images.is_dir() else {},
                    skeleton=H36M17,
                    fps=None,
                    read=partial(_test_joints, path),
                    first=1,
                )


def _read_rig(path: Path) -> Rig:
    """The cameras of a Skeletool calibration: lines of a key and numbers, a `name` begins a camera; mm."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()[1:] if line.strip()]
    except (OSError, ValueError) as error:
        raise CalibrationError(f"cannot read {path}: {error}", field="calibration") from None
    records: list[dict[str, list[str]]] = []
    for key, *values in lines:
        if key == "name":
            records.append({})
        elif not records:
            raise CalibrationError(f"{path} does not begin with the name of a camera", field="calibration.name")
        records[-1][key] = values
    return Rig(tuple(_camera(record) for record in records))


def _camera(record: dict[str, list[str]]) -> Camera:
    name = " ".join(record["name"])
    if numbers(record, "radial", name, 1).any():  # all are 0 in the release; nobody says what others would mean
        raise CalibrationError("a radial distortion is not supported", field="calibration.radial", camera=name)
    K = numbers(record, "intrinsic", name, 16).reshape(4, 4)[:3, :3]
    pose = numbers(record, "extrinsic", name, 16).reshape(4, 4)
    return camera_of(name, numbers(record, "size", name, 2), K, pose[:3, :3].ravel(), pose[:3, 3] * 1e-3, np.empty(0))


def _joints(path: Path, camera: Camera, frames: int) -> Array:
    """Joints `(1, T, 17, 3)` in the world of the first `frames` rows that are annotated for `camera`.

    A cell of `annot3` holds for one camera `(T, 84)` in mm in the camera's frame, and all say the same in the world.
    """
    io = reader("scipy.io")
    with reading(path):
        content = io.loadmat(path, variable_names=["annot3", "cameras"])
        names = [str(int(np.squeeze(name))) for name in np.ravel(content["cameras"])]
        if camera.name not in names:
            raise InvalidInput(f"{path} does not annotate this camera", field="joints", camera=camera.name)
        cell = np.ravel(content["annot3"])[names.index(camera.name)]
        local = np.asarray(cell, dtype=np.float64)[:frames].reshape(1, -1, 28, 3)
    return np.asarray((local[:, :, list(JOINTS)] * 1e-3 - camera.t) @ camera.R)  # R⁻¹ (x − t), for rows


def _test_arrays(path: Path) -> tuple[Array, Array]:
    """Keypoints `(T, 17, 2)` in pixels and joints `(T, 17, 3)` in mm in the camera's frame; NaN in invalid frames."""
    h5py = reader("h5py")
    with reading(path), h5py.File(path, "r") as file:
        valid = np.ravel(file["valid_frame"]) > 0
        keypoints = np.asarray(file["annot2"], dtype=np.float64).reshape(len(valid), 17, 2)
        joints = np.asarray(file["annot3"], dtype=np.float64).reshape(len(valid), 17, 3)
    keypoints[~valid], joints[~valid] = np.nan, np.nan
    return keypoints, joints


def _test_camera(path: Path, size: tuple[int, int]) -> Camera:
    """The one camera of a test sequence, in its own frame; the pinhole that its annotations agree on.

    The release calibrates it in another file and frame. Fitted so, the lens of TS5 and TS6 is left out.
    """
    keypoints, joints = _test_arrays(path)
    known = np.isfinite(keypoints).all(-1) & np.isfinite(joints).all(-1)
    if known.sum() < 2:
        raise InvalidInput(f"{path} annotates no valid frame", field="joints")
    plane, pixels = joints[known][:, :2] / joints[known][:, 2:], keypoints[known]
    K = np.eye(3)
    for axis in (0, 1):
        design = np.stack((plane[:, axis], np.ones(len(plane))), -1)
        K[axis, axis], K[axis, 2] = np.linalg.lstsq(design, pixels[:, axis], rcond=None)[0]
    return Camera("0", size, K, np.eye(3), np.zeros(3))


def _test_joints(path: Path) -> Array:
    return _test_arrays(path)[1][None, :, list(TEST_JOINTS)] * 1e-3
