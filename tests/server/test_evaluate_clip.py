"""Measuring a clip: which estimates are made, and what of which is compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, circle_rig

from synpose.errors import InvalidInput
from synpose.options import Options
from synpose.pose import Frame, ModelInfo, Person, PoseHeader
from synpose.rig import Rig
from synpose.skeleton import COCO17
from synpose_server.evaluate_clip import evaluate_clip
from synpose_server.sources import Source
from synpose_server.synchronise import skips

Array = NDArray[np.float64]

FRAMES = 3
STEP = np.array((0.05, 0, 0))  # from frame to frame
AWAY = np.array((2.0, 0, 0))
PIXELS = np.array((3.0, 4.0))


class Estimation(SimpleNamespace):
    """As `Engine.estimate` gives it: frames, and the people of the last one; the first is of `instant`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        for t in range(self.count):
            self.people = self.seen(self.instant + t)
            people = tuple(Person(p.id, 1.0, p.joints, p.sigma, self.rig.names) for p in self.people)
            yield Frame(t, t / 30, people)


@dataclass
class Engine:
    """Sees someone where they are, 1 cm off in x for each camera that is missing, and a bystander first.

    Keypoints are exact when nothing is told, and `PIXELS` off otherwise. Each camera films `FRAMES` instants, or up
    to that of `ends`, from 0 on or as many instants later as `late` says, and then they walk.
    """

    rig: Rig
    expects: bool = False
    nobody: bool = False
    late: Mapping[str, int] = field(default_factory=dict)
    ends: Mapping[str, int] = field(default_factory=dict)
    made: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)

    def model(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(expects=self.expects, skeleton=COCO17)

    def estimate(self, rig: Rig, sources: Mapping[str, object], options: Options, *, told: bool = True) -> Estimation:
        rig = rig.subset(tuple(sources))
        self.made.append((rig.names, told))
        off = 0.01 * (len(self.rig) - len(rig)) * np.array((1.0, 0, 0))

        def seen(instant: int) -> list[SimpleNamespace]:
            walked = instant * STEP * bool(self.late)
            if self.nobody:
                return []
            if len(rig) == len(self.rig):
                return [self._seen(rig, off, walked, told, 7)]
            # elsewhere people have other ids and another order
            return [self._seen(rig, AWAY, walked, told, 7), self._seen(rig, off, walked, told, 8)]

        instant = min(self.late.get(name, 0) + skip for name, skip in skips(rig.names, options.offsets).items())
        count = min(self.ends.get(name, FRAMES) for name in rig.names) - instant
        header = PoseHeader(ModelInfo("default", "1"), COCO17, 30.0)
        return Estimation(rig=rig, header=header, count=count, instant=instant, people=[], seen=seen)

    def _seen(self, rig: Rig, off: Array, walked: Array, told: bool, id: int) -> SimpleNamespace:
        joints = STANDING + walked + off
        pixels = np.stack([camera.project(STANDING + walked) for camera in rig]) + told * PIXELS
        keypoints = np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], -1)
        return SimpleNamespace(id=id, joints=joints, sigma=np.full(17, 0.02), keypoints=keypoints)


def sources(rig: Rig) -> dict[str, Source]:
    return dict.fromkeys(rig.names, Path("video"))


def test_fewer_cameras_are_estimated_by_themselves() -> None:
    """Each camera is left out once and every subset is estimated, none of them twice; people are found again."""
    engine = Engine(circle_rig(4))
    progress: list[tuple[int, int | None]] = []
    sequence, report = evaluate_clip(
        engine,  # type: ignore[arg-type]
        engine.rig,
        sources(engine.rig),
        Options(),
        lambda done, total: progress.append((done, total)),
    )
    assert len(engine.made) == len(set(engine.made)) == 1 + 4 + 6
    assert sorted(len(cameras) for cameras, _ in engine.made) == [2] * 6 + [3] * 4 + [4]
    assert progress == [(n + 1, 11 * FRAMES) for n in range(11 * FRAMES)]
    assert (report.frames, report.people, report.missing, len(sequence.frames)) == (FRAMES, 1, 0, FRAMES)
    assert report.subsets == pytest.approx({2: 20.0, 3: 10.0})
    assert report.mean_sigma == pytest.approx(20)


@pytest.mark.parametrize("expects", [False, True])
def test_a_held_out_camera_speaks_for_itself(expects: bool) -> None:
    """Its keypoints are those of the answer, or, where the network is told what to expect, of an estimate untold."""
    engine = Engine(circle_rig(3), expects)
    _, report = evaluate_clip(engine, engine.rig, sources(engine.rig), Options())  # type: ignore[arg-type]
    assert [cameras for cameras, told in engine.made if not told] == [engine.rig.names] * expects
    limbs = list(COCO17.limb_joints)
    for camera in engine.rig:
        shift = camera.project(STANDING + (0.01, 0, 0))[limbs] - camera.project(STANDING)[limbs]
        expected = np.linalg.norm(shift - (0 if expects else PIXELS), axis=-1).mean()
        assert report.held_out[camera.name][0] == pytest.approx(expected)


def test_cameras_that_did_not_start_together_are_compared_at_one_instant() -> None:
    """What fewer cameras see before the last one started, or after the first one ended, is compared with nothing."""
    late, ends = {"cam2": 2, "cam3": 1}, {"cam1": 6, "cam2": 6, "cam3": 5}
    engine = Engine(circle_rig(3), expects=True, late=late, ends=ends)
    offsets = {"cam2": -2.4, "cam3": -0.7}  # of two cameras alone these would be rounded otherwise
    _, report = evaluate_clip(engine, engine.rig, sources(engine.rig), Options(offsets=offsets))  # type: ignore[arg-type]
    assert report.frames == 3
    assert report.subsets == pytest.approx({2: 10.0})
    assert 0 < report.held_out_mean[1] < 11


def test_of_many_subsets_ten_are_estimated() -> None:
    """Eight cameras have 28 pairs and 56 triples; without sizes only each camera is left out."""
    engine = Engine(circle_rig(8))
    evaluate_clip(engine, engine.rig, sources(engine.rig), Options())  # type: ignore[arg-type]
    sizes = [len(cameras) for cameras, _ in engine.made]
    assert {n: sizes.count(n) for n in sizes} == {8: 1, 7: 8, 2: 10, 3: 10}
    engine.made.clear()
    _, report = evaluate_clip(engine, engine.rig, sources(engine.rig), Options(), sizes=())  # type: ignore[arg-type]
    assert len(engine.made) == 9
    assert report.subsets == {}


def test_two_cameras_have_none_to_leave_out() -> None:
    """The clip is estimated once, and there is no error at a held-out camera."""
    engine = Engine(circle_rig(2), expects=True)
    _, report = evaluate_clip(engine, engine.rig, sources(engine.rig), Options())  # type: ignore[arg-type]
    assert engine.made == [(engine.rig.names, True)]
    assert report.held_out == {}
    assert np.isnan(report.held_out_mean).all()


def test_nobody_cannot_be_measured() -> None:
    """It is an error that says so, after one estimate."""
    engine = Engine(circle_rig(4), nobody=True)
    with pytest.raises(InvalidInput, match="nobody is seen"):
        evaluate_clip(engine, engine.rig, sources(engine.rig), Options())  # type: ignore[arg-type]
    assert len(engine.made) == 1
