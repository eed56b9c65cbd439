"""Rendered clips as they are read back, and what is said of folders that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.server.painted import STANDING, circle_rig

from synpose.calibration import write_calibration
from synpose.errors import InvalidInput
from synpose.skeleton import BODY27, COCO17
from synpose_server.rendered_clip import RenderedClip, read_clips

RIG = circle_rig(3)


def write(folder: Path, **changed: Any) -> Path:
    """A clip of two frames as the renderer leaves it, with `changed` arrays in its truth."""
    folder.mkdir()
    (folder / "calibration.json").write_text(write_calibration(RIG))
    for camera in RIG.names:
        (folder / f"{camera}.mp4").touch()
    truth = {
        "joints": np.stack([STANDING, STANDING + 1]),
        "visibility": np.arange(3 * 2 * 17).reshape(3, 2, 17) % 3,
        "names": np.array(COCO17.joints),
        "cameras": np.array(RIG.names),
        "fps": 30.0,
        "motion": "walk",
        "child": True,
    }
    np.savez(folder / "truth.npz", **{name: value for name, value in {**truth, **changed}.items() if value is not None})
    return folder


def test_a_clip_is_read_by_the_names_of_its_joints(tmp_path: Path) -> None:
    """Joints in any order become those of the widest skeleton; one that the file does not have is NaN and unseen."""
    order = np.random.default_rng(0).permutation(17)
    changed = {"joints": STANDING[None, order], "names": np.array(COCO17.joints)[order]}
    clip = RenderedClip.read(write(tmp_path / "a", **changed, visibility=np.full((3, 1, 17), 2)))
    assert np.array_equal(clip.joints[0, :17], STANDING)
    assert np.isnan(clip.joints[0, 17:]).all()
    assert (clip.visibility[..., :17] == 2).all()
    assert not clip.visibility[..., 17:].any()
    assert (clip.name, clip.motion, clip.child, clip.fps, len(BODY27)) == ("a", "walk", True, 30, clip.joints.shape[1])


def test_fewer_cameras_of_a_clip(tmp_path: Path) -> None:
    """A subset keeps the truth, and the rig, the videos and the visibility of its cameras, in their order."""
    clip = RenderedClip.read(write(tmp_path / "a"))
    some = clip.subset(("cam3", "cam1"))
    assert some.rig.names == tuple(some.videos) == ("cam3", "cam1")
    assert np.array_equal(some.visibility, clip.visibility[[2, 0]])
    assert some.joints is clip.joints


def test_people_of_a_clip_may_be_there_alone(tmp_path: Path) -> None:
    """Clips in `alone` are each person's, in the order of their numbers, and no clips of the folder's."""
    write(tmp_path / "a", others=np.stack([STANDING, STANDING])[None])
    (tmp_path / "a" / "alone").mkdir()
    for number in (0, 1):
        write(tmp_path / "a" / "alone" / str(number), motion=f"walk {number}")
    (clip,) = read_clips(tmp_path)
    assert [one.motion for one in clip.alone] == ["walk 0", "walk 1"]
    assert [one.rig.names for one in clip.subset(("cam2",)).alone] == [("cam2",)] * 2


def test_clips_come_by_name(tmp_path: Path) -> None:
    """Folders without truth are passed by; a folder without any clip is an error."""
    with pytest.raises(InvalidInput, match="no rendered clip"):
        read_clips(tmp_path)
    for name in ("b", "a"):
        write(tmp_path / name)
    (tmp_path / "c").mkdir()
    assert [clip.name for clip in read_clips(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"visibility": None}, "visibility"),
        ({"joints": np.zeros((2, 16, 3))}, r"\(2, 16, 3\) joints"),
        ({"visibility": np.zeros((2, 2, 17))}, r"\(2, 2, 17\) visibilities"),
        ({"names": np.array(["tail", *COCO17.joints[1:]])}, "tail"),
        ({"cameras": np.array(["cam1", "cam2", "cam9"])}, "cam9.mp4 is missing"),
        ({"motion": np.array([{}], dtype=object)}, "cannot be read"),
    ],
)
def test_what_is_no_clip_says_why(tmp_path: Path, changed: dict[str, Any], match: str) -> None:
    """A truth that does not fit together, or a missing video, is an error that names the folder and the reason."""
    with pytest.raises(InvalidInput, match=match) as caught:
        RenderedClip.read(write(tmp_path / "bad", **changed))
    assert "bad" in str(caught.value)
    assert caught.value.field == "clips"
