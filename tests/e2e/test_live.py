"""Live streams through both doors of a real server, with the images of a real clip."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from tests.e2e.clip import CALIBRATION, CAMERAS, FPS, FRAMES, RIG, jpegs, video
from tests.e2e.doors import DOORS, Answer, Request, Server
from tests.server.relay import Relay
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

import synpose
from synpose import live_json, live_wire
from synpose.cli import main
from synpose.errors import Draining, InvalidInput, NotFound, OptionsError
from synpose.formats import ndjson
from synpose.live import Ack, Capture, End, Opened, Resume, Start, StreamPolicy
from synpose.options import Options
from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc

MODEL = "fast"
EVERY = StreamPolicy(mode="every", max_wait=20.0)
TIMES = [k / FPS for k in range(FRAMES)]
SETS = [{camera: jpegs(camera)[k] for camera in CAMERAS} for k in range(FRAMES)]


def address(server: Server, door: str) -> str:
    return server.url if door == "websocket" else f"grpc://{server.target}"


DOOR = pytest.mark.parametrize("door", ["websocket", "grpc"])


@pytest.fixture(scope="module")
def clip(server: Server) -> Answer:
    """What the clip door says of the same images."""
    answer = DOORS["grpc"](server, Request(frame_sets=SETS, timestamps=TIMES, options={"model": MODEL}))
    assert isinstance(answer, Answer)
    return answer


def look_ahead(server: Server) -> int:
    """The look-ahead of the model, found by asking for too much."""
    with synpose.Client(server.url) as client, pytest.raises(OptionsError) as caught:
        client.live(RIG, StreamPolicy(look_ahead=1000), model=MODEL).__enter__()
    assert caught.value.field == "policy.look_ahead"
    return int(next(word for word in caught.value.message.split() if word.isdecimal()))


@DOOR
def test_a_stream_answers_as_a_clip(server: Server, clip: Answer, door: str) -> None:
    """With the model's look-ahead, `every` gives the joints of the clip door for the same images, in order."""
    policy = StreamPolicy(mode="every", look_ahead=look_ahead(server))
    with (
        synpose.Client(address(server, door)) as client,
        client.live(RIG, policy, model=MODEL, fps=FPS) as stream,
    ):
        assert stream.header.skeleton.name == "coco17"
        poses = list(stream.follow(zip(TIMES, SETS, strict=True)))
    assert [pose.sequence for pose in poses] == list(range(FRAMES))
    assert [pose.frame.timestamp for pose in poses] == pytest.approx(TIMES, abs=1e-6)
    np.testing.assert_allclose([pose.frame.people[0].joints for pose in poses], clip.joints, atol=2e-6)
    assert stream.counters.captures == stream.counters.frame_sets == FRAMES
    assert (stream.counters.dropped, stream.counters.missing, stream.counters.late) == (0, 0, 0)
    for pose in poses:
        assert pose.latency.decoded_ms > 0
        assert pose.latency.computed_ms > 0


@DOOR
def test_single_images_are_assembled(server: Server, clip: Answer, door: str) -> None:
    """Images of single cameras, out of order and some twice, give the frame sets; skew and duplicates are told."""
    images = [(k, camera, 0.001 * i) for k in range(FRAMES) for i, camera in enumerate(CAMERAS)]
    images[1], images[5] = images[5], images[1]
    images.insert(7, images[6])
    with (
        synpose.Client(address(server, door)) as client,
        client.live(RIG, EVERY, model=MODEL, fps=FPS) as stream,
    ):
        for k, camera, skew in images:
            stream.send_image(camera, TIMES[k] + skew, jpegs(camera)[k])
        stream.end()
        poses = list(stream)
    assert [pose.missing for pose in poses] == [()] * FRAMES
    assert [pose.skew for pose in poses] == pytest.approx([0.001 * (len(CAMERAS) - 1)] * FRAMES)
    assert stream.counters.duplicates == 1
    joints = np.array([pose.frame.people[0].joints for pose in poses])
    assert np.nanmedian(np.linalg.norm(joints - clip.joints, axis=-1)) < 0.03


@DOOR
def test_a_corrupt_image_is_a_missing_view(server: Server, door: str) -> None:
    """A JPEG that is cut or is none costs its view in its set, with a notice; the stream goes on."""
    sets = [dict(images) for images in SETS]
    sets[2][CAMERAS[0]] = sets[2][CAMERAS[0]][:200]
    sets[4][CAMERAS[1]] = b"no image"
    with synpose.Client(address(server, door)) as client, client.live(RIG, EVERY, model=MODEL) as stream:
        poses = list(stream.follow(zip(TIMES, sets, strict=True)))
    assert [pose.missing for pose in poses if pose.missing] == [(CAMERAS[0],), (CAMERAS[1],)]
    assert [(n.code, n.camera) for n in poses[2].frame.notices] == [("corrupt-image", CAMERAS[0])]
    assert all(pose.frame.people for pose in poses)
    assert stream.counters.corrupt == 2


