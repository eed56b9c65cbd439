"""All live streams of a server: opened, resumed, given up, and never more than the settings allow."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from synpose.errors import Draining, InvalidInput, NotFound, Overloaded
from synpose.live import Resume, Start, ToServer
from synpose.rig import Rig
from synpose_server import metrics
from synpose_server.cores import step_back
from synpose_server.engine import Engine
from synpose_server.live.calibrations import Calibrations, hash_of
from synpose_server.live.poser import Poser
from synpose_server.live.session import Session
from synpose_server.requests import check_sent, read_rig

__all__ = ["Link", "Sessions"]


class Link:
    """What ties a session to a connection: events on the loop of that connection."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.is_taken_over = False
        self.fails = False  # the session ends with the connection
        self.sending_since: float | None = None  # `time.monotonic`, while results wait for who reads them
        self.changed, self.room = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def notify(self) -> None:
        """Something of the session changed; from any thread."""
        with suppress(RuntimeError):  # the loop has ended, and the connection with it
            self._loop.call_soon_threadsafe(self._set)

    def take_over(self) -> None:
        """Another connection has resumed the session."""
        self.is_taken_over = True
        self.notify()

    def is_stalled(self, seconds: float) -> bool:
        """Whether nobody has read a result for so long."""
        return self.sending_since is not None and time.monotonic() - self.sending_since > seconds

    async def wait(self, until: float | None) -> None:
        """Return at the next change, or at `until` (`time.monotonic`)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if until is None else max(0.0, until - time.monotonic())):
                await self.changed.wait()
        self.changed.clear()

    def _set(self) -> None:
        self.changed.set()
        self.room.set()


@dataclass(eq=False)
class _Entry:
    session: Session
    link: Link | None = None
    expiry: asyncio.TimerHandle | None = None
    since: float = 0.0  # when its connection broke


class Sessions:
    """The streams of one engine and the threads that they compute in; all doors share it.

    Except for `close`, its methods are called on one event loop.
    """

    def __init__(self, engine: Engine) -> None:
        settings = engine.settings
        self.engine = engine
        self.calibrations = Calibrations(settings.max_calibrations)
        self.idle_seconds = settings.stream_idle_seconds
        self.name = ""  # of this server among several; its tokens begin with it
        self._working = ThreadPoolExecutor(settings.max_streams, "synpose-stream", step_back)
        self._decoding = ThreadPoolExecutor(settings.graph_threads, "synpose-decode", step_back)
        self._entries: dict[str, _Entry] = {}
        self.draining = False

    @asynccontextmanager
    async def attach(self, first: ToServer) -> AsyncIterator[Link]:
        """The session that the first message of a connection asks for; it outlives the block, unless `Link.fails`.

        Raises what is wrong with the message, `NotFound` for a token that is not known (any more), `Overloaded` where
        there are as many streams as the settings allow, and `Draining` where the server has begun to stop.
        """
        match first:
            case Start():
                entry = await self._open(first)
            case Resume(token, last):
                entry = self._resume(token, last)
            case _:
                raise InvalidInput("the first message must be start or resume", field="start")
        link = entry.link = Link(entry.session)
        entry.session.on_change = link.notify
        self._tell()
        try:
            yield link
        finally:
            if entry.link is link:
                self._detach(entry, keep=not link.fails)
                self._tell()

    def drain(self) -> None:
        """The server is about to stop: no capture is taken any more, and every stream ends once it is answered."""
        self.draining = True
        for entry in self._entries.values():
            entry.session.finish(time.monotonic())
            if entry.link is not None:
                entry.link.notify()

    def close(self) -> None:
        """Give up every stream; returns when no thread is at work on one."""
        for entry in list(self._entries.values()):
            entry.session.close()
        self._working.shutdown()
        self._decoding.shutdown()

    async def _open(self, start: Start) -> _Entry:
        self._giving_way()  # nobody gives way to a start that fails
        rig, digest = await asyncio.to_thread(self._rig_of, start)
        if self.draining:  # since this was let in
            raise Draining("the server is about to stop; start a new stream, at another or when it is back")
        policy, settings = start.policy, self.engine.settings
        rig = Rig(tuple(camera for camera in rig if not policy.cameras or camera.name in policy.cameras))
        poser = Poser(self.engine, rig, start.options, policy.look_ahead, self._decoding)
        self._make_room()
        session = Session(
            f"{self.name}.{secrets.token_urlsafe(24)}" if self.name else secrets.token_urlsafe(24),
            digest,
            poser,
            rig.names,
            policy,
            start.options.fps,
            self._working,
            settings.stream_bytes,
        )
        entry = self._entries[session.token] = _Entry(session)
        metrics.count_stream("opened")
        return entry

    def _rig_of(self, start: Start) -> tuple[Rig, str]:
        """The calibration, of all its cameras, and its hash; takes a while where there are many."""
        if isinstance(start.calibration, str):
            rig = self.calibrations[start.calibration]
        else:
            rig = read_rig(start.calibration, start.options)
        check_sent(rig, start.policy.cameras or rig.names, "policy.cameras", self.engine.settings)
        return rig, hash_of(rig)

    def _resume(self, token: str, last_sequence: int | None) -> _Entry:
        if token not in self._entries:
            raise NotFound("there is no such stream (any more); start a new one", field="resume")
        entry = self._entries[token]
        entry.session.rewind(last_sequence)
        if entry.link is not None:
            entry.link.take_over()
        if entry.expiry is not None:
            entry.expiry.cancel()
        metrics.count_stream("resumed")
        return entry

    def _make_room(self) -> None:
        """Give up a stream if all places are taken; raises as `_giving_way`."""
        if (entry := self._giving_way()) is not None:
            self._expire(entry)

    def _giving_way(self) -> _Entry | None:
        """Who has to go for one more, None while there are places; raises `Overloaded` when nobody does.

        A stream without a connection gives way, and so does one that nobody reads: first those that were answered to
        their end, and the oldest of them.
        """
        if len(self._entries) < self.engine.settings.max_streams:
            return None
        left = [e for e in self._entries.values() if e.link is None or e.link.is_stalled(self.idle_seconds)]
        if not left:
            metrics.count_stream("refused")
            raise Overloaded(f"{len(self._entries)} streams are open already; try again later")
        return min(left, key=lambda entry: (not entry.session.is_answered, entry.since))

    def _detach(self, entry: _Entry, *, keep: bool) -> None:
        entry.link = None
        entry.session.on_change = _nobody
        seconds = self.engine.settings.stream_resume_seconds
        if keep and not entry.session.is_closed:
            entry.since = time.monotonic()
            entry.expiry = asyncio.get_running_loop().call_later(seconds, self._expire, entry)
            return
        if entry.session.token in self._entries:
            metrics.count_stream("failed")
        self._remove(entry)

    def _expire(self, entry: _Entry) -> None:
        if entry.session.error is not None:
            metrics.count_stream("failed")
        else:
            metrics.count_stream("ended" if entry.session.is_answered else "expired")
        self._remove(entry)
        self._tell()

    def _remove(self, entry: _Entry) -> None:
        if entry.expiry is not None:
            entry.expiry.cancel()
        self._entries.pop(entry.session.token, None)
        entry.session.close()

    def _tell(self) -> None:
        connected = sum(entry.link is not None for entry in self._entries.values())
        metrics.set_streams(connected, len(self._entries) - connected)


def _nobody() -> None:
    """Who is told of changes while there is no connection."""
