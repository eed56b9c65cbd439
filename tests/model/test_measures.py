"""Measures of poses, on cases that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from synpose.rig import Camera
from synpose.skeleton import COCO17
from synpose_model.measures import (
    auc,
    jitter,
    limb_spread,
    missing_share,
    mpjpe,
    mse_2d,
    p_mpjpe,
    pck,
    pck_2d,
    procrustes,
    reprojection_error,
    root_relative,
)

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


def test_root_relative_forgets_where_the_person_stands() -> None:
    """Protocol #1: a pose that is only moved has no error; a pose whose root is unknown is unknown."""
    poses = still(2)
    moved = poses + np.array(((1.0, 2, 3), (-4, 0, 9)))[:, None]
    assert mpjpe(root_relative(moved, 11), root_relative(poses, 11)) == pytest.approx(0, abs=1e-9)
    assert root_relative(moved, 11)[:, 11] == pytest.approx(0)
    moved[1, 11] = np.nan
    assert np.isnan(root_relative(moved, 11)[1]).all()
    assert mpjpe(root_relative(moved, 11), root_relative(poses, 11), missing=0.5) == pytest.approx(250)


def similarities() -> st.SearchStrategy[tuple[float, Array, Array]]:
    """Scale, rotation `(3, 3)` and translation `(3,)`."""
    return st.builds(
        lambda scale, seed: (
            scale,
            Rotation.random(rng=np.random.default_rng(seed)).as_matrix(),
            np.random.default_rng(seed).uniform(-5, 5, 3),
        ),
        st.floats(0.1, 10),
        st.integers(0, 2**32 - 1),
    )


@given(similarities(), st.integers(0, 2**32 - 1), st.integers(0, 13))
def test_p_mpjpe_is_blind_to_similarities_of_the_answer(
    similarity: tuple[float, Array, Array], seed: int, unknown: int
) -> None:
    """Moving, turning and scaling the answer changes nothing, also where joints are unknown on either side."""
    scale, R, t = similarity
    random = np.random.default_rng(seed)
    truth = random.uniform(-1, 1, (3, 17, 3))
    joints = truth + random.normal(0, 0.05, truth.shape)
    joints[1, :unknown] = np.nan
    truth[2, 17 - unknown :, 1] = np.nan
    assert p_mpjpe(scale * joints @ R.T + t, truth) == pytest.approx(p_mpjpe(joints, truth), rel=1e-6)
    assert p_mpjpe(scale * truth @ R.T + t, truth) == pytest.approx(0, abs=1e-6)


@given(similarities(), st.integers(0, 2**32 - 1))
def test_procrustes_is_the_nearest_similarity(similarity: tuple[float, Array, Array], seed: int) -> None:
    """No other similarity of the answer, near or far, has a smaller squared error."""
    scale, R, t = similarity
    random = np.random.default_rng(seed)
    truth, joints = random.uniform(-1, 1, (2, 17, 3))
    best = procrustes(joints, truth)
    turn = Rotation.from_rotvec(random.normal(0, 0.05, 3)).as_matrix()
    middle = best.mean(0)
    resized = [middle + (best - middle) * size for size in (0.97, 1.03)]
    for other in (scale * joints @ R.T + t, best @ turn.T, *resized, best + random.normal(0, 0.02, 3)):
        assert ((best - truth) ** 2).sum() <= ((other - truth) ** 2).sum() + 1e-9


def test_p_mpjpe_does_not_mirror() -> None:
    """A mirrored body is not the same body: of the ends of three axes of 1, 2 and 3 m some error is left."""
    truth = np.array([(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 3.0)])[None]
    assert p_mpjpe(truth * (-1, 1, 1), truth) > 100
    assert p_mpjpe(truth[..., [1, 2, 0]], truth[..., [1, 2, 0]] + 5) == pytest.approx(0, abs=1e-9)


def test_p_mpjpe_scales() -> None:
    """Ends of a cross at ±1 m against ±1 m and ±3 m: the best is twice as large, so that all four are 1 m off."""
    cross = np.array([(1.0, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)])
    assert procrustes(cross, cross * (1, 3, 1)) == pytest.approx(cross * 2)
    assert p_mpjpe(cross, cross * (1, 3, 1)) == pytest.approx(1000)


def test_p_mpjpe_needs_three_joints() -> None:
    """A pose of which two joints are known, or all in one point, cannot be aligned and counts as missing."""
    truth = still(3)
    joints = truth.copy()
    joints[0, 2:] = np.nan
    joints[1] = 1.0
    assert np.isnan(procrustes(joints, truth)[:2]).all()
    assert p_mpjpe(joints, truth) == pytest.approx(0, abs=1e-9)
    assert p_mpjpe(joints, truth, missing=0.3) == pytest.approx(200)
    assert math.isnan(p_mpjpe(joints[:2], truth[:2]))


def test_pck_counts_joints_within_the_threshold() -> None:
    """Of 100, 149, 150 mm and an unknown joint two are right; one without truth does not count."""
    truth = np.zeros((5, 3))
    truth[4] = np.nan
    joints = np.array([(0.1, 0, 0), (0, 0.149, 0), (0, 0, 0.150), (np.nan, 0, 0), (0, 0, 0)])
    assert pck(joints, truth) == pytest.approx(2 / 4)
    assert pck(joints, truth, threshold=0.12) == pytest.approx(1 / 4)
    assert math.isnan(pck(joints[4:], truth[4:]))


def test_auc_is_the_mean_over_31_thresholds() -> None:
    """The truth itself is right at all thresholds but 0; 102 mm at the ten from 105 on; an unknown joint at none."""
    truth = np.zeros((1, 3))
    assert auc(truth, truth) == pytest.approx(30 / 31)
    assert auc(truth + (0, 0.102, 0), truth) == pytest.approx(10 / 31)
    assert auc(truth * np.nan, truth) == 0
    assert auc(truth + (0, 0.102, 0), truth, limit=0.300) == pytest.approx(20 / 31)
    assert math.isnan(auc(truth, truth * np.nan))


def test_pck_2d_is_relative_to_a_length_of_each_pose() -> None:
    """5 px are within half of 10 and not of 9 px; poses without reference do not count, unknown points are wrong."""
    truth = np.zeros((3, 2, 2))
    keypoints = truth + (3, 4)
    assert pck_2d(keypoints, truth, np.array((10.0, 9, np.nan))) == pytest.approx(1 / 2)
    assert pck_2d(keypoints, truth, 10, fraction=0.49) == 0
    keypoints[0, 0] = np.nan
    truth[1, 1] = np.nan
    assert pck_2d(keypoints, truth, 10) == pytest.approx(4 / 5)
    assert math.isnan(pck_2d(keypoints, truth * np.nan, 10))


def test_mse_2d_is_the_mean_square_of_a_coordinate() -> None:
    """Errors of 3 and 4 px have a mean square of 12.5; what is unknown on either side is left out."""
    keypoints = np.array([(3.0, 4), (np.nan, 0), (9, 9)])
    truth = np.array([(0.0, 0), (0, 0), (0, np.nan)])
    assert mse_2d(keypoints, truth) == pytest.approx(12.5)
    assert math.isnan(mse_2d(keypoints[1:], truth[1:]))


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
