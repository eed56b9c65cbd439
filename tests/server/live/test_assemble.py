"""Frame sets out of single images: complete, in order, each image once, and no waiting for ever."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synpose.live import StreamPolicy
from synpose_server.live.assemble import Assembler, PendingSet
from synpose_server.live.clocks import Clocks

CAMERAS = ("a", "b", "c")
INTERVAL = 1 / 30
EVERY = StreamPolicy(mode="every", on_missing="wait", max_wait=10.0)


def assembler(policy: StreamPolicy = EVERY, fps: float | None = 30.0) -> Assembler:
    return Assembler(CAMERAS, policy, fps)


def feed(target: Assembler, images: list[tuple[str, float]], now: float = 0.0) -> list[PendingSet]:
    """What comes out while the images go in."""
    out = []
    for camera, time in images:
        target.add(camera, time, f"{camera}{time}".encode(), now)
        out += target.take(now)
    return out


def test_images_of_one_instant_make_a_set() -> None:
    """Three images within the window are one set with their skew, the next three another."""
    sets = feed(assembler(), [(c, k * INTERVAL + 0.002 * i) for k in range(2) for i, c in enumerate(CAMERAS)])
    assert [set(s.images) for s in sets] == [set(CAMERAS)] * 2
    assert sets[1].time == INTERVAL
    assert sets[1].skew == pytest.approx(0.004)
    assert sets[1].images["b"] == f"b{INTERVAL + 0.002}".encode()


def test_the_window_is_half_an_interval_that_images_tell() -> None:
    """Without a rate the intervals between a camera's images give the window; 30 a second until then."""
    target = assembler(fps=None)
    assert target.window == pytest.approx(1 / 60)
    feed(target, [("a", k / 100) for k in range(10)])
    assert target.window == pytest.approx(1 / 200)
    assert assembler(fps=50).window == 0.01
    assert assembler(replace(EVERY, sync_window=0.003)).window == 0.003


@pytest.mark.parametrize("on_missing", ["partial", "drop"])
def test_a_set_goes_on_when_the_absent_camera_has(on_missing: str) -> None:
    """A camera that sent two later images will not send this one: no time has to pass."""
    target = assembler(StreamPolicy.from_mapping({"mode": "every", "on_missing": on_missing, "max_wait": 10}))
    images = [(c, k * INTERVAL) for k in range(4) for c in CAMERAS if (c, k) != ("b", 1)]
    sets = feed(target, images)
    present = [len(s.images) for s in sets]
    assert present == ([3, 2, 3, 3] if on_missing == "partial" else [3, 3, 3])
    assert (target.missing, target.dropped) == (1, int(on_missing == "drop"))


def test_waiting_ends_after_max_wait() -> None:
    """`wait` gives an absent camera its time, even if it has gone on; `due` says until when."""
    target = assembler(replace(EVERY, max_wait=0.5))
    assert target.due is None
    images = [(c, k * INTERVAL) for k in range(5) for c in CAMERAS if (c, k) != ("b", 0)]
    assert feed(target, images, now=2.0) == []
    assert target.due == 2.5
    assert target.take(2.4) == []
    assert [len(s.images) for s in target.take(2.5)] == [2, 3, 3, 3, 3]


def test_late_images_and_duplicates_are_counted() -> None:
    """What comes for a closed set is late, what was seen before a duplicate; neither comes out."""
    target = assembler(replace(EVERY, max_wait=0.1))
    assert feed(target, [("a", 0.0), ("a", 0.0), ("b", 0.0)]) == []
    assert len(target.take(0.2)) == 1
    assert feed(target, [("c", 0.0), ("a", 0.0), ("c", -1.0)], now=0.3) == []
    assert (target.late, target.duplicates) == (2, 2)


def test_whole_sets_wait_for_nothing() -> None:
    """A whole set goes on with what it has; sent again it is a duplicate, out of order it is late."""
    target = assembler()
    target.add_set(1.0, {"a": b"1", "b": b"2"}, 0.0)
    target.add_set(1.0, {"a": b"1", "b": b"2"}, 0.0)
    (one,) = target.take(0.0)
    assert (set(one.images), target.duplicates, target.missing) == ({"a", "b"}, 2, 1)
    target.add_set(0.5, {"a": b"0"}, 0.0)
    target.add_set(2.0, {}, 0.0)
    (empty,) = target.take(0.0)
    assert (empty.images, empty.skew, target.late) == ({}, 0.0, 1)


