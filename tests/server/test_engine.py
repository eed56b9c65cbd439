"""The engine, with a painted world in the place of its networks: everything but the weights is real."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, PaintedModel, circle_rig, painted
from tests.server.painted import bundle as painted_bundle

import synpose_server.engine
import synpose_server.synchronise
from synpose.errors import (
    CalibrationError,
    DeadlineExceeded,
    InvalidInput,
    LimitExceeded,
    NotFound,
    OptionsError,
    SynposeError,
    VideoError,
)
from synpose.options import Options
from synpose.pose import Frame
from synpose.rig import Rig
from synpose.skeleton import COCO17, H36M17, HALPE26
from synpose_model.bundle import Bundle
from synpose_server.decode import Reader, open_source
from synpose_server.engine import Engine
from synpose_server.job import Job
from synpose_server.pace import Place
from synpose_server.settings import Settings

Array = NDArray[np.float64]
Images = list[bytes | None]

RIG = circle_rig(4)
SIGMA = 0.01 * (1 + np.arange(17))
"""What the painted relation graph says of each joint, in metres."""

COCO = {name: j for j, name in enumerate(COCO17.joints)}
H36M = {name: j for j, name in enumerate(H36M17.joints)}


class Model(PaintedModel):
    """A painted model whose joints are all differently sure."""

    def relate(
        self,
        origins: Array,
        directions: Array,
        scores: Array,
        view_mask: NDArray[np.bool_],
        tokens: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        joints, sigma, weights = super().relate(origins, directions, scores, view_mask)
        return joints, np.where(np.isnan(sigma), np.nan, SIGMA), weights


@cache
def png(view: int, size: tuple[int, int] | None = None) -> bytes:
    """The painted image of a camera, without loss; shrunk to `size`."""
    pixels = painted(view).planes[0]
    if size is not None:
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())


def clip(frames: int = 2, *views: int) -> dict[str, Images]:
    """`frames` images of each camera, or of those of `views`."""
    return {RIG.names[v]: [png(v)] * frames for v in views or range(len(RIG))}


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    """An engine before a painted world in which one person stands."""

    def make(
        alter: Callable[[int, Array], Array] | None = None,
        only: str | None = None,
        manifest: Mapping[str, object] = MappingProxyType({}),
        kind: type[Model] = Model,
        **settings: object,
    ) -> Engine:
        def load(bundle: Bundle, *how: object) -> Model:
            model = kind(RIG, [STANDING])
            if alter is not None:
                model.alter = alter
            model.bundle = painted_bundle(name=bundle.name, version="painted", description="painted", **manifest)
            return model

        monkeypatch.setattr(synpose_server.engine, "Model", load)
        return Engine(Settings.model_validate(settings), only=only)

    return make


def frames(
    engine: Engine, *, images: dict[str, Images] | None = None, rig: Rig = RIG, **options: object
) -> list[Frame]:
    given = Options.from_mapping({"fps": 30, **options})
    with engine.estimate(rig, clip() if images is None else images, given) as estimation:
        return list(estimation)


# -- the answer ----------------------------------------------------------------------------------------------------


def test_a_clip_becomes_frames_of_the_truth(make: Callable[..., Engine]) -> None:
    """Header, index, id and views are those of the clip, and the joints those of the person who stands there."""
    engine = make()
    with engine.estimate(RIG, clip(3), Options(fps=30)) as estimation:
        assert (estimation.header.model.name, estimation.header.model.version) == ("default", "painted")
        assert (estimation.header.skeleton, estimation.header.fps) == (COCO17, 30)
        assert estimation.count == 3
        answer = list(estimation)
        assert [person.id for person in estimation.people] == [0]
    assert [frame.index for frame in answer] == [0, 1, 2]
    for frame in answer:
        (person,) = frame.people
        assert person.views == RIG.names
        assert person.score == pytest.approx(0.8)
        assert np.abs(person.joints - STANDING).max() < 0.01
        assert person.sigma == pytest.approx(SIGMA)
        assert frame.notices == ()


def test_joints_between_joints_are_midpoints(make: Callable[..., Engine]) -> None:
    """Pelvis, neck and spine of h36m17 are means of hips and shoulders, and as much surer as means are."""
    person = frames(make(), skeleton="h36m17")[0].people[0]
    for name, parts in {
        "pelvis": ("left_hip", "right_hip"),
        "neck": ("left_shoulder", "right_shoulder"),
        "spine": ("left_hip", "right_hip", "left_shoulder", "right_shoulder"),
        "left_wrist": ("left_wrist",),
    }.items():
        which = [COCO[part] for part in parts]
        assert person.joints[H36M[name]] == pytest.approx(STANDING[which].mean(0), abs=0.01), name
        expected = np.sqrt((SIGMA[which] ** 2).sum()) / len(parts)
        assert person.sigma[H36M[name]] == pytest.approx(expected), name


@pytest.mark.parametrize(
    ("skeleton", "unknown"),
    [
        (H36M17, {"head"}),
        (HALPE26, {"head", *(f"{s}_{p}" for s in ("left", "right") for p in ("big_toe", "small_toe", "heel"))}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_joints_that_the_model_does_not_have_are_unknown(
    make: Callable[..., Engine], skeleton: object, unknown: set[str]
) -> None:
    """The crown of the head and the feet are NaN, joint and sigma, not guessed; all others are known."""
    person = frames(make(), skeleton=skeleton.name)[0].people[0]  # type: ignore[attr-defined]
    names = np.array(skeleton.joints)  # type: ignore[attr-defined]
    assert set(names[np.isnan(person.joints).all(-1)]) == unknown
    assert set(names[np.isnan(person.sigma)]) == unknown
    assert set(names[np.isfinite(person.joints).all(-1)]) == set(names) - unknown


def test_a_joint_that_nobody_sees_takes_its_midpoints_with_it(make: Callable[..., Engine]) -> None:
    """With the left hip unknown pelvis and spine are unknown, never half of something; the neck is not."""

    def hidden(view: int, keypoints: Array) -> Array:
        keypoints[COCO["left_hip"], 2] = 0
        return keypoints

    person = frames(make(hidden), skeleton="h36m17")[-1].people[0]
    lost = np.isnan(person.joints[:, 0])
    assert {name for name, j in H36M.items() if lost[j]} == {"left_hip", "pelvis", "spine", "head"}
    assert np.isnan(person.sigma).tolist() == lost.tolist()


def test_times_count_from_the_start(make: Callable[..., Engine]) -> None:
    """Without capture times a frame's time is its place over the rate: 30 for images, or what was asked for."""
    engine = make()
    assert [frame.timestamp for frame in frames(engine, images=clip(3))] == pytest.approx([0, 1 / 30, 2 / 30])
    assert [frame.timestamp for frame in frames(engine, images=clip(3), fps=50)] == pytest.approx([0, 0.02, 0.04])


