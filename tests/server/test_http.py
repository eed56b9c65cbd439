"""The HTTP door on a real port, with a fake engine behind it."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.server.fake_engine import FakeEngine
from tests.server.live_server import serve

from synpose.calibration import write_calibration
from synpose.client import Client
from synpose.errors import LimitExceeded, Overloaded
from synpose.formats import FORMATS, Format
from synpose.formats import json as pose_json
from synpose.rig import Camera, Rig
from synpose_server.http import form
from synpose_server.http.documents import Answer, Problem
from synpose_server.http.output import Output
from synpose_server.requests import gather_images
from synpose_server.settings import Settings

ROOT = Path(__file__).parents[2]
Part = tuple[str, tuple[str | None, bytes | str]]
K = [[1000, 0, 640], [0, 1000, 360], [0, 0, 1]]
RIG = Rig(tuple(Camera(name, (1280, 720), K, np.eye(3), [x, 0, 4]) for x, name in enumerate(("cam01", "cam02"))))
CALIBRATION = write_calibration(RIG)
VIDEOS: list[Part] = [("video", ("cam01.mp4", b"one")), ("video", ("cam02.mp4", b"two"))]
FILES: list[Part] = [("calibration", ("rig.json", CALIBRATION)), *VIDEOS]


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine(Settings(max_body_bytes=200_000, max_frames=1000, max_cameras=4))


@pytest.fixture(scope="module")
def url(engine: FakeEngine) -> Iterator[str]:
    with serve(engine) as url:
        yield url


@pytest.fixture
def post(url: str, engine: FakeEngine) -> Iterator[Any]:
    """Posts parts (calibration included unless told) and returns the response."""
    engine.received.clear()
    engine.closed.clear()
    with httpx.Client(base_url=url, timeout=10) as client:

        def send(parts: list[Part], calibration: str | None = CALIBRATION, **options: Any) -> httpx.Response:
            files = [*([("calibration", ("rig.json", calibration))] if calibration else []), *parts]
            return client.post("/v1/pose3d", files=files, **options)

        yield send


def frame_sets(*sets: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"calibration": json.loads(CALIBRATION), "frame_sets": [{"images": images} for images in sets]} | more


def test_videos_named_by_file_are_answered_in_the_order_of_the_rig(post: Any, engine: FakeEngine) -> None:
    """A video's stem is its camera; the engine gets the sources in the rig's order, whole."""
    response = post([*VIDEOS[::-1], ("options", (None, '{"skeleton": "h36m17", "max_people": 2}'))])
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    [received] = engine.received
    assert list(received.sources.items()) == [("cam01", b"one"), ("cam02", b"two")]
    assert (received.options.skeleton, received.options.max_people) == ("h36m17", 2)
    answer = pose_json.decode(response.content)
    assert answer.joints()[:, 0, 0].tolist() == [0, 1, 2]
    assert np.isnan(answer.joints()[:, -1]).all()
    assert engine.closed.wait(5)


def test_an_answer_is_as_the_document_says(post: Any) -> None:
    """The schema in the OpenAPI document holds for a real answer."""
    assert len(Answer.model_validate_json(post(VIDEOS).content).notices) == 1


def test_a_field_named_by_the_camera_is_its_video(post: Any, engine: FakeEngine) -> None:
    """A file in a field that has a camera's name needs no particular file name."""
    assert post([("cam02", ("b.mov", b"two")), ("cam01", ("a.mov", b"one"))]).status_code == 200
    assert engine.received[0].sources == {"cam01": b"one", "cam02": b"two"}


def test_large_uploads_arrive_whole(post: Any, engine: FakeEngine) -> None:
    """Content that comes in many chunks is put together in order."""
    one, two = (np.random.default_rng(seed).bytes(90_000) for seed in (1, 2))
    assert post([("video", ("cam01.mp4", one)), ("video", ("cam02.mp4", two))]).status_code == 200
    assert engine.received[0].sources == {"cam01": one, "cam02": two}


@pytest.mark.parametrize(
    "pattern", ["{}/{:03}.jpg", "{}_{}.png", "{}-frame{}.jpg", "{}-{}.jpg", "{}/frame-{:04}.jpg", "{}.{}.jpg"]
)
def test_numbered_frames_share_one_axis_and_gaps_are_missing_images(
    pattern: str, post: Any, engine: FakeEngine
) -> None:
    """Frames may come in any order; an index that a camera lacks is None for it."""
    sent = [("cam01", 7, b"a7"), ("cam02", 6, b"b6"), ("cam01", 5, b"a5"), ("cam02", 5, b"b5"), ("cam02", 7, b"b7")]
    assert post([("frame", (pattern.format(c, n), image)) for c, n, image in sent]).status_code == 200
    assert engine.received[0].sources == {"cam01": [b"a5", None, b"a7"], "cam02": [b"b5", b"b6", b"b7"]}


