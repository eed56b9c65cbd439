"""One connection of a live stream, whichever door it came through: messages in, messages out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator

from synpose.errors import Draining, InvalidInput, SynposeError
from synpose.live import Ack, Capture, End, Ended, FromServer, Opened, Received, ToServer
from synpose_server.live.sessions import Link, Sessions

__all__ = ["converse"]

_TELL_EVERY = 16  # captures


async def converse(sessions: Sessions, messages: AsyncIterator[ToServer]) -> AsyncGenerator[FromServer, None]:
    """What the server answers to the messages of a client; close it when the connection is gone.

    Raises from `synpose.errors` when the stream cannot go on. A connection that ends before `End` leaves the session
    to be resumed. Messages are not read while the session has no room, which the wire's flow control tells the client.
    """
    async with sessions.attach(await _first(messages, sessions.idle_seconds)) as link:
        session = link.session
        yield Opened(session.token, session.header, session.captures, session.calibration_hash)
        told = session.captures
        reading = asyncio.create_task(_read(link, messages, sessions.idle_seconds))
        reading.add_done_callback(lambda ended: _notice(ended, link))
        try:
            while True:
                if link.is_taken_over:
                    raise InvalidInput("the stream goes on over another connection", field="resume")
                if sessions.draining:
                    reading.cancel()
                link.sending_since = time.monotonic()
                while not link.is_taken_over and (pose := session.next_result()) is not None:
                    yield pose
                    link.sending_since = time.monotonic()
                    told = pose.counters.captures
                if session.captures - told >= _TELL_EVERY:
                    told = session.captures
                    yield Received(told)
                if session.is_answered:
                    if sessions.draining:
                        raise Draining("the server is about to stop; start a new stream, there or when it is back")
                    yield Ended(session.counters)
                    return
                link.sending_since = None
                _check(link, None if sessions.draining else reading)
                await link.wait(session.due)
                session.tick(time.monotonic())
        finally:
            reading.cancel()
            await asyncio.wait([reading])


def _notice(reading: asyncio.Task[bool], link: Link) -> None:
    """Nothing more is read; what went wrong counts as seen, as the stream may be over before `_check` asks."""
    if not reading.cancelled():
        reading.exception()
    link.notify()


def _check(link: Link, reading: asyncio.Task[bool] | None) -> None:
    """Raise what keeps the stream from going on."""
    if link.session.error is not None:
        link.fails = True
        raise link.session.error
    if link.session.is_closed:
        raise InvalidInput("the server has given up the stream", field="resume")
    if reading is None or not reading.done():
        return
    if (error := reading.exception()) is not None:
        link.fails = isinstance(error, SynposeError)
        raise error
    if not reading.result():
        raise InvalidInput("the connection ended before the message end; the stream can be resumed", field="end")


async def _first(messages: AsyncIterator[ToServer], seconds: float) -> ToServer:
    try:
        async with asyncio.timeout(seconds):
            return await anext(messages)
    except TimeoutError:
        raise InvalidInput(f"nothing was sent for {seconds:g} s", field="start") from None
    except StopAsyncIteration:
        raise InvalidInput("nothing was sent; the first message must be start or resume", field="start") from None


async def _read(link: Link, messages: AsyncIterator[ToServer], seconds: float) -> bool:
    """Take in what the client sends; whether it has said that nothing follows. Goes on for acknowledgements."""
    session = link.session
    ended = False
    while True:
        try:
            async with asyncio.timeout(None if ended else seconds):
                message = await anext(messages)
        except TimeoutError:
            raise InvalidInput(f"nothing was sent for {seconds:g} s; the stream is over", field="capture") from None
        except StopAsyncIteration:
            return ended
        if link.is_taken_over:  # what comes now was counted out when the other connection was told what to send
            return False
        match message:
            case Capture():
                session.take(message, time.monotonic())
                while not session.has_room:
                    link.room.clear()
                    if not session.has_room:
                        await link.room.wait()
            case Ack(sequence):
                session.acknowledge(sequence)
            case End():
                session.finish(time.monotonic())
                ended = True
            case _:
                raise InvalidInput("the stream is open already", field="start")
        link.changed.set()