def test_capture_times_come_back(make: Callable[..., Engine]) -> None:
    """The capture times that a request gives are those of its frames, from 0 on and uneven as they are."""
    with make().estimate(RIG, clip(3), Options(), timestamps=[0.0, 0.1, 7.5]) as estimation:
        assert [frame.timestamp for frame in estimation] == [0.0, 0.1, 7.5]


def test_offsets_let_the_clip_begin_later(make: Callable[..., Engine]) -> None:
    """Frames and their capture times are those that are left; who left something out is told with the first."""
    images = {**clip(3), "cam2": [png(0), png(0), *clip(3)["cam2"]]}
    offsets = {"cam2": 1.8, "cam1": 0.3}
    with make().estimate(RIG, images, Options(fps=30, offsets=offsets), timestamps=[5.0, 6.0, 7.0, 8.0]) as estimation:
        assert estimation.count == 3
        assert estimation.header.left_out == {"cam2": 2}
        answer = list(estimation)
    assert [(frame.index, frame.timestamp) for frame in answer] == [(0, 5.0), (1, 6.0), (2, 7.0)]
    assert notices(answer) == [[("left-out", "cam2")], [], []]
    assert "2 left out" in answer[0].notices[0].message
    for frame in answer:
        assert frame.people[0].views == RIG.names
        assert np.abs(frame.people[0].joints - STANDING).max() < 0.01


def test_offsets_of_cameras_that_send_nothing(make: Callable[..., Engine]) -> None:
    """A calibrated one may have an offset, which does nothing; one that is not calibrated is an error."""
    engine = make()
    assert len(frames(engine, images=clip(3, 0, 1), offsets={"cam4": -100})) == 3
    with pytest.raises(OptionsError, match="no such camera; it has cam1, cam2, cam3, cam4") as caught:
        frames(engine, offsets={"cam09": 1})
    assert (caught.value.field, caught.value.camera) == ("options.offsets", "cam09")


def test_what_offsets_leave_out_makes_no_clip_too_long(make: Callable[..., Engine]) -> None:
    """`max_frames` counts what is answered."""
    engine = make(max_frames=3)
    images: dict[str, Images] = {camera: [png(0)] * 5 for camera in RIG.names}
    with pytest.raises(LimitExceeded):
        frames(engine, images=images)
    assert len(frames(engine, images=images, offsets={"cam1": 2})) == 3