def test_frames_without_numbers_are_in_order_of_arrival(post: Any, engine: FakeEngine) -> None:
    """One image a camera needs no number."""
    assert post([("frame", ("cam02/x.jpg", b"b")), ("frame", ("cam01/x.jpg", b"a"))]).status_code == 200
    assert engine.received[0].sources == {"cam01": [b"a"], "cam02": [b"b"]}


def test_frames_may_have_timestamps(post: Any, engine: FakeEngine) -> None:
    """With timestamps an image's number is the place of its time."""
    frames = [("frame", (f"cam0{camera}/{index}.jpg", b"x")) for camera in (1, 2) for index in (1, 2)]
    assert post([*frames, ("timestamps", (None, "[0, 0.5, 0.7, 1]"))]).status_code == 200
    assert engine.received[0].timestamps == (0, 0.5, 0.7, 1)
    assert engine.received[0].sources["cam01"] == [None, b"x", b"x", None]


def test_the_camera_of_a_frame_is_the_longest_name_that_fits(post: Any, engine: FakeEngine) -> None:
    """Names may be beginnings of one another."""
    rig = Rig(tuple(Camera(name, (1280, 720), K, np.eye(3), [x, 0, 4]) for x, name in enumerate(("cam", "cam_1"))))
    frames = [("frame", ("cam_1_0.jpg", b"long")), ("frame", ("cam_0.jpg", b"short"))]
    assert post(frames, write_calibration(rig)).status_code == 200
    assert engine.received[0].sources == {"cam": [b"short"], "cam_1": [b"long"]}


def test_json_carries_images_in_base64(post: Any, url: str, engine: FakeEngine) -> None:
    """The same path takes JSON; a camera may be missing in a frame set."""
    one = base64.b64encode(b"\xff\xd8one").decode()
    body = frame_sets({"cam01": one, "cam02": one}, {"cam02": one})
    for index, record in enumerate(body["frame_sets"]):
        record["timestamp"] = index / 10
    response = httpx.post(f"{url}/v1/pose3d", json=body)
    assert response.status_code == 200
    assert engine.received[0].sources == {"cam01": [b"\xff\xd8one", None], "cam02": [b"\xff\xd8one"] * 2}
    assert engine.received[0].timestamps == (0.0, 0.1)


@pytest.mark.parametrize(
    ("accept", "media_type", "start"),
    [
        ("application/x-ndjson", "application/x-ndjson", b'{"model":'),
        ("text/csv", "text/csv; charset=utf-8", b"frame,timestamp,person"),
        ("text/x-trc, application/json;q=0.5", "text/x-trc; charset=utf-8", b"PathFileType"),
        ("*/*", "application/json", b'{"model":'),
    ],
)
def test_accept_chooses_the_format(accept: str, media_type: str, start: bytes, post: Any) -> None:
    """Every format is had by its media type."""
    response = post(VIDEOS, headers={"accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)
    assert response.content.startswith(start)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_the_query_chooses_the_format(form: Format, post: Any) -> None:
    """Every format is had by its name, which goes before the Accept header, with its media type."""
    response = post(VIDEOS, params={"format": form.name}, headers={"accept": "text/csv"})
    assert response.status_code == 200
    assert response.headers["content-type"].partition(";")[0] == form.media_type
    starts = {"c3d": b"\x02P", "glb": b"glTF", "npz": b"PK", "parquet": b"PAR1", "rrd": b"RRF", "bvh": b"HIERARCHY"}
    assert response.content.startswith(starts.get(form.name, b""))
    assert len(response.content) > 100


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "ndjson"])
def test_an_answer_is_converted(streamed: bool, url: str, post: Any) -> None:
    """An answer that was had before is written as the file that the estimate would have given."""
    kind = "application/x-ndjson" if streamed else "application/json"
    query = {"format": "trc", "up": "y"}
    answer = post(VIDEOS, headers={"accept": kind}).content
    converted = httpx.post(f"{url}/v1/convert", params=query, content=answer, headers={"content-type": kind})
    assert converted.status_code == 200
    assert converted.content == post(VIDEOS, params=query).content


@pytest.mark.parametrize(
    ("query", "status", "kind", "field"),
    [
        ({"format": "fbx"}, 406, "not-acceptable", "format"),
        ({"format": "trc", "up": "w"}, 422, "options-error", "up"),
        ({"format": "trc", "person": "-1"}, 422, "options-error", "person"),
        ({"format": "trc", "person": "7"}, 404, "not-found", "person"),
        ({"skeleton": "halpe26"}, 422, "options-error", "query"),
    ],
)
@pytest.mark.parametrize("path", ["pose3d", "convert"])
def test_a_format_that_is_not_there(
    path: str, query: dict[str, str], status: int, kind: str, field: str, url: str, post: Any
) -> None:
    """What cannot be written is a problem that names the parameter, at either path."""
    if path == "pose3d":
        response = post(VIDEOS, params=query)
    else:
        response = httpx.post(f"{url}/v1/convert", params=query, json=post(VIDEOS).json())
    problem = response.json()
    assert (response.status_code, problem["type"], problem["field"]) == (status, f"urn:synpose:problem:{kind}", field)


