"""Frame sets: paired by their place, decoded ahead but not far, told about what did not fit."""

from __future__ import annotations

import io
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

import synpose_server.synchronise as synchronise
from synpose.errors import OptionsError, VideoError
from synpose_model.image import Image
from synpose_server.decode import Reader
from synpose_server.synchronise import FrameSet, FrameSets, skips

LIMIT = 1_000_000
SECONDS = 10.0  # until something that must happen counts as not happening


class Script(Reader):
    """A reader of `frames` images that notes what becomes of it; `before` is called with each index before its image.

    Given as its own source: see `scripted`.
    """

    def __init__(
        self, camera: str, frames: int, count: int | None = None, before: Callable[[int], object] = lambda index: None
    ) -> None:
        self.camera, self.frames, self.count, self.before = camera, frames, count, before
        self.size = (4, 4)
        self.alive: weakref.WeakSet[Image] = weakref.WeakSet()
        self.read = 0
        self.closed = False

    def __iter__(self) -> Iterator[Image | None]:
        for index in range(self.frames):
            self.before(index)
            yield self._image()

    def _image(self) -> Image:
        image = Image((np.zeros((4, 4, 3), np.uint8),))
        self.alive.add(image)
        self.read += 1
        return image

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FrameSets]:
    """Frame sets of readers that are there already; an exception in the place of a reader is raised at opening."""

    def open_source(camera: str, source: Reader | Exception, max_pixels: int) -> Reader:
        if isinstance(source, Exception):
            raise source
        return source

    def make(
        *readers: Reader, failing: Exception | None = None, offsets: Mapping[str, float] | None = None
    ) -> FrameSets:
        sources: dict[str, object] = {reader.camera: reader for reader in readers}
        if failing is not None:
            sources["failing"] = failing
        return FrameSets(sources, LIMIT, offsets=offsets)  # type: ignore[arg-type]

    monkeypatch.setattr(synchronise, "open_source", open_source)
    return make


