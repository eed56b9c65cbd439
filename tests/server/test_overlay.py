"""The overlay video: every view of every frame, with the answer drawn where it projects."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from tests.server.painted import SIZE, STANDING, circle_rig

from synpose.pose import Frame, ModelInfo, Person, PoseHeader, PoseSequence
from synpose.rig import Rig
from synpose.skeleton import COCO17
from synpose_server.overlay import write_overlay
from synpose_server.settings import Settings
from synpose_server.sources import Source

GREY = 120
HEIGHT = 640  # of a view in the overlay
WIDTH = 854
LEFT, RIGHT = (80, 220, 100), (255, 120, 40)
RIG = circle_rig(3)
KNEES = COCO17.joints.index("left_knee"), COCO17.joints.index("right_knee")
PICTURE = cv2.imencode(".png", np.full((SIZE[1], SIZE[0], 3), GREY, np.uint8))[1].tobytes()


def answer(frames: int, joints: NDArray[np.float64] = STANDING, views: tuple[str, ...] = RIG.names) -> PoseSequence:
    """One person who stands still, seen by `views`."""
    header = PoseHeader(ModelInfo("painted", "1"), COCO17, 25.0)
    person = Person(0, 0.9, joints, np.full(17, 0.01), views)
    return PoseSequence(header, tuple(Frame(t, t / 25, (person,)) for t in range(frames)))


def drawn(path: Path, sequence: PoseSequence, images: int, rig: Rig = RIG) -> list[NDArray[np.uint8]]:
    """The frames of the overlay of `sequence` on `images` grey pictures a camera, RGB."""
    write_overlay(path, rig, {name: [PICTURE] * images for name in rig.names}, sequence, Settings())
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 25
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def at(view: int, point: NDArray[np.float64]) -> tuple[int, int]:
    """Row and column in the overlay of a world point in a view."""
    x, y = (RIG.cameras[view].project(point) + 0.5) * HEIGHT / SIZE[1] - 0.5
    return round(y), round(x) + view * WIDTH


def test_every_frame_is_drawn_in_every_view(tmp_path: Path) -> None:
    """The overlay has the frames of the answer, all views side by side, and the knees in their colours in each."""
    frames = drawn(tmp_path / "overlay.mp4", answer(4), 4)
    assert len(frames) == 4
    for frame in frames:
        assert frame.shape == (HEIGHT, 3 * WIDTH, 3)
        for view in range(3):
            for knee, colour in zip(KNEES, (LEFT, RIGHT), strict=True):
                pixel = frame[at(view, STANDING[knee])].astype(float)
                assert np.abs(pixel - colour).max() < 60, (view, pixel)  # thin lines lose colour in 4:2:0
                assert np.ptp(pixel) > 60
            beside = frame[at(view, STANDING[KNEES[0]] + (0, 1, 0))].astype(float)
            assert np.abs(beside - GREY).max() < 10


def test_the_shorter_of_answer_and_videos_ends_the_overlay(tmp_path: Path) -> None:
    """An answer cut short gives a short overlay; a video that is shorter than its answer is no error."""
    assert len(drawn(tmp_path / "a.mp4", answer(2), 5)) == 2
    assert len(drawn(tmp_path / "b.mp4", answer(5), 3)) == 3


def test_views_that_were_not_used_are_dim(tmp_path: Path) -> None:
    """A view that did not help is half as bright, and still shows where the person would be."""
    (frame,) = drawn(tmp_path / "overlay.mp4", answer(1, views=("cam1", "cam3")), 1)
    corners = [float(frame[-20, view * WIDTH + 20].mean()) for view in range(3)]
    assert np.abs(np.array(corners) - (GREY, GREY / 2, GREY)).max() < 10
    pixel = frame[at(1, STANDING[KNEES[0]])].astype(float)
    assert np.abs(pixel - LEFT).max() < 60


def test_unknown_joints_are_not_drawn(tmp_path: Path) -> None:
    """A bone with an unknown end, or with one that projects to nowhere near, is left out; the others are drawn."""
    joints = STANDING.copy()
    joints[KNEES[0]] = np.nan
    joints[COCO17.joints.index("nose")] = RIG.cameras[0].center + (0, 0, 1)
    (frame,) = drawn(tmp_path / "overlay.mp4", answer(1, joints), 1)
    assert np.ptp(frame[at(0, STANDING[KNEES[0]])].astype(int)) < 30
    pixel = frame[at(0, STANDING[KNEES[1]])].astype(float)
    assert np.abs(pixel - RIGHT).max() < 60


def test_missing_images_are_black(tmp_path: Path) -> None:
    """A camera without an image shows black with the pose on it, and keeps its place."""
    path = tmp_path / "overlay.mp4"
    sources: dict[str, Source] = {"cam1": [PICTURE] * 2, "cam2": [PICTURE, None], "cam3": [PICTURE] * 2}
    write_overlay(path, RIG, sources, answer(2), Settings())
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [float(frame[-20, WIDTH + 20].mean()) > 100 for frame in frames] == [True, False]
    assert np.abs(frames[1][at(1, STANDING[KNEES[0]])].astype(float) - LEFT).max() < 60
