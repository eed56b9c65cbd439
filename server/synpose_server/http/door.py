"""What an HTTP request or WebSocket passes first: its id, the origin of its page, its key, the end of serving."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synpose.errors import PermissionDenied, SynposeError, Unauthenticated
from synpose.live_json import NO_KEY
from synpose_server.auth import Gate, secret_of
from synpose_server.calls import REQUEST_ID, Call, call
from synpose_server.http.problems import answer, problem_of, reason_of
from synpose_server.lifecycle import Lifecycle

__all__ = ["Door"]

_PROBES = ("/healthz", "/readyz", "/startupz", "/v2/health/live", "/v2/health/ready")
_OPEN = ("/", "/openapi.json", *_PROBES)  # what needs no key
_PAGE = "/assets/"  # the files of the page, which asks for the key
_SCOPES = (  # the first that begins a path names the scopes of which its key needs one; any key does for other paths
    ("/metrics", ("metrics",)),
    ("/v1/pose3d", ("estimate",)),
    ("/v1/convert", ("estimate",)),
    ("/v1/calibrations/estimate", ("estimate",)),
    ("/v1/calibrations", ("estimate", "stream")),
    ("/v1/stream", ("stream",)),
    ("/v1/models/", ("admin",)),
    ("/v2/models", ("estimate",)),
)
_UNCOUNTED = (*_OPEN, "/metrics")  # answered until the very end
_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
_REQUEST_ID = REQUEST_ID.encode()
_DROP_SECONDS, _DROP_BYTES = 5.0, 512 << 20  # clips are large, and dropping bytes costs next to nothing
_DROP_PAUSE_SECONDS = 1.0
_KEY_SECONDS, _KEY_BYTES = 10.0, 4096
_SEND_IT = 'send {"api_key": "KEY"} as the first message'


class Door:
    """Pure ASGI; `origins` are those of other sites' pages that may use the server."""

    def __init__(self, app: ASGIApp, gate: Gate, lifecycle: Lifecycle, origins: tuple[str, ...]) -> None:
        self._app, self._gate, self._lifecycle, self._origins = app, gate, lifecycle, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer why not."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = _lower(scope)
        peer = str((scope.get("client") or ("",))[0])
        door = "http" if scope["type"] == "http" else "websocket"
        with call(door, "other", headers, peer) as current:
            unread = scope["type"] == "http"

            async def heard() -> Message:
                nonlocal unread
                message = await receive()
                unread = unread and bool(message.get("more_body"))
                return message

            async def told(message: Message) -> None:
                if message["type"] in ("http.response.start", "websocket.http.response.start"):
                    message["headers"] = [*message["headers"], (_REQUEST_ID, current.id.encode("latin-1"))]
                    current.status = str(message["status"])
                elif message["type"] == "websocket.close":
                    current.status = str(message.get("code", 1000))
                elif unread and current.status >= "400" and not message.get("more_body"):
                    await send({**message, "more_body": True})
                    current.ended = time.perf_counter()
                    await _drop(heard)
                    message = {"type": "http.response.body"}
                await send(message)

            try:
                await self._pass(scope, heard, told, headers, current)
            except SynposeError as error:
                await answer(error)(scope, heard, told)
            except Exception:
                current.status, current.reason = "500", "server-error"
                raise
            finally:
                route = getattr(scope.get("route"), "path", "other")  # few values, whatever is asked for
                method = scope.get("method", "")
                current.method = route if method in ("GET", "", "POST") else f"{_known(method)} {route}"

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str], current: Call
    ) -> None:
        path = scope["path"]
        self._check_origin(scope, headers)
        with ExitStack() as stack:
            if path not in _UNCOUNTED:
                stack.enter_context(self._lifecycle.request())
            if path not in _OPEN and not path.startswith(_PAGE):
                wanted = next((names for start, names in _SCOPES if path.startswith(start)), ())
                secret = secret_of(headers)
                if scope["type"] == "websocket" and not secret and not self._gate.open:
                    receive = self._with_key(receive, send, wanted, stack, current)
                else:
                    current.key = stack.enter_context(self._gate.admit(secret, *wanted))
                    if scope["type"] == "websocket":
                        receive = self._while_let_in(receive, secret, wanted)
            await self._app(scope, receive, send)

    def _check_origin(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raise `PermissionDenied` for what a page of another site makes a browser send.

        A browser that may reach this server would else let any page use it: forms and WebSockets ask no leave.
        """
        origin = headers.get("origin")
        if origin is None or scope.get("method") in ("GET", "HEAD", "OPTIONS"):
            return
        if origin not in self._origins and _host(origin) != headers.get("host"):
            raise PermissionDenied(f"pages of {origin:.80} may not use this server; see cors_origins", field="origin")

    def _while_let_in(self, receive: Receive, secret: str | None, wanted: tuple[str, ...]) -> Receive:
        """`receive` until the key is removed; then raises `Unauthenticated`, or `PermissionDenied`."""

        async def received() -> Message:
            message = await receive()
            self._gate.check(secret, *wanted)
            return message

        return received

    def _with_key(
        self, receive: Receive, send: Send, wanted: tuple[str, ...], stack: ExitStack, current: Call
    ) -> Receive:
        """`receive` of a WebSocket whose first message must be `{"api_key": "..."}`: browsers cannot send a header.

        Until it came, no other message reaches the application; a wrong key, or none within seconds, closes the socket.
        """
        let_in: Receive | None = None

        async def turned_away(error: SynposeError) -> Message:
            problem = problem_of(error)
            current.reason = reason_of(problem)
            await send({"type": "websocket.send", "text": json.dumps({"type": "error", "error": problem})})
            await send({"type": "websocket.close", "code": NO_KEY, "reason": str(problem["detail"])[:100]})
            return {"type": "websocket.disconnect", "code": NO_KEY}

        async def keyed() -> Message:
            nonlocal let_in
            if let_in is None:
                try:
                    async with asyncio.timeout(_KEY_SECONDS):
                        message = await receive()
                except TimeoutError:
                    return await turned_away(Unauthenticated(f"no API key came within {_KEY_SECONDS:g} s; {_SEND_IT}"))
                if message["type"] != "websocket.receive":
                    return message
                try:
                    secret = _key_in(message)
                    current.key = stack.enter_context(self._gate.admit(secret, *wanted))
                except SynposeError as error:
                    return await turned_away(error)
                let_in = self._while_let_in(receive, secret, wanted)
            return await let_in()  # what follows may come as late as the application lets it

        return keyed


def _lower(scope: Scope) -> dict[str, str]:
    """Headers by name in lower case; of a header that came twice the last counts."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _host(origin: str) -> str:
    """Host and port of an origin; of what is none, a text that no server is called."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return "?"


def _key_in(message: Message) -> str:
    text = message.get("text") or ""
    if len(text) <= _KEY_BYTES:
        try:
            record: Any = json.loads(text)
            return str(record["api_key"])
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
    raise Unauthenticated(f"an API key is needed: {_SEND_IT}")


def _known(method: str) -> str:
    return method if method in _METHODS else "OTHER"


async def _drop(receive: Receive) -> None:
    """Take in what the client still sends after its answer, within bounds.

    A connection that is closed on unread bytes is reset, and a client that still writes would never see the answer.
    """
    left = _DROP_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(_DROP_SECONDS):
            while left > 0:
                async with asyncio.timeout(_DROP_PAUSE_SECONDS):
                    message = await receive()
                if not message.get("more_body"):
                    return
                left -= len(message["body"])