def video(fps: Fraction) -> io.BytesIO:
    """Three frames of MPEG-4 at `fps`."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode())
    return io.BytesIO(file.getvalue())


def picture(level: int) -> bytes:
    """A grey PNG."""
    return bytes(cv2.imencode(".png", np.full((4, 4, 3), level, np.uint8))[1].tobytes())


def taken(images: Mapping[str, list[bytes | None]], offsets: Mapping[str, float] | None = None) -> list[FrameSet]:
    with closing(FrameSets(images, LIMIT, offsets=offsets)) as frame_sets:
        return list(frame_sets)


def levels(frame_sets: list[FrameSet]) -> list[list[int | None]]:
    """The grey levels of the images of each frame set."""
    return [[None if i is None else int(i.planes[0][0, 0, 0]) for i in s.images] for s in frame_sets]


def told(frame_set: FrameSet) -> list[tuple[str, str | None]]:
    return [(notice.code, notice.camera) for notice in frame_set.notices]


def decoding() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode-")]


def test_images_are_paired_by_their_place() -> None:
    """The k-th frame set holds the k-th image of every camera, in the order of the sources, or None."""
    frame_sets = taken({"b": [picture(10), None, picture(30)], "a": [picture(11), picture(21), picture(31)]})
    assert levels(frame_sets) == [[10, 11], [None, 21], [30, 31]]
    assert [s.index for s in frame_sets] == [0, 1, 2]
    assert [s.is_last for s in frame_sets] == [False, False, True]
    assert [told(s) for s in frame_sets] == [[], [], []]


def test_unequal_lengths_are_told() -> None:
    """The shortest camera ends the clip, and the last frame set says who ended and who went on."""
    frame_sets = taken({"a": [picture(1)] * 5, "b": [picture(2)] * 3, "c": [picture(3)] * 4})
    assert len(frame_sets) == 3
    assert [told(s) for s in frame_sets] == [[], [], [("unequal-lengths", "b")]]
    assert "b ended after 3 frames while a, c went on" in frame_sets[-1].notices[0].message
    both = taken({"a": [picture(1)] * 5, "b": [picture(2)] * 3, "c": [picture(3)] * 3})
    assert told(both[-1]) == [("unequal-lengths", None)]
    assert "b, c ended after 3 frames" in both[-1].notices[0].message


@pytest.mark.parametrize(
    ("offsets", "left_out"),
    [
        ({}, (0, 0, 0)),
        ({"b": 2.4}, (0, 2, 0)),
        ({"b": -1.6}, (2, 0, 2)),
        ({"a": 100, "b": 102, "c": 101}, (0, 2, 1)),
        ({"a": 0.4, "b": -0.4}, (1, 0, 0)),
        ({"elsewhere": -9.0}, (0, 0, 0)),
    ],
)
def test_cameras_leave_out_what_the_last_to_start_does_not_have(
    offsets: dict[str, float], left_out: tuple[int, int, int]
) -> None:
    """All begin where the camera that is least ahead does; who is not named is not ahead."""
    assert skips("abc", offsets) == dict(zip("abc", left_out, strict=True))


def test_offsets_pair_what_was_taken_together() -> None:
    """Image `i + offset` of a camera goes with image `i` of the others, and holes keep their places."""
    images: dict[str, list[bytes | None]] = {
        "a": [picture(level) for level in (12, 13, 14)],
        "b": [picture(10), None, picture(12), None, picture(14)],
        "c": [picture(level) for level in (11, 12, 13, 14)],
    }
    frame_sets = taken(images, {"b": 1.9, "c": 1.0})
    assert levels(frame_sets) == [[12, 12, 12], [13, None, 13], [14, 14, 14]]
    assert [(s.index, s.is_last, told(s)) for s in frame_sets] == [(0, False, []), (1, False, []), (2, True, [])]


def test_what_offsets_leave_out_is_no_loss(scripted: Callable[..., FrameSets]) -> None:
    """The count and the notices are those of the frame sets that are left, of a cut video those of the whole one."""
    with closing(scripted(Script("a", 5, 9), Script("b", 9, 9), Script("c", 7), offsets={"b": 6, "c": 1})) as sets:
        assert sets.count == 3
        *_, last = sets
    assert (last.index, told(last)) == (2, [("unequal-lengths", "b")])
    assert "without what the offsets leave out: b ended after 3 frames while a, c went on" in last.notices[0].message
    with closing(scripted(Script("a", 5, 5), Script("b", 6, 8), offsets={"b": 2})) as sets:
        assert sets.count == 5
        *_, last = sets
    assert told(last) == [("truncated-video", "b"), ("unequal-lengths", "b")]
    assert "6 of the 8 frames" in last.notices[0].message


@pytest.mark.parametrize("count", [3, None])
def test_a_camera_of_which_nothing_is_left_is_told(scripted: Callable[..., FrameSets], count: int | None) -> None:
    """At once where its length is known, else when it ends: an error that names the option and the camera."""
    readers = [Script("a", 9), Script("b", 3, count)]

    def use() -> None:
        with closing(scripted(*readers, offsets={"b": 3})) as frame_sets:
            next(frame_sets)

    with pytest.raises(OptionsError, match="first 3 images") as caught:
        use()
    assert (caught.value.field, caught.value.camera) == ("options.offsets", "b")
    assert (readers[1].read == 0) == (count is not None)
    assert [reader.closed for reader in readers] == [True, True]
    assert decoding() == []


def test_close_while_images_are_left_out(scripted: Callable[..., FrameSets]) -> None:
    """Who closes does not wait for what comes before the clip."""
    begun, go = threading.Event(), threading.Event()

    def stall(index: int) -> None:
        begun.set()
        assert go.wait(SECONDS)

    reader = Script("b", 1000, before=stall)
    frame_sets = scripted(Script("a", 9), reader, offsets={"b": 900})
    assert begun.wait(SECONDS)
    closer = threading.Thread(target=frame_sets.close)
    closer.start()
    assert frame_sets._closed.wait(SECONDS)
    go.set()
    closer.join(SECONDS)
    assert not closer.is_alive()
    assert reader.read == 1


def test_the_expected_count_is_that_of_the_shortest(scripted: Callable[..., FrameSets]) -> None:
    """`count` is the least that a camera claims; None where none does."""
    with closing(scripted(Script("a", 9, 9), Script("b", 3, 3), Script("c", 3))) as frame_sets:
        assert frame_sets.count == 3
    with closing(scripted(Script("a", 2))) as frame_sets:
        assert frame_sets.count is None


def test_a_video_that_is_shorter_than_it_claims_is_told(scripted: Callable[..., FrameSets]) -> None:
    """A camera that ends before its own count is cut; one that knows what broke it says so instead."""
    damaged = Script("b", 3, 8)
    damaged.problem = "checksum"
    with closing(scripted(Script("a", 3, 8), damaged, Script("c", 3, 3))) as frame_sets:
        *_, last = frame_sets
    assert told(last) == [("truncated-video", "a"), ("damaged-video", "b")]
    assert "3 of the 8 frames" in last.notices[0].message
    assert "checksum" in last.notices[1].message


def test_damage_is_told_where_it_was_used(scripted: Callable[..., FrameSets]) -> None:
    """A camera that goes on is damaged if it was among the images used; what was only read ahead does not matter."""
    ahead = threading.Event()
    used, unused = Script("used", 9), Script("unused", 9)

    def damage(reader: Script, at: int, index: int) -> None:
        if index == at:
            reader.problem = "checksum"
            if reader is unused:
                ahead.set()

    used.before = lambda index: damage(used, 1, index)
    unused.before = lambda index: damage(unused, 4, index)
    short = Script("short", 3, before=lambda index: index < 2 or ahead.wait(SECONDS))
    with closing(scripted(short, used, unused)) as frame_sets:
        *_, last = frame_sets
    assert last.index == 2
    assert told(last) == [("damaged-video", "used"), ("unequal-lengths", "short")]


def test_different_rates_are_refused() -> None:
    """A camera at another rate is an error that names it and both rates; the option fps overrules."""

    def sources() -> dict[str, io.BytesIO]:
        return {"a": video(Fraction(30)), "b": video(Fraction(30000, 1001)), "c": video(Fraction(25))}

    with pytest.raises(VideoError, match="25 but that of a is 30") as caught:
        FrameSets(sources(), LIMIT)
    assert (caught.value.camera, caught.value.field) == ("c", "video")
    assert decoding() == []
    with closing(FrameSets(sources(), LIMIT, fps=50.0)) as frame_sets:
        assert frame_sets.fps == 50
        assert len(list(frame_sets)) == 3


def test_rates_that_nearly_agree_are_one() -> None:
    """29.97 beside 30 is the same clip, at the first camera's rate; images without a rate join any, or take 30."""
    images = [picture(0)] * 3
    with closing(FrameSets({"a": images, "b": video(Fraction(30000, 1001)), "c": video(Fraction(30))}, LIMIT)) as both:
        assert not both.assumed
        assert both.fps == pytest.approx(29.97, abs=0.01)
    with closing(FrameSets({"a": images, "b": images}, LIMIT)) as still:
        assert still.fps == 30
        assert still.assumed


