"""The still of an answer is drawn whatever the answer holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synpose.pose import Frame, ModelInfo, Person, PoseHeader, PoseSequence
from synpose.rig import Camera, Rig
from synpose.skeleton import COCO17
from synpose_server.plot import write_plot

pytest.importorskip("matplotlib")

K = [[50, 0, 32], [0, 50, 24], [0, 0, 1]]
RIG = Rig(tuple(Camera(name, (64, 48), K, np.eye(3), [x, 0, 4]) for name, x in (("cam01", -1), ("cam02", 1))))
JOINTS = np.random.default_rng(0).normal(size=(17, 3))
SOMEBODY = Person(0, 0.9, JOINTS, np.full(17, 0.02), ("cam01", "cam02"))


@pytest.mark.parametrize("people", [(), (SOMEBODY,)])
@pytest.mark.parametrize("frames", [0, 1, 3])
def test_every_answer_can_be_drawn(frames: int, people: tuple[Person, ...], tmp_path: Path) -> None:
    """Answers without a person, or without a frame, are pictures too."""
    path = tmp_path / "pose.png"
    header = PoseHeader(ModelInfo("fake", "7"), COCO17, 30.0)
    sequence = PoseSequence(header, tuple(Frame(index, index / 30, people, ()) for index in range(frames)))
    write_plot(path, RIG, sequence)
    assert path.read_bytes().startswith(b"\x89PNG")
