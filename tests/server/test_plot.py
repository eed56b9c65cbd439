"""The picture of an answer in space."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, circle_rig

from synpose.pose import Frame, ModelInfo, Person, PoseHeader, PoseSequence
from synpose.skeleton import COCO17
from synpose_server.plot import write_plot

pytest.importorskip("matplotlib")

GREEN, ORANGE = (0x2A, 0x9D, 0x4E), (0xE4, 0x70, 0x1E)  # left and right, as drawn at full strength
BLUE = (0x33, 0x66, 0xAA)  # cameras


def walk(frames: int) -> list[NDArray[np.float64]]:
    return [STANDING + (0.05 * t, 0, 0) for t in range(frames)]


def plotted(path: Path, poses: list[NDArray[np.float64] | None]) -> NDArray[np.uint8]:
    """The picture of one person's `poses` (None: nobody), RGB."""
    frames = tuple(
        Frame(t, t / 30, () if pose is None else (Person(0, 0.9, pose, np.full(17, 0.01), ("cam1", "cam2")),))
        for t, pose in enumerate(poses)
    )
    write_plot(path, circle_rig(4), PoseSequence(PoseHeader(ModelInfo("painted", "1"), COCO17, 30.0), frames))
    picture = cv2.imread(str(path))
    assert picture is not None
    return np.asarray(picture[..., ::-1], dtype=np.uint8)


def count(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    """Pixels of about this colour."""
    return int((np.abs(picture.astype(int) - colour).max(-1) < 12).sum())


def test_a_walk_is_drawn(tmp_path: Path) -> None:
    """The PNG has a person, left in green and right in orange, and cameras in blue."""
    picture = plotted(tmp_path / "pose.png", [*walk(12)])
    assert picture.shape[0] > 500
    assert picture.shape[1] > 1000
    assert count(picture, GREEN) > 300
    assert count(picture, ORANGE) > 300
    assert count(picture, BLUE) > 100


def test_gaps_are_left_out(tmp_path: Path) -> None:
    """Instants without the person, unknown joints and a clip of a single frame are drawn without complaint."""
    gaps: list[NDArray[np.float64] | None] = [*walk(6)]
    gaps[0] = gaps[3] = None
    unknown = STANDING.copy()
    unknown[9] = np.nan
    gaps[5] = unknown
    assert count(plotted(tmp_path / "gaps.png", gaps), GREEN) > 300
    assert count(plotted(tmp_path / "one.png", [STANDING]), GREEN) > 300


def test_nobody_is_an_empty_room(tmp_path: Path) -> None:
    """An answer without people is a picture of the cameras, not an error."""
    picture = plotted(tmp_path / "pose.png", [None] * 3)
    assert count(picture, GREEN) == 0
    assert count(picture, BLUE) > 100


@pytest.mark.parametrize("poses", [[], [None]])
def test_an_answer_without_frames_or_people_is_a_picture(
    poses: list[NDArray[np.float64] | None], tmp_path: Path
) -> None:
    """Nothing to draw but the cameras is no error."""
    assert count(plotted(tmp_path / "pose.png", poses), BLUE) > 100
