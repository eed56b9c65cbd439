"""Limbs keep their length: noise along a bone is taken out, what is not known stays unknown."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from synpose.skeleton import BODY27
from synpose_server.limbs import Limbs

Array = NDArray[np.float64]


def walk(frames: int) -> Array:
    """Joints `(frames, 27, 3)` of someone whose limbs swing but never stretch."""
    rng = np.random.default_rng(0)
    joints = np.broadcast_to(rng.normal(0, 0.3, (27, 3)), (frames, 27, 3)).copy()
    for frame in range(frames):
        for limb, (near, far) in enumerate(BODY27.limbs):
            angle = 0.1 * frame + limb
            joints[frame, far] = joints[frame, near] + 0.3 * np.array((np.sin(angle), 0.0, -np.cos(angle)))
    return joints


def lengths(joints: Array) -> Array:
    near, far = np.array(BODY27.limbs).T
    return np.asarray(np.linalg.norm(joints[:, far] - joints[:, near], axis=-1))


def test_noise_becomes_less_and_lengths_steadier() -> None:
    """With 2 cm of noise the limbs' lengths spread by less than a third, and the joints are nearer to the truth."""
    truth = walk(200)
    seen = truth + np.random.default_rng(1).normal(0, 0.02, truth.shape)
    limbs = Limbs(BODY27)
    settled = np.stack([limbs.settle(joints, np.full(27, 0.035)) for joints in seen])
    late = slice(100, None)
    assert lengths(settled[late]).std(0).mean() < lengths(seen[late]).std(0).mean() / 3
    error, before = (
        np.linalg.norm(joints[late][:, BODY27.limb_joints] - truth[late][:, BODY27.limb_joints], axis=-1).mean()
        for joints in (settled, seen)
    )
    assert error < 0.95 * before


def test_the_unsure_end_moves() -> None:
    """A joint that is known to a millimetre stays where it is; its neighbour of 5 cm gives way."""
    limbs, joints, sigma = Limbs(BODY27), walk(1)[0], np.full(27, 0.001)
    for _ in range(50):
        limbs.settle(joints, sigma)
    near, far = BODY27.limbs[1]
    stretched, doubt = joints.copy(), sigma.copy()
    stretched[far] += 0.1 * (joints[far] - joints[near])
    doubt[far] = 0.05
    settled = limbs.settle(stretched, doubt)
    np.testing.assert_allclose(settled[near], joints[near], atol=5e-4)
    assert np.linalg.norm(settled[far] - joints[far]) < 0.1 * np.linalg.norm(stretched[far] - joints[far])


def test_the_first_pose_stays_and_unknown_joints_stay_unknown() -> None:
    """One frame says nothing of lengths that it did not have; NaN moves nobody."""
    joints, sigma = walk(1)[0], np.full(27, 0.02)
    wrist = BODY27.joints.index("left_wrist")
    joints[wrist] = sigma[wrist] = np.nan
    limbs = Limbs(BODY27)
    for _ in range(3):
        settled = limbs.settle(joints, sigma)
    assert np.isnan(settled[wrist]).all()
    known = np.arange(27) != wrist
    assert settled[known] == pytest.approx(joints[known])


def test_one_camera_keeps_its_distance() -> None:
    """Poses that a single camera places now nearer, now farther all come to be equally far away, in their direction."""
    truth, eye = walk(120), np.array((0.0, -4.0, 1.0))
    near_or_far = np.random.default_rng(2).uniform(0.7, 1.3, len(truth))
    limbs = Limbs(BODY27)
    guessed = eye + near_or_far[:, None, None] * (truth - eye)
    settled = np.stack([limbs.settle(joints, np.full(27, 0.3), eye) for joints in guessed])
    late = slice(60, None)
    share = np.linalg.norm(settled[late] - eye, axis=-1) / np.linalg.norm(truth[late] - eye, axis=-1)
    assert share.std() < 0.02
    np.testing.assert_allclose(share.mean(), near_or_far.mean(), atol=0.03)
