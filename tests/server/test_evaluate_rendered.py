"""Measuring against the truth: on arrays that can be worked out by hand, and in a painted world without weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, PaintedModel, circle_rig, painted
from tests.server.painted import bundle as painted_bundle

import synpose_server.engine
from synpose.errors import InvalidInput
from synpose.skeleton import BODY27, COCO17
from synpose_model.bundle import Bundle
from synpose_server.baselines import Baseline, Detections
from synpose_server.engine import Engine
from synpose_server.evaluate_rendered import (
    LIMBS,
    Case,
    RenderedReport,
    camera_choices,
    evaluate_rendered,
    measure,
)
from synpose_server.rendered_clip import RenderedClip
from synpose_server.settings import Settings

Array = NDArray[np.float64]

RIG = circle_rig(4)
WRIST, ELBOW = BODY27.joints.index("left_wrist"), BODY27.joints.index("left_elbow")
POSE: Array = BODY27.reads_from(COCO17) @ STANDING  # (27, 3), feet and crown of the head at the origin


def case(joints: Array, *, sigma: float = np.nan, views: int = 3, cameras: int = 4, method: str = "m") -> Case:
    """An answer `joints` `(T, 27, 3)` for someone who stands still, every joint in so many `views`."""
    T = len(joints)
    truth = np.repeat(POSE[None], T, 0)
    names = tuple(f"cam{n}" for n in range(cameras))
    return Case(method, "clip", names, joints, np.full((T, 27), sigma), truth, np.full((T, 27), views))


def answer(frames: int = 2) -> Array:
    return np.repeat(POSE[None], frames, 0)


def test_errors_are_means_over_frames_and_joints() -> None:
    """One wrist of 24 limb joints that is 120 mm off is 5 mm on average, and a PCK of 1."""
    joints = answer()
    joints[0, WRIST, 2] += 0.12
    m = measure([case(joints)], LIMBS)
    assert m.mpjpe == pytest.approx(5)
    assert m.root_mpjpe == pytest.approx(5)
    assert m.pck_150 == 1
    assert m.missing == 0
    assert math.isnan(m.within_one_sigma)
    assert measure([case(joints)], [WRIST]).mpjpe == pytest.approx(60)


def test_a_missing_joint_counts_as_250_mm() -> None:
    """It counts in every error and share; a frame without anybody is twelve of them."""
    joints = answer(4)
    joints[1] = np.nan
    m = measure([case(joints, sigma=0.02)], LIMBS)
    assert (m.mpjpe, m.root_mpjpe, m.p_mpjpe) == pytest.approx((62.5, 62.5, 62.5), abs=1e-6)
    assert (m.pck_150, m.missing, m.within_one_sigma) == (0.75, 0.25, 1)


def test_a_shift_and_a_turn_are_no_error_of_the_pose() -> None:
    """Moved by 300 mm the absolute error is 300, the root-relative one 0; turned and scaled, too, the aligned is 0."""
    moved = answer() + (0.3, 0, 0)
    m = measure([case(moved)], LIMBS)
    assert m.mpjpe == pytest.approx(300)
    assert m.root_mpjpe == pytest.approx(0, abs=1e-9)
    assert m.pck_150 == 0
    turn = np.array(((0.0, -1, 0), (1, 0, 0), (0, 0, 1)))
    m = measure([case(1.2 * moved @ turn.T)], LIMBS)
    assert m.root_mpjpe > 100
    assert m.p_mpjpe == pytest.approx(0, abs=1e-6)


def test_sigma_is_judged_by_the_joints_that_are_known() -> None:
    """Errors of 0, 15 and 25 mm, sigma 10: one within one, two within two sigma; a lost joint does not count."""
    joints = answer(1)
    others = LIMBS[:4]
    joints[0, others[1], 0] += 0.015
    joints[0, others[2], 0] += 0.025
    joints[0, others[3]] = np.nan
    m = measure([case(joints, sigma=0.01)], others)
    assert m.within_one_sigma == pytest.approx(1 / 3)
    assert m.within_two_sigma == pytest.approx(2 / 3)
    assert m.sigma_scale == pytest.approx(np.quantile((0, 1.5, 2.5), 0.6827))


@pytest.mark.parametrize(("tail", "scale"), [(1.9, 1.0), (2.6, 1.3)])
def test_sigma_holds_at_two_sigma_as_well(tail: float, scale: float) -> None:
    """Where too many lie beyond two sigma, sigma is widened though 68 % lie within one."""
    off = np.repeat((1.0, tail), (70, 30))  # sigmas
    joints = answer(100)
    joints[:, LIMBS[0], 0] += 0.01 * off
    assert measure([case(joints, sigma=0.01)], LIMBS[:1]).sigma_scale == pytest.approx(scale)


def test_joints_without_truth_are_left_out() -> None:
    """A joint that the clip's file does not have is neither an error nor missing."""
    joints = answer(1)
    joints[0, WRIST] = np.nan
    one = case(joints)
    one.truth[0, WRIST] = np.nan
    assert (measure([one], LIMBS).mpjpe, measure([one], LIMBS).missing) == (0, 0)
    assert math.isnan(measure([one], [WRIST]).mpjpe)