@pytest.mark.parametrize(
    ("content", "kind"), [(b"{}", "application/json"), (b"", "application/x-ndjson"), (b"{}", "text/plain")]
)
def test_what_is_no_answer_is_not_converted(content: bytes, kind: str, url: str) -> None:
    """A body that is no answer is one clear problem."""
    response = httpx.post(f"{url}/v1/convert?format=csv", content=content, headers={"content-type": kind})
    assert response.status_code == 422
    assert response.json()["type"] == "urn:synpose:problem:invalid-input"


@pytest.mark.parametrize(
    ("ids", "frames", "joints", "said"),
    [(65, 1, 2, "65 ids"), (0, 4097, 4096, "send parts of the clip"), (64, 70, 3745, "send parts of the clip")],
)
def test_an_answer_of_a_crowd_is_not_converted(ids: int, frames: int, joints: int, said: str) -> None:
    """Files hold everybody in every frame, so that a short answer of many could be a file of any size."""
    skeleton = {"name": "x", "joints": list(map(str, range(joints))), "parents": [-1] * joints}
    body: dict[str, Any] = {"model": {"name": "x", "version": "1"}, "skeleton": skeleton, "units": "m", "fps": 30}
    body["frames"] = [{"index": 0, "timestamp": t, "people": []} for t in range(frames)]
    for k in range(ids):
        unknown = [None] * joints
        body["frames"][0]["people"].append({"id": k, "score": 0, "joints": unknown, "sigma": unknown, "views": []})
    with serve(FakeEngine()) as url:
        response = httpx.post(f"{url}/v1/convert?format=npz", json=body, timeout=30)
    assert (response.status_code, response.json()["type"]) == (413, "urn:synpose:problem:limit-exceeded")
    assert said in response.json()["detail"]


