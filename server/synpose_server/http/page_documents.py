"""What the OpenAPI document says of the routes that the page asks."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from synpose.errors import NotFound
from synpose_server.http.documents import problems

__all__ = [
    "EXAMPLE_FILE",
    "EXAMPLE_NAME",
    "INDEX",
    "Example",
    "Format",
    "Formats",
]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Format(_Closed):
    """How an answer may be written; the media type is what Accept asks for."""

    name: str
    media_type: str
    suffix: str


class Formats(_Closed):
    formats: list[Format] = Field(examples=[[{"name": "csv", "media_type": "text/csv", "suffix": ".csv"}]])


class Example(_Closed):
    """The files of the example clip, under `/v1/example/{name}`: a video a camera, and the calibration."""

    files: list[str] = Field(examples=[["Calib.qca.txt", "cam01.mp4", "cam02.mp4"]])


_FILE = {"type": "string", "format": "binary"}
INDEX: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>…"}}}
}
EXAMPLE_NAME = {"parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]}
EXAMPLE_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {"application/octet-stream": {"schema": _FILE, "example": "…"}},
    },
    **problems(NotFound("the example has no file 'cam09.mp4'", field="name")),
}
