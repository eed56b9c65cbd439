"""What the OpenAPI document says of requests and answers; the code that makes real answers makes its examples."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from synpose.calibration import write_calibration
from synpose.errors import (
    DeadlineExceeded,
    InvalidInput,
    LimitExceeded,
    NotAcceptable,
    NotFound,
    OptionsError,
    Overloaded,
    ServerError,
    SynposeError,
    VideoError,
    status_of,
)
from synpose.formats import FORMATS, Format
from synpose.options import Options
from synpose.pose import Frame, ModelInfo, Person, PoseHeader, PoseSequence
from synpose.rig import Camera, Rig
from synpose.skeleton import COCO17
from synpose_server.http.problems import MEDIA_TYPE, problem_of

__all__ = [
    "BUSY",
    "CONVERT",
    "CONVERT_BODY",
    "CONVERT_RESPONSES",
    "DEADLINE_PARAMETERS",
    "DESCRIPTION",
    "EXAMPLE_CALIBRATION",
    "POSE3D",
    "POSE3D_RESPONSES",
    "PROBLEMS",
    "REQUEST_BODY",
    "Answer",
    "Index",
    "Model",
    "Models",
    "Problem",
    "Skeleton",
    "Skeletons",
    "State",
    "problems",
]

DESCRIPTION = """Synchronized multi-camera video of people in, 3D joints out.

Lengths are metres, times seconds, image positions pixels. The world frame is that of the calibration."""

POSE3D = """Send a calibration and, for each of its cameras, a video or encoded images.

The Accept header or `format` chooses the answer: JSON (the default), NDJSON, which streams a header line and then one
frame a line as they are computed, tables (CSV, Parquet, NPZ), or a file for another program (TRC, C3D, BVH, GLB, RRD).
What each holds is in docs/formats.md. An error that comes up while NDJSON is streamed ends it with a last line
`{"error": {…}}` that holds the problem document.

With `X-Request-Timeout` the answer comes within so many seconds or not at all: a request that cannot make it is refused
at once (503, with Retry-After), one that did not make it ends with 503, too (deadline-exceeded), and nothing more is
computed for it."""

DEADLINE_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "Seconds from when the server has read the headers until the answer is of no use any more.",
        "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 86400},
    }
]


CONVERT = """Send an answer of `/v1/pose3d`, JSON or NDJSON, and get it as a file of another format: nothing is
estimated again. `format`, or else the Accept header, chooses.

An answer may have 64 ids of people, and 2²⁴ places for joints (ids x frames x joints)."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="`urn:synpose:problem:<kind>`; `about:blank` where the status says it all")
    title: str
    status: int
    detail: str = Field(description="one sentence: what is wrong and, where it can be said, what to do")
    field: str | None = Field(None, description="the part of the request that it is about")
    camera: str | None = Field(None, description="the camera that it is about")
    retry_after: float | None = Field(None, description="seconds after which there may be a free place")


_MODEL = {"name": "default", "version": "1", "description": "…", "skeletons": ["coco17"], "is_default": True}
_SKELETON = {"name": "legs", "joints": ["pelvis", "left_hip", "right_hip"], "parents": [-1, 0, 0]}


class Model(_Closed):
    """A model that this server can answer with."""

    name: str
    version: str
    description: str
    skeletons: list[str] = Field(description="the skeletons that it can answer in")
    is_default: bool


class Models(_Closed):
    models: list[Model] = Field(examples=[[_MODEL]])


class Skeleton(_Closed):
    """Named joints; `parents[j]` is the index of the joint that joint j hangs on, −1 for a root."""

    name: str
    joints: list[str]
    parents: list[int]


class Skeletons(_Closed):
    skeletons: list[Skeleton] = Field(examples=[[_SKELETON]])


class State(_Closed):
    status: Literal["alive", "ready", "started"] = Field(examples=["ready"])