def test_a_conversion_keeps_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller is told in time, and its place is free once it is written."""
    go = threading.Event()
    monkeypatch.setattr(Output, "write", lambda *_: (go.wait(10), b"written")[1])
    answer = {"model": {"name": "x", "version": "1"}, "units": "m", "fps": 30, "frames": []}
    answer["skeleton"] = {"name": "x", "joints": ["a"], "parents": [-1]}
    with serve(FakeEngine(Settings(max_uploads=1))) as url, httpx.Client(base_url=url, timeout=10) as client:
        late = client.post("/v1/convert", json=answer, headers={"x-request-timeout": "0.2"})
        assert (late.status_code, late.json()["type"]) == (503, "urn:synpose:problem:deadline-exceeded")
        assert "are being sent already" in client.post("/v1/convert", json=answer).json()["detail"]
        go.set()
        while (response := client.post("/v1/convert", json=answer)).status_code == 503:
            time.sleep(0.01)
        assert response.content == b"written"


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("spoil", ["fps", "joint", "id", "legs", "cycle"])
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_strange_answer_is_no_failure_of_the_server(form: Format, spoil: str, url: str, post: Any) -> None:
    """Numbers and skeletons that no estimate gives are written or refused, and never an error 500."""
    answer = post(VIDEOS).json()
    someone = answer["frames"][1]["people"][0]
    if spoil == "fps":
        answer["fps"] = 0
    elif spoil == "joint":
        someone["joints"][3] = [1e300, -1e300, 0]
    elif spoil == "id":
        someone["id"] = 10**30
    else:
        answer["skeleton"] |= {
            "name": spoil,
            "joints": ["pelvis", "foot"],
            "parents": [[-1, 0], [1, 0]][spoil == "cycle"],
        }
        for frame in answer["frames"]:
            frame["people"][0] |= {"joints": [[0, 0, 1], None], "sigma": [0.1, None]}
    response = httpx.post(f"{url}/v1/convert", params={"format": form.name}, json=answer)
    assert response.status_code in ((422,) if spoil == "fps" else (200,) if spoil in ("legs", "cycle") else (200, 422))


B = base64.b64encode(b"image").decode()
SINGLE = write_calibration(RIG.subset(["cam01"]))
BAD_FORMS: dict[str, tuple[list[Part], str | None, int, str, str | None, str | None]] = {
    "no calibration": (VIDEOS, None, 422, "calibration-error", "calibration", None),
    "empty calibration": ([*VIDEOS, ("calibration", (None, ""))], None, 422, "calibration-error", "calibration", None),
    "calibration is no text": (
        [*VIDEOS, ("calibration", ("c", b"\xff\xfe"))], None, 422, "calibration-error", "calibration", None,
    ),
    "one camera": (VIDEOS[:1], SINGLE, 422, "invalid-input", "video", None),
    "camera without video": (VIDEOS[:1], CALIBRATION, 422, "invalid-input", "video", "cam02"),
    "nothing but a calibration": ([], CALIBRATION, 422, "invalid-input", "video", "cam01"),
    "video without camera": (
        [*VIDEOS, ("video", ("cam03.mp4", b"x"))], CALIBRATION, 422, "invalid-input", "video", "cam03",
    ),
    "two videos of a camera": ([*VIDEOS, VIDEOS[0]], CALIBRATION, 422, "invalid-input", "video", "cam01"),
    "two videos of a camera by field": (
        [*VIDEOS, ("cam02", ("x.mp4", b"x"))], CALIBRATION, 422, "invalid-input", "video", "cam02",
    ),
    "more videos than cameras are accepted": (VIDEOS * 3, CALIBRATION, 413, "limit-exceeded", "video", None),
    "broken video": (
        [VIDEOS[0], ("video", ("cam02.mp4", b"broken"))], CALIBRATION, 422, "video-error", "video", "cam02",
    ),
    "video without file name": ([*VIDEOS, ("video", (None, b"x"))], CALIBRATION, 422, "invalid-input", "video", None),
    "unknown file": ([*VIDEOS, ("vidoe", ("x.mp4", b"x"))], CALIBRATION, 422, "invalid-input", "vidoe", None),
    "unknown field": ([*VIDEOS, ("fps", (None, "30"))], CALIBRATION, 422, "invalid-input", "fps", None),
    "videos and frames": (
        [VIDEOS[0], ("frame", ("cam02/0.jpg", b"x"))], CALIBRATION, 422, "invalid-input", "frame_sets", None,
    ),
    "video and frames of a camera": (
        [*VIDEOS, ("frame", ("cam02/0.jpg", b"x"))], CALIBRATION, 422, "invalid-input", "frame", "cam02",
    ),
    "frame of no camera": ([("frame", ("cam012_0.jpg", b"x"))], CALIBRATION, 422, "invalid-input", "frame", None),
    "frames of one camera": (
        [("frame", ("cam01/0.jpg", b"x"))], CALIBRATION, 422, "invalid-input", "frame_sets", "cam02",
    ),
    "doubled frame": (
        [("frame", ("cam01/0.jpg", b"x")), ("frame", ("cam01/00.jpg", b"x"))],
        CALIBRATION, 422, "invalid-input", "frame_sets", "cam01",
    ),
    "frames with and without number": (
        [("frame", ("cam01/0.jpg", b"x")), ("frame", ("cam01/x.jpg", b"x"))],
        CALIBRATION, 422, "invalid-input", "frame_sets", "cam01",
    ),
    **{
        f"a number below 0: {name}": (
            [("frame", ("cam01/0.jpg", b"x")), ("frame", (name, b"x"))],
            CALIBRATION, 422, "invalid-input", "frame_sets", "cam02",
        )
        for name in ("cam02/-1.jpg", "cam02_-0.png", "cam02--2.jpg")
    },
    "a number beyond the longest clip": (
        [("frame", ("cam01_0.jpg", b"x")), ("frame", ("cam01_999999999.jpg", b"x"))],
        CALIBRATION, 413, "limit-exceeded", "frame_sets", None,
    ),
    "more frames than timestamps": (
        [("timestamps", (None, "[0]")), ("frame", ("cam01/0.jpg", b"x")), ("frame", ("cam02/1.jpg", b"x"))],
        CALIBRATION, 422, "invalid-input", "frame_sets.timestamp", None,
    ),
    "more timestamps than the longest clip has frames": (
        [("timestamps", (None, str([*range(1001)]))), *(("frame", (f"{name}/0.jpg", b"x")) for name in RIG.names)],
        CALIBRATION, 413, "limit-exceeded", "timestamps", None,
    ),
    "timestamps that fall": (
        [("timestamps", (None, "[1, 0]")), ("frame", ("cam01/0.jpg", b"x")), ("frame", ("cam02/1.jpg", b"x"))],
        CALIBRATION, 422, "invalid-input", "frame_sets.timestamp", None,
    ),
    "timestamps that are no numbers": (
        [("timestamps", (None, '["now"]')), ("frame", ("cam01/0.jpg", b"x")), ("frame", ("cam02/0.jpg", b"x"))],
        CALIBRATION, 422, "invalid-input", "timestamps", None,
    ),
    **{
        f"timestamps that are {none}": (
            [("timestamps", (None, none)), ("frame", ("cam01/0.jpg", b"x")), ("frame", ("cam02/0.jpg", b"x"))],
            CALIBRATION, 422, "invalid-input", "timestamps", None,
        )
        for none in ("[]", "null")
    },
    "timestamps of videos": (
        [*VIDEOS, ("timestamps", (None, "[0]"))], CALIBRATION, 422, "invalid-input", "timestamps", None,
    ),
    "options twice": (
        [*VIDEOS, ("options", (None, "{}")), ("options", (None, "{}"))],
        CALIBRATION, 422, "invalid-input", "options", None,
    ),
    "options that are no JSON": (
        [*VIDEOS, ("options", (None, "{"))], CALIBRATION, 422, "options-error", "options", None,
    ),
    "options that are a list": (
        [*VIDEOS, ("options", (None, "[]"))], CALIBRATION, 422, "options-error", "options", None,
    ),
    "options with NaN": (
        [*VIDEOS, ("options", (None, '{"fps": NaN}'))], CALIBRATION, 422, "options-error", "options", None,
    ),
    "unknown option": (
        [*VIDEOS, ("options", (None, '{"colour": 1}'))], CALIBRATION, 422, "options-error", "options.colour", None,
    ),
    "unusable option": (
        [*VIDEOS, ("options", (None, '{"max_people": 0}'))],
        CALIBRATION, 422, "options-error", "options.max_people", None,
    ),
    "another unit than the calibration's": (
        [*VIDEOS, ("options", (None, '{"units": "mm"}'))], CALIBRATION, 422, "calibration-error", "options.units", None,
    ),
    "unknown skeleton": (
        [*VIDEOS, ("options", (None, '{"skeleton": "x"}'))], CALIBRATION, 404, "not-found", "options.skeleton", None,
    ),
    "unknown model": (
        [*VIDEOS, ("options", (None, '{"model": "x"}'))], CALIBRATION, 404, "not-found", "options.model", None,
    ),
    "half a character in a calibration": (
        VIDEOS, CALIBRATION.replace("cam01", "\\ud800"), 422, "calibration-error", "calibration", None,
    ),
    "half a character where another value is wrong": (
        VIDEOS, CALIBRATION.replace("cam01", "\\ud800").replace("1280", "[]"),
        422, "calibration-error", "calibration", None,
    ),
    "line break in a name": (
        VIDEOS, CALIBRATION.replace("cam01", "\\n1"), 422, "calibration-error", "calibration.name", None,
    ),
    "three calibrations": (
        [*VIDEOS, ("calibration", ("b", "{}")), ("calibration", ("c", "{}"))],
        CALIBRATION, 422, "calibration-error", "calibration", None,
    ),
    "two calibrations of one name": (
        [*VIDEOS, ("calibration", ("rig.json", "{}"))], CALIBRATION, 422, "invalid-input", "calibration", None,
    ),
    "too many fields": ([("x", (None, "1"))] * 20, CALIBRATION, 413, "limit-exceeded", "body", None),
    "too large": ([("video", ("cam01.mp4", bytes(300_000)))], CALIBRATION, 413, "limit-exceeded", "body", None),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FORMS)
def test_a_bad_form_is_a_problem_that_names_field_and_camera(case: str, post: Any, engine: FakeEngine) -> None:
    """Each way to get a form wrong has its status, kind, field and camera."""
    parts, calibration, status, kind, field, camera = BAD_FORMS[case]
    check_problem(post(parts, calibration), status, kind, field, camera)
    assert not engine.received


WIDE_RIG = Rig(tuple(Camera(f"cam{n:02}", (1280, 720), K, np.eye(3), [n / 9, 0, 4]) for n in range(24)))
WIDE = write_calibration(WIDE_RIG)


def test_a_rig_may_have_more_cameras_than_are_sent(post: Any, url: str, engine: FakeEngine) -> None:
    """What `max_cameras` counts is the cameras that are sent, in every kind of request."""
    document = frame_sets({"cam03": B, "cam07": B}, calibration=json.loads(WIDE))
    assert post([("video", ("cam03.mp4", b"1")), ("video", ("cam07.mp4", b"2"))], WIDE).status_code == 200
    assert post([("frame", ("cam03/0.jpg", b"1")), ("frame", ("cam07/0.jpg", b"2"))], WIDE).status_code == 200
    assert httpx.post(f"{url}/v1/pose3d", json=document).status_code == 200
    assert [list(received.sources) for received in engine.received] == [["cam03", "cam07"]] * 3


def test_more_cameras_than_the_server_accepts(post: Any, url: str, engine: FakeEngine) -> None:
    """A fifth camera is one too many here, in every kind of request."""
    names = WIDE_RIG.names[:5]
    document = frame_sets(*({name: B} for name in names), calibration=json.loads(WIDE))
    for field, response in (
        ("video", post([("video", (f"{name}.mp4", b"1")) for name in names], WIDE)),
        ("frame_sets", post([("frame", (f"{name}/0.jpg", b"1")) for name in names], WIDE)),
        ("frame_sets", httpx.post(f"{url}/v1/pose3d", json=document)),
    ):
        check_problem(response, 413, "limit-exceeded", field, None)
    assert not engine.received


def test_cameras_are_counted_before_lists_of_images_are_made() -> None:
    """Frame sets of too many cameras cost no memory beside their own."""
    sets = [dict.fromkeys(WIDE_RIG.names, b""), *[{}] * 100_000]
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match="at most 2 cameras"):
            gather_images(WIDE_RIG, sets, Settings(max_cameras=2))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # lists for all cameras take 19 MB
    finally:
        tracemalloc.stop()


BAD_JSON: dict[str, tuple[Any, int, str, str | None, str | None]] = {
    "broken": (b"{", 422, "invalid-input", "body", None),
    "NaN": (b'{"calibration": NaN}', 422, "invalid-input", "body", None),
    "deep": (b"[" * 100_000, 422, "invalid-input", "body", None),
    "a list": ([], 422, "invalid-input", "body", None),
    "empty": (b"", 422, "invalid-input", "body", None),
    "unknown key": (frame_sets({"cam01": B}, colour=1), 422, "invalid-input", "body", None),
    "no calibration": ({"frame_sets": []}, 422, "invalid-input", "calibration", None),
    "calibration is a path": (frame_sets(calibration="/etc/passwd"), 422, "invalid-input", "calibration", None),
    "calibration holds no camera": (frame_sets(calibration={}), 422, "calibration-error", "calibration", None),
    "options are null": (frame_sets({"cam01": B}, options=None), 422, "options-error", "options", None),
    "fps is a huge number": (
        b'{"options": {"fps": 1e999}}',
        422, "invalid-input", "body", None,
    ),
    "no frame sets": (frame_sets(), 422, "invalid-input", "frame_sets", None),
    "frame set is null": (frame_sets() | {"frame_sets": [None]}, 422, "invalid-input", "frame_sets", None),
    "frame set without images": (frame_sets() | {"frame_sets": [{}]}, 422, "invalid-input", "frame_sets.images", None),
    "too many frame sets": (frame_sets(*[{}] * 1001), 413, "limit-exceeded", "frame_sets", None),
    "image is no base64": (
        frame_sets({"cam01": B, "cam02": "%%"}), 422, "invalid-input", "frame_sets.images", "cam02",
    ),
    "image has umlauts": (frame_sets({"cam01": "ä"}), 422, "invalid-input", "frame_sets.images", "cam01"),
    "image is a number": (frame_sets({"cam01": 1}), 422, "invalid-input", "frame_sets.images", "cam01"),
    "unknown camera": (frame_sets({"cam01": B, "cam09": B}), 422, "invalid-input", "frame_sets", "cam09"),
    "camera never there": (frame_sets({"cam01": B, "cam02": None}), 422, "invalid-input", "frame_sets", "cam02"),
    "timestamp of some": (
        frame_sets() | {"frame_sets": [{"timestamp": 0, "images": {"cam01": B, "cam02": B}}, {"images": {}}]},
        422, "invalid-input", "frame_sets.timestamp", None,
    ),
    "timestamp is text": (
        frame_sets() | {"frame_sets": [{"timestamp": "0", "images": {}}]},
        422, "invalid-input", "frame_sets.timestamp", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json_is_a_problem_that_names_field_and_camera(case: str, url: str, post: Any, engine: FakeEngine) -> None:
    """Each way to get a JSON request wrong has its status, kind, field and camera."""
    body, status, kind, field, camera = BAD_JSON[case]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = httpx.post(f"{url}/v1/pose3d", content=content, headers={"content-type": "application/json"})
    check_problem(response, status, kind, field, camera)
    assert not engine.received


GOOD_HEAD = b'--x\r\nContent-Disposition: form-data; name="calibration"; filename="c"\r\n\r\n'


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"nonsense"),
        ("multipart/form-data; boundary=x", GOOD_HEAD + b"cut off"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: text/plain\r\n\r\nnameless\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 10_000),
        ("multipart/form-data; boundary=" + "x" * 5000, b""),
        ("text/plain", b"hello"),
        ("", b"hello"),
    ],
)
def test_a_malformed_body_is_the_senders_fault(content_type: str, content: bytes, url: str) -> None:
    """Nothing that can be wrong with the envelope is an error of the server."""
    response = httpx.post(f"{url}/v1/pose3d", content=content, headers={"content-type": content_type})
    check_problem(response, 422, "invalid-input", response.json()["field"], None)
    assert response.json()["field"] in ("body", "content-type")


def check_problem(response: httpx.Response, status: int, kind: str, field: str | None, camera: str | None) -> None:
    problem = Problem.model_validate_json(response.content)
    assert response.headers["content-type"] == "application/problem+json"
    found = (response.status_code, problem.status, problem.type.rpartition(":")[2], problem.field, problem.camera)
    assert found == (status, status, kind, field, camera), problem.detail


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes, says why and what to do, and the rest of the upload does not keep it from the client."""
    monkeypatch.setattr("synpose_server.http.form.TemporaryFile", lambda: open("/dev/full", "w+b"))  # noqa: SIM115
    with serve(FakeEngine(Settings())) as url:
        for _ in range(5):
            response = httpx.post(f"{url}/v1/pose3d", files=[FILES[0], ("video", ("cam01.mp4", bytes(8 << 20)))])
            assert response.status_code == 503
            assert "no room on its disk" in response.json()["detail"]
            assert response.headers["retry-after"]
        with Client(url) as client, pytest.raises(Overloaded, match="no room on its disk"):
            client.estimate({"cam01": bytes(40 << 20), "cam02": b"two"}, RIG)


