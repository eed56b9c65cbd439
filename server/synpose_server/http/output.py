"""How a request wants its answer: the format, and what a file of it needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from synpose.errors import OptionsError
from synpose.formats import FORMATS, Format, format_for_accept, format_for_name
from synpose.formats.upright import UP_AXES, Up, check_up
from synpose.pose import Frame, PoseHeader, PoseSequence
from synpose_server.http.query import check_query
from synpose_server.observe import stage

__all__ = ["PARAMETERS", "Output", "read_output"]


@dataclass(frozen=True)
class Output:
    """A format that can be written here, and the `up` and `person` of `Format.write`."""

    form: Format
    up: Up | None
    person: int | None

    @property
    def streams(self) -> bool:
        """Whether frames are sent as they are computed."""
        return self.form is FORMATS["ndjson"]

    @stage("format")
    def write(self, header: PoseHeader, frames: Sequence[Frame]) -> bytes:
        """The whole answer; raises as `Format.write`."""
        return self.form.write(PoseSequence(header, frames), self.up, self.person)


def read_output(request: Request) -> Output:
    """What the query asks for, the format also by the Accept header; raises `NotAcceptable` or `OptionsError`."""
    check_query(request, *(parameter["name"] for parameter in PARAMETERS))
    query = request.query_params
    name = query.get("format")
    form = format_for_accept(request.headers.get("accept")) if name is None else format_for_name(name)
    form.check()
    up, person = query.get("up"), query.get("person")
    if person is not None and not (person.isascii() and person.isdecimal() and len(person) < 10):
        raise OptionsError("person must be the id of a person", field="person")
    return Output(form, None if up is None else check_up(up), None if person is None else int(person))


PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "format",
        "in": "query",
        "description": "The answer's format by name; without it the Accept header chooses.",
        "schema": {"type": "string", "enum": list(FORMATS)},
    },
    {
        "name": "up",
        "in": "query",
        "description": "The axis of the calibration's world that points up. TRC, BVH and GLB are turned so that it is"
        " their y; C3D and RRD say it. Without it: the axis nearest to people's trunks.",
        "schema": {"type": "string", "enum": list(UP_AXES)},
    },
    {
        "name": "person",
        "in": "query",
        "description": "The one person that a file shall hold. TRC and BVH hold one in any case, without this the"
        " person in the most frames. It has no effect on NDJSON that is streamed.",
        "schema": {"type": "integer", "minimum": 0},
    },
]
