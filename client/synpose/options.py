"""What a request may ask for: the same options through REST, gRPC, the command line and Python."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from synpose.errors import OptionsError
from synpose.skeleton import get_skeleton

__all__ = ["Options", "is_number", "known_options"]

_MOST_OFFSET = 100_000  # frames: half an hour of 60 a second


@dataclass(frozen=True)
class Options:
    """Options of one estimate. Raises `OptionsError` (or `NotFound` for a skeleton) for an unusable value.

    `units` is the unit of a calibration file whose format does not state one. `fps` replaces the frame rate of the
    videos; numbered images, which have none, default to 30. `offsets` are for recordings that did not start together:
    by how many frames the video of each camera that is named is ahead, so that its image `i + offset` shows what image
    `i` of a camera shows that is not named. A report of a calibration gives them; parts of a frame are rounded.
    """

    model: str = "default"
    skeleton: str = "coco17"
    max_people: int = 1
    units: Literal["m", "cm", "mm"] | None = None
    fps: float | None = None
    offsets: Mapping[str, float] | None = field(default=None, hash=False)  # a mapping has no hash

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise OptionsError("model must be the name of a model", field="options.model")
        if not isinstance(self.skeleton, str):
            raise OptionsError("skeleton must be the name of a skeleton", field="options.skeleton")
        get_skeleton(self.skeleton)
        if type(self.max_people) is not int or not 1 <= self.max_people <= 8:
            raise OptionsError("max_people must be a whole number from 1 to 8", field="options.max_people")
        if self.units not in (None, "m", "cm", "mm"):
            raise OptionsError("units must be m, cm or mm", field="options.units")
        if self.fps is not None:
            if isinstance(self.fps, bool) or not isinstance(self.fps, int | float):
                raise OptionsError("fps must be a number", field="options.fps")
            if not 1 <= self.fps <= 1000:
                raise OptionsError("fps must be between 1 and 1000", field="options.fps")
        if self.offsets is not None:
            object.__setattr__(self, "offsets", _checked(self.offsets) or None)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Options:
        """Options from parsed JSON; an unknown key raises `OptionsError` that lists the known ones."""
        return cls(**known_options(cls, values))


def _checked(offsets: object) -> dict[str, float]:
    """A copy of frames by camera; raises `OptionsError`, naming the camera where one is to blame."""
    if not (isinstance(offsets, Mapping) and all(isinstance(camera, str) for camera in offsets)):
        raise OptionsError("offsets must be numbers of frames by the names of cameras", field="options.offsets")
    for camera, frames in offsets.items():
        if not (is_number(frames) and abs(frames) <= _MOST_OFFSET):
            message = f"its offset must be a number of frames from -{_MOST_OFFSET} to {_MOST_OFFSET}"
            raise OptionsError(message, field="options.offsets", camera=camera)
    return dict(offsets)


def known_options(cls: type, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`values`, parsed JSON; raises `OptionsError` where it is no object or has a key that is no field of `cls`."""
    if not isinstance(values, Mapping):
        raise OptionsError("options must be a JSON object", field="options")
    known = [f.name for f in fields(cls)]
    for key in values:
        if key not in known:
            raise OptionsError(f"no option {key!r:.60}; there are {', '.join(known)}", field=f"options.{key:.60}")
    return values


def is_number(value: object) -> bool:
    """Whether `value` of parsed JSON is a finite number; an integer may be beyond all floats."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
