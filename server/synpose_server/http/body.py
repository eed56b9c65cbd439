"""From bodies to what the engine takes: multipart files, or JSON with images in base64; and answers sent back."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from starlette.datastructures import Headers

from synpose.errors import InvalidInput, LimitExceeded, OptionsError
from synpose.formats import json as pose_json
from synpose.formats import ndjson
from synpose.image_sequence import align_images
from synpose.options import Options
from synpose.pose import PoseSequence
from synpose.rig import Rig
from synpose_server.http.form import Form, read_form
from synpose_server.requests import (
    SMALL_BYTES,
    check_sent,
    gather_images,
    match_sources,
    match_timestamps,
    read_rig,
)
from synpose_server.settings import Settings
from synpose_server.sources import Source
from synpose_server.spooled import StoredImage

__all__ = ["PoseRequest", "limited_body", "parse_json", "read_answer", "read_body", "without_suffix"]

_ANSWER_BYTES = 256 << 20  # 36,000 frames of one person in 27 joints are 60 MB
_ANSWER_IDS = 64
_ANSWER_JOINTS = 1 << 24  # ids x frames x joints: files hold a place for everybody in every frame, seen or not
_JSON_BYTES = 64 << 20  # parsed JSON takes several times its size in memory
_FIELDS = ("calibration", "options", "timestamps")


@dataclass(frozen=True)
class PoseRequest:
    """One estimate as the engine takes it."""

    rig: Rig
    sources: Mapping[str, Source]
    options: Options
    timestamps: tuple[float, ...] | None


@asynccontextmanager
async def read_body(headers: Headers, body: AsyncIterator[bytes], settings: Settings) -> AsyncIterator[PoseRequest]:
    """The request in `body`; its uploads are there until the block is left. Raises from `synpose.errors`."""
    content_type = headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        limit = min(settings.max_body_bytes, _JSON_BYTES)
        content = b"".join(
            [chunk async for chunk in limited_body(headers, body, limit, "; send files as multipart/form-data")]
        )
        small = len(content) <= SMALL_BYTES
        yield _from_json(content, settings) if small else await asyncio.to_thread(_from_json, content, settings)
    elif kind == "multipart/form-data":
        with Form() as form:
            limited = limited_body(headers, body, settings.max_body_bytes)
            images = settings.max_frames * settings.max_cameras
            await read_form(limited, content_type, form, most_videos=settings.max_cameras, most_images=images)
            yield _from_form(form, settings) if form.is_small else await asyncio.to_thread(_from_form, form, settings)
    else:
        raise InvalidInput(
            f"the body must be multipart/form-data or application/json, not {kind or 'untyped'!r:.80}",
            field="content-type",
        )


async def read_answer(headers: Headers, body: AsyncIterator[bytes], settings: Settings) -> Callable[[], PoseSequence]:
    """What decodes the answer in `body`, JSON or NDJSON, and takes its time; both raise `InvalidInput` or
    `LimitExceeded`."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/x-ndjson"):
        raise InvalidInput(
            f"the body must be application/json or application/x-ndjson, not {kind or 'untyped'!r:.80}",
            field="content-type",
        )
    limit = min(settings.max_body_bytes, _ANSWER_BYTES)
    content = b"".join([chunk async for chunk in limited_body(headers, body, limit)])
    return partial(_answer, content, streamed=kind == "application/x-ndjson")


def _answer(content: bytes, *, streamed: bool) -> PoseSequence:
    if streamed:
        header, frames = ndjson.decode(content.splitlines())
        sequence = PoseSequence(header, tuple(frames))
    else:
        sequence = pose_json.decode(content)
    ids = len(sequence.ids)
    if ids > _ANSWER_IDS:
        raise LimitExceeded(
            f"the answer has {ids} ids of people; at most {_ANSWER_IDS} are converted: leave some out", field="body"
        )
    if max(ids, 1) * len(sequence.frames) * len(sequence.header.skeleton) > _ANSWER_JOINTS:
        raise LimitExceeded(
            f"ids x frames x joints of the answer are more than {_ANSWER_JOINTS}: send parts of the clip", field="body"
        )
    return sequence


async def limited_body(
    headers: Headers, body: AsyncIterator[bytes], limit: int, advice: str = ""
) -> AsyncIterator[bytes]:
    """The chunks of the body; raises `LimitExceeded` from the declared length, or at the byte that is too much."""

    def too_large() -> LimitExceeded:
        return LimitExceeded(f"the body is larger than {limit} bytes{advice}", field="body")

    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large()
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > limit:
            raise too_large()
        yield chunk