# -- what is handled -----------------------------------------------------------------------------------------------


def notices(answer: list[Frame]) -> list[list[tuple[str, str | None]]]:
    return [[(notice.code, notice.camera) for notice in frame.notices] for frame in answer]


def test_cameras_without_video_are_told_at_once(make: Callable[..., Engine]) -> None:
    """A part of the rig is enough; the first frame says which cameras were left out, the others do not repeat it."""
    answer = frames(make(), images=clip(3, 3, 0, 1))
    assert notices(answer) == [[("missing-camera", "cam3")], [], []]
    assert answer[0].people[0].views == ("cam4", "cam1", "cam2")  # in the order of the sources
    assert np.abs(answer[0].people[0].joints - STANDING).max() < 0.01


def test_images_of_another_size_are_adapted_and_told(make: Callable[..., Engine]) -> None:
    """A camera that sends half the size it was calibrated for gives the same joints, and a notice."""
    images = clip(2)
    images["cam2"] = [png(1, (320, 240))] * 2
    answer = frames(make(), images=images)
    assert notices(answer) == [[("image-size", "cam2")], []]
    assert answer[1].people[0].views == RIG.names
    assert np.abs(answer[1].people[0].joints - STANDING).max() < 0.02


@pytest.mark.parametrize(
    ("count", "given", "told"),
    [
        (2, {}, ["assumed-rate"]),
        (2, {"fps": 25.0}, []),
        (2, {"timestamps": [0.0, 0.04]}, []),
        (1, {}, []),
    ],
)
def test_a_rate_that_nothing_says_is_told(
    make: Callable[..., Engine], count: int, given: dict[str, object], told: list[str]
) -> None:
    """Images alone are taken for 30 a second; not so with the option or capture times, and one instant has no rate."""
    options, times = Options(fps=given.get("fps")), given.get("timestamps")  # type: ignore[arg-type]
    with make().estimate(RIG, clip(count), options, times) as estimation:  # type: ignore[arg-type]
        first, *later = [[notice.code for notice in frame.notices] for frame in estimation]
        assert estimation.header.fps == pytest.approx(30 if not given else 25)
    assert first == told
    assert not any(later)


def test_closing_notices_come_with_the_last_frame(make: Callable[..., Engine]) -> None:
    """Unequal lengths and missing images are told once, with the last frame."""
    images = clip(3)
    images["cam1"] = [png(0)] * 4
    images["cam2"] = [png(1), None, png(1)]
    assert notices(frames(make(), images=images)) == [[], [], [("unequal-lengths", None), ("missing-images", "cam2")]]


# -- looking ahead -------------------------------------------------------------------------------------------------


