"""Measures of poses, in millimetres as the field reports them, pixels or shares. Free of torch.

The label-free ones need no truth: they ask whether a clip's answer agrees with itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synpose.rig import Camera
from synpose.skeleton import Skeleton

__all__ = [
    "auc",
    "jitter",
    "limb_spread",
    "missing_share",
    "mpjpe",
    "mse_2d",
    "p_mpjpe",
    "pck",
    "pck_2d",
    "procrustes",
    "reprojection_error",
    "root_relative",
]

Array = NDArray[np.float64]


def mpjpe(joints: Array, truth: Array, missing: float | None = None) -> float:
    """Mean per-joint position error of `joints` `(..., J, 3)` against `truth`, metres in, millimetres out.

    The world frame is part of the answer; for Protocol #1 of Human3.6M, give it both poses `root_relative`. Unknown
    joints (NaN) count as `missing` metres, or are left out if that is None; joints without truth are always left out.
    NaN when nothing is left.
    """
    error = np.linalg.norm(joints - truth, axis=-1)
    if missing is not None:
        error = np.where(np.isnan(error), missing, error)
    error = error[np.isfinite(truth).all(-1) & np.isfinite(error)]
    return float(error.mean()) * 1e3 if error.size else float("nan")


def root_relative(joints: Array, root: int = 0) -> Array:
    """`joints` `(..., J, 3)` as seen from the joint `root` of their own pose; all unknown where that is unknown."""
    return joints - joints[..., root : root + 1, :]


def p_mpjpe(joints: Array, truth: Array, missing: float | None = None) -> float:
    """`mpjpe` after each pose was moved, turned and scaled onto its truth: Protocol #2 of Human3.6M, in mm."""
    return mpjpe(procrustes(joints, truth), truth, missing)


def procrustes(joints: Array, truth: Array) -> Array:
    """`joints` `(..., J, 3)`, each pose under the similarity that brings it nearest to `truth` in least squares.

    Umeyama, TPAMI 1991; no mirroring. Joints that either does not know have no say; a pose is all NaN where fewer than
    three are left or these are one point.
    """
    known = np.isfinite(joints + truth).all(-1, keepdims=True)  # (..., J, 1)
    count = known.sum(-2, keepdims=True)  # (..., 1, 1)

    def centred(points: Array) -> tuple[Array, Array]:
        chosen = np.where(known, points, 0.0)
        mean = chosen.sum(-2, keepdims=True) / np.maximum(count, 1)
        return np.where(known, points - mean, 0.0), mean

    (source, source_mean), (target, target_mean) = centred(joints), centred(truth)
    U, stretch, Vt = np.linalg.svd(np.swapaxes(source, -1, -2) @ target)  # (..., 3, 3)
    sign = np.ones_like(stretch)
    sign[..., 2] = np.where(np.linalg.det(U @ Vt) < 0, -1.0, 1.0)
    size = (source**2).sum((-1, -2))
    solvable = (count[..., 0, 0] >= 3) & (size > 0)
    scale = np.where(solvable, (stretch * sign).sum(-1) / np.where(solvable, size, 1.0), np.nan)
    aligned: Array = scale[..., None, None] * (joints - source_mean) @ (U * sign[..., None, :] @ Vt) + target_mean
    return aligned


def pck(joints: Array, truth: Array, threshold: float = 0.150) -> float:
    """Share in [0, 1] of `joints` `(..., J, 3)` that lie less than `threshold` metres from `truth` (3DPCK).

    MPI-INF-3DHP (Mehta et al., 3DV 2017) takes 150 mm, of poses that are `root_relative`. Unknown joints are wrong,
    joints without truth are left out; NaN when nothing is left.
    """
    return _share_below(np.linalg.norm(joints - truth, axis=-1), truth, np.array((threshold,)))


def auc(joints: Array, truth: Array, limit: float = 0.150) -> float:
    """Mean `pck` over the thresholds 0, 5, … 150 mm (31 steps from 0 to `limit` metres), in [0, 1].

    As the official evaluation of MPI-INF-3DHP: nothing is less than 0 mm off, so that the best is 30/31.
    """
    return _share_below(np.linalg.norm(joints - truth, axis=-1), truth, np.linspace(0, limit, 31))


def _share_below(error: Array, truth: Array, thresholds: Array) -> float:
    error = error[np.isfinite(truth).all(-1)]
    return float((error[:, None] < thresholds).mean()) if error.size else float("nan")


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


def pck_2d(keypoints: Array, truth: Array, reference: Array | float, fraction: float = 0.5) -> float:
    """Share in [0, 1] of `keypoints` `(..., K, 2)` at most `fraction` of a length, `reference`, from `truth`; pixels.

    `reference` `(...)` is one length a pose, or one for all: with that of the head and 0.5 this is PCKh (Andriluka et
    al., CVPR 2014), with that of the torso and 0.2 it is PCK (Yang and Ramanan, TPAMI 2013). Unknown keypoints are
    wrong; those without truth or reference are left out; NaN when nothing is left.
    """
    distance = np.linalg.norm(keypoints - truth, axis=-1)
    allowed = np.broadcast_to(fraction * np.asarray(reference, dtype=np.float64)[..., None], distance.shape)
    counted = np.isfinite(truth).all(-1) & np.isfinite(allowed)
    return float((distance <= allowed)[counted].mean()) if counted.any() else float("nan")


def mse_2d(keypoints: Array, truth: Array) -> float:
    """Mean squared error of the coordinates of `keypoints` `(..., K, 2)` against `truth`, in pixels².

    Half the mean squared distance, as losses count it. Keypoints that either does not know are left out; NaN when
    nothing is left.
    """
    squares = (keypoints - truth) ** 2
    squares = squares[np.isfinite(squares).all(-1)]
    return float(squares.mean()) if squares.size else float("nan")