@DOOR
def test_latest_drops_what_was_overtaken(server: Server, door: str) -> None:
    """More than can be computed: the last frame set is answered, what was overtaken is dropped and counted."""
    policy = StreamPolicy()
    with synpose.Client(address(server, door)) as client, client.live(RIG, policy, model=MODEL) as stream:
        for k in range(10 * FRAMES):
            stream.send(k / FPS, SETS[k % FRAMES])
        stream.end()
        poses = list(stream)
    times = [pose.frame.timestamp for pose in poses]
    assert times == sorted(times)
    assert times[-1] == pytest.approx((10 * FRAMES - 1) / FPS, abs=1e-6)
    counters = stream.counters
    assert counters.frame_sets == counters.captures
    assert counters.dropped + len(poses) == counters.frame_sets
    assert counters.dropped > 0


@DOOR
def test_a_stream_survives_broken_connections(server: Server, door: str) -> None:
    """Its connection is cut again and again: every result comes once and in order."""
    target = server.url.removeprefix("http://") if door == "websocket" else server.target
    with Relay(target) as relay:
        scheme = "http" if door == "websocket" else "grpc"
        sets = [(k / FPS, SETS[k % FRAMES]) for k in range(4 * FRAMES)]
        with (
            synpose.Client(f"{scheme}://{relay.address}") as client,
            client.live(RIG, StreamPolicy(mode="every"), model=MODEL) as stream,
        ):
            poses = []
            for pose in stream.follow(sets):
                poses.append(pose)
                if pose.sequence in (3, 4, 17):
                    relay.cut()
        assert relay.connections >= 3
    assert stream.restarts == 0
    assert [pose.sequence for pose in poses] == list(range(len(sets)))
    assert [pose.frame.timestamp for pose in poses] == pytest.approx([time for time, _ in sets], abs=1e-6)
    assert stream.counters.captures == len(sets)


@DOOR
def test_a_slow_reader_slows_the_sender(server: Server, door: str) -> None:
    """In `every`, who does not read stops the stream at a bounded number of captures, and gets all of them later."""
    count = 700
    with (
        synpose.Client(address(server, door)) as client,
        client.live(RIG, StreamPolicy(mode="every"), model=MODEL) as stream,
    ):
        sent = []
        filled = threading.Event()

        def send() -> None:
            for k in range(count):
                timer = threading.Timer(2.0, filled.set)  # nothing went through for so long
                timer.start()
                stream.send(k / FPS, {})
                timer.cancel()
                sent.append(k)
            stream.end()

        sender = threading.Thread(target=send)
        sender.start()
        assert filled.wait(60)
        assert len(sent) < count
        poses = list(stream)
        sender.join(30)
    assert [pose.sequence for pose in poses] == list(range(count))


def test_the_hash_of_a_calibration_stands_for_it(server: Server) -> None:
    """An uploaded calibration can be had back and named by streams; an unknown hash is NotFound."""
    posted = httpx.post(f"{server.url}/v1/calibrations", content=CALIBRATION).json()
    assert [camera["name"] for camera in posted["cameras"]] == list(CAMERAS)
    form = httpx.post(f"{server.url}/v1/calibrations", files={"calibration": ("rig.json", CALIBRATION)}).json()
    assert form == posted
    assert httpx.get(f"{server.url}/v1/calibrations/{posted['hash']}").content == CALIBRATION
    assert httpx.get(f"{server.url}/v1/calibrations/none").status_code == 404
    assert httpx.post(f"{server.url}/v1/calibrations").status_code == 422
    wrong = httpx.post(f"{server.url}/v1/calibrations", params={"units": "ell"}, content=CALIBRATION)
    assert (wrong.status_code, wrong.json()["field"]) == (422, "options.units")
    with synpose.Client(server.url) as client:
        with client.live(synpose.Hash(posted["hash"]), EVERY, model=MODEL) as stream:
            assert stream.calibration_hash == posted["hash"]
            assert len(list(stream.follow([(0.0, SETS[0])]))) == 1
        with pytest.raises(NotFound), client.live(synpose.Hash("0" * 64)):
            pass