def _from_form(form: Form, settings: Settings) -> PoseRequest:
    calibration: dict[str, bytes] = {}
    single: dict[str, bytes] = {}
    for name, filename, content in form.fields:
        if name == "calibration":
            label = filename or "calibration"
            if label in calibration:
                raise InvalidInput(f"two calibration files are called {label:.80}", field=name)
            calibration[label] = content
        elif name not in _FIELDS:
            raise _unknown_field(name)
        elif name in single:
            raise InvalidInput("the field is there twice", field=name)
        else:
            single[name] = content
    options = Options.from_mapping(parse_json(single["options"], "options") if "options" in single else {})
    rig = read_rig(calibration, options)
    sources: dict[str, Source] = {}
    for field, filename, file in form.videos:
        if field != "video" and field not in rig.names:
            raise _unknown_field(field)
        camera = without_suffix(filename) if field == "video" else field
        if camera in sources:
            raise InvalidInput("two videos were sent for this camera", field="video", camera=camera)
        sources[camera] = file
    if not form.images:
        if "timestamps" in single:
            raise InvalidInput("timestamps go with images; a video has its own", field="timestamps")
        return PoseRequest(rig, match_sources(rig, sources, settings), options, None)
    times = parse_json(single["timestamps"], "timestamps") if "timestamps" in single else None
    if "timestamps" in single and not (isinstance(times, list) and times and all(map(_is_number, times))):
        raise InvalidInput("timestamps must be a JSON list of numbers, one a frame set", field="timestamps")
    named: dict[str, list[tuple[str, StoredImage]]] = {}
    for image in form.images:
        camera, name = _camera_of(image.filename, rig)
        named.setdefault(camera, []).append((name, image.stored))
    check_sent(rig, named, "frame_sets", settings)  # before anything as long as the clip is made for each
    # with timestamps the images are numbered as the times are, from 0
    aligned = align_images(named, first=0 if times else None, most=settings.max_frames)
    length = max(len(next(iter(aligned.values()))), len(times or ()))
    if length > settings.max_frames:
        raise LimitExceeded(f"at most {settings.max_frames} frame sets are accepted", field="timestamps")
    for camera, images in aligned.items():
        images += [None] * (length - len(images))
        if camera in sources:
            raise InvalidInput("a request holds videos or images, not both", field="frame", camera=camera)
        sources[camera] = form.spool.images(images)
    return PoseRequest(rig, match_sources(rig, sources, settings), options, match_timestamps(times or (), length))


def _camera_of(filename: str, rig: Rig) -> tuple[str, str]:
    """The camera of an image called `<camera>/<index>.jpg`, `<camera>_<index>.jpg` or `<camera>-<index>.jpg`, and what
    is left of the name without suffix."""
    cameras = sorted(rig.names, key=len, reverse=True)
    for separators in (("/",), ("_", "-", ".", "")):  # the camera of `a/0.jpg` is `a`, also beside one called `a/0`
        for camera in cameras:
            rest = filename.removeprefix(camera)
            if rest != filename and rest[:1] in separators:
                return camera, without_suffix(rest)[1:]
    raise InvalidInput(
        f"the name {filename!r:.80} starts with none of the cameras {', '.join(rig.names)}; call it"
        " <camera>/<index>.jpg",
        field="frame",
    )


def without_suffix(filename: str) -> str:
    """The name before its last dot; a name may hold slashes and dots of its own."""
    return filename.rpartition(".")[0] or filename


def _from_json(content: bytes, settings: Settings) -> PoseRequest:
    document = _object(parse_json(content, "body"), "body", ("calibration", "options", "frame_sets"))
    options = Options.from_mapping(document.get("options", {}))
    calibration = document.get("calibration")
    if not isinstance(calibration, dict):
        raise InvalidInput("calibration must be a JSON object", field="calibration")
    rig = read_rig({"calibration": orjson.dumps(calibration)}, options)
    records = document.get("frame_sets")
    if not isinstance(records, list) or not records:
        raise InvalidInput("frame_sets must be a list with at least one frame set", field="frame_sets")
    if len(records) > settings.max_frames:
        raise LimitExceeded(f"at most {settings.max_frames} frame sets are accepted", field="frame_sets")
    frame_sets, times = [], []
    for record in records:
        _object(record, "frame_sets", ("timestamp", "images"))
        times.append(record.get("timestamp"))
        if not (times[-1] is None or _is_number(times[-1])):
            raise InvalidInput("a timestamp must be a number of seconds", field="frame_sets.timestamp")
        images = record.get("images")
        if not isinstance(images, dict):
            raise InvalidInput("images must be an object of camera and base64", field="frame_sets.images")
        frame_sets.append({camera: _image(camera, text) for camera, text in images.items() if text is not None})
    sources = match_sources(rig, gather_images(rig, frame_sets, settings), settings)
    return PoseRequest(rig, sources, options, match_timestamps(times, len(frame_sets)))


def _image(camera: str, text: object) -> bytes:
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidInput("an image is not base64", field="frame_sets.images", camera=camera)


def parse_json(content: bytes, field: str) -> Any:
    """The JSON in `content`; NaN and infinity are no JSON."""
    try:
        return orjson.loads(content)
    except ValueError as error:
        kind = OptionsError if field == "options" else InvalidInput
        raise kind(f"this is not JSON: {error}", field=field) from None


def _object(value: object, field: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput("this must be a JSON object", field=field)
    for key in value:
        if key not in known:
            raise InvalidInput(f"no key {key!r:.80}; there are {', '.join(known)}", field=field)
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unknown_field(name: str) -> InvalidInput:
    return InvalidInput(
        f"there is no field {name!r:.80}, or it needs a file name; fields are calibration, options, video (a file"
        " called <camera>.mp4), frame (a file called <camera>/<index>.jpg), timestamps, and the names of the cameras",
        field=name[:80],
    )