def test_an_unoffered_format_is_refused_before_the_body_is_read(url: str) -> None:
    """406 comes although the announced body never does."""
    head = b"POST /v1/pose3d HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nContent-Length: 1000\r\n\r\n"
    assert b"406 Not Acceptable" in exchange(url, head)


def test_who_still_sends_is_heard_out(url: str) -> None:
    """A refusal that comes before the body is read reaches a client that reads only after it has sent everything."""
    body = b"x" * (8 << 20)
    head = f"POST /v1/pose3d HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(5):
        assert b"406 Not Acceptable" in exchange(url, head.encode() + body)


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(url: str) -> None:
    """413 from the Content-Length alone, and the connection is closed."""
    head = (
        b"POST /v1/pose3d HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 999999999\r\n\r\n"
    )
    assert b"413 " in exchange(url, head)


def test_a_chunked_body_is_counted(url: str) -> None:
    """Without a Content-Length the limit holds at the byte that is too much."""
    chunks = (b"x" * 1000 for _ in range(10_000))
    head = {"content-type": "multipart/form-data; boundary=x"}
    parts = (b'--x\r\nContent-Disposition: form-data; name="video"; filename="cam01.mp4"\r\n\r\n',)
    with httpx.Client() as client:
        response = client.post(f"{url}/v1/pose3d", content=(c for s in (parts, chunks) for c in s), headers=head)
    check_problem(response, 413, "limit-exceeded", "body", None)


