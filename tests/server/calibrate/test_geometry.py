"""Epipolar geometry, bundle adjustment, clocks and the world, on made scenes with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.calibrate.scene import FPS, HEIGHT, difference, make_rig, sightings, walk

from synpose.calibration_options import CalibrationOptions
from synpose.errors import CalibrationError
from synpose_server.calibrate.body import JOINTS
from synpose_server.calibrate.bundle_adjustment import WIDTH, Free, Views, _derivatives, adjust, rotation
from synpose_server.calibrate.epipolar import discord, relative_pose, triangulate
from synpose_server.calibrate.estimate import calibrate_tracks
from synpose_server.calibrate.intrinsics import unknown_camera
from synpose_server.calibrate.offsets import find_clocks
from synpose_server.calibrate.tracks import Tracks
from synpose_server.calibrate.world import upwards

NAMES = ("cam0", "cam1", "cam2")
KNOWN, UNKNOWN = np.zeros(3, np.bool_), np.ones(3, np.bool_)
HEIGHT_GIVEN = CalibrationOptions(height=HEIGHT)


def _tracks(keypoints: np.ndarray, focal: float = 1.0) -> Tracks:
    """Of images of 1280×720."""
    scaled = keypoints[:, :, JOINTS].copy()
    scaled[..., :2] = (scaled[..., :2] - (639.5, 359.5)) / 1280
    return Tracks.of(scaled)


@settings(max_examples=5, deadline=None)
@given(turn=st.floats(0, 6), seed=st.integers(0, 99))
def test_a_pair_is_posed_from_the_joints_it_sees(turn: float, seed: int) -> None:
    """Five-point pose and triangulation give back the geometry that made the images."""
    rig = make_rig(2, turn=turn)
    joints = walk(phase=turn).reshape(-1, 3)
    a, b = (camera.undistort(camera.project(joints)) for camera in rig)
    order = np.random.default_rng(seed).permutation(len(a))[:400]
    pair = relative_pose(a[order], b[order], 0.002)
    assert pair is not None
    R = rig.cameras[1].R @ rig.cameras[0].R.T
    t = rig.cameras[1].t - R @ rig.cameras[0].t
    np.testing.assert_allclose(pair.R, R, atol=1e-3)
    np.testing.assert_allclose(pair.t, t / np.linalg.norm(t), atol=3e-3)
    points = triangulate(
        np.stack((np.eye(3), R)), np.stack((np.zeros(3), t)), np.stack((a, b), 1), np.ones((len(a), 2))
    )
    np.testing.assert_allclose(points, rig.cameras[0].to_camera(joints), atol=1e-6)


def test_views_of_other_instants_agree_less() -> None:
    """The discord of a pair is 0 for exact images of one instant and grows when they are shifted."""
    first, second = (_tracks(sightings(make_rig(2), walk())).keypoints[:, v] for v in (0, 1))
    costs = []
    for shift in (0, 2, 7):
        a, b = first[: 90 - shift, :, :2].reshape(-1, 2), second[shift:, :, :2].reshape(-1, 2)
        costs.append(discord(a, b, np.ones(len(a)), 0.002))
    assert costs[0] < 1e-6
    assert costs[0] < costs[1] < costs[2]


def test_derivatives_are_those_of_the_projection() -> None:
    """The Jacobian that is written out equals central differences."""
    rng = np.random.default_rng(0)
    R = rotation(rng.normal(size=(2, 3)) * 0.3)
    views = Views(R, np.array(((0.1, 0, 4), (0, 0.2, 5))), np.array((0.9, 1.3)), np.array((0.05, -0.1)), np.zeros(2))
    points = rng.normal(size=(3, 4, 3)) * 0.5
    to_view, to_point = _derivatives(views, points, np.zeros((3, 2, 4, 2)))
    h = 1e-6

    def moved(step: np.ndarray) -> np.ndarray:
        turned = rotation(step[:3]) @ views.R
        return Views(
            turned, views.t + step[3:6], views.focal * np.exp(step[6]), views.radial + step[7], views.clock
        ).project(points)

    for p in range(WIDTH - 1):
        step = h * np.eye(WIDTH)[p]
        np.testing.assert_allclose(to_view[..., p], (moved(step) - moved(-step)) / (2 * h), atol=1e-6)
    for axis in range(3):
        shift = h * np.eye(3)[axis]
        slope = (views.project(points + shift) - views.project(points - shift)) / (2 * h)
        np.testing.assert_allclose(to_point[..., axis], slope, atol=1e-6)


def test_adjustment_repairs_views_that_were_knocked() -> None:
    """From cameras off by degrees and decimetres, exact images lead back to the true ones."""
    rig = make_rig(3)
    joints = walk(40) / HEIGHT
    R = np.stack([camera.R for camera in rig])
    true = Views(R, np.stack([camera.t for camera in rig]) / HEIGHT, np.ones(3), np.zeros(3), np.zeros(3))
    rng = np.random.default_rng(1)
    knock = np.vstack((np.zeros(3), rng.normal(size=(2, 3)) * 0.03))
    start = Views(rotation(knock) @ R, true.t + knock, true.focal, true.radial, true.clock)
    tracks = _tracks(sightings(rig, walk(40)))
    fixed = np.zeros(3, np.bool_)
    rough = joints[:, JOINTS] + rng.normal(size=(40, len(JOINTS), 3)) * 0.02
    adjusted = adjust(tracks, start, rough, Free(fixed, fixed, fixed), rounds=60)
    np.testing.assert_allclose(adjusted.views.R, true.R, atol=3e-3)
    assert np.nanmedian(np.linalg.norm(adjusted.residuals, axis=-1)) * 1280 < 0.3


@settings(max_examples=3, deadline=None)
@given(turn=st.floats(0, 6), phase=st.floats(0, 3), focal=st.floats(0.7, 1.6))
def test_cameras_are_found_from_one_walk(turn: float, phase: float, focal: float) -> None:
    """With keypoints off by pixels and lenses that are known, cameras are found to a degree, height gives metres, and
    z is up from the floor.
    """
    rig = make_rig(3, focal, turn)
    found = calibrate_tracks(sightings(rig, walk(phase=phase), 3.0), list(rig), KNOWN, HEIGHT_GIVEN, FPS)
    degrees, share, scale = difference(found.rig, rig)
    assert degrees < 1
    assert share < 0.03
    assert scale == pytest.approx(1, abs=0.03)
    for camera, true in zip(found.rig, rig, strict=True):
        assert camera.center[2] == pytest.approx(true.center[2], abs=0.15)


def test_unknown_lenses_of_one_kind_are_found() -> None:
    """Focal lengths come out too, and the report tells how firmly."""
    rig = make_rig(3, 0.85)
    cameras = [unknown_camera(camera.name, camera.size) for camera in rig]
    options = CalibrationOptions(height=HEIGHT, same_lens=True)
    found = calibrate_tracks(sightings(rig, walk(), 2.0), cameras, UNKNOWN, options, FPS)
    for camera, report in zip(found.rig, found.report.cameras, strict=True):
        assert camera.K[0, 0] == pytest.approx(0.85 * 1280, rel=0.05)
        assert 0 < report.focal_error < 0.1
    assert difference(found.rig, rig)[0] < 2


@pytest.mark.parametrize(("frames", "told"), [(90, True), (160, False)])
def test_little_film_is_told(frames: int, told: bool) -> None:
    """What the covariance promises holds for much movement; of a few seconds the notices say so."""
    rig = make_rig(3)
    found = calibrate_tracks(
        sightings(rig, walk(frames), 2.0), list(rig), KNOWN, CalibrationOptions(height=HEIGHT), FPS
    )
    assert any("s of film" in notice for notice in found.report.notices) == told


@pytest.mark.parametrize("late", [7, -4])
def test_a_view_that_is_late_is_found(late: int) -> None:
    """Whole frames first, then parts of one; the cameras are right in spite of it."""
    rig = make_rig(3)
    keypoints = sightings(rig, walk(120), 2.0)
    start = 10
    shown = [keypoints[start + (late if v == 1 else 0) :][:90, v] for v in range(3)]
    shifted = np.stack(shown, 1)
    assert find_clocks(_tracks(shifted), NAMES, 15).tolist() == [0, -late, 0]
    options = CalibrationOptions(height=HEIGHT, max_offset=0.5)
    found = calibrate_tracks(shifted, list(rig), KNOWN, options, FPS)
    assert [c.offset for c in found.report.cameras] == pytest.approx([0, -late, 0], abs=0.2)
    assert difference(found.rig, rig)[0] < 1
    when = "after" if late > 0 else "before"
    (notice,) = (notice for notice in found.report.notices if "cam1" in notice)
    offset = found.report.cameras[1].offset
    assert f"frames {when} that of 'cam0'; give estimates the offset {offset:.2f} of this camera" in notice


def test_exchanged_sides_and_wild_keypoints_do_no_harm() -> None:
    """A tenth of the images with left and right exchanged, and keypoints anywhere, change little."""
    rig = make_rig(3)
    keypoints = sightings(rig, walk(), 2.0)
    rng = np.random.default_rng(3)
    mirror = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    swapped = rng.random(keypoints.shape[:2]) < 0.1
    keypoints[swapped] = keypoints[swapped][:, mirror]
    wild = rng.random(keypoints.shape[:3]) < 0.03
    keypoints[wild, :2] = rng.uniform(0, 700, (int(wild.sum()), 2))
    assert difference(calibrate_tracks(keypoints, list(rig), KNOWN, HEIGHT_GIVEN, FPS).rig, rig)[0] < 1.5


def test_what_scores_low_counts_little() -> None:
    """A third of the keypoints are six times as far off: scores that say so bring the cameras nearer."""
    rig, gained = make_rig(3), []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        keypoints = sightings(rig, walk(45), 2.0, seed)
        poor = rng.random(keypoints.shape[:3]) < 1 / 3
        keypoints[poor, :2] += rng.normal(0, 12, (int(poor.sum()), 2))
        told = keypoints.copy()
        told[poor, 2] = 0.5
        with_scores, without = (
            difference(calibrate_tracks(own, list(rig), KNOWN, HEIGHT_GIVEN, FPS).rig, rig)[0]
            for own in (told, keypoints)
        )
        gained.append(with_scores / without)
    assert np.median(gained) < 0.8


def test_cameras_are_about_as_far_off_as_the_report_says() -> None:
    """Their rotation beside the first, with errors of which some are wild, as those of networks are."""
    rig, ratios = make_rig(3), []
    for seed in range(4):
        keypoints = sightings(rig, walk(45, 0.3 * seed))
        keypoints[..., :2] += 2 * np.random.default_rng(seed).standard_t(2.5, keypoints[..., :2].shape)
        found = calibrate_tracks(keypoints, list(rig), KNOWN, HEIGHT_GIVEN, FPS)
        for mine, true, report in list(zip(found.rig, rig, found.report.cameras, strict=True))[1:]:
            turn = mine.R @ found.rig.cameras[0].R.T @ rig.cameras[0].R @ true.R.T
            ratios.append(np.degrees(np.arccos((np.trace(turn) - 1) / 2)) / report.rotation_error)
    assert 0.5 < np.sqrt(np.mean(np.square(ratios))) < 2


def test_a_baseline_and_gravity_set_scale_and_up() -> None:
    """Both replace what the person would tell."""
    rig = make_rig(3)
    apart = float(np.linalg.norm(rig["cam0"].center - rig["cam1"].center))
    down = tuple(rig["cam2"].R @ (0, 0, -1.0))
    options = CalibrationOptions(baseline=("cam0", "cam1", apart), gravity=("cam2", *down))
    found = calibrate_tracks(sightings(rig, walk(), 1.0), list(rig), KNOWN, options, FPS).rig
    assert np.linalg.norm(found["cam0"].center - found["cam1"].center) == pytest.approx(apart)
    np.testing.assert_allclose(found["cam2"].R @ (0, 0, -1), down, atol=1e-9)


def test_up_is_how_the_person_usually_stands() -> None:
    """Some who lies down for a fifth of the time does not tilt the world."""
    joints = walk()[:, JOINTS]
    joints[:18] = joints[:18, :, [2, 1, 0]]
    np.testing.assert_allclose(upwards(joints), (0, 0, 1), atol=0.08)


def test_who_stands_still_is_refused() -> None:
    """Every image says the same."""
    rig = make_rig(3)
    joints = np.repeat(walk(2)[:1], 60, axis=0)
    with pytest.raises(CalibrationError, match="hardly moves"):
        calibrate_tracks(sightings(rig, joints, 0.5), list(rig), KNOWN, HEIGHT_GIVEN, FPS)


def test_motion_in_a_plane_is_refused() -> None:
    """All joints in one plane fit many pairs of cameras."""
    rig = make_rig(3, turn=0.4)
    joints = walk()
    joints[..., 0] = 0.0
    with pytest.raises(CalibrationError, match=r"plane|does not hold"):
        calibrate_tracks(sightings(rig, joints, 1.0), list(rig), KNOWN, HEIGHT_GIVEN, FPS)


def test_a_camera_that_sees_too_little_is_named() -> None:
    """Nobody in its images, or nothing that others see at the same time."""
    rig = make_rig(3)
    empty = sightings(rig, walk())
    empty[:, 1] = 0.0
    with pytest.raises(CalibrationError, match="seen in 0 of 90") as refusal:
        calibrate_tracks(empty, list(rig), KNOWN, HEIGHT_GIVEN, FPS)
    assert refusal.value.camera == "cam1"
    apart = sightings(rig, walk())
    apart[:45, 2] = 0.0
    apart[45:, :2] = 0.0
    with pytest.raises(CalibrationError, match="together with the others") as refusal:
        calibrate_tracks(apart, list(rig), KNOWN, HEIGHT_GIVEN, FPS)
    assert refusal.value.camera == "cam2"


def test_a_camera_that_shows_someone_else_is_refused() -> None:
    """Its images fit no place, whatever the adjustment makes of them."""
    rig = make_rig(3)
    keypoints = sightings(rig, walk(), 1.0)
    keypoints[:, 2] = sightings(rig, walk(phase=1.7)[::-1], 1.0)[:, 2]
    with pytest.raises(CalibrationError, match=r"fits the other cameras|together with the others|does not hold"):
        calibrate_tracks(keypoints, list(rig), KNOWN, HEIGHT_GIVEN, FPS)
