"""Bounds of an HTTP connection before there is a request: how many, how long its head may take, how large it may be."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["bounded"]

_HEAD_SECONDS = 30.0
_HEAD_BYTES = 64 << 10


def bounded(most: int) -> type[asyncio.Protocol]:
    """uvicorn's protocol for at most `most` connections at a time."""

    class Bounded(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head_bytes = 0
            self._late = self.loop.call_later(_HEAD_SECONDS, transport.abort)
            if len(self.connections) > most:
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._late.cancel()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            self._head_bytes = 0
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._count(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count(len(name) + len(value))
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._late.cancel()
            super().on_headers_complete()

        def _count(self, size: int) -> None:
            self._head_bytes += size
            if self._head_bytes > _HEAD_BYTES:
                self.transport.abort()

    return Bounded
