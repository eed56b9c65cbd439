"""The picture of an answer."""

from __future__ import annotations

import io

import numpy as np
import pytest

from synpose.errors import InvalidInput, NotFound
from synpose.pose import Frame, ModelInfo, Person, PoseHeader, PoseSequence
from synpose.skeleton import COCO17

pytest.importorskip("matplotlib")
HEADER = PoseHeader(ModelInfo("testing", "1"), COCO17, 10.0)


def sequence(frames: int) -> PoseSequence:
    rng = np.random.default_rng(0)
    people = [Person(2, 0.9, rng.normal(size=(17, 3)), np.full(17, 0.02), ("a",)) for _ in range(frames)]
    return PoseSequence(HEADER, tuple(Frame(t, t / 10, (person,)) for t, person in enumerate(people)))


def test_a_picture_shows_the_joints_and_the_angles() -> None:
    """The frame's joints are drawn upright, and a curve for each side of knee, hip and elbow."""
    poses = sequence(5)
    figure = poses.plot(frame=3)
    people, *curves = figure.axes
    assert people.get_title() == "frame 3 (0.30 s), metres"
    assert len(people.lines) == len(COCO17.bones)
    assert [len(axes.lines) for axes in curves] == [2, 2, 2]
    curve = np.asarray(curves[0].lines[0].get_ydata(), dtype=np.float64)
    np.testing.assert_allclose(curve, poses.angles()["left_knee_flexion"])
    file = io.BytesIO()
    figure.savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")


def test_a_picture_of_nobody() -> None:
    """An empty answer is no error; a frame or person that is not there is."""
    assert sequence(0).plot().axes
    with pytest.raises(InvalidInput, match="no frame 5; there are 5"):
        sequence(5).plot(frame=5)
    with pytest.raises(NotFound, match="no person 7; there are 2"):
        sequence(5).plot(person=7)
