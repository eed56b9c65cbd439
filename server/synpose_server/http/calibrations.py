"""`/v1/calibrations`: a calibration is sent once, and live streams name it by its hash."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from synpose.calibration import write_calibration
from synpose.calibration.read import MAX_BYTES
from synpose.errors import CalibrationError, InvalidInput, LimitExceeded, NotFound
from synpose.options import Options
from synpose_server.bridge import Bridge
from synpose_server.http import documents
from synpose_server.http.body import limited_body
from synpose_server.http.form import Form, read_form
from synpose_server.http.query import check_query
from synpose_server.requests import read_rig

__all__ = ["add_calibrations"]

_HASH = "0" * 64
_MOST_BYTES = 2 * MAX_BYTES + (1 << 16)  # two files, and the form around them
_ERRORS = documents.problems(
    CalibrationError("the request has no calibration", field="calibration"),
    LimitExceeded(f"the body is larger than {_MOST_BYTES} bytes", field="body"),
)
_SENT = {"content": {"application/json": {"example": documents.EXAMPLE_CALIBRATION, "schema": {"type": "object"}}}}
_UNKNOWN = documents.problems(
    NotFound("no calibration has this hash", field="calibration_hash"),
    InvalidInput("the hash cannot be read", field="calibration_hash"),
)


class CalibrationCamera(BaseModel):
    """A camera of a calibration."""

    model_config = ConfigDict(extra="forbid")

    name: str
    size: tuple[int, int] = Field(description="width and height in pixels")


class Calibration(BaseModel):
    """A calibration that was understood."""

    model_config = ConfigDict(extra="forbid")

    hash: str = Field(description="SHA-256 of the rig: `calibration_hash` of live streams", examples=[_HASH])
    cameras: list[CalibrationCamera]


def add_calibrations(app: FastAPI, bridge: Bridge) -> None:
    """Answer `/v1/calibrations`."""
    file = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "schema": {
            "type": "object",
            "required": ["calibration"],
            "properties": {"calibration": {"type": "array", "items": {"type": "string", "format": "binary"}}},
        }
    }
    content = {"application/octet-stream": file, "multipart/form-data": form}

    @app.post(
        "/v1/calibrations",
        operation_id="upload_calibration",
        summary="Send a calibration once, for live streams",
        description="The file of any calibration tool as the body, or its files as `calibration` of a form.",
        openapi_extra={"requestBody": {"required": True, "content": content}},
        responses=_ERRORS,
    )
    async def upload(request: Request, units: str | None = None) -> Calibration:
        check_query(request, "units")
        options = Options.from_mapping({"units": units})
        with bridge.receiving():
            files = await _files(request, bridge)
        rig = await asyncio.to_thread(read_rig, files, options)
        cameras = [CalibrationCamera(name=camera.name, size=camera.size) for camera in rig]
        return Calibration(hash=await asyncio.to_thread(bridge.live.calibrations.put, rig), cameras=cameras)

    @app.get(
        "/v1/calibrations/{digest}",
        operation_id="get_calibration",
        summary="A calibration that was sent, as Synpose writes it",
        responses={200: _SENT, **_UNKNOWN},
        response_class=Response,
    )
    async def get(digest: str) -> Response:
        rig = await asyncio.to_thread(bridge.live.calibrations.__getitem__, digest)
        return Response(write_calibration(rig), media_type="application/json")


async def _files(request: Request, bridge: Bridge) -> dict[str, bytes]:
    """The calibration's files by name; raises `InvalidInput` or `LimitExceeded`."""
    content_type = request.headers.get("content-type", "")
    limit = min(bridge.engine.settings.max_body_bytes, _MOST_BYTES)
    body = bridge.in_time(limited_body(request.headers, request.stream(), limit))
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        content = b"".join([chunk async for chunk in body])
        return {"calibration": content} if content else {}
    with Form() as form:
        await read_form(body, content_type, form, most_videos=0)
        files = {field.filename or field.name: field.content for field in form.fields}
        if len(files) < len(form.fields) or form.images or any(f.name != "calibration" for f in form.fields):
            raise InvalidInput("the form holds files called calibration, each with a name of its own", field="body")
    return files
