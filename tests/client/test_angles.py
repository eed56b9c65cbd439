"""Joint angles of poses whose angles are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from synpose.angles import joint_angles
from synpose.skeleton import COCO17, H36M17, HALPE26, Skeleton

# standing straight, y up, facing z, left along +x
_LEFT = {
    "eye": (0.03, 1.6, 0.1), "ear": (0.07, 1.6, 0), "shoulder": (0.2, 1.4, 0), "elbow": (0.2, 1.1, 0),
    "wrist": (0.2, 0.8, 0), "hip": (0.1, 0.9, 0), "knee": (0.1, 0.5, 0), "ankle": (0.1, 0.1, 0),
    "big_toe": (0.1, 0, 0.2), "small_toe": (0.15, 0, 0.15), "heel": (0.1, 0, -0.05),
}  # fmt: skip
_MIDDLE = {
    "nose": (0, 1.6, 0.1),
    "head": (0, 1.75, 0),
    "neck": (0, 1.4, 0),
    "pelvis": (0, 0.9, 0),
    "spine": (0, 1.1, 0),
}


def straight(skeleton: Skeleton, **moved: tuple[float, float, float]) -> NDArray[np.float64]:
    """Joints `(J, 3)` of a person who stands straight, but for those in `moved`."""
    places = {f"left_{name}": place for name, place in _LEFT.items()}
    places |= {f"right_{name}": (-x, y, z) for name, (x, y, z) in _LEFT.items()}
    places |= _MIDDLE | moved
    return np.array([places[joint] for joint in skeleton.joints], dtype=np.float64)


@pytest.mark.parametrize("skeleton", [COCO17, H36M17, HALPE26], ids=lambda s: s.name)
def test_standing_straight_is_zero(skeleton: Skeleton) -> None:
    """Every angle of every skeleton is 0; only skeletons with feet have ankles."""
    angles = joint_angles(straight(skeleton), skeleton)
    np.testing.assert_allclose(list(angles.values()), 0, atol=1e-9)
    assert ("left_ankle_dorsiflexion" in angles) == (skeleton is HALPE26)
    assert len(angles) == (12 if skeleton is HALPE26 else 10)


@pytest.mark.parametrize(
    ("angle", "moved", "degrees"),
    [
        ("left_knee_flexion", {"left_ankle": (0.1, 0.5, -0.4)}, 90),
        ("left_hip_flexion", {"left_knee": (0.1, 0.9, 0.4)}, 90),
        ("left_hip_flexion", {"left_knee": (0.1, 0.5, -0.4)}, -45),
        ("left_hip_abduction", {"left_knee": (0.5, 0.5, 0)}, 45),
        ("right_hip_abduction", {"right_knee": (-0.5, 0.5, 0)}, 45),
        ("right_hip_abduction", {"right_knee": (0.3, 0.5, 0)}, -45),
        ("right_elbow_flexion", {"right_wrist": (-0.2, 1.4, 0.3)}, 135),
        ("right_shoulder_elevation", {"right_elbow": (-0.5, 1.4, 0)}, 90),
        ("left_shoulder_elevation", {"left_elbow": (0.2, 1.7, 0)}, 180),
        ("left_ankle_dorsiflexion", {"left_big_toe": (0.1, 0.25, 0.2)}, 45),
        ("left_ankle_dorsiflexion", {"left_big_toe": (0.1, -0.25, 0.2)}, -45),
    ],
)
def test_known_angles(angle: str, moved: dict[str, tuple[float, float, float]], degrees: float) -> None:
    """Quarter and half bends, with the sign that the definition gives them."""
    assert joint_angles(straight(HALPE26, **moved), HALPE26)[angle] == pytest.approx(degrees)


@given(st.integers(0, 2**32 - 1))
def test_angles_do_not_depend_on_the_frame_or_unit(seed: int) -> None:
    """Turned, moved and scaled, a pose has the same angles; mirrored with sides exchanged, too."""
    rng = np.random.default_rng(seed)
    joints = straight(HALPE26) + rng.normal(0, 0.1, (len(HALPE26), 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    angles = joint_angles(joints, HALPE26)
    moved = joint_angles(1000 * joints @ turn.T + (5, -3, 2), HALPE26)
    mirrored = joint_angles((joints * (-1, 1, 1))[HALPE26.mirror], HALPE26)
    for name, value in angles.items():
        side, _, rest = name.partition("_")
        other = f"{'right' if side == 'left' else 'left'}_{rest}"
        assert moved[name] == pytest.approx(value, abs=1e-6)
        assert mirrored[other] == pytest.approx(value, abs=1e-6)


def test_unknown_joints_make_unknown_angles() -> None:
    """An angle is NaN in the frames in which one of its joints is, and in no others."""
    joints = np.tile(straight(HALPE26), (4, 1, 1))
    joints[1, HALPE26.joints.index("left_knee")] = np.nan
    angles = joint_angles(joints, HALPE26)
    touched = {name for name, values in angles.items() if np.isnan(values).any()}
    assert touched == {f"left_{n}" for n in ("knee_flexion", "hip_flexion", "hip_abduction", "ankle_dorsiflexion")}
    assert all(np.flatnonzero(np.isnan(angles[name])).tolist() == [1] for name in touched)
