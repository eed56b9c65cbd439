"""Synpose: synchronized multi-camera video of people in, 3D keypoints out.

    with synpose.Client("http://127.0.0.1:8000") as client:
        poses = client.estimate(["cam01.mp4", "cam02.mp4"], "Calib.qca.txt")
    poses.joints()  # (T, J, 3) metres

Names are imported when they are first used, so that `import synpose` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synpose.calibrated import Calibrated, CalibrationReport, CameraReport
    from synpose.calibration import read_calibration, write_calibration
    from synpose.client import AsyncClient, Client, Hash
    from synpose.errors import (
        BundleError,
        CalibrationError,
        DeadlineExceeded,
        Draining,
        InvalidInput,
        LimitExceeded,
        NotAcceptable,
        NotFound,
        OptionsError,
        Overloaded,
        PermissionDenied,
        RateLimited,
        ServerError,
        SynposeError,
        Unauthenticated,
        VideoError,
    )
    from synpose.live import LivePose, StreamPolicy
    from synpose.options import Options
    from synpose.pose import Frame, ModelInfo, Notice, Person, PoseHeader, PoseSequence, ServedModel
    from synpose.rig import Camera, Rig
    from synpose.skeleton import SKELETONS, Skeleton, get_skeleton

__all__ = [
    "SKELETONS",
    "AsyncClient",
    "BundleError",
    "Calibrated",
    "CalibrationError",
    "CalibrationReport",
    "Camera",
    "CameraReport",
    "Client",
    "DeadlineExceeded",
    "Draining",
    "Frame",
    "Hash",
    "InvalidInput",
    "LimitExceeded",
    "LivePose",
    "ModelInfo",
    "NotAcceptable",
    "NotFound",
    "Notice",
    "Options",
    "OptionsError",
    "Overloaded",
    "PermissionDenied",
    "Person",
    "PoseHeader",
    "PoseSequence",
    "RateLimited",
    "Rig",
    "ServedModel",
    "ServerError",
    "Skeleton",
    "StreamPolicy",
    "SynposeError",
    "Unauthenticated",
    "VideoError",
    "get_skeleton",
    "read_calibration",
    "write_calibration",
]

_MODULES = {
    "calibrated": ("Calibrated", "CalibrationReport", "CameraReport"),
    "calibration": ("read_calibration", "write_calibration"),
    "client": ("AsyncClient", "Client", "Hash"),
    "live": ("LivePose", "StreamPolicy"),
    "options": ("Options",),
    "pose": ("Frame", "ModelInfo", "Notice", "Person", "PoseHeader", "PoseSequence", "ServedModel"),
    "rig": ("Camera", "Rig"),
    "skeleton": ("SKELETONS", "Skeleton", "get_skeleton"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'synpose' has no attribute {name!r}")
    return getattr(import_module(f"synpose.{_HOME.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
