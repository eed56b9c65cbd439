"""The JSON answer: `PoseSequence` to bytes and back.

    {"model": {"name", "version"}, "skeleton": {"name", "joints", "parents"}, "units": "m", "fps": 60.0,
     "left_out": {"cam02": 7},
     "frames": [{"index", "timestamp", "people": [{"id", "score", "joints", "sigma", "views"}]}],
     "notices": [{"code", "message", "camera"}]}

Lengths are metres, rounded to 1e-6; a joint that is not known is null. `left_out` (images by camera) and `notices` are
there only when there are any.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.pose import Frame, ModelInfo, Notice, Person, PoseHeader, PoseSequence
from synpose.skeleton import SKELETONS, Skeleton

__all__ = [
    "DECIMALS",
    "decode",
    "dump",
    "encode",
    "frame_of",
    "frame_record",
    "header_of",
    "header_record",
    "load",
    "notice_records",
]

DECIMALS = 6  # a micrometre

Record = dict[str, Any]


def encode(sequence: PoseSequence) -> bytes:
    """`sequence` as one JSON document. Notices are gathered at the top level."""
    # frame by frame: the records of a long clip are many times larger than their text
    frames = b",".join(dump(frame_record(frame)) for frame in sequence.frames)
    notices = b',"notices":' + dump(notice_records(sequence.notices)) if sequence.notices else b""
    return b"".join((dump(header_record(sequence.header))[:-1], b',"frames":[', frames, b"]", notices, b"}"))


def decode(content: bytes | str) -> PoseSequence:
    """The sequence in a JSON document; its notices come with the first frame. `InvalidInput` if it is none."""
    record = load(content)
    header = header_of(record)
    try:
        records, notices = list(record["frames"]), record.get("notices", [])
    except (KeyError, TypeError):
        raise _broken("it has no list of frames") from None
    frames = [frame_of(frame, header.skeleton) for frame in records]
    if frames and notices:
        first = frames[0]
        frames[0] = Frame(first.index, first.timestamp, first.people, _notices_of(notices))
    return PoseSequence(header, tuple(frames))


def dump(record: Record | list[Record]) -> bytes:
    """Compact JSON; a number that is not finite is a fault of ours and raises `ValueError`."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def load(content: bytes | str) -> Record:
    """The JSON object in `content`; raises `InvalidInput` if it is none."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        raise _broken("it is not JSON") from None
    if not isinstance(record, dict):
        raise _broken("it is not an object")
    return record


def header_record(header: PoseHeader) -> Record:
    skeleton = header.skeleton
    return {
        "model": {"name": header.model.name, "version": header.model.version},
        "skeleton": {
            "name": skeleton.name,
            "joints": list(skeleton.joints),
            "parents": list(skeleton.parents),
        },
        "units": header.units,
        "fps": header.fps,
        **({"left_out": dict(header.left_out)} if header.left_out else {}),
    }


def frame_record(frame: Frame) -> Record:
    """A frame without its notices."""
    return {
        "index": frame.index,
        "timestamp": round(frame.timestamp, DECIMALS),
        "people": [
            {
                "id": person.id,
                "score": round(float(person.score), DECIMALS),
                "joints": _rows(person.joints),
                "sigma": _rows(person.sigma),
                "views": list(person.views),
            }
            for person in frame.people
        ],
    }


def notice_records(notices: Sequence[Notice]) -> list[Record]:
    return [{"code": n.code, "message": n.message, "camera": n.camera} for n in notices]


def header_of(record: Record) -> PoseHeader:
    """The header in a record; raises `InvalidInput`."""
    try:
        if record["units"] != "m":
            raise _broken("its units are not metres")
        model, skeleton, fps = record["model"], record["skeleton"], float(record["fps"])
        if not 0 < fps < math.inf:
            raise _broken("its fps are no frame rate")
        left_out = {**record.get("left_out", {})}
        if not all(type(images) is int and images >= 0 for images in left_out.values()):
            raise _broken("its left_out are no numbers of images")
        info = ModelInfo(str(model["name"]), str(model["version"]))
        return PoseHeader(info, _skeleton_of(skeleton), fps, left_out=left_out)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _broken("its header is incomplete") from None


def frame_of(record: Record, skeleton: Skeleton) -> Frame:
    """The frame in a record, notices included; raises `InvalidInput`."""
    try:
        people = tuple(
            Person(
                int(person["id"]),
                float(person["score"]),
                _array(person["joints"], (len(skeleton), 3)),
                _array(person["sigma"], (len(skeleton),)),
                tuple(str(view) for view in person["views"]),
            )
            for person in record["people"]
        )
        index, timestamp = int(record["index"]), float(record["timestamp"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _broken("a frame is incomplete") from None
    return Frame(index, timestamp, people, _notices_of(record.get("notices", [])))


def _notices_of(records: Sequence[Mapping[str, Any]]) -> tuple[Notice, ...]:
    try:
        return tuple(Notice(str(r["code"]), str(r["message"]), r.get("camera")) for r in records)
    except (AttributeError, KeyError, TypeError):
        raise _broken("a notice is incomplete") from None


def _skeleton_of(record: Mapping[str, Any]) -> Skeleton:
    name, joints, parents = str(record["name"]), tuple(record["joints"]), tuple(record["parents"])
    known = SKELETONS.get(name)
    if known and (known.joints, known.parents) == (joints, parents):
        return known
    fitting = len(joints) == len(parents) == len(set(joints)) and all(isinstance(joint, str) for joint in joints)
    if not fitting or not all(type(p) is int and -1 <= p < len(joints) for p in parents):
        raise _broken("its skeleton is none")
    return Skeleton(name, joints, parents)


def _rows(values: NDArray[np.float64]) -> list[Any]:
    """Values of joints `(J,)` or `(J, 3)`, rounded, None for a joint with anything that is not finite."""
    rows: list[Any] = np.round(values, DECIMALS).tolist()
    finite = np.isfinite(values)
    if finite.all():
        return rows
    known: Any = finite.reshape(len(values), -1).all(1).tolist()
    return [row if is_known else None for row, is_known in zip(rows, known, strict=True)]


def _array(rows: Sequence[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    unknown = [np.nan] * shape[1] if len(shape) > 1 else np.nan
    values = np.array([unknown if row is None else row for row in rows], dtype=np.float64)
    if values.shape != shape:
        raise ValueError(values.shape)
    return values


def _broken(reason: str) -> InvalidInput:
    return InvalidInput(f"this is no pose answer: {reason}")