def test_a_source_that_does_not_open_closes_the_others(scripted: Callable[..., FrameSets]) -> None:
    """The error of one camera is raised, no thread starts, and no file stays open."""
    good = Script("a", 3)
    with pytest.raises(VideoError, match="broken"):
        scripted(good, failing=VideoError("broken", camera="failing"))
    assert good.closed
    assert decoding() == []


@pytest.mark.parametrize("kind", [VideoError, RuntimeError])
def test_errors_cross_threads(scripted: Callable[..., FrameSets], kind: type[Exception]) -> None:
    """What fails in a decoding thread is raised, as it is, to who asks for the frame set, and then it is over."""
    failure = kind("in the middle")

    def fail(index: int) -> None:
        if index == 2:
            raise failure

    with closing(scripted(Script("a", 9), Script("b", 9, before=fail))) as frame_sets:
        assert next(frame_sets).index == 0
        with pytest.raises(kind) as caught:
            list(frame_sets)
        assert caught.value is failure
        assert list(frame_sets) == []
    assert decoding() == []


def test_close_while_readers_wait_for_room(scripted: Callable[..., FrameSets]) -> None:
    """Closing early, in the middle of a clip, ends the threads that wait to hand over images, and then the files."""
    full = [threading.Event(), threading.Event()]
    readers = [
        Script(name, 1000, before=lambda index, event=event: index == 2 and event.set())  # type: ignore[misc]
        for name, event in zip("ab", full, strict=True)
    ]
    frame_sets = scripted(*readers)
    assert all(event.wait(SECONDS) for event in full)
    frame_sets.close()
    assert decoding() == []
    assert [reader.closed for reader in readers] == [True, True]
    assert all(reader.read < 10 for reader in readers)
    assert list(frame_sets) == []
    frame_sets.close()  # once more does no harm


def test_close_while_someone_waits_for_images(scripted: Callable[..., FrameSets]) -> None:
    """Who waits for a frame set that does not come is let go by a `close` from elsewhere, with no made-up last one."""
    waiting, first, go = threading.Event(), threading.Event(), threading.Event()

    def stall(index: int) -> None:
        if index == 2:
            waiting.set()
            assert go.wait(SECONDS)

    frame_sets = scripted(Script("a", 9, 9), Script("b", 9, 9, before=stall))
    got: list[FrameSet] = []

    def consume() -> None:
        for frame_set in frame_sets:
            got.append(frame_set)
            first.set()

    consumer = threading.Thread(target=consume)
    closer = threading.Thread(target=frame_sets.close)
    consumer.start()
    assert waiting.wait(SECONDS)
    assert first.wait(SECONDS)
    closer.start()
    consumer.join(SECONDS)
    assert not consumer.is_alive()
    go.set()
    closer.join(SECONDS)
    assert not closer.is_alive()
    assert decoding() == []
    assert [(frame_set.index, frame_set.is_last) for frame_set in got] == [(0, False)]


def test_memory_does_not_grow_with_the_clip(scripted: Callable[..., FrameSets]) -> None:
    """Never more images of a camera live than two waiting, one in the reader's hand and the two at the reading end."""
    most = 5
    handed = threading.Semaphore(0)
    readers = [Script("a", 40, before=lambda index: handed.release()), Script("b", 40)]
    peaks = []
    with closing(scripted(*readers)) as frame_sets:
        for frame_set in frame_sets:
            # let the reader run as far ahead as it may: one image for each frame set that was taken
            if frame_set.index == 0:
                assert all(handed.acquire(timeout=SECONDS) for _ in range(most))
                assert not handed.acquire(timeout=0.3), "read further ahead"
            elif frame_set.index <= 40 - most:
                assert handed.acquire(timeout=SECONDS)
            peaks.append(max(len(reader.alive) for reader in readers))
    assert len(peaks) == 40
    assert max(peaks) <= most, peaks
