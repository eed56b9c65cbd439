"""What a calibration from people may be told: the same options through REST, the command line and Python."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synpose.errors import OptionsError
from synpose.options import is_number, known_options

__all__ = ["CalibrationOptions"]

_MOST_OFFSET = 10.0


@dataclass(frozen=True)
class CalibrationOptions:
    """Options of one calibration. Raises `OptionsError` for an unusable value.

    The scale comes from `height`, the person's standing height without shoes in metres, or from `baseline`, two
    cameras and the distance of their lenses in metres: (name, name, metres). `max_offset` is by how many seconds
    cameras may have started apart; 0 takes them as synchronized. With `same_lens` all cameras whose intrinsics are not
    given are taken to be of one kind. `board` describes the board of the intrinsics' videos (`checkerboard:9x6`, inner
    corners; `charuco:5x7:DICT_4X4_50`, squares, with `:0.75` after it where a marker is not 3/4 of a square). `gravity`
    is a camera and the direction of gravity in its frame (x right, y down, z ahead): (name, x, y, z); without it the
    person's standing tells what is up. `fps` replaces the frame rate of the videos.
    """

    model: str = "default"
    height: float | None = None
    baseline: tuple[str, str, float] | None = None
    max_offset: float = 0.0
    same_lens: bool = False
    board: str | None = None
    gravity: tuple[str, float, float, float] | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise OptionsError("model must be the name of a model", field="options.model")
        if (self.height is None) == (self.baseline is None):
            raise OptionsError(
                "give the person's height, or the baseline between two cameras: one of them sets the scale",
                field="options.height",
            )
        if self.height is not None and not (is_number(self.height) and 0.5 <= self.height <= 2.5):
            raise OptionsError("height must be between 0.5 and 2.5 metres", field="options.height")
        if self.baseline is not None:
            a, b, metres = self._listed("baseline", "two cameras and metres", str, str, float)
            if a == b or not 0.05 <= metres <= 200:
                raise OptionsError("baseline must be two cameras and 0.05 to 200 metres", field="options.baseline")
        if self.gravity is not None:
            _, *direction = self._listed("gravity", "a camera and x, y, z", str, float, float, float)
            if math.hypot(*direction) < 1e-6:
                raise OptionsError("gravity must have a direction", field="options.gravity")
        if not (is_number(self.max_offset) and 0 <= self.max_offset <= _MOST_OFFSET):
            raise OptionsError(f"max_offset must be 0 to {_MOST_OFFSET:g} seconds", field="options.max_offset")
        if not isinstance(self.same_lens, bool):
            raise OptionsError("same_lens must be true or false", field="options.same_lens")
        if self.board is not None and not isinstance(self.board, str):
            raise OptionsError("board must be a description such as checkerboard:9x6", field="options.board")
        if self.fps is not None and not (is_number(self.fps) and 1 <= self.fps <= 1000):
            raise OptionsError("fps must be between 1 and 1000", field="options.fps")

    def _listed(self, field: str, what: str, *kinds: type) -> tuple[Any, ...]:
        """The option `field` as a tuple of `kinds`, which it then is."""
        given = getattr(self, field)
        if (
            not isinstance(given, Sequence)
            or isinstance(given, str)
            or len(given) != len(kinds)
            or not all(is_number(v) if k is float else isinstance(v, k) for v, k in zip(given, kinds, strict=True))
        ):
            raise OptionsError(f"{field} must be {what}", field=f"options.{field}")
        object.__setattr__(self, field, tuple(given))
        return tuple(given)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> CalibrationOptions:
        """Options from parsed JSON; an unknown key raises `OptionsError` that lists the known ones."""
        return cls(**known_options(cls, values))