class Index(_Closed):
    name: Literal["synpose"] = "synpose"
    openapi: Literal["/openapi.json"] = "/openapi.json"
    pose3d: Literal["/v1/pose3d"] = "/v1/pose3d"
    models: Literal["/v1/models"] = "/v1/models"
    skeletons: Literal["/v1/skeletons"] = "/v1/skeletons"
    formats: Literal["/v1/formats"] = "/v1/formats"


class AnswerModel(_Closed):
    """Which model answered."""

    name: str
    version: str


class Notice(_Closed):
    """Something that was handled and that the caller should know."""

    code: str
    message: str
    camera: str | None = None


Position = tuple[float, float, float]


class AnswerPerson(_Closed):
    """One person at one instant; joints in the skeleton's order, null where one cannot be known."""

    id: int
    score: float = Field(ge=0, le=1)
    joints: list[Position | None] = Field(description="metres, in the world frame of the calibration")
    sigma: list[float | None] = Field(description="radius that holds the true joint with 68 % probability, metres")
    views: list[str] = Field(description="the cameras that were used")


class AnswerFrame(_Closed):
    """The people of one frame set."""

    index: int
    timestamp: float = Field(description="seconds")
    people: list[AnswerPerson]


class Answer(_Closed):
    """A whole answer."""

    model: AnswerModel
    skeleton: Skeleton
    units: Literal["m"]
    fps: float
    left_out: dict[str, int] = Field(
        {},
        description="how many images at the start of a camera's recording `offsets` left out, by the camera: frame t"
        " was computed from image t + left_out of each; not there when there are none",
    )
    frames: list[AnswerFrame]
    notices: list[Notice] = Field([], description="left out when there are none")


_RETRY_AFTER = {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}