def test_grpc_says_why_in_a_message_and_in_the_status(server: Server) -> None:
    """A stream that cannot begin gets `problem`, and then the call's status says the same."""
    resume = pb.StreamPosesRequest(resume=pb.StreamResume(token="unknown"))
    with grpc.insecure_channel(address(server, "grpc").removeprefix("grpc://")) as channel:
        answers = pb_grpc.PoseServiceStub(channel).StreamPoses(iter([resume]), timeout=20)
        assert isinstance(live_wire.problem_from_message(next(answers)), NotFound)
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@DOOR
def test_what_is_wrong_is_told(server: Server, door: str) -> None:
    """Unknown models, cameras and impossible captures raise what the server found."""
    with synpose.Client(address(server, door)) as client:
        with pytest.raises(NotFound, match="big"), client.live(RIG, model="big"):
            pass
        with pytest.raises(InvalidInput), client.live(RIG, StreamPolicy(cameras=("cam09",)), model=MODEL):
            pass
        with client.live(RIG, model=MODEL) as stream:
            stream.send(0.0, {"cam09": jpegs(CAMERAS[0])[0]})
            with pytest.raises(InvalidInput) as caught:
                next(stream)
        assert caught.value.camera == "cam09"


def test_a_websocket_says_what_it_does_not_understand(server: Server) -> None:
    """Messages that are none, a second start, or none at all end with an error message, as does a foreign page."""
    url = server.url.replace("http", "ws") + "/v1/stream"
    start = live_json.to_server(Start({"rig": CALIBRATION}, Options(model=MODEL)))
    for messages in (
        ["{"],
        ['{"type": "jump"}'],
        ['{"type": {}}'],
        [b"\0\0\0\x09{}"],
        ['{"type": "end"}'],
        [start, start],
        [start, b""],
    ):
        with connect(url) as wire:
            for message in messages:
                wire.send(message)
            answers = [json.loads(wire.recv(10))]
            if answers[0]["type"] == "opened":
                answers.append(json.loads(wire.recv(10)))
            with pytest.raises(ConnectionClosedError, match="1008"):
                wire.recv(10)
        assert (answers[-1]["type"], answers[-1]["error"]["status"]) == ("error", 422)
    with pytest.raises(InvalidStatus, match="403"), connect(url, origin=Origin("http://elsewhere.example")):
        pass


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"timestamp": 0, "images": [], "wole": True}, "capture has no key 'wole'"),
        ({"timestamp": 0, "images": [{"camera": "cam01", "bytes": 0, "typ": 1}]}, "image has no key 'typ'"),
    ],
    ids=["capture", "image"],
)
def test_a_misspelt_key_of_a_capture_is_told(header: dict[str, Any], told: str) -> None:
    """It is not passed over, as those of other messages are not."""
    content = json.dumps(header).encode()
    with pytest.raises(InvalidInput, match=told):
        live_json.from_client(len(content).to_bytes(4, "big") + content)


@pytest.mark.parametrize("place", ["camera", "option", "calibration"])
def test_halves_of_characters_are_told(server: Server, place: str) -> None:
    """A stream with a text that nothing can write is refused with a message, whatever the text is."""
    rig = json.loads(CALIBRATION)
    start: dict[str, Any] = {"type": "start", "calibration": rig, "options": {"model": MODEL}, "policy": {}}
    images = [{"camera": "\ud800", "bytes": 0}]
    content = json.dumps({"timestamp": 0, "images": images}).encode()
    if place == "option":
        start["options"]["\ud800"] = 1
    elif place == "calibration":
        start["calibration"]["\ud800"] = 1
    with connect(server.url.replace("http", "ws") + "/v1/stream") as wire:
        wire.send(json.dumps(start))
        if place == "camera":
            assert json.loads(wire.recv(10))["type"] == "opened"
            wire.send(len(content).to_bytes(4, "big") + content)
        told = json.loads(wire.recv(10))
    assert (told["type"], told["error"]["status"]) == ("error", 422)
    assert "surrogate" in told["error"]["detail"]


