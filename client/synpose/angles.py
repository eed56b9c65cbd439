"""Joint angles from joints: flexion of knees, hips, elbows and ankles, and where arms and legs point.

Angles are in degrees, as the field reports them, 0 for a person who stands straight with hanging arms and flat feet.

- `<side>_knee_flexion`: between the thigh's line, drawn on, and the shank; 0 straight.
- `<side>_elbow_flexion`: between the upper arm's line, drawn on, and the forearm; 0 straight.
- `<side>_hip_flexion`: of the thigh in the plane across the line of the hips, against the trunk; forwards is positive.
- `<side>_hip_abduction`: of the thigh out of that plane; away from the other leg is positive.
- `<side>_ankle_dorsiflexion`: 90° less the angle between shank and sole (heel to big toe); toes up is positive.
- `<side>_shoulder_elevation`: between upper arm and trunk; 0 hanging, 90 level, 180 overhead.

The trunk is the line from the pelvis to the neck; both are midpoints where the skeleton does not name them. These are
angles of lines between joints, not of the bones' anatomical frames: rotation about a limb is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from synpose.skeleton import BODY27, Skeleton

__all__ = ["joint_angles"]

Array = NDArray[np.float64]


def joint_angles(joints: Array, skeleton: Skeleton) -> dict[str, Array]:
    """Angles `(...)` in degrees by name of `joints` `(..., J, 3)` in any right-handed frame and any unit.

    NaN where a joint that an angle needs is not known; an angle that `skeleton` has no joints for is left out.
    """
    at = _Joints(joints, skeleton)
    trunk = at("pelvis", "neck")
    leftwards = at("right_hip", "left_hip")
    forwards = np.cross(leftwards, trunk)
    upwards = np.cross(forwards, leftwards)  # the trunk, less what leans to a side
    angles: dict[str, Array] = {}
    for side, outwards in (("left", leftwards), ("right", -leftwards)):
        thigh, shank = at(f"{side}_hip", f"{side}_knee"), at(f"{side}_knee", f"{side}_ankle")
        upper_arm = at(f"{side}_shoulder", f"{side}_elbow")
        angles |= {
            f"{side}_knee_flexion": _between(thigh, shank),
            f"{side}_hip_flexion": _degrees(np.arctan2(_along(thigh, forwards), -_along(thigh, upwards))),
            f"{side}_hip_abduction": 90 - _between(thigh, outwards),
            f"{side}_elbow_flexion": _between(upper_arm, at(f"{side}_elbow", f"{side}_wrist")),
            f"{side}_shoulder_elevation": _between(upper_arm, -trunk),
        }
        if at.has(f"{side}_heel", f"{side}_big_toe"):
            sole = at(f"{side}_heel", f"{side}_big_toe")
            angles[f"{side}_ankle_dorsiflexion"] = 90 - _between(-shank, sole)
    return angles


class _Joints:
    """Lines between named joints."""

    def __init__(self, joints: Array, skeleton: Skeleton) -> None:
        self._joints = joints
        self._weights: Mapping[str, Array] = dict(zip(BODY27.joints, BODY27.reads_from(skeleton), strict=True))

    def __call__(self, begin: str, end: str) -> Array:
        """From one joint to another, `(..., 3)`."""
        return self._place(end) - self._place(begin)

    def has(self, *names: str) -> bool:
        return all(self._weights[name].any() for name in names)

    def _place(self, name: str) -> Array:
        parts = np.flatnonzero(self._weights[name])
        return np.asarray(np.einsum("j,...jk->...k", self._weights[name][parts], self._joints[..., parts, :]))


def _between(a: Array, b: Array) -> Array:
    """The angle between two lines, 0 to 180; exact also where it is small, which the arc cosine is not."""
    return _degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))


def _along(line: Array, axis: Array) -> Array:
    """How far `line` reaches along `axis`."""
    with np.errstate(invalid="ignore"):  # no length, no direction: NaN
        return np.asarray((line * axis).sum(-1) / np.linalg.norm(axis, axis=-1))


def _degrees(radians: Array) -> Array:
    return np.asarray(np.degrees(radians))
