"""The clients against a real server with a fake engine behind it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.server.fake_engine import FakeEngine
from tests.server.live_server import serve

import synpose
from synpose.errors import InvalidInput, LimitExceeded, NotFound, OptionsError, ServerError, SynposeError, VideoError
from synpose.rig import Camera, Rig
from synpose_server.settings import Settings

K = [[1000, 0, 640], [0, 1000, 360], [0, 0, 1]]
RIG = Rig(tuple(Camera(name, (1280, 720), K, np.eye(3), [x, 0, 4]) for x, name in enumerate(("cam01", "cam02"))))
VIDEOS = {"cam01": b"one", "cam02": b"two"}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(Settings(max_body_bytes=8_000_000))


@pytest.fixture
def url(engine: FakeEngine) -> Iterator[str]:
    with serve(engine) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[synpose.Client]:
    with synpose.Client(url, timeout=10) as client:
        yield client


def test_an_estimate_comes_back_whole(client: synpose.Client, engine: FakeEngine) -> None:
    """What the engine answered is what the client returns: header, joints, gaps, notices."""
    poses = client.estimate(VIDEOS, RIG, skeleton="h36m17", max_people=2, fps=50, offsets={"cam02": 6.86})
    assert (poses.header.model.name, poses.header.skeleton.name, poses.header.fps) == ("fake", "h36m17", 50)
    assert poses.header.left_out == {"cam02": 7}
    assert poses.joints()[:, 0].tolist() == [[0, 0, 1], [1, 0, 1], [2, 0, 1]]
    assert np.isnan(poses.joints()[:, -1]).all()
    assert poses.sigma()[0, 0] == 0.02
    assert poses.frames[0].people[0].views == ("cam01", "cam02")
    assert [(n.code, n.camera) for n in poses.notices] == [("view-missing", "cam02")]
    assert engine.received[0].options == synpose.Options(
        skeleton="h36m17", max_people=2, fps=50, offsets={"cam02": 6.86}
    )


def test_videos_are_sent_from_their_files(client: synpose.Client, engine: FakeEngine, tmp_path: Path) -> None:
    """A sequence of paths names the cameras by their stems, and the calibration may be a file of a tool."""
    big = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "cam01.mp4").write_bytes(big)
    (tmp_path / "cam02.mov").write_bytes(b"two")
    (tmp_path / "rig.json").write_text(synpose.write_calibration(RIG))
    client.estimate([tmp_path / "cam02.mov", str(tmp_path / "cam01.mp4")], tmp_path / "rig.json")
    assert engine.received[0].sources == {"cam01": big, "cam02": b"two"}
    with pytest.raises(InvalidInput, match="1 of 2 was sent"):  # this engine wants more; the client needs no list
        client.estimate(tmp_path / "cam02.mov", RIG)


@pytest.mark.parametrize("name", ["cam\udcff", "\ud800"])
def test_a_name_that_no_wire_carries_is_told(client: synpose.Client, name: str) -> None:
    """Names of files need not be Unicode, those of cameras must be."""
    with pytest.raises(InvalidInput, match="not UTF-8"):
        client.estimate({name: b"one", "cam02": b"two"}, RIG)


def test_someone_who_is_not_there_is_told(client: synpose.Client) -> None:
    """An id that nobody has is no empty answer."""
    poses = client.estimate(VIDEOS, RIG)
    assert len(poses.only(poses.ids[0]).frames) == len(poses.frames)
    for ask in (poses.only, poses.joints, poses.sigma, poses.angles):
        with pytest.raises(NotFound, match="no person 7"):
            ask(7)


def test_a_calibration_without_unit_is_sent_in_metres(client: synpose.Client, engine: FakeEngine) -> None:
    """`units` is used where the file is read, and not a second time by the server."""
    toml = "".join(
        f'[cam_{i}]\nname = "cam0{i}"\nsize = [1280, 720]\nmatrix = {K}\ndistortions = [0, 0, 0, 0, 0]\n'
        f"rotation = [0, 0, 0]\ntranslation = [{i * 1000}.0, 0, 4000.0]\n"
        for i in (1, 2)
    )
    client.estimate(VIDEOS, {"calibration.toml": toml.encode()}, units="mm")
    assert engine.received[0].cameras == ("cam01", "cam02")
    assert engine.received[0].options.units is None


def test_folders_of_images_are_aligned_by_number(client: synpose.Client, engine: FakeEngine, tmp_path: Path) -> None:
    """A folder is a camera; a number that it lacks is a missing image, whatever other files lie there."""
    for camera, numbers in (("cam01", (9, 11)), ("cam02", (9, 10, 11))):
        (tmp_path / camera).mkdir()
        (tmp_path / camera / "notes.txt").write_text("no image")
        for number in numbers:
            (tmp_path / camera / f"img{number:04}.jpg").write_bytes(f"{camera} {number}".encode())
    client.estimate([tmp_path / "cam01", tmp_path / "cam02"], RIG)
    assert engine.received[0].sources == {
        "cam01": [b"cam01 9", None, b"cam01 11"],
        "cam02": [b"cam02 9", b"cam02 10", b"cam02 11"],
    }
    (tmp_path / "cam02" / "-1.jpg").write_bytes(b"before")
    with pytest.raises(InvalidInput, match="'-1': numbers begin at 0") as caught:
        client.estimate([tmp_path / "cam01", tmp_path / "cam02"], RIG)
    assert caught.value.camera == "cam02"


def test_frame_sets_keep_their_times_and_gaps(client: synpose.Client, engine: FakeEngine) -> None:
    """Images arrive in their frame sets with the times that were given."""
    sets = [{"cam01": b"a0", "cam02": b"b0"}, {"cam02": b"b1"}, {"cam01": b"a2"}]
    poses = client.estimate_frames(sets, RIG, [5.0, 5.1, 5.4])
    assert engine.received[0].sources == {"cam01": [b"a0", None, b"a2"], "cam02": [b"b0", b"b1", None]}
    assert [frame.timestamp for frame in poses.frames] == [5.0, 5.1, 5.4]


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("times", [[], [1.0], [1, 2, 3], [0, None], [0, np.nan], ["a", "b"], 5])
def test_times_that_are_none_are_refused_before_anything_is_sent(transport: str, times: Any) -> None:
    """Whichever door, a wrong number of times or one that is no time is the same error; no server is asked."""
    with (
        synpose.Client(f"{transport}://127.0.0.1:1") as client,
        pytest.raises(InvalidInput, match="timestamp") as caught,
    ):
        client.estimate_frames([{"cam01": b"a", "cam02": b"b"}] * 2, RIG, times)
    assert caught.value.field == "timestamps"


def test_times_may_be_an_array(client: synpose.Client, engine: FakeEngine) -> None:
    """NumPy's numbers are numbers."""
    client.estimate_frames([{"cam01": b"a", "cam02": b"b"}] * 2, RIG, np.array((0.5, 0.75)))  # type: ignore[arg-type]
    assert engine.received[0].timestamps == (0.5, 0.75)


