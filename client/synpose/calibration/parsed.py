"""What a format's reader returns: cameras in the file's own unit of length, and what is known about that unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from synpose.errors import CalibrationError
from synpose.rig import Camera

__all__ = ["METRES", "UNITS", "Parsed", "Unit", "as_unit"]

Unit = Literal["m", "cm", "mm"]
UNITS: tuple[Unit, ...] = get_args(Unit)
METRES: dict[Unit, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}


@dataclass(frozen=True)
class Parsed:
    """Cameras whose `t` is in the file's unit.

    `states` is the unit that the file or its format fixes. `assumes` is the one that the tool writes unless its user
    measured in another; an explicit `units` overrides it. Both None: nobody but the user can know.
    """

    cameras: tuple[Camera, ...]
    states: Unit | None = None
    assumes: Unit | None = None


def as_unit(value: object, field: str) -> Unit:
    """`value` as a unit of length, else `CalibrationError` about `field`."""
    for unit in UNITS:
        if value == unit:
            return unit
    raise CalibrationError(f"units must be one of {', '.join(UNITS)}, not {value!r:.40}", field=field)