def test_a_late_whole_set_before_any_image_is_left_out() -> None:
    """Nobody has sent an image yet that could tell whether clocks have stepped."""
    target = assembler()
    target.add_set(1.0, {}, 0.0)
    assert len(target.take(0.0)) == 1
    target.add_set(0.5, {}, 0.0)
    assert target.flush(0.0) == []


def test_instants_that_changed_places_are_both_kept() -> None:
    """In mode `every` a set waits where one before it is missing: until that comes, or the cameras have gone on."""
    target = assembler(replace(EVERY, on_missing="partial"))
    order = [0, 1, 2, 3, 4, 5, 7, 6, 8, 10, 9, 11, 13, 14, 15, 17]  # 12 and 16 never come
    sets = feed(target, [(c, k * INTERVAL) for k in order for c in CAMERAS])
    assert [round(s.time / INTERVAL) for s in sets] == [k for k in range(16) if k != 12]
    assert [len(s.images) for s in sets] == [3] * 15
    assert (target.late, target.missing) == (0, 0)
    assert target.take(9.0) == []
    assert [round(s.time / INTERVAL) for s in target.take(10.0)] == [17]


def test_the_newest_set_waits_for_none_before_it() -> None:
    """In mode `latest` a complete set goes on at once, and what comes for an earlier instant is late."""
    target = assembler(replace(EVERY, mode="latest"))
    sets = feed(target, [(c, k * INTERVAL) for k in (0, 1, 2, 3, 4, 5, 7, 6, 8) for c in CAMERAS])
    assert [round(s.time / INTERVAL) for s in sets] == [0, 1, 2, 3, 4, 5, 7, 8]
    assert target.late == 3


def test_memory_is_bounded_without_a_camera() -> None:
    """While a camera is waited for, no more than a few sets wait; the oldest go on without it."""
    target = assembler(replace(EVERY, max_wait=60.0))
    sets = feed(target, [(c, k * INTERVAL) for k in range(100) for c in "ab"])
    assert len(sets) > 60
    assert len(target.flush(0.0)) == 32


@pytest.mark.parametrize("mode", ["every", "latest"])
def test_a_time_far_ahead_of_one_camera_ends_nothing(mode: str) -> None:
    """An odd timestamp is a set of its own, and no later image is late because of it."""
    target = assembler(StreamPolicy.from_mapping({"mode": mode, "max_wait": 0.1}))
    before = [(c, k * INTERVAL) for k in range(4) for c in CAMERAS]
    assert len(feed(target, before)) == 4
    assert feed(target, [("a", 5000.0)]) == []
    assert [s.time for s in target.take(0.2)] == [5000.0]
    sets = feed(target, [(c, k * INTERVAL) for k in range(5, 30) for c in CAMERAS], now=0.3)
    assert [round(s.time / INTERVAL) for s in [*sets, *target.take(0.5)]] == list(range(5, 30))
    assert (target.late, target.missing) == (0, 2)
    assert not any(s.starts_over for s in sets)


def test_times_go_on_after_a_pause() -> None:
    """After seconds without images, sets that lack one are as late as ever: most cameras show the new time."""
    target = assembler(StreamPolicy(max_wait=0.1))
    feed(target, [(c, k * INTERVAL) for k in range(4) for c in CAMERAS])
    feed(target, [("a", 60.0), ("b", 60.0)], now=60.0)
    assert [len(s.images) for s in target.take(60.2)] == [2]
    feed(target, [("c", 60.0)], now=60.3)
    assert (target.late, target.take(61.0)) == (1, [])


def test_most_cameras_tell_the_time() -> None:
    """A camera that is alone with its time is late when the others have gone on, however long."""
    target = assembler(StreamPolicy(max_wait=0.1))
    feed(target, [(c, k * INTERVAL) for k in range(4) for c in CAMERAS])
    for k in range(100):
        now = k * INTERVAL
        feed(target, [("a", 1000 + now), ("b", 1000 + now), ("c", 1 + now)], now=now)
    assert target.late > 90


@pytest.mark.parametrize("whole", [False, True], ids=["images", "sets"])
def test_clocks_that_step_backwards_start_over(whole: bool) -> None:
    """After eight late images of each camera that sends, sets come out again, the first of them marked."""
    target = assembler(StreamPolicy(max_wait=0.1))
    before = feed(target, [(c, 1000 + k * INTERVAL) for k in range(30) for c in CAMERAS])
    assert len(before) == 30
    sets = []
    for k in range(20):
        if whole:
            target.add_set(k * INTERVAL, {c: f"{c}{k}".encode() for c in CAMERAS}, 1.0)
        else:
            for c in CAMERAS:
                target.add(c, k * INTERVAL, f"{c}{k}".encode(), 1.0)
        sets += target.take(1.0)
    assert [round(s.time / INTERVAL) for s in sets] == list(range(8, 20))
    assert [s.starts_over for s in sets] == [True] + [False] * 11
    assert all(len(s.images) == 3 for s in sets)
    assert (target.late, target.missing, target.duplicates) == (24, 0, 0)