def test_images_of_a_form_are_as_many_as_frame_sets_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `max_cameras` cameras in `max_frames` frame sets; where they are many, they may not be next to nothing."""
    monkeypatch.setattr(form, "_MANY", 4)
    engine = FakeEngine(Settings(max_frames=5, max_cameras=2))
    with serve(engine) as url:
        for size, frames, said in ((1024, 5, None), (1024, 6, "at most 10 images"), (1000, 5, "on average")):
            parts: list[Part] = [
                ("frame", (f"{name}/{t}.jpg", b"x" * size)) for t in range(frames) for name in RIG.names
            ]
            response = httpx.post(f"{url}/v1/pose3d", files=[("calibration", ("rig.json", CALIBRATION)), *parts])
            assert response.status_code == (413 if said else 200), response.text
            assert said is None or (said in response.json()["detail"] and response.json()["field"] == "frame")


def test_uploads_are_bounded_in_number_and_patience() -> None:
    """One more than may be sent at a time is told when to come again; a stalled one is ended and gives its place up."""
    head = (
        b"POST /v1/pose3d HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 1000\r\n\r\n--x\r\n"
    )
    settings = Settings(max_uploads=1, upload_seconds=0.5)
    with serve(FakeEngine(settings)) as url, ThreadPoolExecutor() as pool:
        stalled = pool.submit(exchange, url, head)
        deadline = time.monotonic() + 5
        while (response := httpx.post(f"{url}/v1/pose3d", files=FILES)).status_code == 200:
            assert time.monotonic() < deadline
        check_problem(response, 503, "overloaded", None, None)
        assert int(response.headers["retry-after"]) > 0
        answer = stalled.result()  # which ends when the server closes the connection
        assert b" 422 " in answer
        assert b"nothing of the body came for 0.5 s" in answer
        assert httpx.post(f"{url}/v1/pose3d", files=FILES).status_code == 200


def exchange(url: str, request: bytes) -> bytes:
    """What the server sends until it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v1/pose3d", 405)])
