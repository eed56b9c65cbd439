"""Input that is wrong, broken or poor: the same answer at every door, soon, and the server is no worse after it."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import cv2
import grpc
import httpx
import numpy as np
import psutil
import pytest
from tests.e2e.clip import CALIBRATION, CAMERAS, FRAMES, SIZE, encoded, frames, jpegs, video
from tests.e2e.doors import DOORS, Answer, Refusal, Request, Server

from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc

SOON = 10.0  # seconds; most rows take a tenth, those that compute about one
GROWTH = 300 << 20  # bytes
TRIMMED = 15  # seconds within which what is free has gone back to the system

VIDEO = ("http", "grpc")
IMAGE = ("http", "json", "grpc", "grpc-unary")

# type of problem: HTTP status, gRPC code
CODES = {
    "calibration-error": (422, "INVALID_ARGUMENT"),
    "video-error": (422, "INVALID_ARGUMENT"),
    "options-error": (422, "INVALID_ARGUMENT"),
    "invalid-input": (422, "INVALID_ARGUMENT"),
    "not-found": (404, "NOT_FOUND"),
    "not-acceptable": (406, "INVALID_ARGUMENT"),
    "limit-exceeded": (413, "RESOURCE_EXHAUSTED"),
}


@dataclass(frozen=True)
class Refused:
    """A problem of `type` about `field` (of one door: `fields`) and `camera`."""

    type: str
    field: str
    camera: str | None = None
    fields: Mapping[str, str] | None = None

    def check(self, door: str, answer: Answer | Refusal) -> None:
        field = (self.fields or {}).get(door, self.field)
        assert isinstance(answer, Refusal), answer
        assert (answer.type, answer.field, answer.camera) == (self.type, field, self.camera), answer.detail
        assert answer.status == CODES[self.type]["grpc" in door]


@dataclass(frozen=True)
class Answered:
    """`people` of `frames` frames, with these notices (code, camera) and no others.

    Views in which the model does not see the person may come on top.
    """

    frames: int
    people: int
    notices: frozenset[tuple[str, str | None]]

    def __init__(self, frames: int, people: int, *notices: tuple[str, str | None]) -> None:
        for name, value in (("frames", frames), ("people", people), ("notices", frozenset(notices))):
            object.__setattr__(self, name, value)

    def check(self, door: str, answer: Answer | Refusal) -> None:
        assert isinstance(answer, Answer), answer
        assert len(answer.joints) == self.frames
        assert np.isfinite(answer.joints).any((1, 2)).sum() == self.people
        assert answer.notices >= self.notices
        assert {code for code, _ in answer.notices - self.notices} <= {"unseen-views"}


# -- videos --------------------------------------------------------------------------------------------------------


def every(make: Callable[[str], bytes]) -> Request:
    """A request whose videos are all made by `make`."""
    return Request(videos=[(camera, make(camera)) for camera in CAMERAS])


def one(content: bytes | None) -> Request:
    """A good request but for the video of cam02."""
    return Request().with_video("cam02", content)


def in_container(camera: str, container: str, codec: str = "libx264") -> bytes:
    return encoded(frames(camera), container=container, codec=codec)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def without_index() -> bytes:
    """An MP4 that was never finished: its index, which comes last, is not there."""
    content = video("cam02")
    return content[: content.index(b"moov") - 4]


def only_sound() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", 48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def no_frames() -> bytes:
    """A video that announces a picture and has none."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("libx264", Fraction(60))
        stream.width, stream.height = SIZE
        output.start_encoding()
    return file.getvalue()


def animation() -> bytes:
    """A container that FFmpeg knows and the server refuses."""
    file = io.BytesIO()
    with av.open(file, "w", format="gif") as output:
        stream = output.add_stream("gif", 50)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "gray"
        for image in frames("cam02")[:3, :64, :64]:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            output.mux(stream.encode(picture.reformat(format="gray")))
        output.mux(stream.encode())
    return file.getvalue()


def huge_pictures(codec: str, container: str) -> bytes:
    """A small video whose every picture claims to be as large as its format can say."""
    content = encoded(frames("cam02")[:3, :64, :64], codec=codec, container=container)
    claims = {
        "mjpeg": (b"\xff\xc0\x00\x11\x08\x00\x40\x00\x40", b"\xff\xc0\x00\x11\x08" + 2 * (20_000).to_bytes(2, "big")),
        "libvpx": (b"\x9d\x01\x2a\x40\x00\x40\x00", b"\x9d\x01\x2a\xff\x3f\xff\x3f"),
    }
    small, large = claims[codec]
    assert small in content
    return content.replace(small, large)


