"""The TOML family that aniposelib began: one table a camera, rotation as a vector, world to camera.

Their units differ, and few say so. What the tools write (read from aniposelib 0.8.0, Caliscope 0.11.8, FreeMoCap
1.8.2 and Pose2Sim 0.10.49):

- FreeMoCap adds `world_position` to each camera and `charuco_square_size` to the metadata; its board is measured in
  millimetres unless the user chose otherwise.
- Pose2Sim and Caliscope write `fisheye` for every camera and the constant metadata `adjusted = false`, `error = 0.0`;
  both work in metres. Caliscope's own `camera_array.toml` holds `[cameras.N]` tables with a `cam_id`, in metres.
- anipose writes `fisheye` only where it is true, and lengths in whatever unit its board was measured in.

A `units = "mm"` at the top or in `[metadata]`, which none of them writes but `write_toml` does, settles it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping

from synpose.calibration.fields import camera_of, numbers, rotation_vector
from synpose.calibration.parsed import Parsed, Unit, as_unit
from synpose.errors import CalibrationError
from synpose.rig import Camera, Rig

__all__ = ["matches", "parse", "write_toml"]

_NOT_CAMERAS = ("metadata", "units")
_DECIMAL = re.compile(r"\d\.\d")
_MAX_LENGTH = 512 << 10  # tomllib takes seconds for more than that
_MAX_DOTS = 30  # in one line, besides decimal points: reading a dotted key takes the square of its parts


def matches(content: str) -> bool:
    """Whether a line opens a table and another gives a camera's matrix."""
    lines = [line.lstrip() for line in content.splitlines()]
    return any(line.startswith("[") for line in lines) and any(
        line.startswith("matrix") and line[6:].lstrip().startswith("=") for line in lines
    )


def parse(content: str) -> Parsed:
    if len(content) > _MAX_LENGTH:
        raise CalibrationError(f"a TOML of more than {_MAX_LENGTH >> 10} KiB is no calibration", field="calibration")
    if any(
        _DECIMAL.sub("", line).count(".") > _MAX_DOTS for line in content.splitlines() if line.count(".") > _MAX_DOTS
    ):
        raise CalibrationError("a line of this TOML has too many dots", field="calibration")
    try:
        document = tomllib.loads(content)
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"this TOML is broken: {str(error)[:100]}", field="calibration") from None
    metadata = document.get("metadata", {})
    if not isinstance(metadata, Mapping):
        raise CalibrationError("metadata must be a table", field="calibration.metadata")
    native = document.get("cameras")
    caliscope = isinstance(native, Mapping) and "matrix" not in native
    tables = {f"cam_{key}": table for key, table in native.items()} if caliscope and native else document
    cameras = {key: table for key, table in tables.items() if caliscope or key not in _NOT_CAMERAS}
    if caliscope:  # it also lists cameras that it could not place
        cameras = {key: c for key, c in cameras.items() if not isinstance(c, Mapping) or "rotation" in c}
    units = document.get("units", metadata.get("units"))
    return Parsed(
        tuple(_camera(key, table) for key, table in cameras.items()),
        states=None if units is None else as_unit(units, "calibration.units"),
        assumes="m" if caliscope else _assumed(list(cameras.values()), metadata),
    )


def _camera(key: str, table: object) -> Camera:
    if not isinstance(table, Mapping):
        raise CalibrationError(f"{key!r:.60} is not a camera's table", field="calibration")
    name = table.get("name", key)
    camera = str(name)
    return camera_of(
        name,
        numbers(table, "size", camera, 2),
        numbers(table, "matrix", camera, 9),
        numbers(table, "rotation", camera, 3, 9),
        numbers(table, "translation", camera, 3),
        numbers(table, "distortions", camera),
        fisheye=_flag(table, "fisheye", camera),
    )


def _flag(table: Mapping[str, object], key: str, camera: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise CalibrationError(f"{key} must be true or false", field=f"calibration.{key}", camera=camera)
    return value


def _assumed(cameras: list[Mapping[str, object]], metadata: Mapping[str, object]) -> Unit | None:
    """The unit of the tool that wrote these tables, None where that cannot be seen."""
    if "charuco_square_size" in metadata or all("world_position" in table for table in cameras):
        return "mm"
    if all("fisheye" in table for table in cameras) and metadata == {"adjusted": False, "error": 0.0}:
        return "m"
    return None


def write_toml(rig: Rig) -> str:
    """`rig` as TOML in the tables that anipose began, in metres; `read_calibration` gives the same rig back."""
    tables = [
        f"""[cam_{index}]
name = {json.dumps(camera.name)}
size = {list(camera.size)}
matrix = {camera.K.tolist()}
distortions = {camera.distortion.tolist()}
rotation = {rotation_vector(camera.R).tolist()}
translation = {camera.t.tolist()}
fisheye = {str(camera.model == "fisheye").lower()}
"""
        for index, camera in enumerate(rig)
    ]
    return "\n".join([*tables, '[metadata]\nunits = "m"\n'])
