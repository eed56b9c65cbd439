"""MPI-INF-3DHP, from a small folder in the layout of the release."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from synpose.errors import CalibrationError, InvalidInput
from synpose.rig import Camera
from synpose.skeleton import H36M17
from synpose_model.datasets.mpi_inf_3dhp import (
    CHEST_CAMERAS,
    JOINTS,
    PCK_JOINTS,
    TEST_JOINTS,
    VNECT_CAMERAS,
    MpiInf3dhp,
)

Array = NDArray[np.float64]

TRAIN_NAMES = (
    "spine3", "spine4", "spine2", "spine", "pelvis", "neck",
    "head", "head_top", "left_clavicle", "left_shoulder", "left_elbow", "left_wrist",
    "left_hand", "right_clavicle", "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot", "left_toe", "right_hip",
    "right_knee", "right_ankle", "right_foot", "right_toe",
)  # fmt: skip
TEST_NAMES = (
    "head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "pelvis", "spine",
    "head",
)  # fmt: skip
OTHER_NAME = {"nose": "head", "head": "head_top"}  # ours: theirs

RANDOM = np.random.default_rng(4)
TRUTH = RANDOM.uniform(-1, 1, (5, 28, 3)) + (0, 0, 3)  # metres, world
CAMERAS = [
    Camera(
        str(index),
        (2048, 2048),
        ((1500 + index, 0, 1024), (0, 1500, 1050), (0, 0, 1)),
        Rotation.random(rng=RANDOM).as_matrix(),
        RANDOM.uniform(-2, 2, 3),
    )
    for index in range(14)
]


def write_calibration(path: Path, radial: str = "0") -> None:
    text = "Skeletool Camera Calibration File V1.0\n"
    for camera in CAMERAS:
        K, pose = np.eye(4), np.eye(4)
        K[:3, :3], pose[:3, :3], pose[:3, 3] = camera.K, camera.R, camera.t * 1000
        text += f"name          {camera.name}\n  sensor      10 10\n  size        2048 2048\n  animated    0\n"
        text += f"  intrinsic   {' '.join(map(str, K.ravel()))} \n  extrinsic   {' '.join(map(str, pose.ravel()))} \n"
        text += f"  radial      {radial}\n"
    path.write_text(text)


def write_annotations(path: Path, order: list[int], frames: int | None = None) -> None:
    """`annot.mat` with a cell for each camera of `order`, in mm in that camera's frame."""
    cells = np.empty((len(order), 1), dtype=object)
    for row, index in enumerate(order):
        cells[row, 0] = CAMERAS[index].to_camera(TRUTH).reshape(len(TRUTH), 84)[:frames] * 1000
    scipy.io.savemat(path, {"annot3": cells, "cameras": np.array([order]), "frames": np.arange(len(TRUTH))[:, None]})


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """S1 Seq1, S1 Seq2 and S6 Seq2 with videos of all cameras but the ceiling's."""
    for name in ("S1/Seq1", "S1/Seq2", "S6/Seq2"):
        folder = tmp_path / name
        (folder / "imageSequence").mkdir(parents=True)
        write_calibration(folder / "camera.calibration")
        write_annotations(folder / "annot.mat", list(range(14)))
        for camera in range(11):
            (folder / "imageSequence" / f"video_{camera}.avi").touch()
    return tmp_path


def test_joints_of_every_camera_are_one_world(train: Path) -> None:
    """Whatever camera's annotations are read, in whatever order they lie, the world is the same, in metres."""
    truth = TRUTH[None][:, :, JOINTS]
    for cameras in (("0",), ("7", "2"), CHEST_CAMERAS):
        sequence = next(MpiInf3dhp(train, cameras=cameras).sequences("train"))
        assert sequence.joints == pytest.approx(truth, abs=1e-9)
    write_annotations(train / "S1" / "Seq1" / "annot.mat", [9, 4, 7])
    assert next(MpiInf3dhp(train, cameras=("7", "2")).sequences("train")).joints == pytest.approx(truth, abs=1e-9)


def test_joints_are_those_of_h36m17() -> None:
    """Both sets' joints are named as ours, but for the head, which stands for the nose, and its top."""
    wanted = [OTHER_NAME.get(name, name) for name in H36M17.joints]
    assert [TRAIN_NAMES[index] for index in JOINTS] == wanted
    assert [TEST_NAMES[index] for index in TEST_JOINTS] == wanted
    assert {H36M17.joints[index] for index in PCK_JOINTS} == set(H36M17.joints) - {"pelvis", "spine", "nose"}