def huge_claim() -> bytes:
    """A good video in a container that claims 20,000×20,000 for it."""
    content = video("cam02")
    size = b"".join(side.to_bytes(2, "big") for side in SIZE)
    at = content.rindex(b"avc1") + 28
    assert content[at : at + 4] == size
    return content[:at] + 2 * (20_000).to_bytes(2, "big") + content[at + 4 :]


def noise() -> Request:
    rng = np.random.default_rng(0)
    pixels = [np.repeat(rng.integers(108, 148, (*SIZE[::-1], 1), np.uint8), 3, -1) for _ in range(3)]
    return every(lambda _: encoded(pixels))


# -- images --------------------------------------------------------------------------------------------------------


def images(count: int = 2, **changed: Any) -> Request:
    return Request(frame_sets=[{c: jpegs(c)[k % FRAMES] for c in CAMERAS} for k in range(count)], **changed)


def one_image(content: bytes, at: int = 0) -> Request:
    """A good request but for one image of cam02."""
    sets = [{**images, **({"cam02": content} if k == at else {})} for k, images in enumerate(IMAGES.frame_sets or ())]
    return replace(IMAGES, frame_sets=sets)


IMAGES = images()
ONE_IMAGE_LOST = Answered(2, 2, ("damaged-video", "cam02"), ("missing-images", "cam02"), ("assumed-rate", None))


def huge_jpeg() -> bytes:
    image = jpegs("cam02")[0]
    at = image.index(b"\xff\xc0") + 5
    return image[:at] + 2 * (20_000).to_bytes(2, "big") + image[at + 4 :]


def huge_png() -> bytes:
    image = cv2.imencode(".png", frames("cam02")[0])[1].tobytes()
    return image[:16] + 2 * (20_000).to_bytes(4, "big") + image[24:]


def half_size() -> bytes:
    return cv2.imencode(".jpg", frames("cam02")[0, ::2, ::2])[1].tobytes()


# -- calibrations --------------------------------------------------------------------------------------------------


def calibrated(change: Callable[[list[dict[str, Any]]], object], request: Request | None = None) -> Request:
    """A request whose calibration's cameras were changed."""
    document = json.loads(CALIBRATION)
    change(document["cameras"])
    return replace(request or Request(), calibration=(json.dumps(document).encode(),))


def second(field: str, value: Any) -> Callable[[], Request]:
    """A request in which cam02 is calibrated wrongly."""
    return lambda: calibrated(lambda cameras: cameras[1].update({field: value}))


def scaled(factor: float, request: Request | None = None) -> Request:
    """A request whose calibration is in a wrong unit."""
    return calibrated(lambda cameras: [c.update(t=[factor * x for x in c["t"]]) for c in cameras], request)


ROTATION = np.array(json.loads(CALIBRATION)["cameras"][1]["R"])
NAN, INFINITY = float("nan"), float("inf")

NO_VIDEO = Refused("video-error", "video", "cam02")
TOO_LARGE = Refused("limit-exceeded", "video", "cam02")
BAD_UNITS = Refused("calibration-error", "options.units")
NEEDS_TWO = {"model": "quick"}  # the learned models answer one camera, too
ALONE = Refused("invalid-input", "video", "cam02")


def options(**given: Any) -> Callable[[], Request]:
    return lambda: Request(options=given)


def text(given: str) -> Callable[[], Request]:
    """Options that only a JSON text can tell."""
    return lambda: Request(options=given)


def about(field: str) -> Refused:
    return Refused("calibration-error", f"calibration.{field}", "cam02")


def option(field: str) -> Refused:
    return Refused("options-error", f"options.{field}")


Row = tuple[Callable[[], Request], Refused | Answered, tuple[str, ...]]

