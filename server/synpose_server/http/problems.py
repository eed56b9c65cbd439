"""Every error of the HTTP door as problem+json (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from synpose.errors import (
    LimitExceeded,
    NotAcceptable,
    Overloaded,
    PermissionDenied,
    RateLimited,
    ServerError,
    SynposeError,
    Unauthenticated,
    to_problem,
)
from synpose_server.calls import current_call

__all__ = ["MEDIA_TYPE", "answer", "answer_errors", "problem_of", "reason_of"]

MEDIA_TYPE = "application/problem+json"

_CLIENT_GONE = 499  # as nginx calls it
_RETRY_SECONDS = 5  # where it is not known when: a clip takes longer, but there are several, and their ends are spread
_UNREAD = (LimitExceeded, NotAcceptable, Overloaded, Unauthenticated, PermissionDenied)


def problem_of(error: Exception) -> dict[str, Any]:
    """The problem document of any exception; one that was not raised on purpose tells nothing of itself."""
    if isinstance(error, HTTPException):  # the router's own: no such path, method not allowed
        title = HTTPStatus(error.status_code).phrase
        return {"type": "about:blank", "title": title, "status": error.status_code, "detail": str(error.detail)}
    if not isinstance(error, SynposeError):
        error = ServerError("the server failed; its log says why")
    return to_problem(error)


def reason_of(problem: Mapping[str, Any]) -> str:
    """What metrics call a problem: the last part of its type, or the HTTP status where it has none of ours."""
    kind = str(problem["type"])
    return f"http-{problem['status']}" if kind == "about:blank" else kind.rpartition(":")[2]


def answer(error: Exception) -> Response:
    """The response that tells `error`."""
    problem = problem_of(error)
    if (call := current_call.get()) is not None:
        call.reason = reason_of(problem)
    headers = dict(getattr(error, "headers", None) or {})
    if isinstance(error, Overloaded):
        known = 1 if isinstance(error, RateLimited) else error.retry_after
        headers["Retry-After"] = str(max(1, math.ceil(known or _RETRY_SECONDS)))
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, _UNREAD) or problem.get("field") == "body":
        headers["Connection"] = "close"  # the rest of the body is not read
    return Response(orjson.dumps(problem), problem["status"], headers, MEDIA_TYPE)


def answer_errors(app: FastAPI) -> None:
    """Answer every exception of `app` with its problem; what was not raised on purpose is also logged by the server."""

    async def tell(request: Request, error: Exception) -> Response:
        return answer(error)

    async def give_up(request: Request, error: Exception) -> Response:
        return Response(status_code=_CLIENT_GONE)  # nobody reads it, and it is no failure that the log should tell

    app.add_exception_handler(ClientDisconnect, give_up)
    for kind in (SynposeError, HTTPException, Exception):
        app.add_exception_handler(kind, tell)
