"""Synpose's own calibration JSON, read and written.

    {"units": "m", "cameras": [{"name": "cam01", "size": [w, h], "K": [[…], [0, fy, cy], [0, 0, 1]],
     "R": [[…], …], "t": [x, y, z], "distortion": [k1, k2, p1, p2], "model": "pinhole"}]}

`R`, `t` take world to camera; `distortion` and `model` may be left out; a key that is not known is an error.
"""

from __future__ import annotations

import json

from synpose.calibration.fields import camera_of, entry, load_json, numbers
from synpose.calibration.parsed import Parsed, as_unit
from synpose.errors import CalibrationError
from synpose.rig import Camera, Rig

__all__ = ["matches", "parse", "write_calibration"]

_KEYS = {"units", "cameras"}
_CAMERA_KEYS = ("name", "size", "K", "R", "t", "distortion", "model")


def matches(content: str) -> bool:
    document = load_json(content)
    return isinstance(document, dict) and "cameras" in document and "distCoef" not in content


def parse(content: str) -> Parsed:
    document = load_json(content)
    _refuse_others(document, _KEYS, None)
    cameras = entry(document, "cameras")
    if not isinstance(cameras, list):
        raise CalibrationError("cameras must be a list", field="calibration.cameras")
    unit = as_unit(entry(document, "units"), "calibration.units")
    return Parsed(tuple(_camera(record) for record in cameras), states=unit)


def _camera(record: object) -> Camera:
    name = entry(record, "name")
    camera = str(name)
    assert isinstance(record, dict), record  # entry() has looked
    _refuse_others(record, set(_CAMERA_KEYS), camera)
    model = record.get("model", "pinhole")
    if model not in ("pinhole", "fisheye"):
        raise CalibrationError("model must be pinhole or fisheye", field="calibration.model", camera=camera)
    return camera_of(
        name,
        numbers(record, "size", camera, 2),
        numbers(record, "K", camera, 9),
        numbers(record, "R", camera, 9),
        numbers(record, "t", camera, 3),
        numbers({"distortion": record.get("distortion", [])}, "distortion", camera),
        fisheye=model == "fisheye",
    )


def _refuse_others(record: object, known: set[str], camera: str | None) -> None:
    if isinstance(record, dict) and (others := sorted(record.keys() - known)):
        raise CalibrationError(f"unknown key {others[0]!r:.60}", field="calibration", camera=camera)


def write_calibration(rig: Rig) -> str:
    """`rig` as Synpose JSON, in metres; `read_calibration` gives the same rig back."""
    cameras = [
        {
            "name": camera.name,
            "size": list(camera.size),
            "K": camera.K.tolist(),
            "R": camera.R.tolist(),
            "t": camera.t.tolist(),
            "distortion": camera.distortion.tolist(),
            "model": camera.model,
        }
        for camera in rig
    ]
    return json.dumps({"units": "m", "cameras": cameras}, indent=1) + "\n"
