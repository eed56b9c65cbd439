"""Bounds of an HTTP connection beside its requests: how many, how long a head may take, how large it may be."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["bounded"]

_HEAD_SECONDS = 30.0  # from when the connection was made, or the answer before it was complete
_HEAD_BYTES = 64 << 10


def bounded(most: int) -> type[asyncio.Protocol]:
    """uvicorn's protocol for at most `most` connections at a time."""

    class Bounded(HttpToolsProtocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head_bytes = 0
            self._expect()
            if len(self.connections) > most:
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._came()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            self._head_bytes = 0
            self._expect()
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._count(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count(len(name) + len(value))
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._came()
            super().on_headers_complete()

        def on_response_complete(self) -> None:
            if not self.pipeline and not self.transport.is_closing():
                self._expect()
            super().on_response_complete()

        def _expect(self) -> None:
            """A head has to come."""
            if self._late is None:
                self._late = self.loop.call_later(_HEAD_SECONDS, self._expire)

        def _came(self) -> None:
            """The head is there, or will not be needed."""
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _expire(self) -> None:
            self._late = None
            if self.cycle is not None and not self.cycle.response_complete:
                self._expect()  # sent ahead, and perhaps not read on until the answer under way is complete
            else:
                self.transport.abort()

        def _count(self, size: int) -> None:
            self._head_bytes += size
            if self._head_bytes > _HEAD_BYTES:
                self.transport.abort()

    return Bounded
