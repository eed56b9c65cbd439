"""The client's side of a live stream over a wire that the test holds in its hands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.http11 import Request
from websockets.server import ServerProtocol

from synpose import live_client, live_json, live_wire
from synpose.errors import InvalidInput, LimitExceeded, NotFound
from synpose.live import (
    Ack,
    Capture,
    End,
    Ended,
    FromServer,
    Latency,
    LivePose,
    Opened,
    Resume,
    Start,
    StreamCounters,
    StreamPolicy,
    ToServer,
)
from synpose.live_client import AsyncLiveStream
from synpose.pose import Frame, ModelInfo, PoseHeader
from synpose.skeleton import COCO17
from synpose.transports import http
from synpose.transports.base import Disconnected, Transport
from synpose.transports.http import HttpTransport
from synpose.wire import MAX_MESSAGE_BYTES

HEADER = PoseHeader(ModelInfo("fake", "1"), COCO17, 30.0)
START = Start({"rig.json": b""}, policy=StreamPolicy(mode="every"))
Connection = Callable[[AsyncIterator[ToServer]], AsyncGenerator[FromServer, None]]


class Wire:
    """A transport whose connections are, one after the other, those that the test gives."""

    def __init__(self, *connections: Connection) -> None:
        self._connections = list(connections)
        self.said: list[ToServer] = []

    async def _heard(self, messages: AsyncIterator[ToServer]) -> AsyncIterator[ToServer]:
        async for message in messages:
            self.said.append(message)
            yield message

    def live(self, messages: AsyncGenerator[ToServer, None], token: str = "") -> AsyncGenerator[FromServer, None]:
        return self._connections.pop(0)(self._heard(messages))


def stream(wire: Wire) -> AsyncLiveStream:
    return AsyncLiveStream(cast(Transport, wire), START)


def result(sequence: int) -> LivePose:
    return LivePose(Frame(sequence, 0.0, (), ()), 0.0, (), Latency(0, 0, 0, 0, 0, 0, 0), StreamCounters(), {})


async def quiet_to_the_end(messages: AsyncIterator[ToServer]) -> AsyncGenerator[FromServer, None]:
    """A connection that answers nothing but the end."""
    yield Opened("token", HEADER, 0, "hash")
    async for message in messages:
        if isinstance(message, End):
            yield Ended(StreamCounters())


def test_a_stream_that_was_quiet_is_connected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to come back counts from when the connection broke, not from the last answer."""
    monkeypatch.setattr(live_client, "RECONNECT", 0.5)
    monkeypatch.setattr(live_client, "_PAUSE", 0.01)

    async def quiet(messages: AsyncIterator[ToServer]) -> AsyncGenerator[FromServer, None]:
        yield Opened("token", HEADER, 0, "hash")
        await asyncio.sleep(0.6)
        raise Disconnected("broke off")

    async def broken(messages: AsyncIterator[ToServer]) -> AsyncGenerator[FromServer, None]:
        raise Disconnected("nobody there")
        yield

    async def back(messages: AsyncIterator[ToServer]) -> AsyncGenerator[FromServer, None]:
        assert await anext(messages) == Resume("token", None)
        yield Opened("token", HEADER, 0, "hash")
        yield Ended(StreamCounters())

    async def come_back() -> None:
        async with stream(Wire(quiet, broken, quiet, broken, back)) as poses:
            assert [pose async for pose in poses] == []

    async def stay_away() -> None:
        async with stream(Wire(quiet, *[broken] * 1000)) as poses:
            begun = time.monotonic()
            with pytest.raises(Disconnected, match="nobody there"):
                await anext(poses)
            assert 1.0 < time.monotonic() - begun < 10

    asyncio.run(come_back())
    asyncio.run(stay_away())