def test_rig_and_videos(train: Path) -> None:
    """The rig is the chosen cameras in metres; a video that is missing or known to be too short is left out."""
    (train / "S1" / "Seq1" / "imageSequence" / "video_4.avi").unlink()
    first, second, third = MpiInf3dhp(train).sequences("train")
    assert first.rig.names == second.rig.names == VNECT_CAMERAS
    camera = first.rig["5"]
    assert np.allclose(camera.K, CAMERAS[5].K)
    assert np.allclose(camera.R, CAMERAS[5].R)
    assert camera.t == pytest.approx(CAMERAS[5].t)
    assert camera.size == (2048, 2048)
    assert list(first.videos) == ["0", "1", "2", "5", "6", "7", "8"]
    assert second.videos["8"] == train / "S1" / "Seq2" / "imageSequence" / "video_8.avi"
    assert list(third.videos) == ["0", "1", "4", "5", "6", "7", "8"]
    assert [(s.name, s.subject, s.action, s.fps, s.first) for s in (first, second, third)] == [
        ("S1 Seq1", "S1", "Seq1", 25, 0),
        ("S1 Seq2", "S1", "Seq2", 50, 0),
        ("S6 Seq2", "S6", "Seq2", 25, 0),
    ]


def test_annotations_beyond_the_video_are_left_out(train: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only as many rows are read as the release says that the video has frames."""
    monkeypatch.setattr("synpose_model.datasets.mpi_inf_3dhp._FRAMES", {"S1": (3, 12430)})
    assert [s.joints.shape for s in MpiInf3dhp(train).sequences("train")] == [(1, 3, 17, 3), (1, 5, 17, 3)]


def test_annotations_wait_until_they_are_asked_for(train: Path) -> None:
    """A broken annotation, or one without the camera, hurts only who reads it; the error names the file."""
    path = train / "S1" / "Seq1" / "annot.mat"
    path.write_bytes(b"no matrix")
    sequence = next(MpiInf3dhp(train).sequences("train"))
    with pytest.raises(InvalidInput, match=r"annot\.mat"):
        _ = sequence.joints
    write_annotations(path, [5, 6])
    with pytest.raises(InvalidInput, match="does not annotate") as error:
        _ = sequence.joints
    assert error.value.camera == "0"


def test_broken_calibrations(train: Path) -> None:
    """A distortion that nobody explains, a missing file and one that is something else are errors."""
    path = train / "S1" / "Seq1" / "camera.calibration"
    write_calibration(path, radial="1")
    with pytest.raises(CalibrationError, match="radial"):
        next(MpiInf3dhp(train).sequences("train"))
    path.write_text("Skeletool\nsize 1 1\n")
    with pytest.raises(CalibrationError, match="name of a camera"):
        next(MpiInf3dhp(train).sequences("train"))
    path.unlink()
    with pytest.raises(CalibrationError, match="cannot read"):
        next(MpiInf3dhp(train).sequences("train"))


def write_test_annotations(path: Path, joints: Array, keypoints: Array, valid: Array) -> None:
    """`annot_data.mat` as MATLAB's version 7.3 stores `(3, 17, 1, T)`: HDF5 with the axes turned round."""
    h5py = pytest.importorskip("h5py", reason="the extra `datasets` is not installed")
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        file["annot2"], file["annot3"] = keypoints[:, None], joints[:, None] * 1000
        file["univ_annot3"], file["valid_frame"] = joints[:, None] * 900, valid[:, None]


@pytest.mark.parametrize("root", [".", "mpi_inf_3dhp_test_set"])
def test_test_set(tmp_path: Path, root: str) -> None:
    """One camera in its own frame, whose pinhole is found again; invalid frames are unknown; images count from 1."""
    camera = Camera("0", (1920, 1080), ((1680, 0, 940), (0, 1670, 550), (0, 0, 1)), np.eye(3), (0, 0, 0))
    joints = TRUTH[:, :17]
    path = tmp_path / root / "TS5" / "annot_data.mat"
    write_test_annotations(path, joints, camera.project(joints), np.array((1.0, 0, 1, 1, 0)))
    (path.parent / "imageSequence").mkdir()
    (sequence,) = MpiInf3dhp(tmp_path).sequences("test")
    assert (sequence.name, sequence.fps, sequence.first) == ("TS5", None, 1)
    assert np.allclose(sequence.rig["0"].K, camera.K)
    assert sequence.rig["0"].size == (1920, 1080)
    assert sequence.videos == {"0": path.parent / "imageSequence"}
    assert sequence.joints[0, [0, 2, 3]] == pytest.approx(joints[[0, 2, 3]][:, TEST_JOINTS])
    assert np.isnan(sequence.joints[0, [1, 4]]).all()


def test_test_set_without_truth(tmp_path: Path) -> None:
    """A sequence without a valid frame, and a file that is no HDF5, are errors."""
    path = tmp_path / "TS1" / "annot_data.mat"
    write_test_annotations(path, TRUTH[:, :17], TRUTH[:, :17, :2], np.zeros(5))
    with pytest.raises(InvalidInput, match="no valid frame"):
        next(MpiInf3dhp(tmp_path).sequences())
    path.write_bytes(b"no HDF5")
    with pytest.raises(InvalidInput, match="cannot read"):
        next(MpiInf3dhp(tmp_path).sequences())


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_data(tmp_path: Path, split: str) -> None:
    """A folder without the split's files is an error."""
    with pytest.raises(InvalidInput, match="holds no"):
        next(MpiInf3dhp(tmp_path).sequences("train" if split == "train" else "test"))
