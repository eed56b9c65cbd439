"""The WebSocket `/v1/stream`: what `StreamPoses` is over gRPC, for browsers; docs/streaming.md has the contract."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import orjson
from fastapi import FastAPI, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from synpose import live_json
from synpose.errors import Overloaded, PermissionDenied, SynposeError, Unauthenticated
from synpose.live import ToServer
from synpose_server.bridge import Bridge
from synpose_server.calls import current_call
from synpose_server.http.problems import problem_of, reason_of
from synpose_server.live import converse

__all__ = ["add_stream"]

log = logging.getLogger(__name__)

_TELL_SECONDS = 5.0  # that the end may take to tell, to someone who may be gone
_POLICY, _FAILED, _LATER = 1008, 1011, 1013  # close codes of RFC 6455 and its registry


def add_stream(app: FastAPI, bridge: Bridge) -> None:
    """Answer the WebSocket `/v1/stream`; what pages may open it, the door has said."""

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        try:
            async with aclosing(_messages(socket)) as messages, aclosing(converse(bridge.live, messages)) as answers:
                async for answer in answers:
                    async with asyncio.timeout(bridge.live.idle_seconds):  # nobody reads
                        await socket.send_text(live_json.to_client(answer))
            await socket.close()
        except (WebSocketDisconnect, TimeoutError):
            await _close(socket, _POLICY)
        except Exception as error:
            if not isinstance(error, SynposeError):
                log.exception("a stream failed")
            problem = problem_of(error)
            call = current_call.get()
            if call is not None and socket.client_state is WebSocketState.CONNECTED:  # else nobody is told
                call.reason = reason_of(problem)
            with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
                async with asyncio.timeout(_TELL_SECONDS):
                    await socket.send_text(orjson.dumps({"type": "error", "error": problem}).decode())
            await _close(socket, _code(error, problem["status"]))


async def _messages(socket: WebSocket) -> AsyncGenerator[ToServer, None]:
    """What the client says, until it goes away."""
    while (event := await socket.receive())["type"] == "websocket.receive":
        text = event.get("text")
        yield live_json.from_client(event["bytes"] if text is None else text)


def _code(error: Exception, status: int) -> int:
    match error:
        case Unauthenticated() | PermissionDenied():  # the key was removed meanwhile, or may do less
            return live_json.NO_KEY
        case Overloaded():
            return _LATER
    return _FAILED if status >= 500 else _POLICY


async def _close(socket: WebSocket, code: int) -> None:
    with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        if socket.application_state is WebSocketState.CONNECTED:
            async with asyncio.timeout(_TELL_SECONDS):
                await socket.close(code)
