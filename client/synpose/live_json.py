"""Live streams as messages of the WebSocket `/v1/stream`, both ways; used by server and client.

Text messages are JSON objects with a `type`. A capture is a binary message: four bytes, big-endian, that give the
length of a JSON header `{"timestamp", "images": [{"camera", "bytes"}], "whole"}`, the header, and the images one after
another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from synpose.errors import InvalidInput, from_problem
from synpose.formats import json as pose_json
from synpose.live import (
    Ack,
    Capture,
    End,
    Ended,
    FromServer,
    Latency,
    LivePose,
    Opened,
    Received,
    Resume,
    Start,
    StreamCounters,
    StreamPolicy,
    ToServer,
)
from synpose.options import Options
from synpose.pose import Frame
from synpose.skeleton import Skeleton

__all__ = ["NO_KEY", "from_client", "from_server", "to_client", "to_server"]

NO_KEY = 4401
"""The code with which a WebSocket is closed whose caller has no API key that may do this; an error was sent before."""

_HEAD = 4  # bytes of the header's length
_KEYS = {
    "start": {"calibration", "calibration_hash", "options", "policy"},
    "resume": {"token", "last_sequence"},
    "ack": {"sequence"},
    "end": set[str](),
}
_CAPTURE_KEYS, _IMAGE_KEYS = {"timestamp", "images", "whole"}, {"camera", "bytes"}


def to_server(message: ToServer) -> str | bytes:
    """What a client says, as it is sent; a calibration must be one file of JSON."""
    match message:
        case Capture(timestamp, images, whole):
            listed = [{"camera": camera, "bytes": len(data)} for camera, data in images.items()]
            header = json.dumps({"timestamp": timestamp, "images": listed, "whole": whole}).encode()
            return b"".join((len(header).to_bytes(_HEAD, "big"), header, *images.values()))
        case Ack(sequence):
            return json.dumps({"type": "ack", "sequence": sequence})
        case End():
            return json.dumps({"type": "end"})
        case Resume(token, last):
            return json.dumps({"type": "resume", "token": token, "last_sequence": last})
        case Start(calibration, options, policy):
            if isinstance(calibration, str):
                rig: dict[str, Any] = {"calibration_hash": calibration}
            else:
                (content,) = calibration.values()
                rig = {"calibration": json.loads(content)}
            given = {key: value for key, value in asdict(options).items() if value is not None}
            return json.dumps({"type": "start", **rig, "options": given, "policy": asdict(policy)})


def from_client(message: str | bytes) -> ToServer:
    """What a client said; raises `InvalidInput` for what is no part of a stream."""
    if isinstance(message, bytes):
        return _capture(message)
    record = _object(message, "body")
    kind = record.pop("type", None)
    if not isinstance(kind, str) or kind not in _KEYS:
        raise InvalidInput(f"type must be one of {', '.join(_KEYS)}; captures are binary messages", field="type")
    _check(record, kind, _KEYS[kind])
    match kind:
        case "ack":
            return Ack(_count(record.get("sequence"), "sequence"))
        case "end":
            return End()
        case "resume":
            last = record.get("last_sequence")
            return Resume(_text(record, "token"), None if last is None else _count(last, "last_sequence"))
    options = Options.from_mapping(record.get("options", {}))
    policy = StreamPolicy.from_mapping(record.get("policy", {}))
    if ("calibration" in record) == ("calibration_hash" in record):
        raise InvalidInput("start needs either calibration or calibration_hash", field="calibration")
    if "calibration_hash" in record:
        return Start(_text(record, "calibration_hash"), options, policy)
    if not isinstance(record["calibration"], dict):
        raise InvalidInput("calibration must be a JSON object", field="calibration")
    return Start({"calibration": json.dumps(record["calibration"]).encode()}, options, policy)


def _capture(message: bytes) -> Capture:
    length = int.from_bytes(message[:_HEAD], "big")
    if len(message) < _HEAD + length:
        raise InvalidInput("a capture is shorter than the header that it announces", field="capture")
    header = _object(message[_HEAD : _HEAD + length], "capture")
    _check(header, "capture", _CAPTURE_KEYS)
    time, listed, whole = header.get("timestamp"), header.get("images"), header.get("whole", False)
    if not isinstance(time, int | float) or isinstance(time, bool) or not isinstance(whole, bool):
        raise InvalidInput("a capture needs a timestamp in seconds, and whole must be true or false", field="capture")
    if not isinstance(listed, list):
        raise InvalidInput("images must be a list of camera and bytes", field="capture.images")
    images: dict[str, bytes] = {}
    at = _HEAD + length
    for entry in listed:
        if not isinstance(entry, dict):
            raise InvalidInput("images must be a list of camera and bytes", field="capture.images")
        _check(entry, "image", _IMAGE_KEYS)
        camera, size = _text(entry, "camera"), _count(entry.get("bytes"), "bytes")
        if camera in images:
            raise InvalidInput("a capture holds two images of this camera", field="capture.images", camera=camera)
        images[camera] = message[at : at + size]
        at += size
    if at != len(message):
        raise InvalidInput("the images of a capture are not as long as its header says", field="capture.images")
    return Capture(_finite(time), images, whole)


def _check(record: Mapping[str, Any], kind: str, known: set[str]) -> None:
    if unknown := record.keys() - known:
        raise InvalidInput(f"{kind} has no key {min(unknown)!r:.80}", field=kind)


def to_client(message: FromServer) -> str:
    """What the server answers, as it is sent."""
    match message:
        case LivePose(frame, skew, missing, latency, counters, offsets):
            record = {
                "type": "result",
                "frame": {**pose_json.frame_record(frame), "notices": pose_json.notice_records(frame.notices)},
                "skew": skew,
                "missing": list(missing),
                "latency": asdict(latency),
                "counters": asdict(counters),
                "clock_offsets": dict(offsets),
            }
        case Received(captures):
            record = {"type": "received", "captures": captures}
        case Ended(counters):
            record = {"type": "ended", "counters": asdict(counters)}
        case Opened(token, header, next_capture, digest):
            record = {
                "type": "opened",
                "token": token,
                "header": pose_json.header_record(header),
                "next_capture": next_capture,
                "calibration_hash": digest,
            }
    return pose_json.dump(record).decode()


def from_server(message: str, skeleton: Skeleton | None) -> FromServer:
    """What the server answered, in the skeleton of the header; raises the error that it told."""
    record = json.loads(message)
    match record.get("type"):
        case "error":
            raise from_problem(record["error"])
        case "received":
            return Received(int(record["captures"]))
        case "ended":
            return Ended(StreamCounters(**record["counters"]))
        case "opened":
            header = pose_json.header_of(record["header"])
            return Opened(record["token"], header, int(record["next_capture"]), record["calibration_hash"])
    if skeleton is None:
        raise ValueError("a result came before the session was opened")
    frame: Frame = pose_json.frame_of(record["frame"], skeleton)
    return LivePose(
        frame,
        float(record["skew"]),
        tuple(record["missing"]),
        Latency(**record["latency"]),
        StreamCounters(**record["counters"]),
        record["clock_offsets"],
    )


def _object(content: str | bytes, field: str) -> dict[str, Any]:
    try:
        text = content if isinstance(content, str) else content.decode()
        record = json.loads(text)
        if "\\u" in text:  # may tell halves of characters, which nothing that they come to could write
            json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidInput("a text holds half of a surrogate pair; send whole characters", field=field) from None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise InvalidInput("this must be a JSON object", field=field)
    return record


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise InvalidInput(f"{key} must be a text", field=key)
    return value


def _count(value: object, field: str) -> int:
    if type(value) is not int or value < 0:
        raise InvalidInput(f"{field} must be a whole number", field=field)
    return value


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidInput("a timestamp must be a finite number of seconds", field="capture.timestamp")
    return number
