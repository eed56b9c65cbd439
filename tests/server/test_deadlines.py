"""Deadlines through both doors: kept or told, and nothing is computed for a caller who is gone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import anyio.from_thread
import grpc
import httpx
import numpy as np
import pytest
from tests.server.fake_engine import FakeEngine
from tests.server.live_server import serve

from synpose.calibration import write_calibration
from synpose.errors import DeadlineExceeded, Overloaded, from_problem
from synpose.rig import Camera, Rig
from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc
from synpose.wire import calibration_to_message
from synpose_server.bridge import Bridge
from synpose_server.grpc import GrpcServer
from synpose_server.settings import Settings

K = [[1000, 0, 640], [0, 1000, 360], [0, 0, 1]]
RIG = Rig(tuple(Camera(name, (1280, 720), K, np.eye(3), [x, 0, 4]) for x, name in enumerate(("cam01", "cam02"))))
CALIBRATION = write_calibration(RIG)
FILES = [
    ("calibration", ("rig.json", CALIBRATION.encode())),
    ("video", ("cam01.mp4", b"one")),
    ("video", ("cam02.mp4", b"two")),
]
REQUEST = pb.EstimatePose3DRequest(
    calibration=calibration_to_message({"rig.json": CALIBRATION.encode()}),
    frame_sets=[pb.FrameSet(images=[pb.Image(camera=name, data=b"image") for name in RIG.names])],
)


def fake(**fields: object) -> FakeEngine:
    return FakeEngine(Settings(grpc_port=0, max_clips=1), **fields)  # type: ignore[arg-type]


def post(url: str, timeout: object) -> httpx.Response:
    return httpx.post(f"{url}/v1/pose3d", files=FILES, headers={"X-Request-Timeout": str(timeout)}, timeout=20)


@contextmanager
def stub(engine: FakeEngine) -> Iterator[pb_grpc.PoseServiceStub]:
    """A client of a gRPC door that runs on a loop in another thread."""

    async def start() -> tuple[Bridge, GrpcServer, int]:
        bridge = Bridge(engine)
        server = GrpcServer(bridge)
        return bridge, server, await server.start()

    with anyio.from_thread.start_blocking_portal() as portal:
        bridge, server, port = portal.call(start)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield pb_grpc.PoseServiceStub(channel)
        portal.call(server.stop, 0)
        bridge.close()


def test_a_deadline_that_is_kept_changes_nothing() -> None:
    """With time enough the answer is the answer."""
    with serve(fake()) as url:
        response = post(url, 20)
        assert response.status_code == 200
        assert response.content == httpx.post(f"{url}/v1/pose3d", files=FILES).content


@pytest.mark.parametrize("holds_at", [0, 2])
def test_an_answer_that_is_late_over_http(holds_at: int) -> None:
    """503 when the deadline passes, wherever the estimate is; it is stopped, and its place is free again."""
    engine = fake(holds_at=holds_at)
    with serve(engine) as url:
        response = post(url, 0.1)
        assert response.status_code == 503
        assert isinstance(from_problem(response.json()), DeadlineExceeded)
        assert engine.closed.wait(10)
        engine.holds_at = None
        assert post(url, 20).status_code == 200
    assert engine.stats.counts == {("admission", "expired"): 1, ("admission", "executed"): 1}


def test_an_upload_that_is_late() -> None:
    """The deadline counts from the headers: a body that does not come in time is not waited for."""
    engine = fake()
    with serve(engine) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as connection:
            head = "POST /v1/pose3d HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\nx-request-timeout: 0.1\r\n"
            connection.sendall(f"{head}content-type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 503 ")
    assert engine.received == []


def test_an_answer_that_is_late_over_grpc() -> None:
    """The deadline of a gRPC call stops its estimate and frees its place."""
    engine = fake(holds_at=0)
    with stub(engine) as client:
        with pytest.raises(grpc.RpcError) as caught:
            client.EstimatePose3D(REQUEST, timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert engine.closed.wait(10)
        engine.holds_at = None
        assert len(client.EstimatePose3D(REQUEST, timeout=20).frames) == 3


def test_who_would_be_late_is_refused_before_the_body() -> None:
    """Behind a long clip both doors say at once that it cannot be done, and when to come back."""
    engine = fake(holds_at=1)
    with serve(engine) as url:
        running = threading.Thread(target=post, args=(url, 60))
        running.start()
        while not engine.received:
            threading.Event().wait(0.01)
        (place,) = engine.places
        assert place is not None
        place.expect(1)
        place._pace.add(1, True, 3.5)  # seconds an image: what runs seems to need 7 more
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as connection:
            head = "POST /v1/pose3d HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\nx-request-timeout: 2\r\n\r\n"
            connection.sendall(head.encode())
            answer = connection.recv(10_000).decode().lower()
        engine.go.set()
        running.join(10)
    assert answer.startswith("http/1.1 503 ")
    assert "\r\nretry-after: 7\r\n" in answer
    assert len(engine.received) == 1


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "1e9"])
def test_a_deadline_that_is_none(given: str) -> None:
    """What is no number of seconds up to a day is told, not passed over."""
    with serve(fake()) as url:
        response = post(url, given)
    assert response.status_code == 422
    assert response.json()["field"] == "X-Request-Timeout"


def test_retry_after_crosses_the_wire() -> None:
    """The seconds of an `Overloaded` are those that the client's exception has."""
    engine = fake(fails_at=0, failure=Overloaded("busy", retry_after=2.5))
    with serve(engine) as url:
        response = post(url, 20)
        error = from_problem(response.json())
    assert (response.status_code, response.headers["retry-after"]) == (503, "3")
    assert isinstance(error, Overloaded)
    assert error.retry_after == 2.5
