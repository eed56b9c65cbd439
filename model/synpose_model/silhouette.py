"""About which pixels show a person who stands where they are expected: enough to paint those over who stand nearby.

A pose network reads one person of a crop, and where two are close it takes a hand of one and a foot of the other. So
whoever else is followed is painted over in the crop of each, except for where the crop's own person is expected.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.rig import Camera
from synpose.skeleton import COCO17
from synpose_model.crop import Crop

__all__ = ["near", "paint_over", "silhouette"]

Array = NDArray[np.float64]

_AT = {name: j for j, name in enumerate(COCO17.joints)}
_TRUNK = [_AT[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
_LIMB, _HEAD = 0.07, 0.13  # metres: half the width of a limb in its clothes, and of a head with its hair


def silhouette(crop: Crop, camera: Camera, joints: Array) -> NDArray[np.bool_]:
    """Which pixels of `crop` `(S, S)`, of an image of `camera`, show the person of COCO's `joints` `(17, 3)`, metres.

    None where not all joints are in front of the camera.
    """
    mask = np.zeros((crop.side, crop.side), np.uint8)
    points = camera.project(joints)
    if not np.isfinite(points).all():
        return mask.astype(np.bool_)
    at = np.rint(crop.from_image(points)).astype(int)
    metre = (
        camera.K[0, 0] / np.linalg.norm(joints.mean(0) - camera.center) / np.sqrt(np.linalg.det(crop.transform[:, :2]))
    )
    width = max(1, round(2 * _LIMB * metre))
    cv2.fillConvexPoly(mask, cv2.convexHull(at[_TRUNK]), 1)
    cv2.polylines(mask, [at[_TRUNK]], True, 1, width)
    for near, far in COCO17.limbs:
        cv2.line(mask, at[near].tolist(), at[far].tolist(), 1, width)
    neck, head = at[_TRUNK[:2]].mean(0), at[:5].mean(0)
    cv2.line(mask, np.rint(neck).astype(int).tolist(), np.rint(head).astype(int).tolist(), 1, width)
    cv2.circle(mask, np.rint(head).astype(int).tolist(), max(1, round(_HEAD * metre)), 1, -1)
    return mask.astype(np.bool_)


def near(points: Array, mask: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """Which of the `points` `(J, 2)` in pixels lie in `mask` `(S, S)` or at most `margin` pixels beside or above it.

    None that is NaN or outside the picture.
    """
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    inside: NDArray[np.bool_] = np.asarray(((points >= 0) & (points < len(mask))).all(-1))
    columns, rows = np.where(inside[:, None], points, 0).astype(int).T
    return np.asarray(inside & (wide[rows, columns] > 0))


def paint_over(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """`pixels` `(S, S, 3)` with the mean colour of the others where `mask` `(S, S)`."""
    if not mask.any() or mask.all():
        return pixels
    out = pixels.copy()
    out[mask] = pixels[~mask].mean(0)
    return out
