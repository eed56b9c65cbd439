"""Measures of poses, on cases that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from synpose.rig import Camera
from synpose.skeleton import COCO17
from synpose_model.measures import jitter, limb_spread, missing_share, mpjpe, reprojection_error

Array = NDArray[np.float64]

AT = {name: j for j, name in enumerate(COCO17.joints)}


def still(frames: int) -> Array:
    """`frames` times the same pose `(T, 17, 3)`."""
    pose = np.random.default_rng(0).uniform(-1, 1, (17, 3))
    return np.repeat(pose[None], frames, 0)


def test_mpjpe_is_the_mean_distance_in_millimetres() -> None:
    """Errors of 5 m (a 3-4-5 triangle) and 0 m have a mean of 2500 mm."""
    assert mpjpe(np.array(((3.0, 4, 0), (1, 1, 1))), np.array(((0.0, 0, 0), (1, 1, 1)))) == pytest.approx(2500)


def test_mpjpe_of_unknown_joints() -> None:
    """A joint that is NaN is left out, or counts as `missing` metres."""
    joints = np.array(((0.1, 0, 0), (np.nan, np.nan, np.nan)))
    assert mpjpe(joints, np.zeros((2, 3))) == pytest.approx(100)
    assert mpjpe(joints, np.zeros((2, 3)), missing=0.3) == pytest.approx(200)


def test_mpjpe_needs_truth() -> None:
    """A joint without truth never counts, not even as missing; NaN where nothing is left."""
    truth = np.array(((0.0, 0, 0), (0, np.nan, 0)))
    assert mpjpe(np.array(((0.1, 0, 0), (np.nan, 0, 0))), truth, missing=9.0) == pytest.approx(100)
    assert math.isnan(mpjpe(np.zeros((1, 3)), np.full((1, 3), np.nan), missing=9.0))


def test_a_rigid_body_has_no_spread() -> None:
    """Turning and moving changes no length of a limb."""
    turn = np.array(((0.0, -1, 0), (1, 0, 0), (0, 0, 1)))
    poses = np.stack([still(1)[0], still(1)[0] @ turn.T + (1, 2, 3), still(1)[0] - 7])
    assert limb_spread(poses, COCO17) == pytest.approx(0, abs=1e-9)


def test_limb_spread_is_the_mean_of_the_eight_limbs() -> None:
    """One forearm that is 80 mm longer half of the time has a deviation of 40 mm, the mean of eight limbs is 5 mm."""
    poses = still(4)
    elbow, wrist = poses[0, AT["left_elbow"]], poses[0, AT["left_wrist"]]
    poses[2:, AT["left_wrist"]] += 0.08 * (wrist - elbow) / np.linalg.norm(wrist - elbow)
    assert limb_spread(poses, COCO17) == pytest.approx(5)


def test_limb_spread_leaves_out_what_is_unknown() -> None:
    """The instant at which a wild joint is NaN in one number does not count, a limb known once has no spread."""
    poses = still(3)
    poses[1, AT["left_wrist"]] = (50, np.nan, 50)
    assert limb_spread(poses, COCO17) == pytest.approx(0, abs=1e-9)
    assert math.isnan(limb_spread(still(1), COCO17))
    assert math.isnan(limb_spread(np.full((5, 17, 3), np.nan), COCO17))


def test_jitter_is_the_second_difference() -> None:
    """Even motion has no jitter; an acceleration of 3, 4, 0 mm/frame² has 5."""
    t = np.arange(6)[:, None, None]
    assert jitter(still(6) + t * (0.1, 0.2, 0.3), COCO17) == pytest.approx(0, abs=1e-9)
    assert jitter(still(6) + t**2 / 2 * (0.003, 0.004, 0), COCO17) == pytest.approx(5)


def test_jitter_is_a_median_of_limb_joints() -> None:
    """Five wild joints of twelve do not move it, nor does the face, nor an instant that is unknown."""
    squares = np.arange(6)[:, None, None] ** 2 / 2
    poses = still(6) + squares * (0.003, 0.004, 0)
    poses[:, [*range(5), *range(5, 10)]] += squares  # nose, eyes and ears; shoulders, elbows and a wrist
    poses[3, AT["left_shoulder"]] = np.nan
    assert jitter(poses, COCO17) == pytest.approx(5)
    assert math.isnan(jitter(still(2), COCO17))


def test_missing_share_counts_limb_joints() -> None:
    """Three of 24 limb joints are an eighth; eyes and ears do not count; no frames have no share."""
    poses = still(2)
    poses[0, AT["left_wrist"]] = np.nan
    poses[1, AT["left_hip"], 2] = np.nan
    poses[1, AT["left_knee"]] = np.nan
    poses[:, AT["left_eye"]] = np.nan
    assert missing_share(poses, COCO17) == pytest.approx(1 / 8)
    assert math.isnan(missing_share(poses[:0], COCO17))


def test_reprojection_error_in_pixels_and_at_the_person() -> None:
    """5 px off at a depth of 4 m and a focal length of 500 px are 40 mm."""
    camera = Camera("cam", (640, 480), ((500, 0, 320), (0, 500, 240), (0, 0, 1)), np.eye(3), (0, 0, 4))
    joints = np.array(((0.0, 0, 0), (1.0, 0, 0), (0, 0, -2)))  # seen at (320, 240), (445, 240), (320, 240) in 2 m
    keypoints = np.array(((323.0, 244, 0.9), (445, 240, 0.3), (320, 250, 0.5)))
    pixels, millimetres = reprojection_error(camera, joints, keypoints)
    assert pixels == pytest.approx([5, 0, 10])
    assert millimetres == pytest.approx([40, 0, 40])


def test_reprojection_error_of_what_can_be_compared() -> None:
    """Unsure keypoints, unknown joints and joints behind the camera are left out."""
    camera = Camera("cam", (640, 480), ((500, 0, 320), (0, 500, 240), (0, 0, 1)), np.eye(3), (0, 0, 4))
    joints = np.array(((0.0, 0, 0), (np.nan, 0, 0), (0, 0, -9), (0, 0, 0)))
    keypoints = np.array(((0.0, 0, 0.29), (0, 0, 0.9), (0, 0, 0.9), (320, 243, 0.9)))
    pixels, millimetres = reprojection_error(camera, joints, keypoints)
    assert pixels == pytest.approx([3])
    assert millimetres == pytest.approx([24])
    assert reprojection_error(camera, joints, keypoints, sure=0.2)[0] == pytest.approx([400, 3])