def test_results_that_were_not_acknowledged_come_again(server: Server) -> None:
    """By the wire alone: the server says which capture it expects, and sends again what follows the last sequence."""
    url = server.url.replace("http", "ws") + "/v1/stream"

    def ask(first: Start | Resume, *messages: Capture | Ack | End) -> Iterator[object]:
        with connect(url) as wire:
            for message in (first, *messages):
                wire.send(live_json.to_server(message))
            skeleton = None
            for text in wire:
                answer = live_json.from_server(str(text), skeleton)
                if isinstance(answer, Opened):
                    skeleton = answer.header.skeleton
                yield answer

    captures = [Capture(time, images, whole=True) for time, images in zip(TIMES, SETS, strict=True)]
    answers = ask(Start({"rig": CALIBRATION}, Options(model=MODEL), EVERY), *captures[:4])
    opened = next(answers)
    assert isinstance(opened, Opened)
    assert [next(answers).sequence for _ in range(4)] == [0, 1, 2, 3]  # type: ignore[attr-defined]
    answers.close()  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="result 4 was not sent yet"):
        list(ask(Resume(opened.token, 4)))
    again = list(ask(Resume(opened.token, 1), *captures[4:], End()))
    assert again[0].next_capture == 4  # type: ignore[attr-defined]
    assert [a.sequence for a in again if hasattr(a, "sequence")] == [2, 3, 4, 5, 6, 7]
    with pytest.raises(NotFound):  # acknowledged by the resume above
        list(ask(Resume(opened.token)))
    with pytest.raises(NotFound):
        list(ask(Resume("unknown")))


@pytest.mark.parametrize(("door", "ahead"), [("http", 0), ("grpc", 2)])
def test_the_command_plays_videos(
    door: str, ahead: int, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`synpose stream` sends a clip as cameras would, from where all have images, and says what came of it."""
    (tmp_path / "rig.json").write_bytes(CALIBRATION)
    videos = [tmp_path / f"{camera}.mp4" for camera in CAMERAS]
    for path in videos:
        path.write_bytes(video(path.stem))
    output = tmp_path / "poses.ndjson"
    url = server.url if door == "http" else f"grpc://{server.target}"
    words = ["--calibration", tmp_path / "rig.json", "--server", url, "--model", MODEL, "--offset", f"cam02={ahead}"]
    count = FRAMES - ahead
    assert main(["stream", *map(str, words), "--mode", "every", "--output", str(output), *map(str, videos)]) == 0
    assert capsys.readouterr().out.startswith(f"{count} frame sets, {count} answered, 0 dropped; from sending to")
    header, frames = ndjson.decode(output.read_bytes().splitlines())
    assert [len(frame.people) for frame in frames] == [1] * count
    assert header.fps == FPS


_COMMAND = "import sys; from synpose.cli import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def _serving(log: Path, http: int, grpc: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _COMMAND, "serve", "--http-port", str(http), "--grpc-port", str(grpc)]
    with (
        log.open("ab") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            assert all(process.stdout.readline() for _ in range(2))
            yield process
        finally:
            process.kill()


def test_a_client_begins_anew_when_the_server_was_killed(tmp_path: Path) -> None:
    """The server dies and another comes up in its place: the client begins a new stream and says so."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        http, grpc = one.getsockname()[1], two.getsockname()[1]
    with ExitStack() as stack:
        first = stack.enter_context(_serving(tmp_path / "log", http, grpc))
        client = stack.enter_context(synpose.Client(f"grpc://127.0.0.1:{grpc}"))
        stream = stack.enter_context(client.live(RIG, StreamPolicy(mode="every"), model=MODEL))
        stream.send(TIMES[0], SETS[0])
        assert next(stream).sequence == 0
        first.kill()
        first.wait(10)
        stream.send(TIMES[1], SETS[1])
        with _serving(tmp_path / "log", http, grpc):
            stream.end()
            (pose,) = stream
        assert pose.sequence == 0
        assert pose.frame.timestamp == pytest.approx(TIMES[1], abs=1e-6)
        assert stream.restarts == 1


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_stops_answers_what_came_and_says_so(tmp_path: Path, scheme: str) -> None:
    """On SIGTERM a stream gets the results of what it has sent, then `Draining`, and the server ends well."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        http, grpc = one.getsockname()[1], two.getsockname()[1]
    port = {"http": http, "grpc": grpc}[scheme]
    with _serving(tmp_path / "log", http, grpc) as server, synpose.Client(f"{scheme}://127.0.0.1:{port}") as client:
        with client.live(RIG, StreamPolicy(mode="every", look_ahead=1), model=MODEL) as stream:
            for time, images in zip(TIMES[:3], SETS[:3], strict=True):
                stream.send(time, images)
            assert next(stream).sequence == 0
            server.terminate()
            assert [next(stream).sequence, next(stream).sequence] == [1, 2]
            with pytest.raises(Draining):
                next(stream)
        assert server.wait(20) == 0


def test_many_abandoned_streams_cost_no_place(server: Server) -> None:
    """Streams that were left give way: more than there are places can be opened, one after the other, and left."""

    async def leave(count: int) -> None:
        async with synpose.AsyncClient(server.url) as client:
            for _ in range(count):
                async with client.live(RIG, EVERY, model=MODEL) as stream:
                    await stream.send(0.0, {})

    asyncio.run(leave(40))