TABLE: dict[str, Row] = {
    # videos
    "text instead of a video": (lambda: one(b"this is not a video" * 1000), NO_VIDEO, VIDEO),
    "an empty video": (lambda: one(b""), NO_VIDEO, VIDEO),
    "random bytes": (lambda: one(np.random.default_rng(0).bytes(100_000)), NO_VIDEO, VIDEO),
    "a playlist": (lambda: one(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"), NO_VIDEO, VIDEO),
    "an MP4 without its index": (lambda: one(without_index()), NO_VIDEO, VIDEO),
    "an animation": (lambda: one(animation()), NO_VIDEO, VIDEO),
    "sound alone": (lambda: one(only_sound()), NO_VIDEO, VIDEO),
    "no frames": (lambda: one(no_frames()), NO_VIDEO, VIDEO),
    "a Matroska cut in the middle": (
        lambda: one(cut(in_container("cam02", "matroska"))),
        Answered(2, 2, ("damaged-video", "cam02"), ("unequal-lengths", "cam02")),
        VIDEO,
    ),
    "a transport stream cut in the middle": (
        lambda: one(cut(in_container("cam02", "mpegts"))),
        Answered(3, 3, ("damaged-video", "cam02"), ("missing-images", "cam02"), ("unequal-lengths", "cam02")),
        VIDEO,
    ),
    "an AVI cut in the middle, all cameras": (
        lambda: every(lambda camera: cut(in_container(camera, "avi", "mjpeg"))),
        Answered(4, 4, *(("truncated-video", camera) for camera in CAMERAS)),
        VIDEO,
    ),
    "pictures of 20,000×20,000 in a small video": (lambda: one(huge_pictures("mjpeg", "avi")), NO_VIDEO, VIDEO),
    "pictures of 16,383×16,383 in a small video": (lambda: one(huge_pictures("libvpx", "ivf")), NO_VIDEO, VIDEO),
    "a container that claims 20,000×20,000": (lambda: one(huge_claim()), Answered(FRAMES, FRAMES), VIDEO),
    "a video that changes its size": (
        lambda: one(
            b"".join(encoded(p, container="mpegts") for p in (frames("cam02")[:4], frames("cam02")[:, ::2, ::2]))
        ),
        NO_VIDEO,
        VIDEO,
    ),
    "another frame rate": (lambda: one(encoded(frames("cam02"), fps=30)), NO_VIDEO, VIDEO),
    "a shorter video": (
        lambda: one(encoded(frames("cam02")[:5])),
        Answered(5, 5, ("unequal-lengths", "cam02")),
        VIDEO,
    ),
    "a longer video than is accepted": (
        lambda: every(lambda camera: encoded([*frames(camera)] * 4)),
        Refused("limit-exceeded", "video"),
        VIDEO,
    ),
    "a longer video than is accepted that does not say so": (
        lambda: every(lambda camera: encoded([*frames(camera)] * 4, container="mpegts")),
        Refused("limit-exceeded", "video"),
        VIDEO,
    ),
    "too large a request": (lambda: one(bytes(7 << 20)), Refused("limit-exceeded", "body"), VIDEO),
    "noise": (noise, Answered(3, 0, ("nobody-found", None)), VIDEO),
    "a black camera": (
        lambda: one(encoded(np.zeros_like(frames("cam02")))),
        Answered(FRAMES, FRAMES, ("black-images", "cam02")),
        VIDEO,
    ),
    "black cameras only": (
        lambda: every(lambda camera: encoded(np.zeros_like(frames(camera)[:3]))),
        Answered(3, 0, ("nobody-found", None), *(("black-images", camera) for camera in CAMERAS)),
        VIDEO,
    ),
    "smaller videos than were calibrated": (
        lambda: every(lambda camera: encoded(frames(camera)[:, ::2, ::2])),
        Answered(FRAMES, FRAMES, *(("image-size", camera) for camera in CAMERAS)),
        VIDEO,
    ),
    "a turned video": (lambda: one(encoded(frames("cam02").swapaxes(1, 2))), about("size"), VIDEO),
    # cameras
    "a video of a camera without calibration": (
        lambda: Request(videos=[*Request().videos, ("cam09", video("cam01"))]),
        Refused("invalid-input", "video", "cam09"),
        VIDEO,
    ),
    "images of a camera without calibration": (
        lambda: replace(IMAGES, frame_sets=[{**set_, "cam09": jpegs("cam01")[0]} for set_ in IMAGES.frame_sets or ()]),
        Refused("invalid-input", "frame_sets", "cam09"),
        ("json", "grpc", "grpc-unary"),  # a file's name, as in a form, shows no camera that is not calibrated
    ),
    "a calibrated camera without video": (
        lambda: one(None),
        Answered(FRAMES, FRAMES, ("missing-camera", "cam02")),
        VIDEO,
    ),
    "two videos of one camera": (
        lambda: Request(videos=[*Request().videos, ("cam02", video("cam02"))]),
        ALONE,
        ("http",),
    ),
    "one camera only": (lambda: Request(videos=[("cam01", video("cam01"))], options=NEEDS_TWO), ALONE, VIDEO),
    "images of one camera only": (
        lambda: Request(frame_sets=[{"cam01": jpegs("cam01")[0]}], options=NEEDS_TWO),
        Refused("invalid-input", "frame_sets", "cam02"),
        IMAGE,
    ),
    "one camera calibrated only": (
        lambda: calibrated(
            lambda cameras: cameras.__delitem__(slice(1, None)),
            Request(videos=[("cam01", video("cam01"))], options=NEEDS_TWO),
        ),
        Refused("invalid-input", "video"),
        VIDEO,
    ),
    "no video": (lambda: Request(videos=[]), Refused("invalid-input", "video", "cam01"), VIDEO),
    "frame sets without images": (
        lambda: Request(frame_sets=[{}, {}]),
        Refused("invalid-input", "frame_sets", "cam01"),
        ("json", "grpc", "grpc-unary"),
    ),
    # images
    "a JPEG of 20,000×20,000": (lambda: one_image(huge_jpeg()), TOO_LARGE, IMAGE),
    "a later JPEG of 20,000×20,000": (lambda: one_image(huge_jpeg(), 1), TOO_LARGE, IMAGE),
    "a PNG of 20,000×20,000": (lambda: one_image(huge_png()), TOO_LARGE, IMAGE),
    "half a JPEG": (lambda: one_image(cut(jpegs("cam02")[0])), ONE_IMAGE_LOST, IMAGE),
    "text instead of an image": (lambda: one_image(b"no image"), ONE_IMAGE_LOST, IMAGE),
    "an empty image": (lambda: one_image(b""), ONE_IMAGE_LOST, IMAGE),
    "text instead of every image": (
        lambda: Request(frame_sets=[{**images, "cam02": b"no image"} for images in IMAGES.frame_sets or ()]),
        NO_VIDEO,
        IMAGE,
    ),
    "images of different sizes": (lambda: one_image(half_size(), 1), NO_VIDEO, IMAGE),
    "more images than are accepted": (
        lambda: Request(frame_sets=[{c: jpegs(c)[0] for c in CAMERAS[:2]}] * 25),
        Refused("limit-exceeded", "frame_sets"),
        IMAGE,
    ),
    "timestamps that are no number": (
        lambda: replace(IMAGES, timestamps=[0.0, NAN]),
        Refused("invalid-input", "frame_sets.timestamp", fields={"http": "timestamps", "json": "body"}),
        IMAGE,
    ),
    "timestamps that fall": (
        lambda: replace(IMAGES, timestamps=[1.0, 0.5]),
        Refused("invalid-input", "frame_sets.timestamp"),
        IMAGE,
    ),
    "fewer timestamps than images": (
        lambda: replace(IMAGES, timestamps=[0.0]),
        Refused("invalid-input", "frame_sets.timestamp"),
        ("http",),
    ),
    "timestamps beside videos": (
        lambda: Request(timestamps=[0.0, 1.0]),
        Refused("invalid-input", "timestamps"),
        ("http",),
    ),
    # calibrations
    "no calibration": (lambda: Request(calibration=()), Refused("calibration-error", "calibration"), VIDEO),
    "an empty calibration": (lambda: Request(calibration=(b"",)), Refused("calibration-error", "calibration"), VIDEO),
    "a calibration that is no text": (
        lambda: Request(calibration=(b"\xff\xfe\x00\x01",)),
        Refused("calibration-error", "calibration"),
        VIDEO,
    ),
    "a calibration of endless depth": (
        lambda: Request(calibration=(b"[" * 100_000,)),
        Refused("calibration-error", "calibration"),
        VIDEO,
    ),
    "a calibration of 5 MiB": (
        lambda: Request(calibration=(b"{" + b" " * (5 << 20),)),
        Refused("limit-exceeded", "calibration"),
        VIDEO,
    ),
    "two calibrations": (
        lambda: Request(calibration=(CALIBRATION, CALIBRATION)),
        Refused("calibration-error", "calibration"),
        VIDEO,
    ),
    "two cameras of one name": (second("name", "cam01"), Refused("calibration-error", "calibration", "cam01"), VIDEO),
    "a singular K": (second("K", [[500, 0, 200], [0, 0, 300], [0, 0, 1]]), about("K"), VIDEO),
    "a K that is not a number": (second("K", [[NAN, 0, 200], [0, 500, 300], [0, 0, 1]]), about("K"), VIDEO),
    "no rotation: a mirror": (second("R", (-ROTATION).tolist()), about("R"), VIDEO),
    "no rotation: a stretch": (second("R", (1.1 * ROTATION).tolist()), about("R"), VIDEO),
    "no rotation: text": (second("R", "identity"), about("R"), VIDEO),
    "a place that is not finite": (second("t", [INFINITY, 0, 0]), about("t"), VIDEO),
    "a distortion that is not a number": (second("distortion", [NAN] * 4), about("distortion"), VIDEO),
    "a lens that shows nothing": (
        second("distortion", [1e30] * 4),
        Answered(FRAMES, FRAMES, ("unseen-views", "cam02")),
        VIDEO,
    ),
    "a calibration for other images": (second("size", [1000, 1000]), about("size"), VIDEO),
    "a person of 16 m": (lambda: scaled(10), BAD_UNITS, VIDEO),
    "a person of 16 cm": (lambda: scaled(0.1), BAD_UNITS, VIDEO),
    "a person of 1000 m": (lambda: scaled(600), BAD_UNITS, VIDEO),
    "a unit that the calibration denies": (options(units="mm"), BAD_UNITS, VIDEO),
    # options
    "no such skeleton": (options(skeleton="dog"), Refused("not-found", "options.skeleton"), VIDEO),
    "no such model": (options(model="big"), Refused("not-found", "options.model"), VIDEO),
    "no such unit": (options(units="inch"), option("units"), VIDEO),
    "no people": (options(max_people=0), option("max_people"), VIDEO),
    "too many people": (options(max_people=99), option("max_people"), VIDEO),
    "a negative frame rate": (options(fps=-1.0), option("fps"), VIDEO),
    "a frame rate that is not a number": (
        options(fps=NAN),
        Refused("options-error", "options.fps", fields={"http": "options"}),  # NaN is no JSON
        VIDEO,
    ),
    "an offset of no camera": (
        options(offsets={"cam09": 7.0}),
        Refused("options-error", "options.offsets", "cam09"),
        VIDEO,
    ),
    "an offset longer than the video": (
        options(offsets={"cam02": float(FRAMES)}),
        Refused("options-error", "options.offsets", "cam02"),
        VIDEO,
    ),
    "an offset of a year": (
        options(offsets={"cam02": 1e9}),
        Refused("options-error", "options.offsets", "cam02"),
        VIDEO,
    ),
    "offsets that are a list": (text('{"offsets": [7]}'), option("offsets"), ("http",)),
    "an unknown option": (text('{"colour": 1}'), option("colour"), ("http",)),
    "a frame rate as text": (text('{"fps": "60"}'), option("fps"), ("http",)),
    "half a person": (text('{"max_people": 1.5}'), option("max_people"), ("http",)),
    "a model without a name": (text('{"model": null}'), option("model"), ("http",)),
    "a list of skeletons": (text('{"skeleton": ["coco17"]}'), option("skeleton"), ("http",)),
    "options that are a list": (text("[]"), Refused("options-error", "options"), ("http",)),
    "options that are no JSON": (text("fps=60"), Refused("options-error", "options"), ("http",)),
    "no such format": (lambda: Request(accept="text/html"), Refused("not-acceptable", "accept"), ("http",)),
}


@pytest.fixture(scope="module")
def good(server: Server) -> Answer:
    """The answer to the good request, before anything bad was sent."""
    answer = DOORS["http"](server, Request())
    assert isinstance(answer, Answer)
    return answer


@pytest.fixture(scope="module")
def memory(server: Server, good: Answer) -> int:
    """Bytes that the server holds when it has answered something, before anything bad was sent."""
    return int(psutil.Process(server.pid).memory_info().rss)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(("row", "door"), [(row, door) for row, (*_, doors) in TABLE.items() for door in doors])
def test_bad_input(server: Server, row: str, door: str) -> None:
    """Each row of the table gets its problem, or its honest answer, soon."""
    make, expected, _ = TABLE[row]
    request = make()
    started = time.monotonic()
    answer = DOORS[door](server, request)
    assert time.monotonic() - started < SOON
    expected.check(door, answer)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("method", ["EstimatePose3D", "EstimateClip", "ListModels"])
def test_message_that_is_none(server: Server, method: str) -> None:
    """What is no message of the contract is INVALID_ARGUMENT with a problem, not a failure of the server."""
    with grpc.insecure_channel(server.target) as channel:
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"/synpose.v1.PoseService/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            list(call(iter([b"\xff\xff"]), timeout=SOON))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "synpose-problem-bin" in {pair.key for pair in caught.value.trailing_metadata()}


def test_server_is_no_worse_after_the_table(server: Server, good: Answer, memory: int) -> None:
    """After all of that a good request gets the same answer at both doors, memory has not grown, and nothing failed."""
    for door in VIDEO:
        after = DOORS[door](server, Request())
        assert isinstance(after, Answer)
        np.testing.assert_allclose(after.joints, good.joints, atol=1e-5)
    assert np.isfinite(good.joints).any((1, 2)).all()
    process, end = psutil.Process(server.pid), time.monotonic() + TRIMMED
    while process.memory_info().rss >= memory + GROWTH:
        assert time.monotonic() < end
        time.sleep(0.5)
    assert server.log.read_text() == ""


# -- clients that go away -------------------------------------------------------------------------------------------


def upload_by_http(server: Server) -> None:
    """Half of an upload."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/pose3d HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n"
        part = '--b\r\nContent-Disposition: form-data; name="video"; filename="cam01.mp4"\r\n\r\n'
        connection.sendall(
            f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n{part}".encode() + bytes(500_000)
        )


def upload_by_grpc(server: Server) -> None:
    """Half of an upload."""
    with grpc.insecure_channel(server.target) as channel:
        start = pb.EstimateClipRequest.Start(
            calibration=pb.Calibration(files=[pb.Calibration.File(name="rig.json", content=CALIBRATION)])
        )
        chunk = pb.EstimateClipRequest.Chunk(camera="cam01", data=video("cam01"))

        def half() -> Iterator[pb.EstimateClipRequest]:
            yield pb.EstimateClipRequest(start=start)
            yield pb.EstimateClipRequest(chunk=chunk)
            time.sleep(0.5)
            call.cancel()

        call = pb_grpc.PoseServiceStub(channel).EstimateClip(half())
        with pytest.raises(grpc.RpcError):
            list(call)


def download_by_http(server: Server) -> None:
    """The first line of an answer."""
    parts: list[Any] = [("calibration", ("rig.json", CALIBRATION)), ("options", ("", b'{"model": "fast"}'))]
    parts += [("video", (f"{camera}.mp4", video(camera))) for camera in CAMERAS]
    accept = {"accept": "application/x-ndjson"}
    with httpx.stream("POST", f"{server.url}/v1/pose3d", files=parts, headers=accept, timeout=30) as response:
        assert response.status_code == 200
        assert b"skeleton" in next(response.iter_bytes())


def wait_by_http(server: Server) -> None:
    """Nothing of an answer that comes as a whole."""
    parts: list[Any] = [("calibration", ("rig.json", CALIBRATION)), ("options", ("", b'{"model": "fast"}'))]
    parts += [("video", (f"{camera}.mp4", video(camera))) for camera in CAMERAS]
    with pytest.raises(httpx.ReadTimeout):  # long before any clip is done
        httpx.post(f"{server.url}/v1/pose3d", files=parts, timeout=httpx.Timeout(5, read=0.03))


def download_by_grpc(server: Server) -> None:
    """The first message of an answer."""
    files = [pb.Calibration.File(name="rig.json", content=CALIBRATION)]
    start = pb.EstimateClipRequest.Start(calibration=pb.Calibration(files=files), options=pb.Options(model="fast"))
    requests = [pb.EstimateClipRequest(start=start)]
    requests += [
        pb.EstimateClipRequest(chunk=pb.EstimateClipRequest.Chunk(camera=camera, data=video(camera)))
        for camera in CAMERAS
    ]
    with grpc.insecure_channel(server.target) as channel:
        call = pb_grpc.PoseServiceStub(channel).EstimateClip(iter(requests))
        assert next(call).HasField("header")
        call.cancel()


@pytest.mark.parametrize(
    "leave",
    [upload_by_http, upload_by_grpc, download_by_http, wait_by_http, download_by_grpc],
    ids=lambda f: f.__name__,
)
def test_client_that_goes_away(server: Server, good: Answer, leave: Callable[[Server], None]) -> None:
    """Whoever leaves half-way frees the server's only place: the next request is answered at once, and right."""
    before = psutil.Process(server.pid).num_fds()
    leave(server)
    after = DOORS["grpc"](server, Request())
    assert isinstance(after, Answer), after
    np.testing.assert_allclose(after.joints, good.joints, atol=1e-5)
    assert psutil.Process(server.pid).num_fds() <= before + 1  # its uploads are closed, one connection may linger
    assert server.log.read_text() == ""
