"""The clients over gRPC: the address alone chooses the wire."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from tests.client.test_client import RIG, VIDEOS
from tests.server.fake_engine import FakeEngine

import synpose
from synpose import live_wire
from synpose.errors import Draining
from synpose.v1 import pose_pb2 as pb
from synpose_server.bridge import Bridge
from synpose_server.grpc import GrpcServer
from synpose_server.settings import Settings


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(Settings(grpc_port=0))


@pytest.fixture
def url(engine: FakeEngine) -> Iterator[str]:
    """A gRPC door on a loop in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    bridge = Bridge(engine)

    async def start() -> tuple[GrpcServer, int]:
        server = GrpcServer(bridge)
        return server, await server.start()

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    yield f"grpc://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(10)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.2), loop).result(10)  # for what is left of ended calls
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
    bridge.close()


def test_answers_and_errors_are_those_of_http(url: str, engine: FakeEngine) -> None:
    """Poses, lists and exceptions do not depend on the wire."""
    with synpose.Client(url, timeout=10) as client:
        assert client.ready()
        assert [model.name for model in client.models()] == ["fake"]
        poses = client.estimate(VIDEOS, RIG, skeleton="h36m17", offsets={"cam02": 6.86})
        assert poses.header.left_out == {"cam02": 7}
        assert poses.joints()[:, 0].tolist() == [[0, 0, 1], [1, 0, 1], [2, 0, 1]]
        assert engine.received[0].sources == VIDEOS
        with pytest.raises(synpose.VideoError) as caught:
            client.estimate({"cam01": b"one", "cam02": b"broken"}, RIG)
        assert (caught.value.field, caught.value.camera) == ("video", "cam02")


def test_an_empty_video_is_sent(url: str, engine: FakeEngine, tmp_path: Path) -> None:
    """The server must see it to refuse it; a camera of which nothing comes would be taken for left out."""
    (tmp_path / "cam02.mp4").touch()
    with synpose.Client(url, timeout=10) as client:
        client.estimate({"cam01": b"one", "cam02": b""}, RIG)
        client.estimate({"cam01": b"one", "cam02": tmp_path / "cam02.mp4"}, RIG)
    assert [received.sources for received in engine.received] == [{"cam01": b"one", "cam02": b""}] * 2


def test_leaving_a_stream_stops_the_estimate(url: str, engine: FakeEngine) -> None:
    """The server's estimate is closed when the block is left early."""
    engine.holds_at = 1
    with synpose.Client(url, timeout=10) as client, client.stream(VIDEOS, RIG) as stream:
        next(stream)
    assert engine.closed.wait(5)


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.OK])
def test_a_stream_learns_why_it_ended_though_the_status_is_lost(code: grpc.StatusCode) -> None:
    """The message `problem` counts, whatever status the call then seems to have."""

    async def refuse(
        requests: AsyncIterator[pb.StreamPosesRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[pb.StreamPosesResponse, None]:
        yield live_wire.problem_to_message(Draining("about to stop"))
        if code is not grpc.StatusCode.OK:
            await context.abort(code, "Internal error from Core")

    async def ask() -> None:
        server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(
            refuse, pb.StreamPosesRequest.FromString, pb.StreamPosesResponse.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("synpose.v1.PoseService", {"StreamPoses": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with synpose.AsyncClient(f"grpc://127.0.0.1:{port}") as client:
                with pytest.raises(Draining, match="about to stop"):
                    async with client.live(RIG):
                        pass
        finally:
            await server.stop(0)
            await asyncio.sleep(0.2)  # for what is left of the ended call

    asyncio.run(ask())
