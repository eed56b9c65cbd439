"""CMU Panoptic's `calibration_*.json`: world to camera, in centimetres, five OpenCV coefficients."""

from __future__ import annotations

from synpose.calibration.fields import camera_of, entry, load_json, numbers
from synpose.calibration.parsed import Parsed
from synpose.errors import CalibrationError
from synpose.rig import Camera

__all__ = ["matches", "parse"]


def matches(content: str) -> bool:
    document = load_json(content)
    return isinstance(document, dict) and "cameras" in document and "distCoef" in content


def parse(content: str) -> Parsed:
    cameras = entry(load_json(content), "cameras")
    if not isinstance(cameras, list):
        raise CalibrationError("cameras must be a list", field="calibration.cameras")
    return Parsed(tuple(_camera(record) for record in cameras), states="cm")


def _camera(record: object) -> Camera:
    name = entry(record, "name")
    camera = str(name)
    return camera_of(
        name,
        numbers(record, "resolution", camera, 2),
        numbers(record, "K", camera, 9),
        numbers(record, "R", camera, 9),
        numbers(record, "t", camera, 3),
        numbers(record, "distCoef", camera),
    )
