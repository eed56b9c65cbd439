"""The one tree of exceptions, and the one table that maps it to HTTP and gRPC.

    SynposeError
    ├── InvalidInput              what was sent cannot be used; the same request will fail again
    │   ├── CalibrationError      a rig that cannot be read, or is not one
    │   ├── VideoError            a file that is no video, is broken, or does not fit its camera
    │   └── OptionsError          an option that is unknown or has an unusable value
    ├── NotFound                  a model or skeleton that this server does not have
    ├── NotAcceptable             an answer format that is not offered
    ├── LimitExceeded             too large, too long, too many
    ├── Unauthenticated           no API key, or one that this server does not know
    ├── PermissionDenied          an API key, or the web page of another site, that may not do this
    ├── Overloaded                the server is busy; the same request may succeed later
    │   ├── RateLimited           this API key asks too often, or too much at a time
    │   └── Draining              the server is about to stop; another one, or this one restarted, will answer
    ├── DeadlineExceeded          the answer would have come, or came, after the caller's deadline
    ├── BundleError               a model on disk that is broken or not what it claims to be
    └── ServerError               the server failed, or cannot be reached (raised by the clients)

Every error may name the `field` and the `camera` that caused it. Servers turn an error into its code with
`status_of` and tell it with `to_problem`; clients turn that back into the error with `from_problem`, so that both
sides of the wire raise the same exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = [
    "STATUS",
    "BundleError",
    "CalibrationError",
    "DeadlineExceeded",
    "Draining",
    "InvalidInput",
    "LimitExceeded",
    "NotAcceptable",
    "NotFound",
    "OptionsError",
    "Overloaded",
    "PermissionDenied",
    "RateLimited",
    "ServerError",
    "Status",
    "SynposeError",
    "Unauthenticated",
    "VideoError",
    "from_problem",
    "status_of",
    "to_problem",
]


class SynposeError(Exception):
    """Base of every error that Synpose raises on purpose.

    `message` is one sentence for a person: what is wrong and, where it can be said, what to do. `field` is the
    part of the request it is about (`"calibration"`, `"options.skeleton"`), `camera` the camera's name. Names that were
    echoed may hold halves of characters, which nothing could write: they become question marks.
    """

    def __init__(self, message: str, *, field: str | None = None, camera: str | None = None) -> None:
        self.message = _whole(message)
        self.field = field and _whole(field)
        self.camera = camera and _whole(camera)
        super().__init__(self.message)

    def __str__(self) -> str:
        where = f"camera {self.camera!r}: " if self.camera is not None else ""
        return where + self.message


def _whole(text: str) -> str:
    return text.encode(errors="replace").decode()


class InvalidInput(SynposeError):
    """What was sent cannot be used; sending it again will fail again."""


class CalibrationError(InvalidInput):
    """A calibration that cannot be read, or does not describe cameras."""


class VideoError(InvalidInput):
    """A file that is no video, is broken, or does not fit its camera."""


class OptionsError(InvalidInput):
    """An option that is unknown or has an unusable value."""


class NotFound(SynposeError):
    """A model or skeleton that does not exist here."""


class NotAcceptable(SynposeError):
    """An answer format that is not offered."""


class LimitExceeded(SynposeError):
    """Larger, longer or more than this server accepts."""


class Unauthenticated(SynposeError):
    """No API key, or one that this server does not know."""


class PermissionDenied(SynposeError):
    """An API key, or the web page of another site, that may not do this."""


class Overloaded(SynposeError):
    """The server is busy; the same request may succeed later: in `retry_after` seconds, where they are known."""

    def __init__(
        self, message: str, *, field: str | None = None, camera: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, field=field, camera=camera)
        self.retry_after = retry_after


class DeadlineExceeded(SynposeError):
    """The deadline that the caller set passed before there was an answer."""


class RateLimited(Overloaded):
    """This API key asks too often, or too much at a time."""


class Draining(Overloaded):
    """The server is about to stop; another one, or this one restarted, will answer."""


class BundleError(SynposeError):
    """A model bundle that is broken or not what its manifest claims."""


class ServerError(SynposeError):
    """The server failed or could not be reached."""


class Status(NamedTuple):
    """How an error crosses the wire: problem+json `type`, HTTP status and gRPC code name."""

    type: str
    http: int
    grpc: str


STATUS: dict[type[SynposeError], Status] = {
    CalibrationError: Status("calibration-error", 422, "INVALID_ARGUMENT"),
    VideoError: Status("video-error", 422, "INVALID_ARGUMENT"),
    OptionsError: Status("options-error", 422, "INVALID_ARGUMENT"),
    InvalidInput: Status("invalid-input", 422, "INVALID_ARGUMENT"),
    NotFound: Status("not-found", 404, "NOT_FOUND"),
    NotAcceptable: Status("not-acceptable", 406, "INVALID_ARGUMENT"),
    LimitExceeded: Status("limit-exceeded", 413, "RESOURCE_EXHAUSTED"),
    Unauthenticated: Status("unauthenticated", 401, "UNAUTHENTICATED"),
    PermissionDenied: Status("permission-denied", 403, "PERMISSION_DENIED"),
    RateLimited: Status("rate-limited", 429, "RESOURCE_EXHAUSTED"),
    Draining: Status("draining", 503, "UNAVAILABLE"),
    Overloaded: Status("overloaded", 503, "RESOURCE_EXHAUSTED"),
    DeadlineExceeded: Status("deadline-exceeded", 503, "DEADLINE_EXCEEDED"),
    BundleError: Status("bundle-error", 500, "INTERNAL"),
    ServerError: Status("server-error", 500, "INTERNAL"),
}


def status_of(error: SynposeError) -> Status:
    """The wire codes of `error`: those of its nearest ancestor in `STATUS`."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), STATUS[ServerError])


def to_problem(error: SynposeError) -> dict[str, Any]:
    """The problem+json body (RFC 9457) that tells `error`; both doors send it, and `from_problem` reads it back."""
    status = status_of(error)
    problem: dict[str, Any] = {
        "type": f"urn:synpose:problem:{status.type}",
        "title": status.type.replace("-", " ").capitalize(),
        "status": status.http,
        "detail": error.message,
    }
    where: dict[str, Any] = {"field": error.field, "camera": error.camera}
    if isinstance(error, Overloaded):
        where["retry_after"] = error.retry_after
    return problem | {key: value for key, value in where.items() if value is not None}


def from_problem(problem: Mapping[str, Any]) -> SynposeError:
    """The exception that a problem+json body (RFC 9457) stands for; unknown types give `ServerError`."""
    kinds = {status.type: kind for kind, status in STATUS.items()}
    kind = kinds.get(str(problem.get("type", "")).rpartition(":")[2], ServerError)
    message = str(problem.get("detail") or problem.get("title") or "the server gave no reason")
    field, camera = (None if problem.get(key) is None else str(problem[key]) for key in ("field", "camera"))
    error = kind(message, field=field, camera=camera)
    if isinstance(error, Overloaded):
        error.retry_after = problem.get("retry_after")
    return error
