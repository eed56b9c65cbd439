"""The answer as a stream: one JSON line with the header, then one a frame, each as soon as it is known.

Headers and frames are as in `json`; a frame's line carries its `notices` when it has any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from synpose.errors import InvalidInput
from synpose.formats import json
from synpose.pose import Frame, PoseHeader, PoseSequence
from synpose.skeleton import Skeleton

__all__ = ["decode", "encode", "encode_frame", "encode_header"]


def encode_header(header: PoseHeader) -> bytes:
    """The first line of a stream, with its newline."""
    return json.dump(json.header_record(header)) + b"\n"


def encode_frame(frame: Frame) -> bytes:
    """One further line of a stream, with its newline."""
    record = json.frame_record(frame)
    if frame.notices:
        record["notices"] = json.notice_records(frame.notices)
    return json.dump(record) + b"\n"


def encode(sequence: PoseSequence) -> bytes:
    """A whole sequence as a stream."""
    return b"".join((encode_header(sequence.header), *map(encode_frame, sequence.frames)))


def decode(lines: Iterable[bytes | str]) -> tuple[PoseHeader, Iterator[Frame]]:
    """The header and, as the lines come in, the frames; raises `InvalidInput` at a line that is neither.

    Reads the first line at once and each other line when its frame is asked for; empty lines are skipped.
    """
    written = (line for line in lines if line.strip())
    first = next(written, None)
    if first is None:
        raise InvalidInput("this is no pose answer: it is empty")
    header = json.header_of(json.load(first))
    return header, _frames(written, header.skeleton)


def _frames(lines: Iterator[bytes | str], skeleton: Skeleton) -> Iterator[Frame]:
    for line in lines:
        yield json.frame_of(json.load(line), skeleton)
