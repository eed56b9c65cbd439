"""Baselines on detections whose truth is known, and what is said of those that are not installed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, circle_rig

import synpose_server.baselines
from synpose.errors import InvalidInput
from synpose.rig import Camera, Rig
from synpose.skeleton import BODY27, COCO17, Skeleton
from synpose_server.baselines import BASELINES, Baseline, Detections, chosen_baselines

Array = NDArray[np.float64]

AT = {baseline.name: baseline for baseline in BASELINES}
BENT = Rig(
    tuple(Camera(c.name, c.size, c.K, c.R, c.t, (-0.25, 0.05, 0.001, -0.002, 0.01)) for c in circle_rig(4))
)  # lenses that bend straight lines by some 20 px at the edge


def walking(frames: int = 24) -> Array:
    """Someone who stands on a slow conveyor belt, `(T, 17, 3)`."""
    joints: Array = STANDING + np.arange(frames)[:, None, None] * np.array((0.01, 0.005, 0))
    return joints


def detections(joints: Array, rig: Rig = BENT, skeleton: Skeleton = COCO17) -> Detections:
    """What a network without faults would say of `joints` `(T, K, 3)`."""
    pixels = np.stack([camera.project(joints) for camera in rig], 1)
    return Detections(rig, skeleton, np.concatenate((pixels, np.full((*pixels.shape[:-1], 1), 0.8)), -1), 30.0)


def test_rays_leave_through_the_lens() -> None:
    """Rays of projected joints lead back to them, and pixels are those of cameras that do not distort."""
    joints = walking(2)
    seen = detections(joints)
    for v, camera in enumerate(BENT):
        toward = joints - camera.center
        assert seen.directions[:, v] == pytest.approx(toward / np.linalg.norm(toward, axis=-1, keepdims=True), abs=1e-6)
    straight = np.stack([camera.project(joints) for camera in circle_rig(4)], 1)
    assert seen.pixels == pytest.approx(straight, abs=1e-3)
    assert np.abs(seen.pixels - seen.keypoints[..., :2]).max() > 1


@pytest.mark.parametrize("name", AT)
def test_exact_detections_give_exact_joints(name: str) -> None:
    """Every baseline finds the joints that all cameras show, in the world frame and in the skeleton's order."""
    baseline = AT[name]
    if reason := baseline.missing():
        pytest.skip(reason)
    joints = walking()
    # the filters of others shorten what moves a little
    assert baseline.run(detections(joints)) == pytest.approx(joints, abs=1e-4 if not baseline.needs else 0.01)


@pytest.mark.parametrize("name", AT)
def test_a_joint_that_one_camera_sees_is_unknown(name: str) -> None:
    """Nothing is made up for a joint without two rays, and the others do not suffer."""
    baseline = AT[name]
    if reason := baseline.missing():
        pytest.skip(reason)
    joints = walking()
    seen = detections(joints)
    seen.keypoints[:, 1:, 9, 2] = 0
    found = baseline.run(seen)
    assert np.isnan(found[:, 9]).all()
    others = [k for k in range(17) if k != 9]
    assert found[:, others] == pytest.approx(joints[:, others], abs=0.01)


def test_robust_intersection_takes_any_skeleton() -> None:
    """A graph made for 17 joints does 27 in two parts, each joint on its own."""
    joints = np.concatenate((walking(3), walking(3)[:, :10] + 0.1), 1)
    found = AT["robust"].run(detections(joints, skeleton=BODY27))
    assert found == pytest.approx(joints, abs=1e-4)


def test_robust_intersection_withstands_one_bad_view() -> None:
    """A wrist that one of four cameras sees 60 px off moves plain intersection far, robust intersection little."""
    joints = walking(2)
    seen = detections(joints)
    seen.keypoints[:, 0, 9, 0] += 60
    off = {name: np.linalg.norm(AT[name].run(seen)[:, 9] - joints[:, 9], axis=-1).max() for name in ("plain", "robust")}
    assert off["plain"] > 0.05
    assert off["robust"] < 0.3 * off["plain"]


def test_baselines_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that needs a missing package is left out with its reason, or an error if it was asked for by name."""
    absent = Baseline("absent", "needs what is not there", AT["plain"].run, {"no_such_module": "no-such-package==1"})
    monkeypatch.setattr(synpose_server.baselines, "BASELINES", (AT["plain"], absent))
    runs, skipped = chosen_baselines()
    assert list(runs) == ["plain"]
    assert list(skipped) == ["absent"]
    assert "not installed: no-such-package==1" in skipped["absent"]
    assert chosen_baselines(("plain",)) == ({"plain": AT["plain"]}, {})
    with pytest.raises(InvalidInput, match="absent: not installed: no-such-package==1"):
        chosen_baselines(("plain", "absent"))
    with pytest.raises(InvalidInput, match="no baseline 'magic'; there are plain, absent"):
        chosen_baselines(("magic",))
