"""What a calibration from people answers: the cameras, and how firmly the motion holds each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from synpose.calibration import read_calibration, write_calibration
from synpose.rig import Rig

__all__ = ["Calibrated", "CalibrationReport", "CameraReport"]


@dataclass(frozen=True)
class CameraReport:
    """One camera. `reprojection` is the median error of its keypoints in pixels, `keypoints` how many were used.

    Standard errors: `position_error` in metres, `relative_error` the same beside the distance to the person,
    `rotation_error` in degrees, both against the first camera, which is where it is by definition; `focal_error` as a
    share of `focal` (pixels), 0 where it was given. `offset` is by how many frames the video is ahead of the first
    camera's: its image `i + offset` shows what the first one's image `i` shows.
    """

    name: str
    reprojection: float
    keypoints: int
    position_error: float
    relative_error: float
    rotation_error: float
    focal: float
    focal_error: float
    offset: float
    offset_error: float


@dataclass(frozen=True)
class CalibrationReport:
    """`frames` were seen, `instants` of them adjusted; `height` is the person's stature in metres."""

    frames: int
    instants: int
    height: float
    cameras: tuple[CameraReport, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Calibrated:
    """The cameras, in metres with z up from the floor, and what is to be said of them."""

    rig: Rig
    report: CalibrationReport

    def to_record(self) -> dict[str, Any]:
        """As JSON: the calibration in Synpose's own form, as every door reads it back, and the report."""
        return {"calibration": json.loads(write_calibration(self.rig)), "report": asdict(self.report)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Calibrated:
        """What `to_record` wrote; raises `KeyError`, `TypeError` or from `synpose.errors` for anything else."""
        report = record["report"]
        cameras = tuple(CameraReport(**camera) for camera in report["cameras"])
        told = CalibrationReport(**{**report, "cameras": cameras, "notices": tuple(report["notices"])})
        return cls(read_calibration({"calibration.json": json.dumps(record["calibration"]).encode()}), told)