def test_clocks_start_over_without_cameras_that_have_stopped() -> None:
    """A camera that sends no more is not waited for, and one that is alone in its time does not keep the others."""
    target = Assembler((*CAMERAS, "d"), StreamPolicy(max_wait=0.1), 30.0)
    feed(target, [(c, 1000 + k * INTERVAL) for k in range(5) for c in (*CAMERAS, "d")])
    target.take(1.0)
    images = [(c, k * INTERVAL + 500 * (c == "a")) for k in range(60) for c in CAMERAS]
    sets = feed(target, images, now=1.0) + target.take(2.0)
    later = {round(s.time / INTERVAL) for s in sets if s.time < 100}
    assert later >= set(range(40, 60))


def test_cameras_late_by_turns_do_not_start_over() -> None:
    """Late images of one camera while another goes on, or late ones out of order, are late and nothing else."""
    target = assembler(StreamPolicy(max_wait=0.0))
    for k in range(50):
        feed(target, [("a", k * INTERVAL), ("b", (k - 5) * INTERVAL)], now=k * INTERVAL)
    assert target.late == 50
    feed(target, [("a", -k * INTERVAL) for k in range(1, 100)], now=9.0)
    assert target.late == 149
    assert target.take(99.0) == []


@settings(deadline=None)
@given(
    frames=st.integers(1, 30),
    lost=st.sets(st.tuples(st.sampled_from(CAMERAS), st.integers(0, 29)), max_size=10),
    twice=st.sets(st.tuples(st.sampled_from(CAMERAS), st.integers(0, 29)), max_size=5),
    on_missing=st.sampled_from(["partial", "wait", "drop"]),
    delay=st.floats(0, 3),
    seed=st.integers(0, 1000),
)
def test_every_image_comes_out_once_and_in_order(
    frames: int,
    lost: set[tuple[str, int]],
    twice: set[tuple[str, int]],
    on_missing: str,
    delay: float,
    seed: int,
) -> None:
    """Whatever is lost, doubled, jittered or shuffled: times ascend, and each image is in one set or counted."""
    rng = random.Random(seed)
    sent = [(c, k) for k in range(frames) for c in CAMERAS if (c, k) not in lost]
    sent += [image for image in sent if image in twice]
    sent.sort(key=lambda image: image[1] + rng.uniform(0, delay))
    jitter = {image: rng.uniform(-0.2, 0.2) for image in sent}
    target = assembler(StreamPolicy.from_mapping({"mode": "every", "on_missing": on_missing, "max_wait": 0.1}))
    sets = []
    for k, image in enumerate(sent):
        now = k * INTERVAL / 3
        target.add(image[0], (image[1] + jitter[image]) * INTERVAL, repr(image).encode(), now)
        sets += target.take(now)
    sets += target.flush(1e3)
    times = [s.time for s in sets]
    assert times == sorted(times)
    came = [data for s in sets for data in s.images.values()]
    assert len(came) == len(set(came))
    if on_missing != "drop":
        assert len(came) + target.late + target.duplicates == len(sent)
    assert target.closed == len(sets) + target.dropped
    if delay == 0 and not lost and not twice:
        assert [len(s.images) for s in sets] == [3] * frames
    for s in sets:
        assert s.skew <= 2 * target.window
        assert all(repr(camera).encode() in data for camera, data in s.images.items())


def test_clock_offsets_are_found_from_arrivals() -> None:
    """An offset of 200 ms shows in spite of jitter; cameras that sent little are left out."""
    rng = random.Random(1)
    clocks = Clocks(CAMERAS)
    for k in range(40):
        for camera, ahead in (("a", 0.0), ("b", 0.2), ("c", 0.0)):
            if camera != "c" or k < 3:
                clocks.see(camera, k * INTERVAL + ahead, k * INTERVAL + 0.01 + rng.expovariate(200))
    assert not clocks.known
    offsets = clocks.offsets()
    assert set(offsets) == {"a", "b"}
    assert offsets["b"] - offsets["a"] == pytest.approx(0.2, abs=0.003)
