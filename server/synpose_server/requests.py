"""The rules that every request keeps, whichever door it came through."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from synpose.calibration.parsed import Unit
from synpose.calibration.read import MAX_BYTES, read_calibration
from synpose.errors import CalibrationError, InvalidInput, LimitExceeded, OptionsError
from synpose.options import Options
from synpose.rig import Rig
from synpose_server.settings import Settings
from synpose_server.sources import Source

__all__ = [
    "SMALL_BYTES",
    "check_offsets",
    "check_sent",
    "check_views",
    "gather_images",
    "match_sources",
    "match_timestamps",
    "no_image",
    "read_rig",
]

SMALL_BYTES = 32 << 10
"""Of a request's calibration and options: up to this much, reading them costs less than a thread that does it."""
_LEAST_SECONDS, _MOST_SECONDS = 1e-6, 1e6  # from a frame set to the next
_KEPT = 64  # calibrations that are not read again when they come again


def read_rig(files: Mapping[str, bytes], options: Options) -> Rig:
    """The rig in a request's calibration files; a trouble with their unit is one with the option `units`.

    Small ones that came lately are not read again.
    """
    if not files:
        raise CalibrationError("the request has no calibration", field="calibration")
    if max(map(len, files.values())) > MAX_BYTES:
        raise LimitExceeded(f"a file is larger than the {MAX_BYTES >> 20} MiB of a calibration", field="calibration")
    small = sum(map(len, files.values())) <= SMALL_BYTES
    try:
        return _read(tuple(files.items()), options.units) if small else read_calibration(files, units=options.units)
    except CalibrationError as error:
        field = "options.units" if error.field == "units" else error.field or "calibration"
        raise CalibrationError(error.message, field=field, camera=error.camera) from None


@lru_cache(_KEPT)
def _read(files: tuple[tuple[str, bytes], ...], units: Unit | None) -> Rig:
    return read_calibration(dict(files), units=units)


def check_sent(rig: Rig, cameras: Collection[str], field: str, settings: Settings) -> None:
    """Raise `InvalidInput` for a camera that is not calibrated, and `LimitExceeded` for more than the server accepts.

    What counts is the cameras that are sent: a rig may have more.
    """
    known = set(rig.names)
    for camera in cameras:
        if camera not in known:
            names = ", ".join(rig.names)
            raise InvalidInput(f"the calibration has no such camera; it has {names}", field=field, camera=camera)
    if len(cameras) > settings.max_cameras:
        raise LimitExceeded(f"at most {settings.max_cameras} cameras are accepted", field=field)


def check_offsets(rig: Rig, options: Options) -> None:
    """Raise `OptionsError` for an offset of a camera that is not calibrated; one that sends nothing may have one."""
    for camera in options.offsets or ():
        if camera not in rig.names:
            names = ", ".join(rig.names)
            message = f"offsets name it, but the calibration has no such camera; it has {names}"
            raise OptionsError(message, field="options.offsets", camera=camera)


def gather_images(
    rig: Rig, frame_sets: Sequence[Mapping[str, bytes]], settings: Settings
) -> dict[str, list[bytes | None]]:
    """The images of each camera over all frame sets, None where it is missing.

    Raises as `check_sent`, before anything as long as the clip is made for a camera, and `InvalidInput` where there is
    no image at all.
    """
    cameras = dict.fromkeys(camera for images in frame_sets for camera in images)
    if not cameras:
        raise no_image(rig)
    check_sent(rig, cameras, "frame_sets", settings)
    return {camera: [images.get(camera) for images in frame_sets] for camera in cameras}


def no_image(rig: Rig) -> InvalidInput:
    """The error of frame sets that are all empty."""
    message = "the frame sets hold no image; at least two cameras are needed"
    return InvalidInput(message, field="frame_sets", camera=rig.names[0])


def match_sources(rig: Rig, sources: Mapping[str, Source], settings: Settings) -> dict[str, Source]:
    """The sources in the order of the rig's cameras.

    Every source needs a calibrated camera, and all of them are videos or all image sequences of one length, of which
    those without an image are left out; anything else raises `InvalidInput`, naming the field (`video` or `frame_sets`)
    and the camera, or as `check_sent`. A calibrated camera without a source is left out: the answer's notices tell.
    Whether they are enough depends on the model: `check_views`.
    """
    images = {name: source for name, source in sources.items() if isinstance(source, Sequence)}
    field = "frame_sets" if images else "video"
    if images and len(images) < len(sources):
        raise InvalidInput("a request holds videos or images, not both", field=field)
    check_sent(rig, sources, field, settings)
    given = [n for n in rig.names if n in sources and (n not in images or any(i is not None for i in images[n]))]
    if images and not given:
        raise no_image(rig)
    if len(set(map(len, images.values()))) > 1:
        raise InvalidInput("all cameras need equally many images, None for a missing one", field=field)
    return {name: sources[name] for name in given}


def check_views(rig: Rig, sources: Mapping[str, Source], least: int) -> None:
    """Raise `InvalidInput` if fewer than `least` cameras of `rig` have a source; names the first that has none."""
    if len(sources) < least:
        needed = "two cameras are needed to see in three dimensions" if least > 1 else "one camera is needed"
        raise InvalidInput(
            f"at least {needed}; {len(sources)} of {len(rig)} was sent",
            field="frame_sets" if any(isinstance(source, Sequence) for source in sources.values()) else "video",
            camera=next((name for name in rig.names if name not in sources), None),
        )


def match_timestamps(timestamps: Sequence[float | None], frame_sets: int) -> tuple[float, ...] | None:
    """The capture times of all frame sets in seconds, or None where none has one; raises `InvalidInput`.

    All or none must be given, finite and ascending, each by 1e-6 to 1e6 s.
    """
    given = [time for time in timestamps if time is not None]
    if not given:
        return None
    field = "frame_sets.timestamp"
    if len(given) != frame_sets:
        raise InvalidInput(f"give all frame sets a timestamp, or none: {len(given)} for {frame_sets}", field=field)
    if not all(map(math.isfinite, given)):
        raise InvalidInput("a timestamp must be a finite number of seconds", field=field)
    if any(later <= earlier for earlier, later in pairwise(given)):
        raise InvalidInput("timestamps must ascend", field=field)
    if not all(_LEAST_SECONDS <= later - earlier <= _MOST_SECONDS for earlier, later in pairwise(given)):
        raise InvalidInput(
            f"timestamps must ascend by {_LEAST_SECONDS:g} to {_MOST_SECONDS:g} s; they are in seconds", field=field
        )
    return tuple(map(float, given))