def test_the_routers_own_errors_are_problems_too(method: str, path: str, status: int, url: str) -> None:
    """404 and 405 have the same shape as every other error."""
    response = httpx.request(method, url + path)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert Problem.model_validate_json(response.content).type == "about:blank"


def test_an_unexpected_error_tells_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours is a 500 without inner details, and its traceback is in the log."""
    engine = FakeEngine(fails_at=0, failure=RuntimeError("secret"))
    with serve(engine) as url:
        response = httpx.post(f"{url}/v1/pose3d", files=FILES)
    check_problem(response, 500, "server-error", None, None)
    assert "secret" not in response.text
    assert engine.closed.wait(5)
    assert "RuntimeError: secret" in caplog.text


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_an_error_at_the_first_frame_has_its_status(accept: str) -> None:
    """What is wrong from the start is a status and not a stream."""
    with serve(FakeEngine(fails_at=0)) as url:
        response = httpx.post(f"{url}/v1/pose3d", files=FILES, headers={"accept": accept})
    check_problem(response, 422, "video-error", "video", "cam02")


def test_frames_are_streamed_as_they_are_computed() -> None:
    """The first frame's line is there while the second is still being computed."""
    engine = FakeEngine(holds_at=1)
    with serve(engine) as url, stream(url) as response:
        lines = response.iter_lines()
        assert json.loads(next(lines))["model"] == {"name": "fake", "version": "7"}
        assert json.loads(next(lines))["index"] == 0
        assert not engine.go.is_set()
        engine.go.set()
        assert [json.loads(line)["index"] for line in lines] == [1, 2]