@pytest.mark.parametrize("name", ["a/b", 'a"b', "a.b", "a/0", "a\\b", "../a", "ä ö", "a;b=c", "/"])
def test_cameras_may_have_any_name(name: str, client: synpose.Client, engine: FakeEngine) -> None:
    """Videos and images arrive under names with characters that mean something in headers and paths."""
    rig = Rig(tuple(Camera(n, (1280, 720), K, np.eye(3), [x, 0, 4]) for x, n in enumerate(("a", name))))
    client.estimate({"a": b"1", name: b"2"}, rig)
    client.estimate_frames([{"a": b"1", name: b"2"}] * 2, rig)
    assert [r.sources for r in engine.received] == [{"a": b"1", name: b"2"}, {"a": [b"1"] * 2, name: [b"2"] * 2}]


def test_frame_sets_without_any_image_count(client: synpose.Client, engine: FakeEngine) -> None:
    """Empty frame sets at both ends are frame sets still."""
    sets = [{}, {"cam01": b"a", "cam02": b"b"}, {}]
    poses = client.estimate_frames(sets, RIG, fps=10)
    assert engine.received[0].sources == {"cam01": [None, b"a", None], "cam02": [None, b"b", None]}
    assert [frame.timestamp for frame in poses.frames] == [0, 0.1, 0.2]


