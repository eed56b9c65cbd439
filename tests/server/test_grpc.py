"""The gRPC door, asked over a real port; behind it an engine with a known answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.server.fake_engine import FakeEngine, Received

from synpose.calibration import write_calibration
from synpose.errors import (
    CalibrationError,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Overloaded,
    ServerError,
    SynposeError,
    VideoError,
    from_problem,
)
from synpose.options import Options
from synpose.pose import Frame, ModelInfo, Notice, PoseHeader
from synpose.rig import Camera, Rig
from synpose.skeleton import SKELETONS, get_skeleton
from synpose.transports.grpc import GrpcTransport
from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc
from synpose.wire import (
    MAX_CHUNK_BYTES,
    MAX_MESSAGE_BYTES,
    PROBLEM_TRAILER,
    calibration_to_message,
    header_to_message,
)
from synpose_server.bridge import Bridge
from synpose_server.grpc import GrpcServer
from synpose_server.settings import Settings

pytestmark = pytest.mark.anyio

RIG = Rig(
    tuple(
        Camera(name, (64, 48), [[50, 0, 32], [0, 50, 24], [0, 0, 1]], np.eye(3), [x, 0, 4])
        for name, x in (("cam01", -1.0), ("cam02", 1.0))
    )
)
FILES = {"rig.json": write_calibration(RIG).encode()}
CALIBRATION = calibration_to_message(FILES)


def fake(**limits: Any) -> FakeEngine:
    return FakeEngine(Settings.model_validate({"grpc_port": 0, **limits}))


class Door:
    """A started server and a channel to it."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine

    async def __aenter__(self) -> Door:
        self.bridge = Bridge(self.engine)
        self.server = GrpcServer(self.bridge)
        self.port = await self.server.start()
        self.channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{self.port}", options=(("grpc.max_send_message_length", -1),)
        )
        self.stub: pb_grpc.PoseServiceAsyncStub = pb_grpc.PoseServiceStub(self.channel)
        self.transport = GrpcTransport(f"grpc://127.0.0.1:{self.port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.engine.go.set()
        await self.transport.aclose()
        await self.channel.close()
        await self.server.stop(0)
        self.bridge.close()

    async def clip(self, requests: Iterable[pb.EstimateClipRequest]) -> list[pb.EstimateClipResponse]:
        return [response async for response in self.stub.EstimateClip(iter(requests))]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
async def one_loop(anyio_backend: str) -> AsyncIterator[asyncio.AbstractEventLoop]:
    """One event loop for all tests: gRPC delivers late what is left of an ended call, and a closed loop raises."""
    yield asyncio.get_running_loop()
    await asyncio.sleep(0.2)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with Door(fake()) as door:
        yield door


def start(**options: Any) -> pb.EstimateClipRequest:
    return clip_start(CALIBRATION, **options)


def clip_start(calibration: pb.Calibration, **options: Any) -> pb.EstimateClipRequest:
    return pb.EstimateClipRequest(
        start=pb.EstimateClipRequest.Start(calibration=calibration, options=pb.Options(**options))
    )


def chunk(camera: str, data: bytes) -> pb.EstimateClipRequest:
    return pb.EstimateClipRequest(chunk=pb.EstimateClipRequest.Chunk(camera=camera, data=data))


def frame_set(timestamp: float | None = None, **images: bytes) -> pb.FrameSet:
    return pb.FrameSet(timestamp=timestamp, images=[pb.Image(camera=c, data=d) for c, d in images.items()])


def problem(error: grpc.aio.AioRpcError) -> SynposeError:
    """The exception that the problem document in the trailer stands for."""
    trailer = dict(error.trailing_metadata() or ())
    return from_problem(json.loads(trailer[PROBLEM_TRAILER]))


async def is_set(event: threading.Event) -> bool:
    return await asyncio.to_thread(event.wait, 5)


# the methods


async def test_frame_sets_are_answered_at_once(door: Door) -> None:
    """EstimatePose3D gives header and frames, and the engine gets each camera's images with None for a missing one."""
    sets = [frame_set(0.5, cam01=b"a0", cam02=b"b0"), frame_set(0.75, cam02=b"b1")]
    request = pb.EstimatePose3DRequest(calibration=CALIBRATION, options=pb.Options(max_people=2), frame_sets=sets)
    response = await door.stub.EstimatePose3D(request)
    images: dict[str, Any] = {"cam01": [b"a0", None], "cam02": [b"b0", b"b1"]}
    assert door.engine.received == [Received(RIG.names, images, Options(max_people=2), (0.5, 0.75))]
    assert response.header == header_to_message(PoseHeader(ModelInfo("fake", "7"), get_skeleton("coco17"), 30.0))
    assert [frame.timestamp for frame in response.frames] == [0.5, 0.75]
    position = response.frames[1].people[0].joints[0].position
    assert (position.x, position.y, position.z) == (1, 0, 1)
    assert await is_set(door.engine.closed)


async def test_clip_streams_frames_after_the_upload(door: Door) -> None:
    """EstimateClip puts interleaved chunks together and answers a header, then one frame a message."""
    large = bytes(range(256)) * 4096 * 2
    parts = [large[:MAX_CHUNK_BYTES], large[MAX_CHUNK_BYTES:]]
    requests = [start(), chunk("cam02", parts[0]), chunk("cam01", b"one"), chunk("cam02", parts[1])]
    responses = await door.clip(requests)
    assert door.engine.received == [Received(RIG.names, {"cam01": b"one", "cam02": large}, Options(), None)]
    assert responses[0].HasField("header")
    assert [r.frame.index for r in responses[1:]] == [0, 1, 2]


async def test_clip_of_images(door: Door) -> None:
    """EstimateClip takes frame sets in the place of videos."""
    sets = [frame_set(cam01=b"a0"), frame_set(cam01=b"a1", cam02=b"b1")]
    await door.clip([start(), *(pb.EstimateClipRequest(frame_set=s) for s in sets)])
    assert door.engine.received[0].sources == {"cam01": [b"a0", b"a1"], "cam02": [None, b"b1"]}


async def test_frames_arrive_as_they_are_computed(door: Door) -> None:
    """The header and the first frame arrive while the engine still works on the second."""
    door.engine.holds_at = 1
    call = door.stub.EstimateClip(iter([start(), chunk("cam01", b"1"), chunk("cam02", b"2")]))
    responses = aiter(call)
    assert (await anext(responses)).HasField("header")
    assert (await anext(responses)).frame.index == 0
    door.engine.go.set()
    assert [r.frame.index async for r in responses] == [1, 2]


async def test_models_and_skeletons(door: Door) -> None:
    """What the server can do is told."""
    models = (await door.stub.ListModels(pb.ListModelsRequest())).models
    assert [(m.name, m.is_default, list(m.skeletons)) for m in models] == [("fake", True, ["coco17", "h36m17"])]
    skeletons = (await door.stub.ListSkeletons(pb.ListSkeletonsRequest())).skeletons
    assert [s.name for s in skeletons] == list(SKELETONS)


# what cannot be used


@pytest.mark.parametrize(
    ("requests", "kind", "says", "field", "camera"),
    [
        ([], InvalidInput, "nothing was sent", "start", None),
        ([chunk("cam01", b"1")], InvalidInput, "`chunk` came before `start`", "chunk", None),
        ([start(), start()], InvalidInput, "second time", "start", None),
        ([start(), chunk("cam09", b"1")], InvalidInput, "no such camera; it has cam01, cam02", "video", "cam09"),
        ([start()], InvalidInput, "at least two cameras", "video", "cam01"),
        ([start(), chunk("cam01", b"1")], InvalidInput, "at least two cameras", "video", "cam02"),
        ([start(), pb.EstimateClipRequest()], InvalidInput, "a message is empty", None, None),
        (
            [start(), chunk("cam01", b"1"), pb.EstimateClipRequest(frame_set=frame_set(cam01=b"1"))],
            InvalidInput,
            "not both",
            "frame_set",
            None,
        ),
        (
            [start(), pb.EstimateClipRequest(frame_set=frame_set(cam01=b"1")), chunk("cam01", b"1")],
            InvalidInput,
            "not both",
            "chunk",
            None,
        ),
        ([start(), chunk("cam01", bytes(MAX_CHUNK_BYTES + 1))], LimitExceeded, "1 MiB", "chunk", "cam01"),
        (
            [start(), pb.EstimateClipRequest(frame_set=pb.FrameSet())],
            InvalidInput,
            "hold no image",
            "frame_sets",
            "cam01",
        ),
        ([start(skeleton="stick")], NotFound, "there are coco17", "options.skeleton", None),
        ([start(max_people=9)], InvalidInput, "1 to 8", "options.max_people", None),
        ([clip_start(pb.Calibration())], InvalidInput, "no calibration", "calibration", None),
        (
            [clip_start(calibration_to_message({"a": b"?"}))],
            CalibrationError,
            "",
            None,
            None,
        ),
    ],
)
async def test_clip_that_cannot_be_used(
    door: Door,
    requests: list[pb.EstimateClipRequest],
    kind: type[SynposeError],
    says: str,
    field: str | None,
    camera: str | None,
) -> None:
    """A wrong upload gives its code, a sentence, and a problem that names field and camera; the engine is not asked."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.clip(requests)
    code = "RESOURCE_EXHAUSTED" if kind is LimitExceeded else "NOT_FOUND" if kind is NotFound else "INVALID_ARGUMENT"
    assert caught.value.code().name == code
    error = problem(caught.value)
    assert isinstance(error, kind)
    assert caught.value.details() == str(error)
    assert says in error.message
    if kind is not CalibrationError:  # whose field is the calibration reader's to choose
        assert (error.field, error.camera) == (field, camera)
    assert not door.engine.received


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ([], "at least two cameras"),
        (
            [frame_set(1.0, cam01=b"1", cam02=b"2"), frame_set(cam01=b"1", cam02=b"2")],
            "give all frame sets a timestamp",
        ),
        ([frame_set(cam01=b"1", cam07=b"2")], "no such camera"),
        ([pb.FrameSet(images=[pb.Image(camera="cam01", data=b"1")] * 2)], "two images"),
        ([frame_set(cam01=b"1")], "at least two cameras"),
    ],
)
async def test_frame_sets_that_cannot_be_used(door: Door, sets: list[pb.FrameSet], says: str) -> None:
    """Wrong frame sets are INVALID_ARGUMENT, and the engine is not asked."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub.EstimatePose3D(pb.EstimatePose3DRequest(calibration=CALIBRATION, frame_sets=sets))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in problem(caught.value).message
    assert not door.engine.received


async def test_limits_of_the_settings() -> None:
    """An upload, a clip or a rig that is larger than the settings allow is RESOURCE_EXHAUSTED."""
    async with Door(fake(max_body_bytes=3_000_000, max_frames=2, max_cameras=2)) as door:
        three = [*RIG, Camera("cam03", (64, 48), RIG.cameras[0].K, np.eye(3), [0, 1, 4])]
        wide = calibration_to_message({"rig.json": write_calibration(Rig(tuple(three))).encode()})
        crowd = frame_set(cam01=b"1", cam02=b"2", cam03=b"3")
        sets = [frame_set(cam01=b"1", cam02=b"2")] * 3
        large = [frame_set(cam01=bytes(3_000_000), cam02=b"2")]
        calls: dict[str, Awaitable[Any]] = {
            "request is larger": door.stub.EstimatePose3D(
                pb.EstimatePose3DRequest(calibration=CALIBRATION, frame_sets=large)
            ),
            "2.86102 MiB": door.clip([start(), *[chunk("cam01", bytes(MAX_CHUNK_BYTES))] * 3]),
            "2 frame sets": door.clip([start(), *(pb.EstimateClipRequest(frame_set=s) for s in sets)]),
            "at most 2 cameras": door.clip([clip_start(wide), *(chunk(c.name, b"1") for c in three)]),
            "at most 2 cameras are": door.clip([clip_start(wide), pb.EstimateClipRequest(frame_set=crowd)]),
            "at most": door.stub.EstimatePose3D(pb.EstimatePose3DRequest(calibration=CALIBRATION, frame_sets=sets)),
        }
        for says, call in calls.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert says in problem(caught.value).message
        assert not door.engine.received


async def test_uploads_are_bounded_in_number_and_patience() -> None:
    """One more than may be sent at a time is refused; a stalled one is ended and gives its place up."""
    async with Door(fake(max_uploads=1, upload_seconds=0.5)) as door:
        stalled = door.stub.EstimateClip()
        await stalled.write(start())
        await stalled.initial_metadata()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await door.clip(CLIP)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert isinstance(problem(caught.value), Overloaded)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stalled.read()
        assert "nothing of the body came for 0.5 s" in problem(caught.value).message
        assert len(await door.clip(CLIP)) == 4


async def test_a_rig_may_have_more_cameras_than_are_sent() -> None:
    """What the limit counts is the cameras that are sent."""
    rig = Rig(tuple(Camera(f"cam{n:02}", (64, 48), RIG.cameras[0].K, np.eye(3), [n / 9, 0, 4]) for n in range(24)))
    calibration = calibration_to_message({"rig.json": write_calibration(rig).encode()})
    async with Door(fake(max_cameras=2)) as door:
        await door.clip([clip_start(calibration), chunk("cam07", b"1"), chunk("cam09", b"2")])
        sets = [frame_set(cam07=b"1"), frame_set(cam09=b"2")]
        await door.clip([clip_start(calibration), *(pb.EstimateClipRequest(frame_set=s) for s in sets)])
        await door.stub.EstimatePose3D(pb.EstimatePose3DRequest(calibration=calibration, frame_sets=sets))
        images: dict[str, Any] = {"cam07": [b"1", None], "cam09": [None, b"2"]}
        assert [r.sources for r in door.engine.received] == [{"cam07": b"1", "cam09": b"2"}, images, images]


async def test_error_with_a_name_of_any_length(door: Door) -> None:
    """A camera's name that would not fit into a trailer is cut, and the error arrives."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.clip([start(), chunk("𝄞" * 100_000, b"1")])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = problem(caught.value)
    assert "no such camera" in error.message
    assert error.camera == "𝄞" * 299 + "…"


async def test_message_that_is_too_large(door: Door) -> None:
    """gRPC itself refuses a message that is larger than `MAX_MESSAGE_BYTES`."""
    sets = [frame_set(cam01=bytes(MAX_MESSAGE_BYTES))]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub.EstimatePose3D(pb.EstimatePose3DRequest(calibration=CALIBRATION, frame_sets=sets))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# what the engine says


CLIP = [start(), chunk("cam01", b"1"), chunk("cam02", b"2")]
BROKEN = [start(), chunk("cam01", b"1"), chunk("cam02", b"broken")]


async def test_error_of_the_engine(door: Door) -> None:
    """An error at the start of an estimate keeps its kind, field and camera."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.clip(BROKEN)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "camera 'cam02': this is no video"
    error = problem(caught.value)
    assert (type(error), error.field, error.camera) == (VideoError, "video", "cam02")


async def test_error_between_frames(door: Door) -> None:
    """An error on the way comes after the frames before it."""
    door.engine.fails_at, door.engine.failure = 2, Overloaded("busy")
    responses = aiter(door.stub.EstimateClip(iter(CLIP)))
    first = [await anext(responses) for _ in range(3)]
    assert [r.frame.index for r in first[1:]] == [0, 1]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(responses)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(problem(caught.value), Overloaded)
    assert await is_set(door.engine.closed)


async def test_unexpected_error_tells_nothing_but_is_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the server is INTERNAL without its text, and its traceback is in the log."""
    door.engine.fails_at, door.engine.failure = 0, KeyError("secret")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.clip(CLIP)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)
    assert type(problem(caught.value)) is ServerError
    assert "secret" in caplog.text


# callers that go away


async def test_cancelled_call_closes_the_estimate(door: Door) -> None:
    """The engine stops working for a caller who cancels."""
    door.engine.holds_at = 1
    call = door.stub.EstimateClip(iter(CLIP))
    await anext(aiter(call))
    call.cancel()
    assert await is_set(door.engine.closed)


async def test_deadline_closes_the_estimate(door: Door) -> None:
    """The engine stops working for a call whose deadline has passed."""
    door.engine.holds_at = 1
    request = pb.EstimatePose3DRequest(calibration=CALIBRATION, frame_sets=[frame_set(cam01=b"1", cam02=b"2")])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub.EstimatePose3D(request, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await is_set(door.engine.closed)


@pytest.mark.parametrize("kind", ["videos", "images"])
async def test_a_full_disk_is_told(door: Door, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that the disk has no room for is refused as when the server is busy, and says why."""
    for module in ("tempfile", "synpose_server.spooled"):
        monkeypatch.setattr(f"{module}.TemporaryFile", lambda *_, **__: open("/dev/full", "w+b"))  # noqa: SIM115
    data = bytes(600_000)
    sets = [pb.EstimateClipRequest(frame_set=frame_set(cam01=data, cam02=data)) for _ in range(3)]
    chunks = [chunk(camera, data) for camera in RIG.names for _ in range(2)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.clip([start(), *(chunks if kind == "videos" else sets)])
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(problem(caught.value), Overloaded)
    assert "no room on its disk" in str(caught.value.details())


async def test_caller_that_goes_away_while_uploading(door: Door) -> None:
    """An upload that breaks off never reaches the engine, and the next call is served."""
    call = door.stub.EstimateClip()
    await call.write(start())
    await call.write(chunk("cam01", bytes(1000)))
    call.cancel()
    assert len(await door.clip(CLIP)) == 4
    assert len(door.engine.received) == 1


# health and reflection


@pytest.mark.parametrize(
    "method",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
async def test_broken_messages_to_other_services(door: Door, method: str, caplog: pytest.LogCaptureFixture) -> None:
    """They are the caller's mistake, too, and no failure that the log would tell."""
    call: Any = door.channel.stream_stream(method)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [answer async for answer in call(iter([b"\xff\xff"]))]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not caplog.records


async def health_of(door: Door, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(door.channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(response.status)


async def test_health(door: Door) -> None:
    """The server and its service are SERVING, and NOT_SERVING to whoever watches while it shuts down."""
    serving = health_pb2.HealthCheckResponse.SERVING
    assert await health_of(door, "") == await health_of(door, "synpose.v1.PoseService") == serving
    watch = aiter(health_pb2_grpc.HealthStub(door.channel).Watch(health_pb2.HealthCheckRequest(service="")))
    assert (await anext(watch)).status == serving
    stopping = asyncio.create_task(door.server.stop(1))
    assert (await anext(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    await stopping


async def test_all_tests_share_one_loop(one_loop: asyncio.AbstractEventLoop) -> None:
    """What the fixture promises: it holds only while the test runner keeps the loop of a wider fixture."""
    assert asyncio.get_running_loop() is one_loop


async def test_not_serving_without_models() -> None:
    """An engine that has no model is not ready."""
    engine = fake()
    engine.loaded = False
    async with Door(engine) as door:
        assert await health_of(door, "") == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not await door.transport.ready()


async def test_reflection_lists_the_services(door: Door) -> None:
    """Tools find the services without the proto file."""
    stub = reflection_pb2_grpc.ServerReflectionStub(door.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {service.name for service in (await anext(aiter(call))).list_services_response.service}
    assert {"synpose.v1.PoseService", "grpc.health.v1.Health"} <= names


async def test_taken_port(door: Door) -> None:
    """A second server on the same port is an error, never a silent half of the calls."""
    second = GrpcServer(Bridge(fake(grpc_port=door.port)))
    with pytest.raises(ServerError, match=str(door.port)):
        await second.start()
    await second.stop(0)


async def test_running_calls_finish_when_the_server_stops(door: Door) -> None:
    """A call under way gets its whole answer within the grace; a new one is refused."""
    door.engine.holds_at = 1
    responses = aiter(door.stub.EstimateClip(iter(CLIP)))
    await anext(responses)
    stopping = asyncio.create_task(door.server.stop(10))
    await asyncio.sleep(0.1)
    door.engine.go.set()
    assert [r.frame.index async for r in responses] == [0, 1, 2]
    await stopping
    with pytest.raises(grpc.aio.AioRpcError):
        await door.stub.ListModels(pb.ListModelsRequest())


# the client's transport


async def test_transport_round_trip(door: Door, tmp_path: Any) -> None:
    """The transport sends files in chunks and gives the engine's header and frames back."""
    video = tmp_path / "a.mp4"
    video.write_bytes(bytes(range(256)) * 10_000)
    uploads = {"cam01": video, "cam02": b"two"}
    items = [item async for item in door.transport.estimate(FILES, uploads, Options(fps=25.0))]
    contents: dict[str, Any] = {"cam01": video.read_bytes(), "cam02": b"two"}
    assert door.engine.received == [Received(RIG.names, contents, Options(fps=25.0), None)]
    assert items[0] == PoseHeader(ModelInfo("fake", "7"), get_skeleton("coco17"), 25.0)
    for index, frame in enumerate(items[1:]):
        assert isinstance(frame, Frame)
        assert (frame.index, frame.timestamp) == (index, index / 25)
        np.testing.assert_array_equal(frame.people[0].joints, [[index, 0, 1]] * 16 + [[np.nan] * 3])
    assert isinstance(items[2], Frame)
    assert items[2].notices == (Notice("view-missing", "no image", "cam02"),)


async def test_transport_sends_images(door: Door, tmp_path: Any) -> None:
    """Images go up as frame sets, from files or memory, with their capture times."""
    (tmp_path / "0.jpg").write_bytes(b"a0")
    images = {"cam01": [tmp_path / "0.jpg", b"a1"], "cam02": [None, b"b1"]}
    items = [item async for item in door.transport.estimate(FILES, images, Options(), [5.0, 6.0])]
    assert len(items) == 3
    assert door.engine.received[0].sources == {"cam01": [b"a0", b"a1"], "cam02": [None, b"b1"]}
    assert door.engine.received[0].timestamps == (5.0, 6.0)


async def test_transport_refuses_timestamps_with_videos(door: Door) -> None:
    """A video has its own times, as through HTTP."""
    with pytest.raises(InvalidInput, match="timestamps"):
        await anext(door.transport.estimate(FILES, {"cam01": b"1", "cam02": b"2"}, Options(), [0.0]))


async def test_transport_lists(door: Door) -> None:
    """Models, skeletons and readiness come through."""
    assert [model.name for model in await door.transport.models()] == ["fake"]
    assert await door.transport.skeletons() == tuple(SKELETONS.values())
    assert await door.transport.ready()


async def test_transport_raises_the_server_s_error(door: Door) -> None:
    """The exception of the engine is raised at the other side of the wire."""
    with pytest.raises(VideoError, match="no video") as caught:
        await anext(door.transport.estimate(FILES, {"cam01": b"1", "cam02": b"broken"}, Options()))
    assert caught.value.camera == "cam02"


async def test_transport_learns_of_a_refusal_while_sending() -> None:
    """An upload that the server refuses halfway raises the server's reason, not that the wire broke."""
    async with Door(fake(max_body_bytes=2_000_000)) as door:
        for _ in range(5):
            with pytest.raises(LimitExceeded, match="MiB"):
                await anext(door.transport.estimate(FILES, {"cam01": bytes(30_000_000)}, Options()))


async def test_transport_sends_no_video_after_a_bad_start(door: Door, tmp_path: Any) -> None:
    """A calibration that cannot be read is refused before any file is opened."""
    with pytest.raises(CalibrationError):
        await anext(door.transport.estimate({"rig.json": b"?"}, {"cam01": tmp_path / "gone.mp4"}, Options()))


async def test_transport_stops_the_estimate_when_closed(door: Door) -> None:
    """Closing the generator closes the estimate on the server."""
    door.engine.holds_at = 1
    items = door.transport.estimate(FILES, {"cam01": b"1", "cam02": b"2"}, Options())
    await anext(items)
    await items.aclose()
    assert await is_set(door.engine.closed)


async def test_transport_with_a_missing_file(door: Door, tmp_path: Any) -> None:
    """A file that cannot be read is an error that names the camera, and the call ends."""
    with pytest.raises(VideoError, match=r"gone\.mp4") as caught:
        await anext(door.transport.estimate(FILES, {"cam01": tmp_path / "gone.mp4"}, Options()))
    assert caught.value.camera == "cam01"


async def test_transport_without_a_server() -> None:
    """Nobody there: not ready, and an error that says what to check."""
    transport = GrpcTransport("grpc://127.0.0.1:1")
    assert not await transport.ready()
    with pytest.raises(ServerError, match="synpose serve"):
        await transport.models()
    with pytest.raises(ServerError, match="synpose serve"):
        await anext(transport.estimate(FILES, {"cam01": b"1", "cam02": b"2"}, Options()))
    await transport.aclose()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8001", "grpc://", "127.0.0.1:8001", "grpc://host:1/path"])
def test_transport_address(url: str) -> None:
    """An address of another kind is refused before anything is sent."""
    with pytest.raises(InvalidInput, match="grpc://"):
        GrpcTransport(url)
