"""Bytes made wrong: any bytes, JSON documents, and the parts that JPEG, PNG and MP4 files are made of."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

__all__ = ["mangled", "mangled_json", "mangled_media", "reordered"]

_EXTREMES = (0, 1, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_SIDES = (0, 1, 2, 0x4000, 0x7FFF, 0xFFFF)
_VALUES: tuple[Any, ...] = (
    None, True, -1, float("nan"), 0, 2**31, 2**63, -(2**63), 10**400, 1e308, -0.0, "", "x" * 10_000, "\u0000",
    "../../etc/passwd",
    [], {}, [[]] * 50, {"": {"": {}}}, "NaN", "1e999", ["a"] * 1000,
)  # fmt: skip
_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"edts", b"udta", b"stsd")
_SEGMENTS_WITH_SIZE = range(0xC0, 0xD0)


def mangled(content: bytes, chance: Random) -> bytes:
    """`content` after one to eight changes, half of the time near its head, where most of what decides is."""
    changed = bytearray(content)
    near = chance.random() < 0.5
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        place = chance.randrange(min(len(changed), 300) if near and changed else len(changed) + 1) if changed else 0
        length = chance.choice((1, 1, 2, 4, 20, 200))
        match chance.randrange(8):
            case 0:
                changed[place : place + 1] = (
                    bytes((changed[place] ^ 1 << chance.randrange(8),)) if changed[place:] else b""
                )
            case 1:
                del changed[place : place + length]
            case 2:
                changed[place:place] = chance.randbytes(length)
            case 3:
                changed[place : place + length] = chance.randbytes(length)
            case 4:
                changed[place : place + length] = bytes((chance.choice((0, 0xFF)),)) * length
            case 5:
                changed[place : place + 4] = struct.pack(chance.choice((">I", "<I")), chance.choice(_EXTREMES))
            case 6:
                start = chance.randrange(len(changed) + 1)
                changed[place:place] = changed[start : start + 8 * length]
            case 7:
                del changed[chance.randrange(len(changed) + 1) :]
    return bytes(changed)


def reordered(parts: Sequence[bytes], chance: Random) -> list[bytes]:
    """The messages of a stream, one of them changed, left out, doubled or in another place."""
    changed = list(parts)
    place = chance.randrange(len(changed))
    match chance.randrange(6):
        case 0:
            del changed[place]
        case 1:
            changed.insert(place, changed[place])
        case 2:
            changed.insert(chance.randrange(len(changed)), changed.pop(place))
        case _:
            changed[place] = mangled(changed[place], chance)
    return changed


def mangled_json(document: Any, chance: Random) -> Any:
    """`document` with one of its values, or a key, made another."""
    if isinstance(document, dict) and document and chance.random() < 0.9:
        key = chance.choice(list(document))
        match chance.randrange(12):
            case 0:
                return {other: value for other, value in document.items() if other != key}
            case 1:
                return {**document, chance.choice(("", "x", key.upper(), "__class__")): document[key]}
        return {**document, key: mangled_json(document[key], chance)}
    if isinstance(document, list) and document and chance.random() < 0.9:
        place = chance.randrange(len(document))
        match chance.randrange(12):
            case 0:
                return document[:place] + document[place + 1 :]
            case 1:
                return document + document[place : place + 1] * chance.choice((1, 100))
        return [*document[:place], mangled_json(document[place], chance), *document[place + 1 :]]
    return chance.choice(_VALUES)


def mangled_media(content: bytes, chance: Random) -> bytes:
    """A JPEG, PNG or MP4 file with parts of it wrong, moved, or declared to be enormous; or any bytes of it changed."""
    if chance.random() < 0.3:
        return mangled(content, chance)
    if content.startswith(b"\xff\xd8"):
        return _parts_changed(list(_segments(content)), _jpeg_part, chance)
    if content.startswith(b"\x89PNG"):
        return content[:8] + _parts_changed(list(_chunks(content)), _png_part, chance)
    return _mp4(content, chance)


def _parts_changed(parts: list[bytes], change: Callable[[bytes, Random], bytes], chance: Random) -> bytes:
    place, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    match chance.randrange(8):
        case 0:
            del parts[place]
        case 1:
            parts.insert(other, parts[place])
        case 2:
            parts[place], parts[other] = parts[other], parts[place]
        case 3:
            parts.insert(place, chance.randbytes(chance.choice((1, 10, 1000))))
        case 4:  # the one that tells the size
            parts[:] = [change(part, chance) if _tells_size(part) else part for part in parts]
        case _:
            parts[place] = change(parts[place], chance)
    return b"".join(parts)


def _tells_size(part: bytes) -> bool:
    return part[4:8] == b"IHDR" or (part[:1] == b"\xff" and part[1:2] in (b"\xc0", b"\xc1", b"\xc2"))


def _segments(content: bytes) -> Iterator[bytes]:
    """The segments of a JPEG file, the last with the coded image."""
    yield content[:2]
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        yield content[at:end]
        at = end
    yield content[at:]


def _jpeg_part(part: bytes, chance: Random) -> bytes:
    if len(part) < 9:
        return mangled(part, chance)
    match chance.randrange(4):
        case 0:  # its length
            return part[:2] + struct.pack(">H", chance.choice(_SIDES)) + part[4:]
        case 1:  # its kind
            return part[:1] + bytes((chance.randrange(0xC0, 0x100),)) + part[2:]
        case 2 if part[1] in _SEGMENTS_WITH_SIZE:
            return part[:5] + struct.pack(">HH", chance.choice(_SIDES), chance.choice(_SIDES)) + part[9:]
    return part[:4] + mangled(part[4:], chance)


def _chunks(content: bytes) -> Iterator[bytes]:
    """The chunks of a PNG file."""
    at = 8
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        yield content[at:end]
        at = end


def _png_part(part: bytes, chance: Random) -> bytes:
    kind, data = part[4:8], part[8:-4]
    length = len(data)
    match chance.randrange(4):
        case 0:
            length = chance.choice(_EXTREMES)
        case 1 if kind == b"IHDR":
            data = struct.pack(">II", chance.choice(_EXTREMES), chance.choice(_EXTREMES)) + data[8:]
        case 2 if kind == b"IHDR":  # depth, colours, interlacing
            data = data[:8] + bytes(chance.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
        case _:
            data = mangled(data, chance)
    check = zlib.crc32(kind + data) if chance.random() < 0.8 else chance.getrandbits(32)  # most are read then
    return struct.pack(">I", length) + kind + data + struct.pack(">I", check)


def _boxes(content: bytes | bytearray, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    """Where each box of an MP4 file begins and ends, and its type; inner boxes after their outer one."""
    at = start
    while at + 8 <= end:
        size, kind = int.from_bytes(content[at : at + 4], "big"), bytes(content[at + 4 : at + 8])
        if size < 8 or at + size > end:
            return
        yield at, at + size, kind
        if kind in _CONTAINERS:
            yield from _boxes(content, at + (16 if kind == b"stsd" else 8), at + size)
        at += size


def _mp4(content: bytes, chance: Random) -> bytes:
    changed = bytearray(content)
    boxes = list(_boxes(content, 0, len(content)))
    start, end, _ = chance.choice(boxes)
    other_start, other_end, _ = chance.choice(boxes)
    match chance.randrange(8):
        case 0:  # its size
            changed[start : start + 4] = struct.pack(
                ">I", chance.choice((*_EXTREMES, end - start - 1, end - start + 8))
            )
        case 1:  # its type
            changed[start + 4 : start + 8] = chance.choice(boxes)[2]
        case 2:
            del changed[start:end]
        case 3:  # another one in its place
            changed[start:end] = content[other_start:other_end]
        case 4:  # another one in it
            changed[start + 8 : start + 8] = content[other_start:other_end]
        case 5:  # a number in it: counts of entries, times, widths and heights
            place = start + 8 + 4 * chance.randrange(max(1, min(16, (end - start - 8) // 4)))
            changed[place : place + 4] = struct.pack(">I", chance.choice(_EXTREMES))
        case 6:  # width and height of the track or of the coded video
            for begin, _, name in boxes:
                if name == b"tkhd":
                    sides = (chance.choice(_SIDES) << 16, chance.choice(_SIDES) << 16)
                    changed[begin + 84 : begin + 92] = struct.pack(">II", *sides)
                if name == b"avc1":
                    changed[begin + 32 : begin + 36] = struct.pack(">HH", chance.choice(_SIDES), chance.choice(_SIDES))
        case 7:
            changed[start + 8 : end] = mangled(bytes(changed[start + 8 : end]), chance)
    return bytes(changed)