def test_a_stream_gives_frames_as_they_are_computed(client: synpose.Client, engine: FakeEngine) -> None:
    """The first frame is there while the engine is still at the second."""
    engine.holds_at = 1
    with client.stream(VIDEOS, RIG) as stream:
        assert stream.header.model.version == "7"
        assert next(stream).index == 0
        assert not engine.go.is_set()
        engine.go.set()
        assert [frame.index for frame in stream] == [1, 2]


def test_leaving_a_stream_stops_the_estimate(client: synpose.Client, engine: FakeEngine) -> None:
    """The server's estimate is closed when the block is left early, and the client can go on."""
    engine.holds_at, engine.frames = 1, 1_000_000
    with client.stream(VIDEOS, RIG) as stream:
        next(stream)
        assert not engine.closed.is_set()
    assert engine.closed.wait(5)
    assert client.ready()


def test_the_async_client_gives_the_same(url: str) -> None:
    """Both clients have the same methods and answers."""

    async def estimate() -> tuple[synpose.PoseSequence, list[int]]:
        async with synpose.AsyncClient(url) as client:
            poses = await client.estimate(VIDEOS, RIG)
            async with client.stream(VIDEOS, RIG) as stream:
                return poses, [frame.index async for frame in stream]

    poses, indices = asyncio.run(estimate())
    assert len(poses.frames) == 3
    assert indices == [0, 1, 2]


def test_a_cancelled_estimate_is_stopped(url: str, engine: FakeEngine) -> None:
    """Cancelling the task that awaits an answer closes the estimate on the server."""
    engine.holds_at = 0

    async def cancel() -> None:
        async with synpose.AsyncClient(url) as client:
            task = asyncio.create_task(client.estimate(VIDEOS, RIG))
            while not engine.received:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancel())
    assert engine.closed.wait(5)


def test_lists_are_typed(client: synpose.Client) -> None:
    """Models and skeletons come as what they are."""
    assert client.models() == (synpose.ServedModel("fake", "7", "Known answers", ("coco17", "h36m17"), True),)
    assert client.skeletons() == tuple(synpose.SKELETONS.values())
    assert client.ready()


def test_an_unready_server_is_told_from_a_ready_one(client: synpose.Client, engine: FakeEngine) -> None:
    """Readiness is a question, not an error; an estimate then is an error that may be tried again."""
    engine.loaded = False
    assert not client.ready()
    with pytest.raises(synpose.Overloaded):
        client.estimate(VIDEOS, RIG)


@pytest.mark.parametrize(
    ("videos", "options", "kind", "field", "camera"),
    [
        (VIDEOS, {"model": "x"}, NotFound, "options.model", None),
        (VIDEOS, {"max_people": 99}, OptionsError, "options.max_people", None),
        (VIDEOS, {"colour": 1}, OptionsError, "options.colour", None),
        (VIDEOS, {"offsets": {"cam02": "late"}}, OptionsError, "options.offsets", "cam02"),
        ({"cam01": b"one"}, {}, InvalidInput, "video", "cam02"),
        ({**VIDEOS, "cam03": b"x"}, {}, InvalidInput, "video", "cam03"),
        ({"cam01": b"one", "cam02": b"broken"}, {}, VideoError, "video", "cam02"),
        ({"cam01": b"one", "cam02": "/nowhere.mp4"}, {}, VideoError, "video", "cam02"),
        (["/nowhere/cam02.mp4"], {}, VideoError, "video", "cam02"),
        ({"cam01": bytes(9_000_000), "cam02": b"two"}, {}, LimitExceeded, "body", None),
    ],
)
def test_errors_of_the_server_are_raised_as_what_they_are(
    client: synpose.Client, videos: object, options: dict[str, object], kind: type, field: str, camera: str | None
) -> None:
    """The caller sees the exception that the engine or the door raised, with field and camera."""
    with pytest.raises(kind) as caught:
        client.estimate(videos, RIG, **options)  # type: ignore[arg-type]
    assert isinstance(caught.value, SynposeError)
    assert (type(caught.value), caught.value.field, caught.value.camera) == (kind, field, camera)