def test_groups_by_cameras() -> None:
    """Each group holds the cases of its number of cameras and no group is empty; other methods do not mix in."""
    cases = [case(answer() + (n / 100, 0, 0), cameras=n) for n in (2, 3, 5)]
    other = case(answer() + 9, method="other")
    report = RenderedReport((), [*cases, other], {}, {})
    errors = {name: m.mpjpe for name, m in report.groups("m").items() if not name.startswith("seen")}
    expected = {"all": 100 / 3, "2 cameras": 20, "3 cameras": 30, "5 cameras": 50, "2-3 cameras": 25, "4+ cameras": 50}
    assert errors == pytest.approx(expected)
    assert report.methods == ("m", "other")


def test_groups_by_views_that_see_a_joint() -> None:
    """Single joints go to the group of their number of views; whole poses are not judged there."""
    joints = answer(1)
    joints[0, WRIST, 0] += 0.08
    joints[0, ELBOW] = np.nan
    one = case(joints, views=5)
    one.views[0, WRIST] = 0
    one.views[0, ELBOW] = 1
    groups = RenderedReport((), [one], {}, {}).groups("m")
    seen = {name.removeprefix("seen by "): m for name, m in groups.items() if name.startswith("seen")}
    assert (seen["0"].mpjpe, seen["1"].mpjpe, seen["3+"].mpjpe) == pytest.approx((80, 250, 0))
    assert (seen["0"].missing, seen["1"].missing) == (0, 1)
    assert math.isnan(seen["2"].mpjpe)
    assert math.isnan(seen["0"].p_mpjpe)
    assert math.isnan(seen["0"].root_mpjpe)


# -- with the engine, in a painted world ---------------------------------------------------------------------------


def clip(frames: int = 3) -> RenderedClip:
    """Someone who stands still before four painted cameras; the right wrist is hidden from two of them."""
    images = {c.name: [cv2.imencode(".png", painted(v).planes[0][..., ::-1])[1].tobytes()] * frames
              for v, c in enumerate(RIG)}  # fmt: skip
    visibility = np.full((4, frames, 27), 2, np.uint8)
    visibility[:2, :, BODY27.joints.index("right_wrist")] = 1
    truth = np.repeat(np.where(BODY27.reads_from(COCO17).any(-1, keepdims=True), POSE, np.nan)[None], frames, 0)
    return RenderedClip("clip", RIG, cast("Mapping[str, Path]", images), truth, visibility, 30.0, "standing", False)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, Engine]:
    """Two models that share a spatial graph."""

    def load(bundle: Bundle, *how: object) -> PaintedModel:
        model = PaintedModel(RIG, [STANDING])
        model.bundle = painted_bundle(name=bundle.name, version="painted", checksums={"spatial": "the same"})
        return model

    monkeypatch.setattr(synpose_server.engine, "Model", load)
    settings = Settings()
    return {name: Engine(settings, only=name) for name in ("accurate", "fast")}