class Knowing(Model):
    """Says in sigma, in metres, how many instants of the window follow the one that is answered."""

    def relate(
        self,
        origins: Array,
        directions: Array,
        scores: Array,
        view_mask: NDArray[np.bool_],
        tokens: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        joints, sigma, weights = super().relate(origins, directions, scores, view_mask)
        return joints, np.broadcast_to(np.arange(joints.shape[1])[::-1, None], sigma.shape).astype(float), weights


AHEAD = {"window": 4, "look_ahead": 2}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_frames_wait_for_those_they_look_ahead_to(make: Callable[..., Engine], count: int) -> None:
    """All come once and in order, from as many later frames as there are; notices and people are their own frame's."""
    images = clip(count)
    images["cam1"] = [png(0)] * (count + 1)
    images["cam2"] = [png(1, (320, 240))] * count
    if count == 7:
        images["cam3"] = [None if t == 3 else png(2) for t in range(count)]
    with make(manifest=AHEAD, kind=Knowing).estimate(RIG, images, Options()) as estimation:
        answer = []
        for frame in estimation:
            answer.append(frame)
            (tracked,) = estimation.people
            (person,) = frame.people
            assert tracked.sigma.tolist() == person.sigma.tolist()
            assert tracked.seen.tolist() == [name in person.views for name in RIG.names]
    assert [frame.index for frame in answer] == list(range(count))
    assert [frame.people[0].sigma[0] for frame in answer] == [min(2, count - 1 - t) for t in range(count)]
    told = notices(answer)
    assert ("image-size", "cam2") in told[0]
    assert ("unequal-lengths", None) in told[-1]
    if count == 7:
        assert ["cam3" in frame.people[0].views for frame in answer] == [t != 3 for t in range(count)]
        assert ("missing-images", "cam3") in told[-1]


def test_an_estimate_that_is_closed_holds_nothing_back(make: Callable[..., Engine]) -> None:
    """Frames that wait for their answer when the estimate is closed are not given any more."""
    estimation = make(manifest=AHEAD, kind=Knowing).estimate(RIG, clip(7), Options())
    assert next(estimation).index == 0
    estimation.close()
    assert list(estimation) == []


def test_one_camera_is_enough_where_the_model_says_so(make: Callable[..., Engine]) -> None:
    """A rig of one camera is taken and may find nobody; no camera at all is refused."""
    engine = make(manifest={"min_views": 1})
    assert len(frames(engine, images=clip(3, 1))) == 3
    with pytest.raises(InvalidInput, match="at least one camera is needed; 0 of 4 was sent"):
        frames(engine, images={})


# -- what is refused -----------------------------------------------------------------------------------------------


def turned() -> dict[str, Images]:
    return {**clip(2), "cam2": [png(1, (480, 640))] * 2}


@pytest.mark.parametrize(
    ("images", "options", "error", "camera", "match"),
    [
        (clip(2, 0), {}, InvalidInput, "cam2", "at least two"),
        (clip(2), {"model": "huge"}, NotFound, None, "'huge'"),
        (clip(9), {}, LimitExceeded, None, "more than 8 frames"),
        ({**clip(2), "cam9": [png(0)] * 2}, {}, CalibrationError, "cam9", "no such camera"),
        ({**clip(2), "cam2": [b"no picture"] * 2}, {}, VideoError, "cam2", "no JPEG or PNG"),
        (turned(), {}, CalibrationError, "cam2", "turned by 90°"),
    ],
    ids=["one camera", "unknown model", "too long", "unknown camera", "no picture", "other shape"],
)
def test_what_cannot_be_used_is_refused(
    make: Callable[..., Engine],
    images: dict[str, Images],
    options: dict[str, Any],
    error: type[SynposeError],
    camera: str | None,
    match: str,
) -> None:
    """Bad input is an error that names its camera before a frame is computed; its threads have ended."""
    engine = make(max_frames=8)
    with pytest.raises(error, match=match) as caught:
        frames(engine, images=images, **options)
    assert caught.value.camera == camera
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode-")]


def test_a_job_that_is_over_ends_its_clip(make: Callable[..., Engine]) -> None:
    """After its deadline an estimate computes nothing more, decoding ends, and a later one does not begin."""
    job = Job()
    engine = make()
    with engine.estimate(RIG, clip(9), Options(), place=Place(job, 4)) as estimation:
        assert next(estimation).index == 0
        job.deadline = 0
        with pytest.raises(DeadlineExceeded):
            next(estimation)
    with pytest.raises(DeadlineExceeded):
        engine.estimate(RIG, clip(), Options(), place=Place(job, 4))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode-")]


def test_too_many_cameras_are_refused(make: Callable[..., Engine]) -> None:
    """More cameras than the server takes are `LimitExceeded`; cameras that send nothing do not count."""
    engine = make(max_cameras=3)
    with pytest.raises(LimitExceeded, match="more than 3 cameras"):
        frames(engine)
    assert len(frames(engine, images=clip(2, 0, 1, 2))) == 2


def test_a_clip_is_as_long_as_its_shortest_camera(make: Callable[..., Engine]) -> None:
    """`max_frames` is met exactly, and a camera that went on longer does no harm."""
    engine = make(max_frames=2)
    assert len(frames(engine, images={**clip(2), "cam1": [png(0)] * 9})) == 2


def test_a_clip_that_hides_its_length_is_stopped(make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file says how long it is, the frame after the last allowed one is the error."""

    def silent(camera: str, source: Images, max_pixels: int) -> Reader:
        reader = open_source(camera, source, max_pixels)
        reader.count = None
        return reader

    monkeypatch.setattr(synpose_server.synchronise, "open_source", silent)
    engine = make(max_frames=2)
    with engine.estimate(RIG, clip(4), Options()) as estimation:
        assert estimation.count is None
        assert [next(estimation).index for _ in range(2)] == [0, 1]
        with pytest.raises(LimitExceeded, match="more than 2 frames"):
            next(estimation)


def test_a_wrong_unit_of_a_short_clip_is_told_at_its_end(make: Callable[..., Engine]) -> None:
    """A clip too short for patience ends in the error about the unit, not in frames without people."""
    engine = make()
    with pytest.raises(CalibrationError, match="m tall") as caught:
        frames(engine, images=clip(1), rig=circle_rig(4, scale=1000.0))
    assert caught.value.field == "options.units"
