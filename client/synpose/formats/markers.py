"""What joints are called in files of markers: the names that Pose2Sim's OpenSim models have."""

from __future__ import annotations

from synpose.skeleton import Skeleton

__all__ = ["marker_names"]


def marker_names(skeleton: Skeleton) -> tuple[str, ...]:
    """A marker's name for each joint: `left_big_toe` is `LBigToe`, `pelvis` is `Hip`."""
    return tuple(_marker(joint) for joint in skeleton.joints)


def _marker(joint: str) -> str:
    if joint == "pelvis":
        return "Hip"
    side, _, rest = joint.partition("_")
    if side in ("left", "right") and rest:
        return side[0].upper() + rest.title().replace("_", "")
    return joint.title().replace("_", "")
