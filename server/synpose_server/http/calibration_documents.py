"""What the OpenAPI document says of calibrations from people."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from synpose.calibrated import CalibrationReport
from synpose.calibration_options import CalibrationOptions
from synpose.errors import CalibrationError, LimitExceeded, Overloaded, ServerError
from synpose_server.http.documents import EXAMPLE_CALIBRATION, problems

__all__ = ["CALIBRATE", "REQUEST_BODY", "RESPONSES"]

CALIBRATE = """Send a video a camera of one person who moves before all of them, and the person's height or the distance
between two cameras. The answer is a calibration that `POST /v1/pose3d` takes as it is, in metres with z up from the
floor, and a report of how firmly the motion holds each camera. Motion that does not suffice is refused with a reason
(`calibration-error`).

With `Accept: application/x-ndjson` the answer tells how far it is: lines such as `{"progress": {"done": 120, "total":
300}}` (frame sets that were seen, of how many, `null` where that is not known; both are equal while the cameras are
computed), and at last the answer, or `{"error": …}` with a problem, each in a line of its own."""


class Calibration(BaseModel):
    """A calibration, and what is to be said of it."""

    model_config = ConfigDict(extra="forbid")

    calibration: dict[str, Any] = Field(description="Synpose's own calibration JSON")
    report: CalibrationReport


_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["options", "video"],
                "additionalProperties": False,
                "properties": {
                    "options": TypeAdapter(CalibrationOptions).json_schema() | {"additionalProperties": False},
                    "video": _FILES | {"description": "One video a camera, called `<camera>.mp4` (any suffix)."},
                    "board": _FILES
                    | {"description": "Videos of the board that the option `board` describes, called alike."},
                    "calibration": {
                        "description": "A calibration whose lenses are used, for the cameras that it names; its"
                        " places are not.",
                        "type": "string",
                    },
                },
            },
            "encoding": {"options": {"contentType": "application/json"}},
            "example": {"options": {"height": 1.8}, "video": ["(content of cam01.mp4)", "(content of cam02.mp4)"]},
        }
    },
}

_REPORTED = {
    "name": "cam01", "reprojection": 4.8, "keypoints": 1300, "position_error": 0.0, "relative_error": 0.0,
    "rotation_error": 0.0, "focal": 1000.0, "focal_error": 0.02, "offset": 0.0, "offset_error": 0.0,
}  # fmt: skip
_EXAMPLE = {
    "calibration": EXAMPLE_CALIBRATION,
    "report": {"frames": 300, "instants": 300, "height": 1.8, "cameras": [_REPORTED], "notices": []},
}

_LINES = "".join(json.dumps(line) + "\n" for line in ({"progress": {"done": 0, "total": 300}}, _EXAMPLE))

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Calibration,
        "description": "The cameras and a report.",
        "content": {
            "application/json": {"example": _EXAMPLE},
            "application/x-ndjson": {"schema": {"type": "string"}, "example": _LINES},
        },
    },
    **problems(
        CalibrationError("the person hardly moves, so every image says the same", field="video"),
        LimitExceeded("the body is larger than 1073741824 bytes", field="body"),
        ServerError("the server failed; its log says why"),
        Overloaded("the server is busy"),
    ),
}