def test_an_error_in_the_stream_is_its_last_line() -> None:
    """An error after the header ends the stream with the problem document."""
    with serve(FakeEngine(fails_at=2)) as url, stream(url) as response:
        *_, before, last = [json.loads(line) for line in response.iter_lines()]
    assert before["index"] == 1
    assert last["error"]["type"] == "urn:synpose:problem:video-error"
    assert last["error"]["camera"] == "cam02"


def test_an_unexpected_error_in_the_stream_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours ends the stream without inner details."""
    with serve(FakeEngine(fails_at=1, failure=RuntimeError("secret"))) as url, stream(url) as response:
        *_, last = response.iter_lines()
    assert json.loads(last)["error"]["type"] == "urn:synpose:problem:server-error"
    assert "secret" not in last
    assert "RuntimeError: secret" in caplog.text


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("holds_at", [0, 1])
def test_a_client_that_goes_away_stops_its_estimate(accept: str, holds_at: int) -> None:
    """Closing the connection closes the estimate, before and after the answer has begun, in every format."""
    engine = FakeEngine(holds_at=holds_at, frames=1_000_000)
    with serve(engine) as url:
        body = httpx.Request("POST", f"{url}/v1/pose3d", files=FILES, headers={"accept": accept})
        head = "".join(f"{name}: {value}\r\n" for name, value in body.headers.items())
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(f"POST /v1/pose3d HTTP/1.1\r\n{head}\r\n".encode() + body.read())
            deadline = time.monotonic() + 5
            while not engine.received and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not engine.closed.wait(0.1)
        assert engine.closed.wait(5)


def stream(url: str) -> Any:
    return httpx.stream("POST", f"{url}/v1/pose3d", files=FILES, headers={"accept": "application/x-ndjson"})


def test_a_server_without_models_lives_but_is_not_ready() -> None:
    """Liveness, readiness and estimates tell the states apart."""
    engine = FakeEngine(loaded=False)
    with serve(engine) as url:
        assert httpx.get(f"{url}/healthz").status_code == 200
        check_problem(httpx.get(f"{url}/readyz"), 503, "overloaded", None, None)
        check_problem(httpx.post(f"{url}/v1/pose3d", files=FILES), 503, "overloaded", None, None)
        engine.loaded = True
        assert httpx.get(f"{url}/readyz").json() == {"status": "ready"}


def test_models_and_skeletons_are_listed(url: str) -> None:
    """The lists hold what a request may name."""
    [model] = httpx.get(f"{url}/v1/models").json()["models"]
    assert model == {
        "name": "fake",
        "version": "7",
        "description": "Known answers",
        "skeletons": ["coco17", "h36m17"],
        "is_default": True,
    }
    skeletons = httpx.get(f"{url}/v1/skeletons").json()["skeletons"]
    assert [s["name"] for s in skeletons] == ["coco17", "h36m17", "halpe26", "body27"]
    assert all(len(s["joints"]) == len(s["parents"]) for s in skeletons)


def test_the_index_leads_to_every_path(url: str) -> None:
    """What the index names is there."""
    index = httpx.get(url).json()
    assert httpx.get(url + index["openapi"]).json()["paths"].keys() >= {index[k] for k in ("pose3d", "models")}


def test_the_openapi_document_is_the_one_that_is_checked_in(url: str) -> None:
    """The contract changes only with docs/openapi.json (scripts/make-openapi writes it)."""
    assert httpx.get(f"{url}/openapi.json").json() == json.loads((ROOT / "docs/openapi.json").read_text())


def test_every_operation_is_documented(url: str) -> None:
    """Each has a summary, and every content of every answer an example."""
    document = httpx.get(f"{url}/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            for response in operation["responses"].values():
                for kind, content in response["content"].items():
                    schema = content["schema"]
                    if "$ref" in schema:
                        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
                    parts = schema.get("properties", {}).values()
                    assert "example" in content or any({"examples", "const"} & part.keys() for part in parts), (
                        path,
                        kind,
                    )