def test_models_and_baselines_meet_the_truth(engines: dict[str, Engine]) -> None:
    """Exact keypoints give an error near nothing by every way; baselines run once for models that see the same."""
    calls: list[Detections] = []

    def off_by_a_decimetre(seen: Detections) -> Array:
        calls.append(seen)
        return np.repeat(STANDING[None] + (0.1, 0, 0), len(seen.keypoints), 0)

    told: list[tuple[str, int, int]] = []
    baseline = Baseline("off", "", off_by_a_decimetre)
    report = evaluate_rendered(
        engines, [clip()], {"off": baseline}, {"gone": "not here"}, progress=lambda *step: told.append(step)
    )
    assert report.methods == ("accurate", "off (accurate)", "fast")
    assert len(calls) == 1
    assert report.groups("accurate")["all"].mpjpe < 10
    assert report.groups("fast")["4 cameras"].missing == 0
    assert report.groups("off (accurate)")["all"].mpjpe == pytest.approx(100)
    assert report.groups("off (accurate)", range(27))["all"].mpjpe == pytest.approx(100)  # mid-body joints, too
    assert report.keypoints["accurate"]["in the image"].pck == 1
    assert report.keypoints["accurate"]["hidden"].mse < 4
    assert list(report.keypoints) == ["accurate"]
    assert told[-1] == ("clip: fast", 24, 24)
    plain = report.as_dict()
    assert plain["skipped"] == {"gone": "not here"}
    assert plain["methods"]["fast"]["limb_joints"]["all"] == asdict(report.groups("fast")["all"])
    assert {(c["method"], c["clip"]) for c in plain["cases"]} == {(method, "clip") for method in report.methods}


def test_subsets_of_the_cameras_are_cases_of_their_own(engines: dict[str, Engine]) -> None:
    """Asked for pairs, four cameras make seven cases, and a joint that is hidden from a pair is seen by none."""
    report = evaluate_rendered({"fast": engines["fast"]}, [clip(1)], {}, {}, (2,))
    assert sorted(len(case.cameras) for case in report.cases) == [2] * 6 + [4]
    wrist = BODY27.joints.index("right_wrist")
    views = {case.cameras: int(case.views[0, wrist]) for case in report.cases}
    assert views["cam1", "cam2"] == 0
    assert views["cam1", "cam3"] == 1
    assert views[RIG.names] == 2


def test_choices_of_cameras() -> None:
    """All, then at most six different subsets of each size, the same in every run; none is an error."""
    six = RenderedClip("six", circle_rig(6), {}, np.zeros((1, 27, 3)), np.zeros((6, 1, 27), np.uint8), 30, "", False)
    choices = camera_choices(six, (3, 2, 6, 7))
    assert choices[0] == six.rig.names
    assert [len(cameras) for cameras in choices[1:]] == [2] * 6 + [3] * 6
    assert len(set(choices)) == 13
    assert choices == camera_choices(six, (2, 3))
    assert len(camera_choices(six, (1,))) == 7
    assert len(camera_choices(six, (2, 3), 2)) == 5
    with pytest.raises(InvalidInput, match="0 subsets are none"):
        camera_choices(six, (2,), 0)
    with pytest.raises(InvalidInput, match="0 cameras cannot give 3D"):
        camera_choices(six, (0,))


def test_videos_longer_than_the_truth_are_refused(engines: dict[str, Engine]) -> None:
    """Frames that nobody knows the truth of are an error, not cut off."""
    short, long = clip(2), clip(3)
    wrong: Any = RenderedClip("wrong", RIG, long.videos, short.joints, short.visibility, 30.0, "standing", False)
    with pytest.raises(InvalidInput, match="wrong: the videos are longer than the truth"):
        evaluate_rendered({"fast": engines["fast"]}, [wrong], {}, {})
