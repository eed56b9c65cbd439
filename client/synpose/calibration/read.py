"""`read_calibration`: from a path or an upload, through the format that its content shows, to a rig in metres.

`read_lenses` is the same for those who need no places.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from synpose.calibration import native, opencv_yaml, panoptic, qualisys, toml
from synpose.calibration.parsed import METRES, UNITS, Parsed, Unit, as_unit
from synpose.errors import CalibrationError
from synpose.rig import Rig

__all__ = ["MAX_BYTES", "read_calibration", "read_lenses"]

MAX_BYTES = 4 << 20  # a calibration of 500 cameras has less than one MiB

_MAX_CAMERAS = 1024  # CMU Panoptic has 521
_SPREAD = (0.05, 200.0)  # metres between the two cameras farthest apart, in a rig around people
_PAIRS = (("intri", "extri"), ("Intri", "Extri"))  # EasyMocap's two files, and Pose2Sim's names for them


def read_calibration(source: str | os.PathLike[str] | Mapping[str, bytes], *, units: Unit | None = None) -> Rig:
    """The rig in `source`, lengths in metres, world frame as in the file.

    `source` is a path (a file, a folder with `intri.yml` and `extri.yml`, or one of these two beside the other) or
    uploaded files as {name: content}; names are only labels. `units` is the unit of the file's lengths: needed where
    the format does not say, an error where it says otherwise. Raises `CalibrationError`, and nothing else, for
    anything that is not the calibration of cameras around people; a missing unit is an error on the field `units`.
    """
    if units is not None:
        as_unit(units, "units")
    with np.errstate(all="ignore"):  # absurd numbers overflow before they are refused
        parsed = _read(source)
        unit = _unit(parsed, units)
        return _in_metres(parsed, unit)


def read_lenses(source: str | os.PathLike[str] | Mapping[str, bytes]) -> Rig:
    """The cameras in `source` for the sake of their lenses: their places may be in any unit, or all the same.

    Else as `read_calibration`.
    """
    with np.errstate(all="ignore"):
        return Rig(_read(source).cameras)


def _read(source: str | os.PathLike[str] | Mapping[str, bytes]) -> Parsed:
    contents = source if isinstance(source, Mapping) else _files(Path(source))
    if not 1 <= len(contents) <= 2:
        raise CalibrationError(f"give one calibration, or two files that belong together, not {len(contents)}")
    parsed = _parse([_text(name, content) for name, content in contents.items()])
    if len(parsed.cameras) > _MAX_CAMERAS:
        raise CalibrationError(
            f"{len(parsed.cameras)} cameras are too many; {_MAX_CAMERAS} may be", field="calibration"
        )
    return parsed


def _files(path: Path) -> dict[str, bytes]:
    """The content of the file `path`, and of its counterpart if it is one of EasyMocap's two."""
    paths = [path]
    try:
        if path.is_dir():
            paths = [path / "intri.yml", path / "extri.yml"]
            if not all(file.is_file() for file in paths):
                raise CalibrationError(
                    f"the folder {path} does not hold intri.yml and extri.yml; name the file", field="calibration"
                )
        for pair in _PAIRS:
            for this, other in (pair, pair[::-1]):
                sibling = path.with_name(path.name.replace(this, other))
                if path.name.startswith(this) and sibling.is_file():
                    paths = [path, sibling]
        contents = {}
        for file in paths:
            with file.open("rb") as stream:
                contents[file.name] = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise CalibrationError(f"cannot read {path}: {error}", field="calibration") from None
    return contents


def _text(name: str, content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise CalibrationError(f"{name:.80} is larger than the {MAX_BYTES >> 20} MiB of a calibration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CalibrationError(f"{name:.80} is not text in UTF-8", field="calibration") from None


def _parse(texts: list[str]) -> Parsed:
    if all(opencv_yaml.matches(text) for text in texts):
        return opencv_yaml.parse(*texts)
    if len(texts) > 1:
        raise CalibrationError("only intri.yml and extri.yml come as two files", field="calibration")
    for reader in (qualisys, native, panoptic, toml):
        if reader.matches(texts[0]):
            parsed: Parsed = reader.parse(texts[0])
            return parsed
    raise CalibrationError(
        "no known calibration format: Synpose or CMU Panoptic JSON, TOML (anipose, Caliscope, FreeMoCap, Pose2Sim),"
        " Qualisys XML, or EasyMocap's intri.yml and extri.yml",
        field="calibration",
    )


def _unit(parsed: Parsed, units: Unit | None) -> Unit:
    if parsed.states and units and parsed.states != units:
        raise CalibrationError(f"the calibration is in {parsed.states}, not in {units}", field="units")
    unit = parsed.states or units or parsed.assumes
    if unit is None:
        raise CalibrationError(
            "the calibration does not say its unit of length; pass units: m, cm or mm, the one that its board or"
            " object was measured in",
            field="units",
        )
    return unit


def _in_metres(parsed: Parsed, unit: Unit) -> Rig:
    rig = Rig(tuple(replace(camera, t=camera.t * METRES[unit]) for camera in parsed.cameras))
    if len(rig) < 2:
        return rig
    centers = np.stack([camera.center for camera in rig])  # (V, 3)
    spread = max(float(np.linalg.norm(centers - center, axis=-1).max()) for center in centers)
    low, high = _SPREAD
    if not low <= spread <= high:
        fitting = [other for other in UNITS if low <= spread / METRES[unit] * METRES[other] <= high]
        advice = f"try units {' or '.join(fitting)}" if fitting else "no unit of length makes them a rig around people"
        raise CalibrationError(
            f"read in {unit}, the two cameras farthest apart are {spread:.4g} m from each other; {advice}",
            field="units",
        )
    return rig
