"""Human3.6M, from a small folder in the layout of the release."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from synpose.errors import CalibrationError, InvalidInput, ServerError
from synpose.skeleton import H36M17
from synpose_model.datasets.human36m import CAMERAS, JOINTS, Human36M

Array = NDArray[np.float64]

RANDOM = np.random.default_rng(3)
ANGLES = RANDOM.uniform(-3, 3, (4, 11, 3))
CENTERS = RANDOM.uniform(-5000, 5000, (4, 11, 3))  # mm
LENSES = np.array([(1140 + c, 1150 + c, 510 + c, 500 + c, -0.2, 0.25, -0.003, -0.001, 0.002) for c in range(4)])


def write_metadata(path: Path, count: int = 300) -> None:
    numbers = [*np.concatenate((ANGLES, CENTERS), -1).ravel(), *LENSES.ravel()][:count]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<metadata><mapping/><w0>[{' '.join(map(repr, map(float, numbers)))}]</w0></metadata>")


def write_pose(path: Path, pose: Array) -> None:
    """A file of the release: `Pose` `(1, T, 96)` in mm."""
    cdf = pytest.importorskip("cdflib.cdfwrite", reason="the extra `datasets` is not installed").CDF(path)
    spec = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": list(pose.shape[1:])}
    cdf.write_var(spec, var_data=pose.astype(np.float32))
    cdf.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """S1, S9 and S11 without content, and with every video of theirs."""
    write_metadata(tmp_path / "metadata.xml")
    files = {
        "S1": ["TakingPhoto 1"],
        "S9": ["Greeting", "Greeting 1", "WalkDog"],
        "S11": ["Directions", "WalkingDog 1"],
    }
    for subject, names in files.items():
        poses, videos = tmp_path / subject / "MyPoseFeatures" / "D3_Positions", tmp_path / subject / "Videos"
        poses.mkdir(parents=True)
        videos.mkdir()
        for name in names:
            (poses / f"{name}.cdf").touch()
            for camera in CAMERAS:
                (videos / f"{name}.{camera}.mp4").touch()
        (videos / f"_ALL.{camera}.mp4").touch()
    return tmp_path


def test_splits_by_subject(folder: Path) -> None:
    """Train and test have their own subjects; an action has one name whatever its files are called."""
    dataset = Human36M(folder)
    assert [(s.name, s.subject, s.action) for s in dataset.sequences("train")] == [("S1 TakingPhoto 1", "S1", "Photo")]
    assert [(s.name, s.action) for s in dataset.sequences("test")] == [
        ("S9 Greeting", "Greeting"),
        ("S9 Greeting 1", "Greeting"),
        ("S9 WalkDog", "WalkDog"),
        ("S11 Directions", "Directions"),
        ("S11 WalkingDog 1", "WalkDog"),
    ]
    assert {s.fps for s in dataset.sequences()} == {50}
    assert all(s.skeleton is H36M17 for s in dataset.sequences())


def test_videos_are_those_on_disk_and_whole(folder: Path) -> None:
    """Each camera has its own file, except the one that is known to be damaged and one that was not downloaded."""
    (folder / "S9" / "Videos" / "WalkDog.58860488.mp4").unlink()
    videos = {s.name: s.videos for s in Human36M(folder).sequences()}
    assert list(videos["S9 Greeting"]) == list(CAMERAS)
    assert videos["S9 Greeting 1"]["55011271"] == folder / "S9" / "Videos" / "Greeting 1.55011271.mp4"
    assert list(videos["S9 WalkDog"]) == ["54138969", "55011271", "60457274"]
    assert list(videos["S11 Directions"]) == ["55011271", "58860488", "60457274"]
    assert len(videos["S11 WalkingDog 1"]) == 4


def test_misplaced_sequences_can_be_left_out(folder: Path) -> None:
    """Of S9, Greeting is known to be beside the person; Greeting 1 is not."""
    names = [s.name for s in Human36M(folder, misplaced=False).sequences()]
    assert names == ["S9 Greeting 1", "S9 WalkDog", "S11 Directions", "S11 WalkingDog 1"]


@pytest.mark.parametrize(("subject", "row"), [("S9", 8), ("S11", 10)])
def test_rig_is_that_of_the_subject(folder: Path, subject: str, row: int) -> None:
    """Each camera stands at its given centre, turned by x, then y, then z about its own axes, with its own lens."""
    rig = next(s for s in Human36M(folder).sequences() if s.subject == subject).rig
    assert rig.names == tuple(CAMERAS)
    for index, camera in enumerate(rig):
        fx, fy, cx, cy, k1, k2, k3, p1, p2 = LENSES[index]
        assert camera.center == pytest.approx(CENTERS[index, row] / 1000)
        assert np.allclose(camera.R, Rotation.from_euler("XYZ", ANGLES[index, row]).as_matrix())
        assert np.allclose(camera.K, np.array(((fx, 0, cx), (0, fy, cy), (0, 0, 1))))
        assert camera.distortion == pytest.approx(np.array((k1, k2, p1, p2, k3)))
    assert [camera.size for camera in rig] == [(1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002)]


def test_metadata_may_lie_in_its_release(folder: Path) -> None:
    """`Release-v1.2/metadata.xml` is found, too, and only looked for when a sequence is asked for."""
    (folder / "metadata.xml").rename(folder / "kept.xml")
    dataset = Human36M(folder)
    with pytest.raises(CalibrationError, match=r"metadata\.xml"):
        next(dataset.sequences())
    write_metadata(folder / "Release-v1.2" / "metadata.xml")
    assert len(next(dataset.sequences()).rig) == 4


@pytest.mark.parametrize("count", [0, 299])
def test_metadata_must_hold_300_numbers(folder: Path, count: int) -> None:
    """Too few numbers are an error that names the element."""
    write_metadata(folder / "metadata.xml", count)
    with pytest.raises(CalibrationError, match=r"w0") as error:
        next(Human36M(folder).sequences())
    assert error.value.field == "calibration.w0"


def test_joints_are_seventeen_of_32_in_metres(folder: Path) -> None:
    """The one person's joints come in the order of `H36M17`, which names them as the release's skeleton does."""
    pose = np.arange(5 * 32 * 3, dtype=np.float64).reshape(1, 5, 96)
    path = folder / "S9" / "MyPoseFeatures" / "D3_Positions" / "WalkDog.cdf"
    path.unlink()
    write_pose(path, pose)
    sequence = next(s for s in Human36M(folder).sequences() if s.name == "S9 WalkDog")
    assert sequence.joints == pytest.approx(pose.reshape(1, 5, 32, 3)[:, :, JOINTS] / 1000)
    assert sequence.joints is sequence.joints  # read once
    release = {0: "pelvis", 1: "right_hip", 7: "left_knee", 12: "spine", 17: "left_shoulder", 27: "right_wrist"}
    assert {at: H36M17.joints[JOINTS.index(at)] for at in release} == release


def test_broken_joints(folder: Path) -> None:
    """An empty file and one of other joints are errors that name the file, when the joints are asked for."""
    pytest.importorskip("cdflib", reason="the extra `datasets` is not installed")
    path = folder / "S1" / "MyPoseFeatures" / "D3_Positions" / "TakingPhoto 1.cdf"
    sequence = next(Human36M(folder).sequences("train"))
    with pytest.raises(InvalidInput, match=re.escape(str(path))):
        _ = sequence.joints
    path.unlink()
    write_pose(path, np.zeros((1, 5, 51)))
    with pytest.raises(InvalidInput, match="32 joints, not 51"):
        _ = sequence.joints


def test_missing_reader_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cdflib the joints cannot be read, and the error says what to install."""
    monkeypatch.setattr("sys.path", [])
    monkeypatch.delitem(sys.modules, "cdflib", raising=False)
    with pytest.raises(ServerError, match=r"cdflib is not installed: pip install 'synpose\[datasets\]'"):
        _ = next(Human36M(folder).sequences()).joints


def test_no_data(tmp_path: Path) -> None:
    """A folder that is not there, and one without the subjects of the split, are errors."""
    with pytest.raises(InvalidInput, match="there is no folder"):
        Human36M(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="S9, S11"):
        next(Human36M(tmp_path).sequences())