def test_an_error_in_a_stream_is_raised_where_it_happens(client: synpose.Client, engine: FakeEngine) -> None:
    """Frames before the error are delivered."""
    engine.fails_at = 2
    with client.stream(VIDEOS, RIG) as stream:
        assert [next(stream).index, next(stream).index] == [0, 1]
        with pytest.raises(VideoError) as caught:
            next(stream)
    assert caught.value.camera == "cam02"


def test_no_server_is_an_error_that_says_what_to_check() -> None:
    """A refused connection names the address and the command that serves it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with synpose.Client(url) as client:
        assert not client.ready()
        with pytest.raises(ServerError, match=r"no server at http://127\.0\.0\.1:\d+: check that `synpose serve` runs"):
            client.models()
        with pytest.raises(ServerError, match="no server"):
            client.estimate(VIDEOS, RIG)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", "502 Bad Gateway"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "something else"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n", "something else"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "empty"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "broke off"),
        (b"", "broke off"),
    ],
)
def test_something_else_than_a_synpose_server_is_a_server_error(answer: bytes, message: str) -> None:
    """Proxies, other programs and dying servers never look like an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def respond() -> None:
            connection, _ = listener.accept()
            with connection:
                received = b""
                while not received.endswith(b"\r\n0\r\n\r\n"):  # the last chunk of the body
                    received += connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=respond)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with synpose.Client(url, timeout=5) as client, pytest.raises(ServerError, match=message):
            client.estimate(VIDEOS, RIG)
        thread.join()


def test_a_silent_server_times_out(url: str, engine: FakeEngine) -> None:
    """`timeout` bounds the wait for each part of an answer, and the estimate is stopped."""
    engine.holds_at = 1
    with synpose.Client(url, timeout=0.5) as client, client.stream(VIDEOS, RIG) as stream:
        next(stream)
        with pytest.raises(ServerError, match=r"within 0\.5 s"):
            next(stream)
    assert engine.closed.wait(5)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_closing_ends_what_other_threads_wait_for(scheme: str) -> None:
    """A thread whose answer will not come any more is told so, and does not wait for ever."""
    told: list[SynposeError] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = synpose.Client(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}")

        def ask() -> None:
            try:
                client.estimate(VIDEOS, RIG)
            except SynposeError as error:
                told.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        connection, _ = silent.accept()
        client.close()
        asking.join(10)
        connection.close()
    assert not asking.is_alive()
    assert isinstance(told[0], ServerError)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "", "http://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """A forgotten scheme is the usual mistake."""
    with pytest.raises(InvalidInput, match="http"):
        synpose.Client(url)


def test_a_forgotten_client_does_not_keep_a_program_alive(url: str) -> None:
    """A script that never closes its client ends."""
    script = f"import synpose; print(synpose.Client({url!r}).ready())"
    done = subprocess.run([sys.executable, "-c", script], timeout=20, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_importing_the_package_imports_no_library() -> None:
    """`import synpose` is cheap, and every public name is there."""
    script = (
        "import sys, synpose; heavy = {'numpy', 'httpx', 'grpc', 'asyncio'} & sys.modules.keys();"
        "print(sorted(heavy), all(hasattr(synpose, name) for name in synpose.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=20, capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"
