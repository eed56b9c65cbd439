"""One stream without models: what waits, what is told, and in whose context it is computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import pytest

from synpose.live import Capture, LivePose, StreamPolicy
from synpose.pose import Frame, ModelInfo, PoseHeader
from synpose.skeleton import COCO17
from synpose_server.live.assemble import PendingSet
from synpose_server.live.poser import Posed, Poser
from synpose_server.live.session import Session

CAMERAS = ("a", "b", "c")
INTERVAL = 1 / 30


class FakePoser:
    """Answers each frame set with nobody, `missing` being the cameras without an image."""

    header = PoseHeader(ModelInfo("fake", "1"), COCO17, 30.0)
    corrupt = 0

    def __init__(self) -> None:
        self.taken: list[PendingSet] = []

    def step(self, taken: PendingSet) -> list[Posed]:
        now = time.monotonic()
        missing = tuple(camera for camera in CAMERAS if camera not in taken.images)
        frame = Frame(len(self.taken), taken.time, (), ())
        self.taken.append(taken)
        return [Posed(taken, missing, (), [], now, now, now, frame, now)]

    def finish(self) -> list[Posed]:
        return []


@contextmanager
def session(policy: StreamPolicy, poser: FakePoser) -> Iterator[Session]:
    """A stream of `CAMERAS` that computes nothing."""
    with ThreadPoolExecutor(1) as working:
        yield Session("token", "hash", cast(Poser, poser), CAMERAS, policy, 30.0, working, 1 << 20)


def until(condition: Callable[[], Any]) -> None:
    """Return once `condition` holds."""
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.002)


def results(stream: Session) -> list[LivePose]:
    """All results until nothing follows."""
    stream.finish(100.0)
    found = []
    while not stream.is_answered:
        if (pose := stream.next_result()) is not None:
            found.append(pose)
        time.sleep(0.001)
    return found


def test_that_clocks_stepped_is_told_though_its_set_was_overtaken() -> None:
    """In mode `latest` the mark of a frame set that is dropped goes to the one that overtakes it."""
    poser = FakePoser()
    with session(StreamPolicy(), poser) as stream:
        for k in range(3):
            stream.take(Capture(1000 + k, dict.fromkeys(CAMERAS, b""), whole=True), 0.0)
        until(lambda: poser.taken and not stream._working_now)
        with stream._lock:
            stream._working_now = True  # what comes now waits
        for k in range(20):
            stream.take(Capture(float(k), dict.fromkeys(CAMERAS, b""), whole=True), 0.0)
        with stream._lock:
            stream._working_now = False
        results(stream)
    assert (poser.taken[-1].time, poser.taken[-1].starts_over) == (19.0, True)


def test_a_silent_camera_does_not_keep_clocks_from_being_aligned() -> None:
    """Without it the images wait for two seconds, of which `due` tells; then the offsets of the others count."""
    poser = FakePoser()
    with session(StreamPolicy(mode="every", clock="align"), poser) as stream:
        for k in range(12):
            for camera, ahead in (("a", 0.0), ("b", 0.2)):
                stream.take(Capture(k * INTERVAL + ahead, {camera: b"image"}), k * INTERVAL)
        assert stream.due == 2.0
        stream.tick(1.9)
        assert stream.counters.frame_sets == 0
        stream.tick(2.0)
        assert stream.counters.frame_sets == 12
        poses = results(stream)
    assert [pose.missing for pose in poses] == [("c",)] * 12


def test_few_images_of_all_cameras_wait_longer_for_their_clocks() -> None:
    """Slow cameras have their clocks aligned as well; at last they are trusted."""
    poser = FakePoser()
    with session(StreamPolicy(mode="every", clock="align"), poser) as stream:
        for k in range(5):
            stream.take(Capture(float(k), {"a": b"image"}), float(k))
        assert stream.due == 16.0
        stream.tick(16.0)
        assert stream.counters.frame_sets == 5
        assert stream.due is None


class HoldingPoser(FakePoser):
    """Answers what came only when nothing follows, as a look-ahead does."""

    def step(self, taken: PendingSet) -> list[Posed]:
        self.held = super().step(taken)
        return []

    def finish(self) -> list[Posed]:
        return self.held


def test_a_stream_is_not_answered_before_its_last_results_are_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A door that asks while they are put there must not say that everything was sent."""
    asked: list[bool] = []
    with session(StreamPolicy(mode="every"), HoldingPoser()) as stream:
        pose = stream._pose

        def asking(posed: Posed) -> LivePose:
            asked.append(stream.is_answered)
            return pose(posed)

        monkeypatch.setattr(stream, "_pose", asking)
        stream.take(Capture(0.0, dict.fromkeys(CAMERAS, b""), whole=True), 0.0)
        assert len(results(stream)) == 1
    assert asked == [False]
