"""The doors of a server as a load uses them: a frame set in, the status of its answer out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Protocol, Self

import grpc.aio
import httpx

from synpose.bench.workload import Workload
from synpose.errors import ServerError
from synpose.transports.base import Credentials
from synpose.transports.grpc import GrpcTransport
from synpose.transports.http import HttpTransport
from synpose.v1 import pose_pb2 as pb
from synpose.wire import PROBLEM_TRAILER, calibration_to_message, options_to_message

__all__ = ["DOORS", "Door", "GrpcDoor", "HttpDoor"]


class Door(Protocol):
    """One way of asking for single frame sets; in an `async with` block."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def ask(self, images: Mapping[str, bytes], seconds: float | None) -> str:
        """The status of the answer; `seconds` is the deadline that goes with the request.

        Raises `ServerError` when the server cannot be reached or says that the request itself is wrong.
        """


class HttpDoor:
    """`POST /v1/pose3d`, multipart in and JSON out."""

    def __init__(self, url: str, workload: Workload, credentials: Credentials | None = None) -> None:
        self._transport = HttpTransport(url, credentials)
        options = {name: value for name, value in asdict(workload.options).items() if value is not None}
        self._parts = [("calibration", item) for item in workload.calibration.items()]
        self._parts.append(("options", ("options.json", json.dumps(options).encode())))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    async def ask(self, images: Mapping[str, bytes], seconds: float | None) -> str:
        files = [*self._parts, *(("frame", (f"{camera}/0.jpg", image)) for camera, image in images.items())]
        form = httpx.Request("POST", f"{self._transport.url}/v1/pose3d", files=files)
        headers = {"content-type": form.headers["content-type"]}
        if seconds is not None:
            headers["X-Request-Timeout"] = f"{seconds:.4f}"
        try:  # in one piece: httpx would send each part on its own, which costs both sides more than the rest
            response = await self._transport.http.post(form.url, content=form.read(), headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerError(f"no answer from {self._transport.url} ({error or type(error).__name__})") from error
        if response.status_code not in (200, 429, 503):
            raise ServerError(f"{self._transport.url} answered {response.status_code}: {response.text[:300]}")
        return str(response.status_code)


class GrpcDoor:
    """`EstimatePose3D`, one frame set a call."""

    def __init__(self, url: str, workload: Workload, credentials: Credentials | None = None) -> None:
        self._transport = GrpcTransport(url, credentials)
        self._calibration = calibration_to_message(workload.calibration)
        self._options = options_to_message(workload.options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    async def ask(self, images: Mapping[str, bytes], seconds: float | None) -> str:
        frame_set = pb.FrameSet(images=[pb.Image(camera=camera, data=image) for camera, image in images.items()])
        request = pb.EstimatePose3DRequest(calibration=self._calibration, options=self._options, frame_sets=[frame_set])
        try:
            await self._transport.stub.EstimatePose3D(request, timeout=seconds, metadata=self._transport.metadata)
        except grpc.aio.AioRpcError as error:
            name = error.code().name
            told = {key for key, _ in error.trailing_metadata() or ()}
            busy = name == "UNAVAILABLE" and PROBLEM_TRAILER in told
            if not busy and name not in ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"):
                raise ServerError(f"{self._transport.url} answered {name}: {error.details()}") from error
            return name
        return "OK"


DOORS: Mapping[str, Callable[[str, Workload, Credentials | None], Door]] = {"http": HttpDoor, "grpc": GrpcDoor}
"""By name; streams are not asked frame set by frame set (`synpose.bench.streams`)."""
