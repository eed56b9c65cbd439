"""Measures of 3D poses, in millimetres as the field reports them. Free of torch.

The label-free ones need no truth: they ask whether a clip's answer agrees with itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synpose.rig import Camera
from synpose.skeleton import Skeleton

__all__ = ["jitter", "limb_spread", "missing_share", "mpjpe", "reprojection_error"]

Array = NDArray[np.float64]


def mpjpe(joints: Array, truth: Array, missing: float | None = None) -> float:
    """Mean per-joint position error of `joints` `(..., J, 3)` against `truth`, metres in, millimetres out.

    Protocol #1 without root alignment: the world frame is part of the answer. Unknown joints (NaN) count as `missing`
    metres, or are left out if that is None; joints without truth are always left out. NaN when nothing is left.
    """
    error = np.linalg.norm(joints - truth, axis=-1)
    if missing is not None:
        error = np.where(np.isnan(error), missing, error)
    error = error[np.isfinite(truth).all(-1) & np.isfinite(error)]
    return float(error.mean()) * 1e3 if error.size else float("nan")


def limb_spread(joints: Array, skeleton: Skeleton) -> float:
    """Standard deviation over time of the limb lengths of `joints` `(T, J, 3)` in mm, the mean of the eight limbs.

    A rigid body has 0. Instants with an unknown end are left out; NaN if no limb is known twice.
    """
    ends = np.array(skeleton.limbs)
    lengths = np.linalg.norm(joints[:, ends[:, 0]] - joints[:, ends[:, 1]], axis=-1)  # (T, 8)
    spreads = [float(np.std(limb[np.isfinite(limb)])) for limb in lengths.T if np.isfinite(limb).sum() > 1]
    return float(np.mean(spreads)) * 1e3 if spreads else float("nan")


def jitter(joints: Array, skeleton: Skeleton) -> float:
    """Median second difference over time of the limb joints of `joints` `(T, J, 3)`, in mm/frame²."""
    limbs = joints[:, list(skeleton.limb_joints)]
    second = np.linalg.norm(limbs[2:] - 2 * limbs[1:-1] + limbs[:-2], axis=-1)
    second = second[np.isfinite(second)]
    return float(np.median(second)) * 1e3 if second.size else float("nan")


def missing_share(joints: Array, skeleton: Skeleton) -> float:
    """Share in [0, 1] of the limb joints of `joints` `(T, J, 3)` that are unknown."""
    limbs = joints[:, list(skeleton.limb_joints)]
    return float((~np.isfinite(limbs).all(-1)).mean()) if limbs.size else float("nan")


def reprojection_error(camera: Camera, joints: Array, keypoints: Array, sure: float = 0.3) -> tuple[Array, Array]:
    """How far `joints` `(..., K, 3)`, seen by `camera`, lie from its `keypoints` `(..., K, 3)` with scores.

    Answers the distances in pixels and in mm at the person's depth, flat, for keypoints with a score of at least `sure`
    and known joints. Predicted from the other cameras, this is the leave-one-camera-out error.
    """
    off = np.linalg.norm(camera.project(joints) - keypoints[..., :2], axis=-1)
    depth = camera.to_camera(joints)[..., 2]
    focal = float(np.sqrt(camera.K[0, 0] * camera.K[1, 1]))
    chosen = np.isfinite(off) & (keypoints[..., 2] >= sure)
    return off[chosen], (off * depth / focal)[chosen] * 1e3