def test_results_of_a_lost_stream_are_not_acknowledged_to_the_new_one() -> None:
    """Their sequence numbers mean nothing there, and the new stream would forget results by them."""
    begun_anew = asyncio.Event()

    async def first(messages: AsyncIterator[ToServer]) -> AsyncGenerator[FromServer, None]:
        yield Opened("one", HEADER, 0, "hash")
        for sequence in range(5):
            yield result(sequence)
        raise Disconnected("broke off")

    async def lost(messages: AsyncIterator[ToServer]) -> AsyncGenerator[FromServer, None]:
        raise NotFound("no such stream")
        yield

    async def second(messages: AsyncIterator[ToServer]) -> AsyncGenerator[FromServer, None]:
        assert isinstance(await anext(messages), Start)
        yield Opened("two", HEADER, 0, "hash")
        yield result(0)
        begun_anew.set()
        async for message in messages:
            if isinstance(message, End):
                yield Ended(StreamCounters())

    async def scenario() -> None:
        wire = Wire(first, lost, second)
        async with stream(wire) as poses:
            await begun_anew.wait()
            for sequence in (0, 1, 2, 3, 4):
                assert (await anext(poses)).sequence == sequence
                await asyncio.sleep(0.01)  # enough for an acknowledgement
            assert not any(isinstance(message, Ack) for message in wire.said)
            assert (await anext(poses)).sequence == 0
            await asyncio.sleep(0.01)
            assert wire.said[-1] == Ack(0)
            await poses.end()
            assert [pose async for pose in poses] == []
            assert poses.restarts == 1

    asyncio.run(scenario())


def test_a_server_that_is_behind_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WebSocket whose pings are not answered for long stays open: the server reads no more for a while."""
    monkeypatch.setattr(http, "connect", partial(connect, ping_interval=0.05, ping_timeout=0.05))

    async def behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = ServerProtocol()
        while not (requests := wire.events_received()):
            wire.receive_data(await reader.read(1 << 16))
        wire.send_response(wire.accept(cast(Request, requests[0])))
        writer.writelines(wire.data_to_send())
        await asyncio.sleep(0.5)  # pings come and are not read
        for answer in (Opened("token", HEADER, 0, "hash"), Ended(StreamCounters())):
            wire.send_text(live_json.to_client(answer).encode())
        writer.writelines(wire.data_to_send())
        while not wire.close_expected():
            wire.receive_data(await reader.read(1 << 16))
            writer.writelines(wire.data_to_send())
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(behind, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        transport = HttpTransport(f"http://{host}:{port}")
        async with server, AsyncLiveStream(transport, START) as poses:
            assert [pose async for pose in poses] == []
        await transport.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize("images", [{"a": None}, {"a": "image"}, {1: b"image"}])
def test_what_is_no_image_is_told_to_who_sends_it(images: Any) -> None:
    """And ends nothing: what the wire could not write would leave the stream silent until the server gives it up."""

    async def scenario() -> None:
        wire = Wire(quiet_to_the_end)
        async with stream(wire) as poses:
            with pytest.raises(InvalidInput):
                await poses.send(0.0, images)
            await poses.send(0.0, {"a": np.frombuffer(b"image", np.uint8)})  # type: ignore[dict-item]
            await poses.end()
            assert [pose async for pose in poses] == []
            assert [message for message in wire.said if isinstance(message, Capture)] == [
                Capture(0.0, {"a": b"image"}, whole=True)
            ]

    asyncio.run(scenario())


def test_a_capture_that_no_message_holds_is_told_at_once() -> None:
    """Sent, it would break the connection again and again; what just fits is a message of the size servers take."""

    async def scenario() -> None:
        wire = Wire(quiet_to_the_end)
        half = bytes(live_client._MOST_BYTES // 2)
        async with stream(wire) as poses:
            with pytest.raises(LimitExceeded, match="at most"):
                await poses.send(0.0, {"a": half, "b": half + b"more"})
            await poses.send(0.0, dict.fromkeys((f"{'camera':<190}{v}" for v in range(2)), half))
            await poses.end()
            assert [pose async for pose in poses] == []
        (capture,) = (message for message in wire.said if isinstance(message, Capture))
        assert len(live_json.to_server(capture)) <= MAX_MESSAGE_BYTES
        assert live_wire.to_server(capture).ByteSize() <= MAX_MESSAGE_BYTES

    asyncio.run(scenario())
