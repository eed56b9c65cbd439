"""From the body of `POST /v1/calibrations/estimate` to what the engine takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers

from synpose.calibration import read_lenses
from synpose.calibration_options import CalibrationOptions
from synpose.errors import InvalidInput
from synpose.rig import Camera
from synpose_server.calibrate.estimate import CalibrationRequest
from synpose_server.http.body import limited_body, parse_json, without_suffix
from synpose_server.http.form import Form, read_form
from synpose_server.settings import Settings
from synpose_server.sources import Source

__all__ = ["read_calibration_body"]


@asynccontextmanager
async def read_calibration_body(
    headers: Headers, body: AsyncIterator[bytes], settings: Settings
) -> AsyncIterator[CalibrationRequest]:
    """The request in `body`; its uploads are there until the block is left. Raises from `synpose.errors`."""
    content_type = headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise InvalidInput("the body must be multipart/form-data", field="content-type")
    with Form() as form:
        limited = limited_body(headers, body, settings.max_body_bytes)
        await read_form(limited, content_type, form, most_videos=2 * settings.max_cameras)
        yield await asyncio.to_thread(_from_form, form)


def _from_form(form: Form) -> CalibrationRequest:
    small: dict[str, bytes] = {}
    for name, _, content in form.fields:
        if name not in ("options", "calibration"):
            raise _unknown_field(name)
        if name in small:
            raise InvalidInput("the field is there twice", field=name)
        small[name] = content
    if form.images:
        raise _unknown_field("frame")
    sources: dict[str, dict[str, Source]] = {"video": {}, "board": {}}
    for field, filename, file in form.videos:
        if field not in sources:
            raise _unknown_field(field)
        camera = without_suffix(filename)
        if camera in sources[field]:
            raise InvalidInput("two videos were sent for this camera", field=field, camera=camera)
        sources[field][camera] = file
    options = CalibrationOptions.from_mapping(parse_json(small.get("options", b"{}"), "options"))
    lenses: dict[str, Camera] = {}
    if "calibration" in small:
        lenses = {camera.name: camera for camera in read_lenses({"calibration": small["calibration"]})}
    return CalibrationRequest(sources["video"], options, lenses, sources["board"])


def _unknown_field(name: str) -> InvalidInput:
    return InvalidInput(
        f"there is no field {name!r:.80}, or it needs a file name; fields are options, video and board (files called"
        " <camera>.mp4), and calibration (a file whose lenses are used)",
        field=name[:80],
    )
