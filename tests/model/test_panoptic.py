"""CMU Panoptic, from a small folder in the layout of the Panoptic Toolbox."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from synpose.errors import CalibrationError, InvalidInput
from synpose.skeleton import COCO17, H36M17, HALPE26
from synpose_model.datasets.panoptic import CAMERAS, JOINTS, Panoptic

Array = NDArray[np.float64]

NAME = "160906_pizza1"


def write_scene(folder: Path, number: int, people: Mapping[int, Array]) -> None:
    """The annotation of frame `number`: `(19, 4)` of each id, centimetres and confidence."""
    bodies = [{"id": person, "joints19": joints.ravel().tolist()} for person, joints in people.items()]
    scenes = folder / "hdPose3d_stage1_coco19"
    scenes.mkdir(parents=True, exist_ok=True)
    (scenes / f"body3DScene_{number:08d}.json").write_text(json.dumps({"version": 0.7, "bodies": bodies}))


def write_calibration(folder: Path, nodes: int = 31) -> None:
    cameras = [
        {
            "name": f"00_{node:02d}", "type": "hd", "panel": 0, "node": node, "resolution": [1920, 1080],
            "K": [[1400 + node, 0, 960], [0, 1400, 540], [0, 0, 1]], "distCoef": [-0.2, 0.1, 0, 0, 0.01],
            "R": np.eye(3).tolist(), "t": [[10.0 * node], [0.0], [300.0]],
        }
        for node in range(nodes)
    ]  # fmt: skip
    (folder / f"calibration_{folder.name}.json").write_text(json.dumps({"calibDataSource": "x", "cameras": cameras}))


def person(seed: int) -> Array:
    """`(19, 4)` of one sure person."""
    return np.concatenate((np.random.default_rng(seed).uniform(-100, 100, (19, 3)), np.full((19, 1), 0.8)), -1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One sequence with nobody, two people and one of them in frames 168, 169 and 171."""
    sequence = tmp_path / NAME
    write_scene(sequence, 168, {})
    write_scene(sequence, 169, {4: person(1), 0: person(2)})
    write_scene(sequence, 171, {4: person(3)})
    write_calibration(sequence)
    return tmp_path


def test_people_are_followed_by_their_ids(folder: Path) -> None:
    """People come in the order of their ids, in metres, unknown where they or the frame have no annotation."""
    (sequence,) = Panoptic(folder).sequences()
    joints = sequence.joints
    assert (joints.shape, sequence.first) == ((2, 4, 26, 3), 168)
    assert joints[0, 1, JOINTS] == pytest.approx(person(2)[:, :3] / 100)
    assert joints[1, 1, JOINTS] == pytest.approx(person(1)[:, :3] / 100)
    assert joints[1, 3, JOINTS] == pytest.approx(person(3)[:, :3] / 100)
    known = np.isfinite(joints).all(-1).any(-1)
    assert known.tolist() == [[False, True, False, False], [False, True, False, True]]


def test_joints_are_named_as_halpe26(folder: Path) -> None:
    """The 19 joints find their names; head and feet stay unknown; other skeletons can be read off."""
    (sequence,) = Panoptic(folder).sequences()
    assert sequence.skeleton is HALPE26
    unknown = np.isnan(sequence.joints[0, 1]).any(-1)
    assert {HALPE26.joints[index] for index in np.flatnonzero(unknown)} == {"head"} | {
        f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")
    }
    assert [HALPE26.joints[index] for index in JOINTS[:4]] == ["neck", "nose", "pelvis", "left_shoulder"]
    assert HALPE26.joints[JOINTS[18]] == "right_ear"
    assert set(COCO17.joints) <= {HALPE26.joints[index] for index in JOINTS}
    assert set(H36M17.joints) - {HALPE26.joints[index] for index in JOINTS} == {"spine", "head"}


def test_unsure_joints_are_unknown(folder: Path) -> None:
    """A confidence of at most 0.1 is no truth; −1 means that it was never seen."""
    unsure = person(5)
    unsure[[0, 7], 3] = 0.1, -1
    unsure[3, 3] = 0.11
    write_scene(folder / NAME, 169, {0: unsure})
    joints = next(Panoptic(folder).sequences()).joints[0, 1]
    assert np.isnan(joints[[JOINTS[0], JOINTS[7]]]).all()
    assert np.isfinite(joints[JOINTS[3]]).all()


def test_nobody_is_no_error(folder: Path) -> None:
    """A sequence without people has no people."""
    for number in (169, 171):
        write_scene(folder / NAME, number, {})
    assert next(Panoptic(folder).sequences()).joints.shape == (0, 4, 26, 3)


def test_rig_and_videos(folder: Path) -> None:
    """The rig is the protocol's five HD cameras, in metres; a folder of images stands in for a missing video."""
    sequence = folder / NAME
    (sequence / "hdVideos").mkdir()
    for camera in ("00_03", "00_06", "00_07"):
        (sequence / "hdVideos" / f"hd_{camera}.mp4").touch()
    for camera in ("00_06", "00_12"):
        (sequence / "hdImgs" / camera).mkdir(parents=True)
    (found,) = Panoptic(folder).sequences()
    assert found.rig.names == CAMERAS
    assert found.rig["00_12"].t == pytest.approx((1.2, 0, 3))
    assert found.rig["00_12"].K[0, 0] == 1412
    assert found.videos == {
        "00_03": sequence / "hdVideos" / "hd_00_03.mp4",
        "00_06": sequence / "hdVideos" / "hd_00_06.mp4",
        "00_12": sequence / "hdImgs" / "00_12",
    }
    assert (found.name, found.action, found.fps) == (NAME, "pizza", 29.97)
    assert next(Panoptic(folder, cameras=("00_30", "00_00")).sequences()).rig.names == ("00_30", "00_00")


def test_splits(folder: Path) -> None:
    """A sequence is in the split that the protocol puts it in; others in the folder are passed over."""
    for name in ("160906_band2", "170407_office2"):
        write_scene(folder / name, 0, {})
        write_calibration(folder / name)
    assert [s.name for s in Panoptic(folder).sequences("train")] == ["160906_band2"]
    assert [s.name for s in Panoptic(folder).sequences("test")] == [NAME]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"bodies": [{"id": 0}]}', '{"bodies": [{"id": 0, "joints19": [1, 2]}]}', '{"bodies": 3}']
)
def test_broken_scenes(folder: Path, text: str) -> None:
    """An annotation that cannot be understood is an error that names its file, when the joints are asked for."""
    (folder / NAME / "hdPose3d_stage1_coco19" / "body3DScene_00000170.json").write_text(text)
    (sequence,) = Panoptic(folder).sequences()
    with pytest.raises(InvalidInput, match="body3DScene_00000170"):
        _ = sequence.joints


def test_missing_calibrations(folder: Path) -> None:
    """A sequence without its calibration, or whose calibration lacks a camera, is an error."""
    write_calibration(folder / NAME, nodes=20)
    with pytest.raises(CalibrationError, match="no such camera"):
        next(Panoptic(folder).sequences())
    (folder / NAME / f"calibration_{NAME}.json").unlink()
    with pytest.raises(CalibrationError, match="cannot read"):
        next(Panoptic(folder).sequences())


def test_no_data(tmp_path: Path) -> None:
    """A folder without sequences of the split is an error."""
    with pytest.raises(InvalidInput, match="160906_pizza1"):
        next(Panoptic(tmp_path).sequences())