def problems(*errors: SynposeError) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that may end in one of `errors`."""
    return {
        status_of(error).http: {
            "description": (type(error).__doc__ or "").partition("\n")[0],
            "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema(), "example": problem_of(error)}},
        }
        | ({"headers": {"Retry-After": _RETRY_AFTER}} if isinstance(error, Overloaded) else {})
        for error in errors
    }


def _example_rig() -> Rig:
    K = [[1000, 0, 640], [0, 1000, 360], [0, 0, 1]]
    ahead, aside = np.eye(3), [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    return Rig(
        (
            Camera("cam01", (1280, 720), K, ahead, [0, 0, 4], [-0.1, 0.01, 0, 0]),
            Camera("cam02", (1280, 720), K, aside, [0, 0, 4], [-0.1, 0.01, 0, 0]),
        )
    )


def _example_answer() -> PoseSequence:
    joints = np.full((len(COCO17), 3), np.nan)
    sigma = np.full(len(COCO17), np.nan)
    joints[0], sigma[0] = (0.12, -0.034, 1.62), 0.018
    person = Person(0, 0.93, joints, sigma, ("cam01", "cam02"))
    header = PoseHeader(ModelInfo("default", "1"), COCO17, 60.0)
    return PoseSequence(header, (Frame(0, 0.0, (person,)),))


EXAMPLE_CALIBRATION = json.loads(write_calibration(_example_rig()))
_OPTIONS: dict[str, Any] = TypeAdapter(Options).json_schema()
_OPTIONS["properties"]["max_people"] |= {"minimum": 1, "maximum": 8}
_OPTIONS["additionalProperties"] = False
_FILE = {"type": "string", "format": "binary"}

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["calibration"],
                "properties": {
                    "calibration": {
                        "description": "The calibration as a tool wrote it: one file, or two that belong together"
                        " (intri.yml and extri.yml), or its text. The format is told by the content.",
                        "oneOf": [{"type": "string"}, {"type": "array", "items": _FILE, "maxItems": 2}],
                    },
                    "options": _OPTIONS,
                    "video": {
                        "description": "One video a camera; the file is called `<camera>.mp4` (any suffix). A field"
                        " that has the camera's name will do as well, with any file name.",
                        "type": "array",
                        "items": _FILE,
                    },
                    "frame": {
                        "description": "JPEG or PNG images instead of videos, called `<camera>/<index>.jpg`,"
                        " `<camera>_<index>.jpg` or `<camera>-<index>.jpg`; images of one index are one frame set,"
                        " and an index that a camera lacks is a missing image. Without numbers: in order.",
                        "type": "array",
                        "items": _FILE,
                    },
                    "timestamps": {
                        "description": "With images: the capture time of each index from 0, seconds, ascending by 1e-6"
                        " to 1e6.",
                        "type": "array",
                        "items": {"type": "number"},
                    },
                },
                "additionalProperties": _FILE,
            },
            "encoding": {
                "options": {"contentType": "application/json"},
                "timestamps": {"contentType": "application/json"},
            },
            "example": {
                "calibration": "(content of Calib.qca.txt)",
                "options": {"max_people": 1},
                "video": ["(content of cam01.mp4)", "(content of cam02.mp4)"],
            },
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["calibration", "frame_sets"],
                "additionalProperties": False,
                "properties": {
                    "calibration": {"type": "object", "description": "A calibration in one of the JSON formats."},
                    "options": _OPTIONS,
                    "frame_sets": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["images"],
                            "additionalProperties": False,
                            "properties": {
                                "timestamp": {
                                    "type": ["number", "null"],
                                    "description": "Capture time in seconds; all frame sets have one, or none.",
                                },
                                "images": {
                                    "description": "A JPEG or PNG in base64 by camera; a camera may be missing.",
                                    "type": "object",
                                    "additionalProperties": {
                                        "type": ["string", "null"],
                                        "contentEncoding": "base64",
                                    },
                                },
                            },
                        },
                    },
                },
            },
            "example": {
                "calibration": EXAMPLE_CALIBRATION,
                "options": {"skeleton": "coco17"},
                "frame_sets": [
                    {"timestamp": 0.0, "images": {"cam01": "/9j/4AAQSkZJRg==", "cam02": "/9j/4AAQSkZJRg=="}}
                ],
            },
        },
    },
}


def _content(form: Format) -> dict[str, Any]:
    """What the document says of a format: an example as it is written, where it is text."""
    if form.name in ("json", "ndjson", "csv", "trc", "bvh"):
        text = form.write(_example_answer()).decode()
        return {"example": json.loads(text)} if form.name == "json" else {"example": text, "schema": {"type": "string"}}
    return {"example": f"(content of pose{form.suffix})", "schema": _FILE}


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Answer,
        "description": "The people of every frame set.",
        "content": {form.media_type: _content(form) for form in FORMATS.values()},
    }
}
POSE3D_RESPONSES: dict[int | str, dict[str, Any]] = {
    **_ANSWERS,
    **problems(
        NotFound("no model 'big'; there are default", field="options.model"),
        NotAcceptable("none of the accepted media types is offered", field="accept"),
        LimitExceeded("the body is larger than 1073741824 bytes", field="body"),
        VideoError("this is no video", field="video", camera="cam02"),
        ServerError("the server failed; its log says why"),
        Overloaded("the server is busy"),
        DeadlineExceeded("the deadline passed before the answer was computed"),
    ),
}
CONVERT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/Answer"},
            "example": json.loads(FORMATS["json"].write(_example_answer())),
        },
        "application/x-ndjson": {
            "schema": {"type": "string"},
            "example": FORMATS["ndjson"].write(_example_answer()).decode(),
        },
    },
}
CONVERT_RESPONSES: dict[int | str, dict[str, Any]] = {
    **_ANSWERS,
    **problems(
        NotFound("no person 3; there are 0, 1", field="person"),
        NotAcceptable("none of the accepted media types is offered", field="accept"),
        LimitExceeded("the body is larger than 268435456 bytes", field="body"),
        InvalidInput("this is no pose answer: it is not JSON"),
        ServerError("the server failed; its log says why"),
        Overloaded("the server is busy"),
    ),
}
PROBLEMS = problems(
    OptionsError("no parameter of the query is called 'name'; there are none", field="query"),
    ServerError("the server failed; its log says why"),
)
BUSY = problems(Overloaded("the models are not loaded yet"))
